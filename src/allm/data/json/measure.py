"""How deep a value of JSON nests, how many values it holds and how long it is, without recursion.

What a provider sends may nest as deep as the parser follows, and hold as many values as fit into an event. It becomes
part of a conversation only within the limits here, which are below those of a document: whatever an answer holds can be
written together with the messages around it, and read again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

__all__ = [
    "MAX_VALUES",
    "MAX_VALUE_DEPTH",
    "Measure",
    "is_plain",
    "measure",
    "text_bytes",
    "value_problem",
]

MAX_VALUE_DEPTH = 200
"""Deepest nesting of one value, such as the arguments of a call; no tool takes arguments that nest deeper than 20."""
MAX_VALUES = 250_000
"""Most values in one value. Each costs about a hundred bytes of memory, however short its text is."""

_TAGGED = 3
"""Levels of an object with a key that documents use themselves: it is written as an object with a list of pairs."""
_SCALAR_BYTES = 8
_EXACT = frozenset({bool, int, str})
_ENDLESS = 1000  # levels after which a value may as well contain itself
_CONTAINERS = (dict, list, tuple)


@attrs.frozen
class Measure:
    """What was measured.

    Attributes:
        depth: Levels of lists and objects, as a document has them.
        values: Values of all kinds, keys not counted.
        size: Bytes of all texts and keys in UTF-8, and about eight for each other value.
    """

    depth: int = 0
    values: int = 0
    size: int = 0


def text_bytes(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def measure(value: Any, *, most: int = MAX_VALUES, deepest: int = MAX_VALUE_DEPTH) -> Measure:
    """Measure plain data; what is no JSON counts as one value without a length.

    It stops where there are more than `most` values or `deepest` levels, so a value that contains itself has an end.
    """
    depth, values, size = 0, 1, 0
    if not isinstance(value, (*_CONTAINERS, Mapping)):
        return Measure(0, 1, _scalar_bytes(value))
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting and values <= most and depth <= deepest:
        container, above = waiting.pop()
        if isinstance(container, Mapping):
            level = above + (_TAGGED if "$type" in container else 1)
            size += sum(text_bytes(key) for key in container if isinstance(key, str))
            items: Iterator[Any] = iter(container.values())
        else:
            level = above + (2 if isinstance(container, tuple) else 1)
            items = iter(container)
        depth = max(depth, level)
        values += len(container)
        for item in items:
            if type(item) is str:
                size += len(item) if item.isascii() else text_bytes(item)
            elif isinstance(item, (*_CONTAINERS, Mapping)):
                waiting.append((item, level))
            else:
                size += _scalar_bytes(item)
    return Measure(depth, values, size)


def value_problem(value: Any) -> str | None:
    """What keeps a value out of a document, as the end of a sentence; None: nothing does."""
    found = measure(value)
    if found.depth > MAX_VALUE_DEPTH:
        return f"nests deeper than {MAX_VALUE_DEPTH} levels"
    return f"holds more than {MAX_VALUES:,} values" if found.values > MAX_VALUES else None


def is_plain(value: Any) -> bool:
    """Whether open data is JSON as it stands, and none of its keys has a meaning in a document.

    Most data is, and may nest as deep as a document may: deeper than a recursion within a deep call can follow.
    """
    waiting: list[tuple[Iterable[Any], int]] = [((value,), 0)]
    while waiting:
        items, depth = waiting.pop()
        for item in items:
            kind = type(item)
            if kind is dict:
                if "$type" in item or not all(type(key) is str for key in item):
                    return False
                waiting.append((item.values(), depth + 1))
            elif kind is list:
                waiting.append((item, depth + 1))
            elif not (item is None or kind in _EXACT or (kind is float and math.isfinite(item))):
                return False
        if depth > _ENDLESS:
            return False
    return True


def _scalar_bytes(value: Any) -> int:
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, int):
        return max(_SCALAR_BYTES, value.bit_length() // 3)
    return len(value) if isinstance(value, bytes) else _SCALAR_BYTES
