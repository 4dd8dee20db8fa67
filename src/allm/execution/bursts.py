"""Bursts through memory channels: the one hop between two stages.

A channel item is the tuple of events that one network read gave. Both ends try the call that cannot block first: a
stage then costs one hop per read, not one per token.
"""

from __future__ import annotations

from typing import Any

import attrs
import trio

from allm.runtime.telemetry import Span

__all__ = ["BUFFER", "Burst", "BurstSender", "Flow", "receive_burst"]

Burst = tuple[Any, ...]

BUFFER = 8
"""Bursts that may wait between two stages. Back-pressure reaches the socket when they are full."""


@attrs.define(eq=False)
class BurstSender:
    """The sending end of a stage.

    Attributes:
        closed: The receiver is gone.
        unsent: The burst that a cancelled `send` did not deliver.
    """

    channel: trio.MemorySendChannel[Burst]
    closed: bool = False
    unsent: Burst = ()

    async def __call__(self, burst: Burst) -> None:
        """Deliver one burst, waiting only when the buffer is full."""
        try:
            try:
                self.channel.send_nowait(burst)
            except trio.WouldBlock:
                self.unsent = burst
                await self.channel.send(burst)
                self.unsent = ()
        except trio.BrokenResourceError:
            self.closed = True
            raise


@attrs.define(eq=False)
class Flow:
    """What the producer of a stream shares with the rest of the pipeline.

    Attributes:
        send: Where its bursts go.
        deadline: When the consumer's own cancel scopes end the call, on the Trio clock; the stages are shielded from
            those scopes and cannot see them. Kept up to date by the consumer whenever it waits.
        span: The telemetry span of the stream.
    """

    send: BurstSender
    deadline: float = float("inf")
    span: Span | None = None


async def receive_burst(channel: trio.MemoryReceiveChannel[Burst]) -> Burst:
    """The next burst.

    Raises:
        trio.EndOfChannel: The sender is done.
    """
    try:
        return channel.receive_nowait()
    except trio.WouldBlock:
        return await channel.receive()
