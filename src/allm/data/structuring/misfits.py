"""What does not fit its type, and where.

A hook that meets a wrong value raises `Misfit`, with the type and the value as they are and no words yet. Whatever goes
through the parts of a value collects the exceptions of its parts into `Misfits`. At the top `problems_of` walks down
what came out and gives every exception its path. Only there it is put into words, by the one who asks: a model is told
`expected a string, got 7`, the reader of a document `expected str, got int`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cattrs

from allm.data.errors import Path

__all__ = ["MAX_PROBLEMS", "Key", "KeyMisfit", "Misfit", "Misfits", "Tell", "each", "is_inside", "problems_of"]

MAX_PROBLEMS = 20
"""How many problems of one list are told: a document may hold a million of them."""


class Key(str):
    """A step of a path that is the key of a mapping and not the name of a field."""

    __slots__ = ()


class Misfit(Exception):
    """A value does not fit.

    Attributes:
        expected: The type that it should be of, or words for what was expected.
        value: What was found.
    """

    def __init__(self, expected: Any, value: Any) -> None:
        super().__init__(expected, value)
        self.expected = expected
        self.value = value


class Misfits(Exception):
    """Parts of a value that do not fit, each with its path within the value and its own exception."""

    def __init__(self, inner: list[tuple[Path, Exception]]) -> None:
        super().__init__(inner)
        self.inner = inner


class KeyMisfit(Exception):
    """The key of a mapping does not fit, for the reason that `inner` is."""

    def __init__(self, inner: Exception) -> None:
        super().__init__(inner)
        self.inner = inner


Tell = Callable[[BaseException, Path], str]
"""Puts an exception at a path into words: a `Misfit`, a `KeyError` for a field, or whatever a class raises."""


def problems_of(error: BaseException, tell: Tell, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where and what, of every exception inside one that a converter raised."""
    if isinstance(error, Misfits):
        for steps, inner in error.inner:
            yield from problems_of(inner, tell, (*path, *steps))
    elif isinstance(error, KeyMisfit):
        # Inside a key there is no place to point at.
        yield from ((path, f"as a key: {what}") for _, what in problems_of(error.inner, tell, path))
    elif isinstance(error, cattrs.ClassValidationError):
        of_fields, of_the_whole = error.group_exceptions()
        for inner, note in of_fields:
            yield from problems_of(inner, tell, (*path, note.name))
        for inner in of_the_whole:
            yield from problems_of(inner, tell, path)
    else:
        yield path, tell(error, path)


def is_inside(error: BaseException) -> bool:
    """Whether the value itself is of the right kind, and only parts of it do not fit."""
    return all(path for path, _ in problems_of(error, _untold))


def _untold(_error: BaseException, _path: Path) -> str:
    return ""


def each(items: Iterable[tuple[Any, Any]], load: Callable[[Any, Any], Any]) -> list[Any]:
    """What `load` makes of every index or name and its value; given up when too many do not fit.

    Raises:
        Misfits: What did not fit.
    """
    loaded: list[Any] = []
    misfits: list[tuple[Path, Exception]] = []
    for step, item in items:
        try:
            loaded.append(load(step, item))
        except Exception as error:  # whatever a hook raises gets its place
            misfits.append(((step,), error))
            if len(misfits) == MAX_PROBLEMS:
                break
    if misfits:
        raise Misfits(misfits)
    return loaded
