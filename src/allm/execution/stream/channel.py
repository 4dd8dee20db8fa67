"""Bursts through memory channels: the one hop between two stages, and what is held back before the first of them.

A channel item is the tuple of events that one network read gave. Both ends try the call that cannot block first, and a
receiver takes everything that is waiting: a stage costs one hop per read or less, not one per token.
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
"""Bursts that the producer may be ahead of the next stage; then back-pressure reaches the socket."""

HAND_OVER = 1
"""Bursts that may wait between two later stages. One is enough, since a stage takes all that is waiting at once."""


@attrs.define(eq=False)
class BurstSender:
    """The sending end of a stage.

    Attributes:
        unsent: The bursts that are being sent, or that a cancelled `send` did not deliver; several where tools run.
        last: The newest event that is on its way.
        delivered: Called with every event once it is on its way.
    """

    channel: trio.MemorySendChannel[Burst]
    unsent: dict[int, Burst] = attrs.field(factory=dict[int, Burst])
    last: Any = None
    delivered: Callable[[Any], None] | None = None

    def send_nowait(self, burst: Burst) -> bool:
        """Deliver one burst if there is room for it; False if there is none."""
        try:
            self.channel.send_nowait(burst)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        self._record(burst)
        return True

    async def send(self, burst: Burst) -> None:
        """Deliver one burst, waiting only when there is no room.

        When the receiver is gone it waits to be cancelled, which is about to happen: the consumer has left its block.
        So no adapter and no tool ever meets a closed channel.
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
        """Deliver what a cancelled `send` did not."""
        while self.unsent:
            await self.send(self.unsent.pop(next(iter(self.unsent))))

    def _record(self, burst: Burst) -> None:
        self.last = burst[-1]
        if self.delivered is not None:
            for event in burst:
                self.delivered(event)


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


@attrs.define(eq=False)
class StreamContext:
    """What the producer of a stream shares with the rest of the pipeline.

    Attributes:
        send: Where its bursts go.
        held: What the answer that is running has said before its content.
        deadline: When the consumer's own cancel scopes end the call, on the Trio clock; the stages are shielded from
            those scopes and cannot see them. Kept up to date by the consumer whenever it waits.
        span: The telemetry span of the stream.
        failure: What the consumer gets when the events are at their end.
    """

    send: BurstSender
    held: HeldEvents = attrs.field(factory=HeldEvents)
    deadline: float = float("inf")
    span: Span | None = None
    failure: Exception | None = None


def receive_waiting(channel: trio.MemoryReceiveChannel[Burst]) -> Burst:
    """Every burst that is waiting, as one; empty when none is.

    Raises:
        trio.EndOfChannel: None is waiting and the sender is done.
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
