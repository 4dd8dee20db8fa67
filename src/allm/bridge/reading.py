"""`FedStream`: an `EventStream` in the Trio thread, read from elsewhere through a `Feed`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from allm.bridge.feed import Feed
from allm.bridge.hold import Hold
from allm.bridge.thread import Job
from allm.data.attrs_classes import define
from allm.data.errors import StreamError
from allm.data.message import Message
from allm.execution.stream.event_stream import EventStream, StreamContext, misuse_after_block

__all__ = ["FedStream", "read_through"]

T_co = TypeVar("T_co", covariant=True)


@define(eq=False)
class FedStream(EventStream[T_co], Generic[T_co]):
    """What is the same for readers in a task of an event loop and in a thread."""

    _feed: Feed = attrs.field(kw_only=True, alias="feed")
    _waiter: Any = attrs.field(kw_only=True, alias="waiter")
    _kind: ClassVar[str]  # of reader: "task" or "thread"
    _code: ClassVar[tuple[str, str]]  # how it is written there, for errors

    @abstractmethod
    async def _wait(self) -> None:
        """Wait until the feed wakes the reader."""

    @abstractmethod
    async def _pause(self) -> None:
        """Let others run after a burst."""

    def _enter(self) -> None:
        if self._closed:
            raise misuse_after_block(*self._code)
        reader: Any = self._reader()
        if self._owner is None:
            self._owner = reader
            self._start()
        elif self._owner is not reader:
            raise StreamError(
                f"this stream is being read by another {self._kind}; a stream has one reader: open a second stream, or "
                "pass events on through a queue",
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
                    await self._pause()
                return True
            if self._feed.ended:
                self._context.ended = True
                break
            await self._wait()
            if self._closed:
                raise misuse_after_block(*self._code)
        if self._feed.failure is not None:
            raise self._feed.failure
        return False

    def _close(self) -> None:
        self._fold_read()  # for those who look at the fold in the Trio thread: a session that is saved
        super()._close()

    def send_user(self, content: str | Message) -> None:
        """See `EventStream.send_user`."""
        self._feed.thread.call(lambda: self._feed.events.send_user(content))


def read_through(
    kind: Callable[..., FedStream[Any]], stream: EventStream[Any], hold: Hold, waiter: Any
) -> FedStream[Any]:
    """The stream of a block for a reader elsewhere, whom `waiter.wake` wakes."""
    feed = Feed(stream, hold.thread, waiter.wake)
    reader = kind(
        stream._fold,
        lambda: hold.do(Job(feed.pump, _nothing)),
        StreamContext(stream._context.send, inbox=stream._context.inbox, first_event=stream._context.first_event),
        stream._channel,
        feed=feed,
        waiter=waiter,
    )
    reader._before = stream.number  # of a reader that begins in the middle
    return reader


def _nothing() -> None:
    """Nobody waits for the pump: what it has is in the feed."""
