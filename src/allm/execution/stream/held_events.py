"""Events that come before the content of an answer, kept until it is certain that this attempt is the one to show."""

from __future__ import annotations

import functools

import attrs

from allm.data.events import AdapterEvent, MessageStarted, RawChunk, UsageReported
from allm.data.response import Usage

__all__ = ["HELD", "HeldEvents"]

HELD = frozenset({MessageStarted, UsageReported, RawChunk})
"""The events that show nothing of an answer."""
MAX_HELD_EVENTS = 64
"""Providers send one to three events before the content."""
MAX_HELD_BYTES = 1024 * 1024
"""Of raw chunks, in characters of their `repr`."""


@attrs.define(eq=False)
class HeldEvents:
    """What an answer said before its content, and what abandoned attempts have used."""

    events: list[AdapterEvent] = attrs.field(factory=list[AdapterEvent], init=False)
    abandoned: Usage | None = attrs.field(default=None, init=False)
    _size: int = attrs.field(default=0, init=False)

    def add(self, events: tuple[AdapterEvent, ...]) -> bool:
        """Hold `events`; False when that is more than is to be held."""
        self.events += events
        self._size += sum(len(repr(event.payload)) for event in events if isinstance(event, RawChunk))
        return len(self.events) <= MAX_HELD_EVENTS and self._size <= MAX_HELD_BYTES

    def usage(self) -> Usage | None:
        """What the attempt has used, as far as it was reported."""
        reports = [event.usage for event in self.events if isinstance(event, UsageReported)]
        return functools.reduce(Usage.merge, reports) if reports else None

    def abandon(self) -> None:
        """Forget the events of an attempt that is made again, but for what it has used."""
        used = self.usage()
        self.events, self._size = [], 0
        if used is not None:
            self.abandoned = used if self.abandoned is None else self.abandoned + used

    def take(self, *newest: AdapterEvent) -> tuple[AdapterEvent, ...]:
        """Everything, to be shown, with `newest` behind it; nothing is held after it."""
        events, self.events = (*self.events, *newest), []
        abandoned, self.abandoned = self.abandoned, None
        if abandoned is None:
            return events
        first = events[0] if events else None
        if isinstance(first, MessageStarted):
            return attrs.evolve(first, abandoned_usage=abandoned), *events[1:]
        return MessageStarted(abandoned_usage=abandoned), *events
