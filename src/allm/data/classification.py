"""Questions with closed choices, and the answers to them."""

from __future__ import annotations

import enum
import itertools
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, Literal, TypeVar, overload

import attrs
import typing_extensions  # typing's TypeVar has no default before Python 3.13

from allm.data.attrs_classes import frozen
from allm.data.errors import Problem, ValidationError
from allm.data.problems import refuse, shown
from allm.data.response import Response, Usage

__all__ = ["Classification", "Question", "question_of"]

ItemT = TypeVar("ItemT")
_MAX_BITS = 63  # beside the sign: what JSON readers take
AnswerT_co = typing_extensions.TypeVar("AnswerT_co", covariant=True, default=Any)


@frozen(init=False)
class Question(Generic[AnswerT_co]):
    """A question whose answer is one of its choices, or with `several=True` a tuple of all that apply.

        Question(["yes", "no"], "Does the writer need an answer today?")
        Question({"bug": "something is broken", "wish": "something is missing"}, several=True)
        Question(range(1, 6), "How content is the writer? 5 is the most.")

    Args:
        choices: Texts, ints, bools, None or members of enums; or a mapping that says what each of them means. An enum,
            `bool` and a `Literal`, or a union of them, stand for all of their values.
        text: What is asked, where the name of the question does not say it.
        several: Whether each choice may apply or not.

    Attributes:
        choices: What each choice means, "" where that is not said.

    Raises:
        ValidationError: `invalid_question`: no choices, two that are equal, or one that JSON has no exact form for.
    """

    choices: Mapping[Any, str] = attrs.field(hash=False)
    text: str
    several: bool

    @overload
    def __init__(
        self: Question[ItemT], choices: Iterable[ItemT] | type[ItemT], text: str = ..., *, several: Literal[False] = ...
    ) -> None: ...
    @overload
    def __init__(
        self: Question[tuple[ItemT, ...]],
        choices: Iterable[ItemT] | type[ItemT],
        text: str = ...,
        *,
        several: Literal[True],
    ) -> None: ...
    def __init__(self, choices: Any, text: str = "", *, several: bool = False) -> None:
        problems: list[Problem] = []
        found = _choices(choices, problems)
        if not isinstance(text, str):
            problems.append(Problem(("text",), "invalid_type", f"is {type(text).__name__}; expected str"))
        refuse(problems, reason="invalid_question")
        made: Any = self
        made.__attrs_init__(found, text, several)


def _choices(given: Any, problems: list[Problem]) -> dict[Any, str]:
    """What each choice means."""
    if (values := _values_of(given)) is not None:
        given = values
    meanings: Mapping[Any, Any] = given if isinstance(given, Mapping) else {}
    if isinstance(given, type | str | bytes | bytearray) or not isinstance(given, Iterable):
        what = shown(given) if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)
        expected = 'choices such as ["yes", "no"], range(1, 6), an enum, a Literal or bool'
        problems.append(Problem(("choices",), "invalid_type", f"is {what}; expected {expected}"))
        return {}
    choices: list[Any] = list(given)
    problems += [found for index, choice in enumerate(choices) for found in _odd(index, choice)]
    for choice, meaning in meanings.items():
        if not isinstance(meaning, str):
            what = f"{shown(choice)} stands for {type(meaning).__name__}; expected what it means, as a text"
            problems.append(Problem(("choices",), "invalid_type", what))
    if not choices:
        problems.append(Problem(("choices",), "empty", "there is nothing to choose from"))
    if not problems and len(set(choices)) < len(choices):  # 1 and True are equal too, and one key in a dict
        twice = next(choice for index, choice in enumerate(choices) if choice in choices[:index])
        problems.append(Problem(("choices",), "duplicate", f"two choices are equal: {shown(twice)}"))
    return {} if problems else {choice: meanings.get(choice, "") for choice in choices}


def _values_of(hint: Any) -> list[Any] | None:
    """All values of a type that has a few only; None for anything else."""
    if hint is bool:
        return [True, False]
    if hint is types.NoneType:
        return [None]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return list(hint)
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found = [_values_of(member) for member in typing.get_args(hint)]
        known = [values for values in found if values is not None]
        return list(itertools.chain(*known)) if len(known) == len(found) else None
    return None


def _odd(index: int, choice: Any) -> Iterator[Problem]:
    plain = choice.value if isinstance(choice, enum.Enum) else choice
    if not (plain is None or isinstance(plain, str | int)):
        expected = "a text, an int, a bool, None, or a member of an enum with such a value"
        yield Problem(("choices", index), "invalid_type", f"is {type(plain).__name__}; expected {expected}")
    elif not _has_json_form(plain):
        expected = "a text of whole characters, or an int of at most 64 bits"
        yield Problem(("choices", index), "no_json_form", f"is {shown(plain)}; expected {expected}")


def _has_json_form(plain: str | int | None) -> bool:
    if isinstance(plain, str):
        return plain == plain.encode(errors="replace").decode()
    return plain is None or plain.bit_length() <= _MAX_BITS


@frozen(kw_only=True)
class Classification(Mapping[str, AnswerT_co]):
    """The answer to each question, by its name: `result["urgent"]`.

    Attributes:
        answers: The choice, or for `several` a tuple of the choices that apply, in the question's order.
        probabilities: For each question the probability of each of its choices, or None where the provider gave no log
            probabilities that tell. Those of one question add up to 1; with `several` each is that of the choice to
            apply, whatever else does.
        response: What the model said.
    """

    answers: Mapping[str, AnswerT_co] = attrs.field(hash=False)
    probabilities: Mapping[str, Mapping[Any, float] | None] = attrs.field(hash=False)
    response: Response

    @property
    def usage(self) -> Usage:
        """The tokens that it took."""
        return self.response.usage

    def __getitem__(self, name: str) -> AnswerT_co:
        return self.answers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)


def question_of(name: str, given: Any) -> Question[Any]:
    """The question that stands under a name: itself, or one with these choices.

    Raises:
        ValidationError: `invalid_question`, as `Question`.
    """
    if isinstance(given, Question):
        return given
    try:
        return Question[Any](given)
    except ValidationError as error:
        problems = [problem.under("questions", name) for problem in error.problems]
        raise ValidationError(problems, reason="invalid_question") from None
