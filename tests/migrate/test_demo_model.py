"""The model behind the pairs of docs/migrate answers what nobody has written for it."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

import attrs
import pytest

import allm
from allm.data.types.output import answer_schema
from migrate.demo_model import Asked, Turn, filled_in, say


class Place(NamedTuple):
    """A tuple that a schema writes as an array."""

    lat: float
    lon: float


@attrs.frozen
class Trip:
    """A class with a field of each kind that a schema writes in its own way."""

    city: str
    days: int | None
    price: float | str
    stops: list[Place]
    kind: Literal["land", "sea"]
    span: tuple[int, str]
    past: list[list[bool]]


def asked(question: str, *system: str) -> Asked:
    """One question."""
    return Asked(turns=[*(Turn(role="system", text=text) for text in system), Turn(role="user", text=question)])


@pytest.mark.parametrize("question", ["Count to a million.", "Count to ten.", "Who was Faust?", "", "Wo? <b>"])
def test_every_question_has_an_answer(question):
    """None is unknown, and what arrived is in the answer, unless it is one of the samples."""
    text = say(asked(question)).text
    assert text
    assert question in text or text.startswith("one two ")


def test_the_answer_shows_what_the_model_was_told():
    """Else a program that loses its system prompt would print the same as one that sends it."""
    assert say(asked("Who?", "Be a poet.")).text != say(asked("Who?")).text


def test_it_never_runs_out_of_primes():
    """However long the conversation."""
    turns = [Turn(role="user", text="Name a prime."), Turn(role="assistant", text="7")] * 20
    assert say(Asked(turns=[*turns, Turn(role="user", text="Another?")])).text.isdigit()


@pytest.mark.parametrize("hint", [Trip, list[Trip], int | None, dict[str, int], Trip | Place])
def test_it_fills_in_any_schema(hint: Any):
    """Of every type that a reader may ask for."""
    answer = filled_in(answer_schema(hint))
    allm.Response(message=allm.assistant(json.dumps(answer))).parsed(hint)
