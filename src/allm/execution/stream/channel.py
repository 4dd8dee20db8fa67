"""Bursts through memory channels: the one hop between two stages.

A channel item is the tuple of events that one network read gave. Both ends try the call that cannot block first, and a
receiver takes everything that is waiting: a stage costs one hop per read or less, not one per token.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import trio

from allm.execution.stream.held_events import HeldEvents
from allm.runtime.telemetry import Span

__all__ = ["HAND_OVER", "READ_AHEAD", "Burst", "BurstSender", "StreamContext", "receive_waiting"]

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
