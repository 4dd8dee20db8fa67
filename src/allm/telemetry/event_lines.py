"""Telemetry events as lines of JSON, each of a limited size, whatever values the attributes have.

`TelemetryEvent.to_dict` has all of an event. A line is made in the middle of a call, so no more of a value is read than
has room in it: of a conversation the end, of an object the fields that its `repr` shows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.json.text import dumps
from allm.data.media import Media
from allm.data.response import Usage
from allm.runtime.telemetry import TelemetryEvent
from allm.runtime.telemetry_json import as_json, usage_as_json

__all__ = ["MOST_CHARACTERS", "line_of", "plain"]

MOST_CHARACTERS = 200_000
"""Of all texts of one line together: a long conversation, and little to hold for a queue of lines."""
_DEEPEST = 20

_MAY_BE_EMPTY = (str, tuple, list, dict)
_MOST_DIGITS = 300  # of an int: JSON readers differ on longer ones, and Python itself refuses those of thousands


def line_of(event: TelemetryEvent, run: str) -> bytes:
    """One event as one line.

    Args:
        run: What tells recordings in the same file apart: span ids are only unique in a process.
    """
    line: dict[str, Any] = {"run": run, "name": event.name, "phase": event.phase, "span": event.span_id}
    if event.parent_id is not None:
        line["parent"] = event.parent_id
    line["at"] = event.timestamp
    if event.duration is not None:
        line["duration"] = event.duration
    line["attributes"] = plain(event.attributes)
    if event.content:
        line["content"] = plain(event.content)
    return dumps(line) + b"\n"


def plain(value: Any) -> Any:
    """The value as plain JSON data: no bytes, nothing that a `repr` hides, and not much more than MOST_CHARACTERS."""
    return _Reader(MOST_CHARACTERS).plain(value, 0)


@define(eq=False)
class _Reader:
    """Turns values into plain data, and stops when there is no room left."""

    _room: int

    def plain(self, value: Any, depth: int) -> Any:
        match value:
            case None | bool():
                return value
            case str():
                return self._text(value)
            case int():
                return int(value) if abs(value) < 10**_MOST_DIGITS else "an int of many digits"
            case float():
                return float(value) if math.isfinite(value) else repr(value)
            case bytes() | bytearray() | memoryview():
                return f"{len(value)} bytes"
            case _:
                return self._guarded(value, depth) if depth < _DEEPEST else "..."

    def _guarded(self, value: Any, depth: int) -> Any:
        try:
            return self._inner(value, depth)
        except Exception:  # an object of the user's, whose repr, fields or items may do anything
            return f"a {type(value).__name__}"

    def _inner(self, value: Any, depth: int) -> Any:
        match value:
            case BaseException():
                return self._fields(as_json(value).items(), depth)
            case Usage():
                return self._fields(usage_as_json(value).items(), depth)
            case Mapping():
                return self._fields(value.items(), depth)
            case list() | tuple():
                return self._items(value, depth)
            case set() | frozenset():
                return self._items(list(value), depth)
            case _ if attrs.has(type(value)) and not isinstance(value, Media):
                return self._object(value, depth)
            case _:
                return self._text(repr(value))

    def _text(self, text: str) -> str:
        kept = text[: self._room]
        self._room -= len(kept)
        # A subclass, such as the texts of an enum, becomes the plain text.
        return str.__str__(kept) if len(kept) == len(text) else f"{kept}... ({len(text) - len(kept)} characters more)"

    def _items(self, values: Sequence[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        for value in reversed(values):  # of a long conversation, the end is what a reader looks for
            if self._room <= 0:
                found.append("...")
                break
            self._room -= 1
            found.append(self.plain(value, depth + 1))
        return found[::-1]

    def _fields(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if self._room <= 0:
                found["..."] = "..."
                break
            self._room -= 1
            key = self._text(name) if isinstance(name, str) else self._text(repr(name))
            found[key] = self.plain(value, depth + 1)
        return found

    def _object(self, value: Any, depth: int) -> dict[str, Any]:
        """The fields that are set and that the object's `repr` shows too."""
        pairs: list[tuple[str, Any]] = [("type", type(value).__name__)]
        for name in _names_of(value.__class__):
            inner = getattr(value, name, None)
            if inner is not None and inner is not False and not (isinstance(inner, _MAY_BE_EMPTY) and not inner):
                pairs.append((name, inner))
        return self._fields(pairs, depth)


@functools.lru_cache(256)  # classes of the user may come and go
def _names_of(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if field.repr is not False)
