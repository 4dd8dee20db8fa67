"""`EventLog`: the events of a running call, kept for readers that come and go; `LogReader`: the stream of one of them.

Each event is kept once, as a value, and has a number: its place, counted from 1. A reader has the number of the last
event that it gave, so it costs the call nothing that it is slow, and two readers cost little more than one. Whoever
writes never waits for a reader.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AllmError
from allm.data.message import Message
from allm.execution.stream.event_stream import EventStream, StreamContext, misuse_after_block

__all__ = ["EventLog", "LogReader", "open_reader"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

AT_ONCE = 256
"""Events that a reader takes between two checkpoints: behind by more, it lets other tasks run in between."""


@define(eq=False)
class EventLog(Generic[T]):
    """The events of one call so far.

    Attributes:
        stream: The stream that they come from. Its result is that of every reader.
        events: Those that have come.
        ended: None will follow.
        failure: What a reader gets after the last one.
    """

    stream: EventStream[T]
    events: list[Any] = attrs.field(factory=list[Any], init=False)
    ended: bool = attrs.field(default=False, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    _trace: TracebackType | None = attrs.field(default=None, init=False)
    _waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def add(self, event: Any) -> None:
        """Keep one more event."""
        self.events.append(event)
        if self._waiting:
            self.wake()

    def end(self, failure: Exception | None = None) -> None:
        """Say that there are no more."""
        self.ended, self.failure = True, failure
        self._trace = failure.__traceback__ if failure is not None else None
        self.wake()

    def raise_failure(self) -> None:
        """Raise it, if there is one; with the traceback that it came with, or it would grow with each reader.

        Raises:
            Exception: The failure.
        """
        if self.failure is not None:
            raise self.failure.with_traceback(self._trace)

    def wake(self) -> None:
        """Let every waiting reader look again."""
        self._waiting.unpark_all()

    async def wait(self) -> None:
        """Wait for a `wake`."""
        await self._waiting.park()


@define(eq=False)
class _FoldOfLog(Generic[T]):
    """The fold of a reader: that of the call itself, which has folded each event before any reader gets it."""

    stream: EventStream[T]

    @property
    def output_type(self) -> Any:
        return self.stream._fold.output_type

    def add(self, event: Any) -> None:
        """It was folded."""

    def more(self, kind: type[Any], block_id: str, texts: list[str]) -> None:
        """It was folded."""

    def result(self) -> T:
        return self.stream.result()

    def failure(self) -> AllmError | None:
        return self.stream._failure()

    def facts(self) -> dict[str, Any]:
        return self.stream._fold.facts()


@define(eq=False)
class LogReader(EventStream[T_co], Generic[T_co]):
    """An `EventStream` over an `EventLog`; `open_reader` makes one."""

    _log: EventLog[T_co] = attrs.field(kw_only=True, alias="log")

    def _fold_read(self) -> None:
        """The call folds."""

    async def _next_burst(self, *, waits_at_end: bool = True) -> bool:
        log = self._log
        begin = self._before + len(self._burst)
        if len(log.events) > begin:
            await trio.lowlevel.checkpoint()
        while len(log.events) == begin:
            if log.ended:
                self._context.ended = True
                if waits_at_end:
                    await trio.lowlevel.checkpoint()
                log.raise_failure()
                return False
            await log.wait()
            if self._closed:
                raise misuse_after_block()
        self._take(tuple(log.events[begin : begin + AT_ONCE]))
        self._context.first_event = self._context.first_event or trio.current_time()
        return True

    def result(self) -> T_co:
        """The result of the call so far, which may be ahead of this reader."""
        return self._fold.result()

    def send_user(self, content: str | Message) -> None:
        """See `EventStream.send_user`."""
        self._log.stream.send_user(content)

    def _close(self) -> None:
        self._closed = True
        self._log.wake()


def open_reader(log: EventLog[T], after: int) -> LogReader[T]:
    """A reader of the events after the one with the number `after`; 0 for all of them."""
    stream = log.stream
    context = StreamContext(stream._context.send, inbox=stream._context.inbox)
    if after:
        context.first_event = trio.current_time()  # it begins in the middle
    reader = LogReader(_FoldOfLog(stream), _nothing, context, stream._channel, log=log)
    reader._before = after
    return reader


def _nothing() -> None:
    """The call runs already."""
