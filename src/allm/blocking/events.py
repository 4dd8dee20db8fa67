"""`BlockingEvents`: the events of a call, read by a plain thread."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, ClassVar, Generic, TypeVar, final

from allm.bridge.reading import FedStream
from allm.data.attrs_classes import define
from allm.data.events import Event
from allm.data.message import Message
from allm.data.session import Session
from allm.execution.stream.event_stream import EventStream
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
class ThreadStream(FedStream[T_co], Generic[T_co]):
    """An `EventStream` whose reads block the thread: its coroutines never wait for an event loop."""

    _reader: ClassVar[Any] = staticmethod(threading.current_thread)
    _kind: ClassVar[str] = "thread"
    _code: ClassVar[tuple[str, str]] = ("with allm.blocking", "for")

    async def _wait(self) -> None:
        self._waiter.wait()

    async def _pause(self) -> None:
        """Other threads run anyway."""


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
