"""`BlockingEvents`: the events of a call, read by a plain thread."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, ClassVar, Generic, TypeVar, final

import attrs

from allm.blocking.calls import Waiter
from allm.bridge.feed import Feed
from allm.data.attrs_classes import define
from allm.data.errors import StreamError
from allm.data.events import Event
from allm.data.message import Message
from allm.data.session import Session
from allm.execution.stream.event_stream import EventStream, misuse_after_block
from allm.session import SessionStream

__all__ = ["BlockingEvents", "HostedEvents", "ThreadStream", "completed"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def completed(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that blocks its thread where others wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise RuntimeError("this can only be awaited in Trio")


@define(eq=False)
class ThreadStream(EventStream[T_co], Generic[T_co]):
    """An `EventStream` whose reads block the thread: its coroutines never wait for an event loop."""

    _feed: Feed = attrs.field(kw_only=True, alias="feed")
    _waiter: Waiter = attrs.field(kw_only=True, alias="waiter")
    _reader: ClassVar[Any] = staticmethod(threading.current_thread)

    def _enter(self) -> None:
        if self._closed:
            raise misuse_after_block()
        thread: Any = threading.current_thread()
        if self._owner is None:
            self._owner = thread
            self._start()
        elif self._owner is not thread:
            raise StreamError(
                "this stream is being read by another thread; a stream has one reader: open a second stream, or pass "
                "events on through a queue",
                reason="concurrent_iteration",
            )

    async def _next_burst(self, *, waits_at_end: bool = True) -> bool:  # noqa: ARG002  (there is no event loop)
        while not self._context.ended:
            self._fold_read()
            self._take(self._feed.take())
            if self._burst:
                self._context.first_event = self._context.first_event or 1.0
                return True
            if self._feed.ended:
                self._context.ended = True
                break
            self._waiter.wait()
        if self._feed.failure is not None:
            raise self._feed.failure
        return False

    def send_user(self, content: str | Message) -> None:
        """See `EventStream.send_user`."""
        self._feed.thread.call(lambda: self._feed.events.send_user(content))


class BlockingEvents(Generic[T_co]):
    """The events of one call, to read with `for`. Its methods are those of `EventStream`, without `await`."""

    def __init__(self, stream: EventStream[T_co] | SessionStream[Any]) -> None:
        self._stream: Any = stream

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            event: Event = completed(self._stream.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
        return event

    def result(self) -> T_co:
        """The fold of the events read so far; see `EventStream.result`."""
        result: T_co = self._stream.result()
        return result

    def outcome(self) -> tuple[Session, T_co]:
        """The session and the result after the events read so far; for the turns of sessions."""
        outcome: tuple[Session, T_co] = self._stream.outcome()
        return outcome

    @property
    def number(self) -> int:
        """The number of the event that was read last; see `EventStream.number`."""
        number: int = self._stream.number
        return number

    def until_done(self) -> T_co:
        """Read to the end and return the result."""
        result: T_co = completed(self._stream.until_done())
        return result

    def send_user(self, content: str | Message) -> None:
        """Let a message of the user join the turn while it runs; see `EventStream.send_user`."""
        self._stream.send_user(content)

    def text(self, *, raise_on_error: bool = True) -> Iterator[str]:
        """The visible text alone, piece by piece; see `EventStream.text`."""
        return _Blocking(self._stream.text(raise_on_error=raise_on_error))

    def partial_output(self, *, raise_on_error: bool = True) -> Iterator[Any]:
        """The structured output as far as it has come; see `EventStream.partial_output`."""
        return _Blocking(self._stream.partial_output(raise_on_error=raise_on_error))

    def elements(self, item: Any = None, *, raise_on_error: bool = True) -> Iterator[Any]:
        """The items of a list, each as soon as it is whole; see `EventStream.elements`."""
        return _Blocking(self._stream.elements(item, raise_on_error=raise_on_error))


@final
class HostedEvents(BlockingEvents[T_co]):
    """The events of a turn that runs on its own; see `HostedStream`."""

    @property
    def turn(self) -> str:
        """The id of the turn."""
        turn: str = self._stream.turn
        return turn

    @property
    def session(self) -> Session:
        """The session at the start of the turn."""
        session: Session = self._stream.session
        return session

    def numbered(self) -> Iterator[tuple[int, Event]]:
        """The same events, each with its number."""
        for event in self:
            yield self.number, event


@final
class _Blocking(Iterator[T]):
    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source: Any = source

    def __next__(self) -> T:
        try:
            item: T = completed(self._source.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
        return item
