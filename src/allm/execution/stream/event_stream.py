"""`EventStream`: the consumer's iterator of events, which folds them as they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Protocol, TypeVar, final

import attrs
import trio

from allm.data.errors import AllmError, StreamError
from allm.data.events import AdapterEvent, Event, StepCompleted, TextCompleted, TextDelta
from allm.execution.stream.channel import Burst, StreamContext, receive_waiting
from allm.runtime.fitting import advise

__all__ = ["EventStream", "Fold", "Hidden"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Hidden:
    """An event that a filter hides from the consumer; it is still folded."""

    event: AdapterEvent


class Fold(Protocol[T_co]):
    """Collects events into a result."""

    def add(self, event: Any) -> None:
        """Fold one event."""

    def result(self) -> T_co:
        """The result so far."""
        ...

    def failure(self) -> AllmError | None:
        """The failure that ended the call, as far as it was folded."""
        ...

    def facts(self) -> dict[str, Any]:
        """Attributes of the result for telemetry: counts and reasons, no content."""
        ...


@final
@attrs.define(eq=False)
class EventStream(Generic[T]):
    """The events of one call: `async with allm.stream_generate(...) as events: async for event in events: ...`.

    The request is sent when the first event is asked for. Only one task may iterate, and only inside the block. After
    the block `result()` still has what arrived.
    """

    _fold: Fold[T]
    _start: Callable[[], None]
    _context: StreamContext
    _channel: trio.MemoryReceiveChannel[Burst]
    _burst: Burst = attrs.field(default=(), init=False)
    _index: int = attrs.field(default=0, init=False)
    _owner: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _started_at: float = attrs.field(default=0.0, init=False)
    _first_event: float | None = attrs.field(default=None, init=False)  # seconds from the start

    def __aiter__(self) -> EventStream[T]:
        return self

    async def __anext__(self) -> Event:
        """The next visible event.

        Raises:
            StreamError: Used outside its block, or by a second task.
            Exception: Raised by `on_event`.
        """
        if self._closed:
            raise _misuse_after_block()
        task = trio.lowlevel.current_task()
        if task is not self._owner:
            self._begin(task)
        while True:
            while self._index < len(self._burst):
                event = self._burst[self._index]
                self._index += 1
                if type(event) is Hidden:
                    self._fold.add(event.event)
                    continue
                self._fold.add(event)
                return event  # type: ignore[no-any-return]
            if not await self._next_burst():
                raise StopAsyncIteration

    def _begin(self, reader: trio.lowlevel.Task) -> None:
        if self._owner is not None:
            raise StreamError(
                f"this stream is being read by task {self._owner.name!r}; a stream has one reader: open a second "
                "stream, or pass events on through a memory channel",
                reason="concurrent_iteration",
            )
        self._owner = reader
        self._started_at = trio.current_time()
        self._start()

    async def _next_burst(self) -> bool:
        """Fetch a burst; False at the end. Checkpoints, and loses no events when cancelled."""
        if not self._ended:
            await self._receive()
        if not self._ended:
            return True
        await trio.lowlevel.checkpoint()
        failure = self._context.failure
        if isinstance(failure, StopAsyncIteration):  # would look like a normal end of the iteration
            failure = RuntimeError("on_event or halt_when raised StopAsyncIteration")
        if failure is not None:
            raise failure
        return False

    async def _receive(self) -> None:
        try:
            self._burst, self._index = receive_waiting(self._channel), 0
            if self._burst:
                await trio.lowlevel.checkpoint()
            else:
                self._context.deadline = trio.current_effective_deadline()
                self._burst = await self._channel.receive()
        except trio.EndOfChannel:
            self._ended = True
            return
        except trio.ClosedResourceError:  # another task has left the block during this read
            raise _misuse_after_block() from None
        if self._first_event is None:
            self._first_event = trio.current_time() - self._started_at

    def result(self) -> T:
        """The fold of the events read so far: at any time, in the block or after it, even after a cancellation."""
        if self._owner is None and not self._closed:
            what = "result() was called before anything was read: a request is sent when the first event is asked for"
            advise("stream", "", "unread", f"{what}; await events.until_done() reads all of them")
        return self._fold.result()

    async def until_done(self) -> T:
        """Read to the end and return the result."""
        async for _ in self:
            pass
        return self.result()

    def text(self, *, raise_on_error: bool = True) -> AsyncIterator[str]:
        """The visible text alone, piece by piece: `async for piece in events.text(): print(piece, end="")`.

        Args:
            raise_on_error: Raise the failure of the call after the last piece, as whoever reads only the text would
                not see it otherwise. False just ends; the failure is then in `result().error`.

        Raises:
            AllmError: The call failed; `result()` has what had arrived.
        """
        return _TextIterator(self, raise_on_error)

    def _failure(self) -> AllmError | None:
        return self._fold.failure()

    def _facts(self) -> dict[str, Any]:
        facts = self._fold.facts()
        outcome = (
            "halted" if not self._ended else "failed" if facts.get("error") or self._context.failure else "completed"
        )
        return {**facts, "outcome": outcome, "time_to_first_event": self._first_event}

    def _close(self) -> None:
        self._closed = True


def _misuse_after_block() -> StreamError:
    return StreamError(
        "the stream's block has been left, so there are no more events; iterate inside it:\n"
        "    async with allm.stream_generate(...) as events:\n"
        "        async for event in events: ...\n"
        "result() still has what arrived",
        reason="closed",
    )


@attrs.define(eq=False)
class _TextIterator:
    """Yields text deltas, and the whole text of a block that completes without visible deltas."""

    _events: EventStream[Any]
    _raise_on_error: bool
    _seen: set[str] = attrs.field(factory=set, init=False)

    def __aiter__(self) -> _TextIterator:
        return self

    async def __anext__(self) -> str:
        async for event in self._events:
            if isinstance(event, TextDelta):
                self._seen.add(event.id)
                return event.delta
            if isinstance(event, TextCompleted) and event.id not in self._seen:
                return event.text
            if isinstance(event, StepCompleted):
                self._seen.clear()
        failure = self._events._failure() if self._raise_on_error else None
        if failure is not None:
            raise failure
        raise StopAsyncIteration
