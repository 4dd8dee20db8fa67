"""Surrogate pairs that are split over two events of a stream: joined, so that no event contains half a character.

A high surrogate at the end of a delta is held back. The next delta of its block completes it; if that delta starts with
something else, or the block or the response ends, it becomes U+FFFD. Complete values (the text of a block, arguments,
metadata, the message) are repaired in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.events import (
    AdapterEvent,
    Failed,
    MessageCompleted,
    RawChunk,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
)
from allm.data.json.whole import whole, whole_text

__all__ = ["SplitText"]

_FIRST_HALVES = ("\ud800", "\udbff")
_FIELDS: dict[type, str] = {TextDelta: "delta", ReasoningDelta: "delta", ToolCallDelta: "arguments_delta"}
_DELTAS: dict[type, type] = {
    TextCompleted: TextDelta,
    ReasoningCompleted: ReasoningDelta,
    ToolCallCompleted: ToolCallDelta,
}
"""The deltas of the blocks that these events end."""


@define(eq=False)
class SplitText:
    """Repairs the events of one response."""

    _held: dict[tuple[type, str], Any] = attrs.field(factory=dict[tuple[type, str], Any], init=False)
    """Deltas that wait for a low surrogate; their text is only the high one."""

    @property
    def holds(self) -> bool:
        """Whether a high surrogate is held back."""
        return bool(self._held)

    def mend(self, events: Iterable[AdapterEvent]) -> list[AdapterEvent]:
        """Return the events without lone surrogates; a delta that contains nothing else is left out."""
        return [mended for event in events for mended in self._mended(event)]

    def _mended(self, event: Any) -> list[AdapterEvent]:
        kind = type(event)
        if kind in _FIELDS:
            return self._delta(event, _FIELDS[kind])
        if kind in {MessageCompleted, Failed}:
            return [*self._let_go(*self._held), whole(event)]
        if kind in _DELTAS:
            return [*self._let_go((_DELTAS[kind], event.id)), whole(event)]
        return [event if kind is RawChunk else whole(event)]  # a raw chunk is shown unchanged

    def _delta(self, event: Any, field: str) -> list[AdapterEvent]:
        key = (type(event), event.id)
        held = self._held.pop(key, None)
        text = getattr(event, field)
        if held is not None:
            text = getattr(held, field) + text
        if text and _FIRST_HALVES[0] <= text[-1] <= _FIRST_HALVES[1]:
            self._held[key] = attrs.evolve(event, **{field: text[-1]})
            text = text[:-1]
        return [attrs.evolve(event, **{field: whole_text(text)})] if text else []

    def _let_go(self, *keys: tuple[type, str]) -> list[AdapterEvent]:
        """Return the held-back deltas of blocks that end."""
        held = [self._held.pop(key) for key in keys if key in self._held]
        return [whole(event) for event in held]
