"""`Feed`: the bursts of a stream, handed from the Trio thread to the thread that reads it.

The reader takes all that are waiting at once, so under load one wake-up hands over many events; how many may wait is
bounded. The reader folds the events that it reads, so a result is what the reader has seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, final

import attrs
import trio

from allm.bridge.thread import TrioThread
from allm.data.attrs_classes import define
from allm.execution.stream.event_stream import Burst, EventStream

__all__ = ["Feed"]

AHEAD = 256
"""Events that may wait for the reader; after that, back-pressure reaches the stream and its socket."""


@final
@define(eq=False)
class Feed:
    """The events of one stream.

    Attributes:
        events: The stream, which the task of its block reads.
        wake: Called in the Trio thread when the reader waits, and there is something for it.
        ended: Everything has been put in.
        failure: What the stream raised at its end.
    """

    events: EventStream[Any]
    thread: TrioThread
    wake: Callable[[], None]
    ended: bool = attrs.field(default=False, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    _bursts: deque[Burst] = attrs.field(factory=deque[Burst], init=False)
    _put: int = attrs.field(default=0, init=False)  # events so far
    _got: int = attrs.field(default=0, init=False)  # those of them that the reader has taken
    _waiting: bool = attrs.field(default=False, init=False)  # the reader is, for `wake`
    _full: bool = attrs.field(default=False, init=False)  # the pump waits for room
    _room: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def pump(self) -> None:
        """Read the stream to its end, in the task of its block."""
        events = self.events
        events._enter()
        try:
            while await events._next_burst(waits_at_end=False):
                burst = events._burst
                events._take(())
                self._bursts.append(burst)
                self._put += len(burst)
                self._wake()
                while self._put - self._got >= AHEAD:
                    self._room = trio.Event()
                    self._full = True
                    if self._put - self._got >= AHEAD:  # the reader may have taken them in between
                        await self._room.wait()
        except Exception as error:
            self.failure = error
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting:
            self._waiting = False
            self.wake()

    # --- in the reader's thread -----------------------------------------------------------------------------------

    def take(self) -> Burst:
        """All events that are waiting; empty if there are none: then `wake` will be called, unless it has ended."""
        bursts = self._taken()
        if not bursts and not self.ended:
            self._waiting = True
            bursts = self._taken()  # what came before the pump could see that
            if bursts or self.ended:
                self._waiting = False
                bursts = bursts or self._taken()
        events = bursts[0] if len(bursts) == 1 else tuple(event for burst in bursts for event in burst)
        self._got += len(events)
        if self._full:
            self._full = False
            self.thread.soon(self._room.set)
        return events

    def _taken(self) -> list[Burst]:
        bursts: list[Burst] = []
        while self._bursts:
            bursts.append(self._bursts.popleft())
        return bursts
