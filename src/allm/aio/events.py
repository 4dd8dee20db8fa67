"""`AsyncioStream`: the events of a call, read by a task of an event loop."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from allm.aio.calls import Waiter
from allm.bridge.feed import Feed
from allm.data.attrs_classes import define
from allm.data.errors import StreamError
from allm.data.message import Message
from allm.execution.stream.event_stream import EventStream, misuse_after_block

__all__ = ["AsyncioStream"]

T_co = TypeVar("T_co", covariant=True)


@define(eq=False)
class AsyncioStream(EventStream[T_co], Generic[T_co]):
    """An `EventStream` whose reader is a task of an event loop."""

    _feed: Feed = attrs.field(kw_only=True, alias="feed")
    _waiter: Waiter = attrs.field(kw_only=True, alias="waiter")
    _reader: ClassVar[Any] = staticmethod(asyncio.current_task)

    def _enter(self) -> None:
        if self._closed:
            raise misuse_after_block()
        task: Any = asyncio.current_task()
        if self._owner is None:
            self._owner = task
            self._start()
        elif self._owner is not task:
            raise StreamError(
                "this stream is being read by another task; a stream has one reader: open a second stream, or pass "
                "events on through a queue",
                reason="concurrent_iteration",
            )

    async def _next_burst(self, *, waits_at_end: bool = True) -> bool:
        """Fetch all that is waiting; False at the end. Loses no events when cancelled."""
        while not self._context.ended:
            self._fold_read()
            self._take(self._feed.take())
            if self._burst:
                self._context.first_event = self._context.first_event or 1.0
                if waits_at_end:
                    await asyncio.sleep(0)
                return True
            if self._feed.ended:
                self._context.ended = True
                break
            await self._waiter.wait()
            if self._closed:
                raise misuse_after_block()
        if self._feed.failure is not None:
            raise self._feed.failure
        return False

    def send_user(self, content: str | Message) -> None:
        """See `EventStream.send_user`."""
        self._feed.thread.call(lambda: self._feed.events.send_user(content))
