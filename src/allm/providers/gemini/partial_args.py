"""Arguments that arrive in pieces, addressed by JSON path (Vertex AI, `streamFunctionCallArguments`).

A piece is `{"jsonPath": "$.stops[0].city", "stringValue": "Bos", "willContinue": true}`; the strings of one path are
appended to each other, any other value is whole. A piece without a value only says that something ended. Paths are
those of RFC 9535 that name one place: `.name`, `['name']`, `["name"]`, `[0]`.
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Content#PartialArg
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import attrs

from allm.adapters import JsonTextError, as_list, as_object, dumps, loads, value_problem

__all__ = ["PartialArguments", "parse_path"]

Place = tuple[str | int, ...]

_STEP = re.compile(
    r"""
    \. (?P<name> [^.\[\]'"\s]+ )
    | \[ (?P<index> \d{1,6} ) \]
    | \[ (?P<quoted> ' (?: [^'\\] | \\. )* ' | " (?: [^"\\] | \\. )* " ) \]
    """,
    re.VERBOSE | re.DOTALL,
)
_QUOTING = re.compile(r'\\.|"', re.DOTALL)
_JSON_QUOTING = {"\\'": "'", '"': '\\"'}
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue", "structValue", "listValue")
MAX_DEPTH = 100
MAX_INDEX = 10_000
"""Largest list index: a list is filled up to it with null, so that one short piece could ask for a huge one."""
MAX_FILLED = 250_000
"""Most list items in all, which many short pieces could let grow without end; as many as arguments may hold values."""


def parse_path(path: str) -> Place | None:
    """`$.stops[0]['city']` as `("stops", 0, "city")`, or None for a path that does not name one place."""
    if path[:1] != "$":
        return None
    steps: list[str | int] = []
    position = 1
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None or len(steps) == MAX_DEPTH:
            return None
        position = step.end()
        if step["name"] is not None:
            steps.append(step["name"])
        elif step["index"] is not None:
            index = int(step["index"])
            if index > MAX_INDEX:
                return None
            steps.append(index)
        else:
            name = _unquoted(step["quoted"][1:-1])
            if name is None:
                return None
            steps.append(name)
    return tuple(steps)


def _unquoted(text: str) -> str | None:
    """The text between the quotes, without its escapes: those of JSON, and of the single quote."""
    as_json = _QUOTING.sub(lambda found: _JSON_QUOTING.get(found[0], found[0]), text)
    try:
        value: Any = loads(f'"{as_json}"')
    except JsonTextError:
        return None
    return str(value)


@attrs.define(eq=False)
class PartialArguments:
    """The arguments of one call, as they come together.

    Attributes:
        pieces: Every piece as it arrived.
    """

    pieces: list[Any] = attrs.field(factory=list[Any], init=False)
    _whole: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    # Strings as lists of their pieces, joined once at the end.
    _values: dict[Place, Any] = attrs.field(factory=dict[Place, Any], init=False)
    _failed: bool = attrs.field(default=False, init=False)
    _text: str | None = attrs.field(default=None, init=False)  # that is no object

    def update(self, arguments: dict[str, Any] | str) -> None:
        """Take arguments that arrived whole, or a text in their place that is no object."""
        if isinstance(arguments, str):
            self._failed, self._text = True, arguments
        else:
            self._whole.update(arguments)

    def extend(self, pieces: Iterable[Any]) -> None:
        """Take the pieces of one `partialArgs`."""
        for piece in pieces:
            self.pieces.append(piece)
            self._take(as_object(piece))

    def _take(self, piece: dict[str, Any]) -> None:
        kind = next((key for key in _VALUES if key in piece), None)
        if kind is None:
            return
        path = piece.get("jsonPath")
        place = parse_path(path) if isinstance(path, str) else None
        if place is None:
            self._failed = True
        elif kind == "stringValue":
            earlier = self._values.get(place)
            if not isinstance(earlier, _Pieces):
                earlier = self._values[place] = _Pieces()
            earlier.append(str(piece[kind]))
        elif value_problem(piece[kind]) is not None:
            self._failed = True
        else:
            self._values[place] = None if kind == "nullValue" else piece[kind]

    def result(self) -> dict[str, Any] | None:
        """The arguments so far; None when a piece did not fit, as a part of them would be wrong or missing."""
        if self._failed:
            return None
        if not self._values:
            return dict(self._whole)
        if value_problem(self._whole) is not None:
            return None
        holder: dict[str, Any] = {"$": deepcopy(self._whole)}
        filled = 0
        for place, value in self._values.items():
            plain = "".join(value) if isinstance(value, _Pieces) else deepcopy(value)
            more = _put(holder, ("$", *place), plain)
            if more is None or (filled := filled + more) > MAX_FILLED:
                return None
        arguments = holder["$"]
        return as_object(arguments) if isinstance(arguments, dict) else None

    def raw(self) -> str:
        """What there is, as JSON text: the arguments, or the pieces when they do not fit together."""
        if self._text is not None:
            return self._text
        arguments = self.result()
        return dumps(self.pieces if arguments is None else arguments).decode()


class _Pieces(list[str]):
    """The pieces of one string."""


def _put(container: Any, place: Place, value: Any) -> int | None:
    """Set `value` at `place`, making the containers on the way; None when something else is in the way.

    Returns:
        How many items were added to lists.
    """
    filled = 0
    for step, following in zip(place, (*place[1:], None), strict=True):
        more = _make_room(container, step)
        if more is None:
            return None
        filled += more
        if following is None:
            container[step] = value
        elif container[step] is None:
            container[step] = [] if isinstance(following, int) else {}
        container = container[step]
    return filled


def _make_room(container: Any, step: str | int) -> int | None:
    """Make `container[step]` exist; None when it is not a container of that kind, else how many items were added."""
    if isinstance(step, str) and isinstance(container, dict):
        as_object(container).setdefault(step, None)
        return 0
    if isinstance(step, int) and isinstance(container, list):
        items = as_list(container)
        more = max(0, step + 1 - len(items))
        items.extend([None] * more)
        return more
    return None
