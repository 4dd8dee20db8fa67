"""The JSON in which questions with closed choices are answered.

An object with a property for each question: one of its choices, or for `several` an object that says of each choice
whether it applies. A list of those that apply would be shorter, but then the choices that are left out have no token
whose probability is known, and no vendor's schema can forbid repeats.

A name becomes a key as it is where every vendor takes it (Anthropic: `^[a-zA-Z0-9_.-]{1,64}$`), else a numbered one;
what it stands for is in the instructions and in the schema's descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typing_extensions import override

from allm.data.attrs_classes import define, frozen
from allm.data.choice_probabilities import Blank, probabilities_in
from allm.data.classification import Question
from allm.data.json.text import dumps
from allm.data.response import Response
from allm.data.types.defaults import Default
from allm.data.types.describe import type_of
from allm.data.types.making import literal
from allm.data.types.records import Field, Record, properties_of
from allm.data.types.scalars import Choice, Scalar
from allm.data.types.shapes import Definitions, Schema, Shape

__all__ = ["AnswerForm"]

_KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_TYPES = {str: "string", bool: "boolean", int: "integer", type(None): "null"}  # a bool is an int, so it goes before
_APPLIES = Scalar(bool, "boolean", "true or false")


@define(eq=False)
class _Object(Record):
    """A record whose schema stands where it is used."""

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return properties_of(self.fields, definitions)


class _Plain(Choice):
    """Both booleans, which a type says; Gemini takes texts and numbers in an `enum`."""

    __slots__ = ()

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return {}


def _object(fields: Sequence[tuple[str, Shape, Schema]]) -> _Object:
    made = _Object(None, "", "", dict)
    made.set_fields([Field(key, shape, Default(is_required=True), key, about) for key, shape, about in fields])
    return made


@frozen
class _Item:
    """One question on the form, under the key that stands for its name."""

    name: str
    key: str
    question: Question[Any]
    options: Sequence[tuple[Any, Any]]  # the JSON value of each choice, and the choice

    @property
    def about(self) -> str:
        """What is asked, as far as the key does not say it."""
        return ": ".join(filter(None, ["" if self.key == self.name else self.name, self.question.text]))

    def labels(self) -> list[tuple[str, Any, str]]:
        """For `several`: the key of each choice, the choice, and what it means as far as the key does not say it."""
        texts = [plain if isinstance(plain, str) else dumps(plain).decode() for plain, _ in self.options]
        meanings = self.question.choices
        return [
            (key, choice, ": ".join(filter(None, ["" if key == text else text, meanings[choice]])))
            for key, text, (_, choice) in zip(_keys(texts, "choice"), texts, self.options, strict=True)
        ]

    def field(self) -> tuple[str, Shape, Schema]:
        about: Schema = {"description": self.about} if self.about else {}
        if self.question.several:
            labels = self.labels()
            return self.key, _object([(key, _APPLIES, _described(meaning)) for key, _, meaning in labels]), about
        if [plain for plain, _ in self.options] in ([True, False], [False, True]):
            return self.key, _Plain(self.options), {"type": "boolean", **about}
        kinds = {next(word for kind, word in _TYPES.items() if isinstance(plain, kind)) for plain, _ in self.options}
        kind: Schema = {"type": kinds.pop()} if len(kinds) == 1 else {}
        return self.key, Choice(self.options), {**kind, **about}

    def told(self) -> str:
        """The line about it in the instructions."""
        about = f" {self.about}" if self.about else ""
        if self.question.several:
            listed = _listed((f'"{key}"', meaning) for key, _, meaning in self.labels())
            return f'- "{self.key}":{about} For each of these true if it applies, else false: {listed}'
        listed = _listed((dumps(plain).decode(), self.question.choices[choice]) for plain, choice in self.options)
        return f'- "{self.key}":{about} One of: {listed}'

    def read(self, value: Any) -> Any:
        """The answer that `value` stands for."""
        return tuple(choice for key, choice, _ in self.labels() if value[key]) if self.question.several else value

    def blanks(self) -> list[Blank]:
        """Where its answer stands in the JSON."""
        if self.question.several:
            return [Blank((self.key, key), ((True, True), (False, False))) for key, _, _ in self.labels()]
        return [Blank((self.key,), tuple(self.options))]


class AnswerForm:
    """How questions are put to a model, and how its answer is read.

    Args:
        questions: By their names.

    Attributes:
        output_type: The type of the answer, for `response_format`.
    """

    def __init__(self, questions: Mapping[str, Question[Any]]) -> None:
        self._items = [
            _Item(name, key, question, literal(question.choices).options)  # type: ignore[attr-defined]
            for key, (name, question) in zip(_keys(questions, "question"), questions.items(), strict=True)
        ]
        self.output_type: type = type_of(_object([item.field() for item in self._items]), "set of answers")

    @property
    def instructions(self) -> str:
        """What the model is told; some servers hold it to the schema without showing it."""
        first = "Classify the input. Reply with one JSON object that has these keys, and nothing else:"
        return "\n".join([first, *(item.told() for item in self._items)])

    def answers(self, parsed: Any) -> dict[str, Any]:
        """The answer to each question, from an instance of `output_type`."""
        return {item.name: item.read(parsed[item.key]) for item in self._items}

    def probabilities(self, response: Response[Any]) -> dict[str, dict[Any, float] | None]:
        """The probability of each choice, as far as the tokens of the response tell."""
        if response.logprobs is None:
            return dict.fromkeys(item.name for item in self._items)
        blanks = [blank for item in self._items for blank in item.blanks()]
        found = dict(zip(blanks, probabilities_in(response.output_text, response.logprobs, blanks), strict=True))
        return {item.name: _together(item, [found[blank] for blank in item.blanks()]) for item in self._items}


def _together(item: _Item, found: Sequence[dict[Any, float] | None]) -> dict[Any, float] | None:
    if not item.question.several:
        return found[0]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    return {choice: each[True] for (_, choice, _), each in zip(item.labels(), known, strict=True)}


def _described(meaning: str) -> Schema:
    return {"description": meaning} if meaning else {}


def _keys(names: Iterable[str], word: str) -> list[str]:
    """A key for each name: the name itself, or a word and a number that is no other's."""
    names = list(names)
    taken = {name for name in names if _KEY.fullmatch(name)}
    keys: list[str] = []
    for number, name in enumerate(names, 1):
        key = name
        if name not in taken or name in keys:
            key = f"{word}_{number}"
            while key in taken:
                key = f"_{key}"
            taken.add(key)
        keys.append(key)
    return keys


def _listed(choices: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{choice} ({meaning})" if meaning else choice for choice, meaning in choices)
