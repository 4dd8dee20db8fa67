"""Refusing values: what was given, in few words; one error for everything that is wrong; fields that check."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from allm.data.errors import OptionError, Problem, ValidationError

__all__ = [
    "Problem",
    "UnusableImageError",
    "check_names",
    "headers_field",
    "mapping_field",
    "refuse",
    "shown",
    "tuple_of",
    "unknown_option",
    "wrong_type",
]

MOST_CHARACTERS = 60
"""Of a value in a sentence: enough to find it again, and short enough for many problems in one message."""


def shown(value: Any) -> str:
    """What was given, for a sentence: a short text, a number or None as it is, of anything else the type.

    What may hold much, or something that is nobody's business, is never printed whole.
    """
    if isinstance(value, str):
        text = repr(value[:MOST_CHARACTERS])
        return f"{text}..." if len(value) > MOST_CHARACTERS else text
    if value is None or isinstance(value, (bool, int, float)):
        try:
            text = repr(value)
        except ValueError:  # Python writes no int of more than 4,300 digits
            return f"a huge {type(value).__name__}"
        return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
    return type(value).__name__


def wrong_type(path: tuple[str | int, ...], value: Any, expected: str) -> Problem:
    """The problem of a value of another type than `expected`; the value itself is not shown."""
    return Problem(path, "invalid_type", f"is {type(value).__name__}; expected {expected}")


def refuse(problems: Sequence[Problem], *, reason: str = "invalid_request") -> None:
    """Raise if there are problems.

    Raises:
        ValidationError: With every one of them.
    """
    if problems:
        raise ValidationError(problems, reason=reason)


def unknown_option(name: str, known: Collection[str]) -> OptionError:
    """The error of an unknown option: with the nearest known name, or all of them where none is near."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(sorted(known))}."
    return OptionError(
        f"unknown option {name!r}; {hint} Provider parameters go into options={{...}}",
        reason="unknown_option",
        option=name,
    )


def check_names(cls: type[attrs.AttrsInstance], names: Iterable[str]) -> None:
    """Refuse a name that is not a keyword-only field of `cls`.

    Raises:
        OptionError: Suggests the nearest one.
    """
    known = {field.name for field in attrs.fields(cls) if field.kw_only}
    for name in names:
        if name not in known:
            raise unknown_option(name, known)


class UnusableImageError(Exception):
    """Why an image cannot be sent: the `tag` of the problem, and a sentence."""

    def __init__(self, tag: str, sentence: str) -> None:
        super().__init__(sentence)
        self.tag = tag


T = TypeVar("T")


def _copied(value: Mapping[str, Any], field: attrs.Attribute[Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValidationError([wrong_type((field.name,), value, "a mapping")])
    return dict(value)


def mapping_field() -> Any:
    """A keyword-only open mapping, copied on the way in; left out of the hash so that its owner stays hashable."""
    converter = attrs.Converter(_copied, takes_field=True)
    return attrs.field(factory=dict, kw_only=True, converter=converter, hash=False)


def headers_field() -> Any:
    """A keyword-only mapping of HTTP headers.

    They are not compared, as the same answer comes at another time, nor shown in the repr, where they hide the rest.
    """
    converter = attrs.Converter(_copied, takes_field=True)
    return attrs.field(factory=dict[str, str], kw_only=True, converter=converter, eq=False, repr=False)


def tuple_of(name: str, value: Iterable[T]) -> tuple[T, ...]:
    """The values as a tuple.

    Raises:
        ValidationError: A text, a mapping, or something that cannot be iterated.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValidationError([wrong_type((name,), value, f"a list or another iterable of {name}")])
    return tuple(value)
