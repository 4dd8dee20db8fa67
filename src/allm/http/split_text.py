"""Characters whose halves come in two events of a stream: put together, so that no event holds half of one.

The last half in a delta is held back. With the next delta of its block it becomes a character, or U+FFFD if that one
begins with something else; at the end of its block, or of the answer, it becomes U+FFFD. What an event says as a whole
(the text of a block, arguments, metadata, the message) is mended where it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

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
"""What the blocks grow by that these events end."""


@attrs.define(eq=False)
class SplitText:
    """Mends the events of one answer."""

    _held: dict[tuple[type, str], Any] = attrs.field(factory=dict[tuple[type, str], Any], init=False)
    """The deltas that wait for the other half, with nothing but the half in them."""

    @property
    def holds(self) -> bool:
        """Whether a half is held back."""
        return bool(self._held)

    def mend(self, events: Iterable[AdapterEvent]) -> list[AdapterEvent]:
        """The same events without halves of characters; one that held nothing else is left out."""
        return [mended for event in events for mended in self._mended(event)]

    def _mended(self, event: Any) -> list[AdapterEvent]:
        kind = type(event)
        if kind in _FIELDS:
            return self._delta(event, _FIELDS[kind])
        if kind in {MessageCompleted, Failed}:
            return [*self._let_go(*self._held), whole(event)]
        if kind in _DELTAS:
            return [*self._let_go((_DELTAS[kind], event.id)), whole(event)]
        return [event if kind is RawChunk else whole(event)]  # that one is shown as it came

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
        """The last deltas of blocks that end."""
        held = [self._held.pop(key) for key in keys if key in self._held]
        return [whole(event) for event in held]
