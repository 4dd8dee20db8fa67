"""A scripted model without a format: what it says follows from the conversation, whoever asks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from schema_values import Schema, value_of

PRIMES = (7, 11, 13, 17, 19)
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
CITIES = ("Zug", "Bern", "Chur", "Brig", "Thun")
MOST_WORDS = 40  # of what an answer repeats: less than any limit that a sample sets
REFUSAL = re.compile(r"unknown|too (?:long|short|many|few)", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Turn:
    """A message: who said it, its text, what else it shows, and whether it is the result of a tool.

    Attributes:
        sources: Titles and texts of documents that are to be cited.
    """

    role: str
    text: str = ""
    media: Sequence[str] = ()
    sources: Sequence[tuple[str, str]] = ()
    result: bool = False


@attrs.frozen(kw_only=True)
class Asked:
    """What a request asks, as every format can say it.

    Attributes:
        tools: The parameters of each tool by its name.
        schema: That of the answer.
        may_call, must_call: What the request says of tools: none at all, or one in any case.
        most: How many words the answer may have.
    """

    turns: Sequence[Turn]
    tools: Mapping[str, dict[str, Any]] = attrs.Factory(dict)
    schema: dict[str, Any] | None = None
    may_call: bool = True
    must_call: bool = False
    most: int | None = None

    @property
    def question(self) -> str:
        """What the user said last."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user" and not turn.result), "")

    @property
    def words(self) -> int:
        """How many words the whole conversation has."""
        return sum(len(turn.text.split()) for turn in self.turns)

    def said(self, role: str) -> list[str]:
        """The texts of a role, without those of tools."""
        return [turn.text for turn in self.turns if turn.role == role and not turn.result]

    def results(self) -> list[str]:
        """What tools returned since the question."""
        found: list[str] = []
        for turn in reversed(self.turns):
            if turn.role == "user" and not turn.result:
                break
            found += [turn.text] if turn.result else []
        return found[::-1]


@attrs.frozen(kw_only=True)
class Said:
    """What the model says: a text, or calls of tools, as pairs of name and arguments.

    Attributes:
        title: That of the first document, if the text is its first sentence.
    """

    text: str = ""
    title: str | None = None
    calls: Sequence[tuple[str, dict[str, Any]]] = ()
    cut: bool = False

    @property
    def words(self) -> list[str]:
        """The text in pieces, which joined are the text."""
        return re.findall(r"\s*\S+", self.text)

    @property
    def size(self) -> int:
        """How many words it took."""
        return len(self.words) + len(self.calls)


def say(asked: Asked) -> Said:
    """The answer. A model that a tool or a check corrects tries its next idea."""
    results = [text for text in asked.results() if not REFUSAL.search(text)]
    refused = len(asked.results()) - len(results)
    if asked.tools and asked.may_call and (asked.must_call or not results):
        name = next((name for name in asked.tools if name in asked.question), next(iter(asked.tools)))
        places = re.findall(r"\bin ([A-Z]\w+)", asked.question) or [""]
        return Said(calls=[(name, filled_in(asked.tools[name], refused, place)) for place in places])
    if asked.schema is not None:
        tried = sum(text.startswith("{") for text in asked.said("assistant"))
        return Said(text=json.dumps(filled_in(asked.schema, tried)))
    for title, text in (source for turn in asked.turns for source in turn.sources):
        return Said(text=text.partition(". ")[0] + ".", title=title)
    words = (f"It is {' and '.join(results)}." if results else _talk(asked)).split(" ")
    return Said(text=" ".join(words[: asked.most]), cut=asked.most is not None and len(words) > asked.most)


def _talk(asked: Asked) -> str:
    shown = [media for turn in asked.turns if turn.role == "user" for media in turn.media]
    if shown:
        return f"I see {' and '.join(shown)}."
    if count := re.search(rf"Count to ({'|'.join(NUMBERS)})\b", asked.question):
        return " ".join(NUMBERS[: NUMBERS.index(count[1]) + 1])
    if re.search(r"prime|Another", asked.question):
        return str(PRIMES[len(asked.said("assistant")) % len(PRIMES)])
    if "my name" in asked.question:
        names = re.findall(r"I am (\w+)", " ".join(asked.said("user")))
        return f"You are {names[-1]}." if names else "You did not say."
    if translated := re.search(r"into (\w+): (.+)", asked.question):
        return f"{translated[2].strip()} ({translated[1]})"
    told = " ".join((*asked.said("system"), *asked.said("developer")))
    if "nursery" in asked.question:
        return "Nurseries wait." if "terse" in told else "A nursery waits for its tasks."
    # Any other question gets an answer that shows what arrived, so that two programs that ask differently differ.
    return f"You asked: {_shortened(asked.question)}{f' You told me: {_shortened(told)}' if told else ''}"


def _shortened(text: str) -> str:
    words = text.split(" ")
    return text if len(words) <= MOST_WORDS else f"{' '.join(words[:MOST_WORDS])} ... ({len(words)} words)"


def filled_in(schema: Schema, idea: int = 0, place: str = "") -> dict[str, Any]:
    """An object that fits; the next one with each `idea`."""
    return value_of({"type": "object", **schema}, lambda _field: place or CITIES[idea % len(CITIES)], 2 + idea)
