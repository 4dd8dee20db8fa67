"""Bursts of events over memory channels, from one pipeline stage to the next, and events held back before the first.

A channel item is a burst: the tuple of events decoded from one network read. Both ends try the non-blocking call first,
and a receiver takes everything that is waiting, so a stage costs at most one hop per read, not one per token.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import trio

from allm.data.events import AdapterEvent, MessageStarted, RawChunk, UsageReported
from allm.data.response import Usage
from allm.runtime.telemetry import Span

__all__ = [
    "HAND_OVER",
    "HELD",
    "READ_AHEAD",
    "Burst",
    "BurstSender",
    "HeldEvents",
    "StreamContext",
    "receive_waiting",
]

Burst = tuple[Any, ...]

READ_AHEAD = 32
"""Bursts by which the producer may run ahead of the next stage; after that, back-pressure reaches the socket."""

HAND_OVER = 1
"""Bursts that may wait between two later stages. One is enough, since a stage takes everything that is waiting."""


@attrs.define(eq=False)
class BurstSender:
    """The sending end of a stage.

    Attributes:
        unsent: Bursts that are being sent, or that a cancelled `send` did not deliver; several while tools run.
        last: The newest event that was put into the channel.
        delivered: Called with every event that was put into the channel.
    """

    channel: trio.MemorySendChannel[Burst]
    unsent: dict[int, Burst] = attrs.field(factory=dict[int, Burst])
    last: Any = None
    delivered: Callable[[Any], None] | None = None

    def send_nowait(self, burst: Burst) -> bool:
        """Deliver one burst if there is room for it; returns whether there was."""
        try:
            self.channel.send_nowait(burst)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        self._record(burst)
        return True

    async def send(self, burst: Burst) -> None:
        """Deliver one burst, waiting only when there is no room.

        If the receiver is gone, the consumer has left its block and is about to cancel this task, so wait for that. No
        adapter and no tool ever sees a closed channel.
        """
        if self.send_nowait(burst):
            return
        self.unsent[id(burst)] = burst
        with suppress(trio.BrokenResourceError):
            await self.channel.send(burst)
            del self.unsent[id(burst)]
            self._record(burst)
            return
        await trio.sleep_forever()

    async def send_unsent(self) -> None:
        """Deliver the bursts that a cancelled `send` left behind."""
        while self.unsent:
            await self.send(self.unsent.pop(next(iter(self.unsent))))

    def _record(self, burst: Burst) -> None:
        self.last = burst[-1]
        if self.delivered is not None:
            for event in burst:
                self.delivered(event)


HELD = frozenset({MessageStarted, UsageReported, RawChunk})
"""Types of the events that carry no content."""
MAX_HELD_EVENTS = 64
"""Most events to hold back; providers send one to three before the content."""
MAX_HELD_BYTES = 1024 * 1024
"""Most raw chunks to hold back, in characters of their `repr`."""


@attrs.define(eq=False)
class HeldEvents:
    """The events of an attempt that came before its content, and the usage of abandoned attempts."""

    events: list[AdapterEvent] = attrs.field(factory=list[AdapterEvent], init=False)
    abandoned: Usage | None = attrs.field(default=None, init=False)
    _size: int = attrs.field(default=0, init=False)

    def add(self, events: tuple[AdapterEvent, ...]) -> bool:
        """Hold `events` back; False once there are more than the bounds allow."""
        self.events += events
        self._size += sum(len(repr(event.payload)) for event in events if isinstance(event, RawChunk))
        return len(self.events) <= MAX_HELD_EVENTS and self._size <= MAX_HELD_BYTES

    def usage(self) -> Usage | None:
        """The usage of the attempt, as far as it was reported."""
        reports = [event.usage for event in self.events if isinstance(event, UsageReported)]
        return functools.reduce(Usage.merge, reports) if reports else None

    def abandon(self) -> None:
        """Drop the events of an attempt that is going to be retried, and keep its usage."""
        used = self.usage()
        self.events, self._size = [], 0
        if used is not None:
            self.abandoned = used if self.abandoned is None else self.abandoned + used

    def take(self, *newest: AdapterEvent) -> tuple[AdapterEvent, ...]:
        """Release the held events, followed by `newest`, with the usage of abandoned attempts in `MessageStarted`."""
        events, self.events = (*self.events, *newest), []
        abandoned, self.abandoned = self.abandoned, None
        if abandoned is None:
            return events
        first = events[0] if events else None
        if isinstance(first, MessageStarted):
            return attrs.evolve(first, abandoned_usage=abandoned), *events[1:]
        return MessageStarted(abandoned_usage=abandoned), *events


@attrs.define(eq=False)
class StreamContext:
    """State that the producer of a stream shares with the rest of the pipeline.

    Attributes:
        send: The sender for the producer's bursts.
        held: Events of the current response that came before its content.
        deadline: When the consumer's own cancel scopes end the call, on the Trio clock; the stages are shielded from
            those scopes and cannot see them. The consumer updates it whenever it waits.
        span: The telemetry span of the stream; None if nobody listened when it began.
        failure: The exception that the consumer gets after the last event.
    """

    send: BurstSender
    held: HeldEvents = attrs.field(factory=HeldEvents)
    deadline: float = float("inf")
    span: Span | None = None
    failure: Exception | None = None


def receive_waiting(channel: trio.MemoryReceiveChannel[Burst]) -> Burst:
    """Take every waiting burst, joined into one; empty if none is waiting.

    Raises:
        trio.EndOfChannel: No burst is waiting and the sender has closed.
    """
    bursts: list[Burst] = []
    try:
        while True:
            bursts.append(channel.receive_nowait())
    except trio.WouldBlock:
        pass
    except trio.EndOfChannel:
        if not bursts:
            raise
    if len(bursts) == 1:
        return bursts[0]
    return tuple(event for burst in bursts for event in burst)
