"""Both ends of a stream: `BurstSender` for what produces its events, `EventStream` for their consumer.

The item of a channel between them is a burst: the tuple of events decoded together. Both ends try the non-blocking call
first, and a receiver takes everything that is waiting, so a stage costs at most one hop per read, not one per token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from operator import length_hint
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, final, overload

import attrs
import trio
from typing_extensions import TypeForm

from allm.data.attrs_classes import define
from allm.data.errors import AllmError, StreamError
from allm.data.events import Event
from allm.data.message import Message
from allm.execution.stream.fold import DELTAS, Fold, Hidden
from allm.execution.stream.folds import fold_burst
from allm.execution.stream.inbox import Inbox
from allm.runtime.fitting import advise

if TYPE_CHECKING:
    from allm.execution.stream.listed import Listed
    from allm.runtime.telemetry import Span

__all__ = [
    "Burst",
    "BurstSender",
    "ChannelSender",
    "EventStream",
    "StreamContext",
    "misuse_after_block",
    "receive_waiting",
]

T_co = TypeVar("T_co", covariant=True)
ItemT = TypeVar("ItemT")
FoldT = TypeVar("FoldT", bound=Fold[Any])

Burst = tuple[Any, ...]


@define(eq=False)
class BurstSender(ABC):
    """The sending end of a stage.

    Attributes:
        unsent: Bursts that are being sent, or that a cancelled task has left behind; several while tools run.
        last: The newest event that was delivered.
        delivered: Folds every event that was delivered.
    """

    unsent: dict[int, Burst] = attrs.field(factory=dict[int, Burst], init=False)
    last: Any = attrs.field(default=None, init=False)
    delivered: Fold[Any] | None = attrs.field(default=None, init=False)

    @abstractmethod
    def send_nowait(self, burst: Burst) -> bool:
        """Deliver one burst if there is room for it; returns whether there was."""

    @abstractmethod
    def has_room(self) -> bool:
        """Whether `send_nowait` would deliver a burst, or the receiver is gone."""

    @abstractmethod
    async def send(self, burst: Burst) -> None:
        """Deliver one burst, waiting only when there is no room."""

    def folded(self, fold: FoldT) -> FoldT:
        """A fold of what is delivered, for the producer to read: `fold`, a new one, or the same that others have."""
        self.delivered = fold
        return fold

    def leave(self, burst: Burst) -> None:
        """Keep a burst for `send_unsent`."""
        if burst:
            self.unsent[id(burst)] = burst

    async def send_unsent(self) -> None:
        """Deliver the bursts that were left behind."""
        while self.unsent:
            await self.send(self.unsent.pop(next(iter(self.unsent))))

    def _record(self, burst: Burst) -> None:
        self.last = burst[-1]
        if self.delivered is not None:
            fold_burst(self.delivered, burst)


@final
@define(eq=False)
class ChannelSender(BurstSender):
    """Sends into a channel: to the next stage, or to the consumer."""

    channel: trio.MemorySendChannel[Burst]

    def send_nowait(self, burst: Burst) -> bool:
        """Put one burst into the channel if there is room for it; returns whether there was."""
        try:
            self.channel.send_nowait(burst)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return False
        self._record(burst)
        return True

    def has_room(self) -> bool:
        """See `BurstSender`."""
        state = self.channel.statistics()
        return state.current_buffer_used < state.max_buffer_size

    async def send(self, burst: Burst) -> None:
        """Put one burst into the channel, waiting for room.

        If the receiver is gone, the consumer has left its block and is about to cancel this task, so wait for that. So
        no adapter and no tool sees a closed channel.
        """
        if self.send_nowait(burst):
            return
        self.leave(burst)
        with suppress(trio.BrokenResourceError):
            await self.channel.send(burst)
            del self.unsent[id(burst)]
            self._record(burst)
            return
        await trio.sleep_forever()


@define(eq=False)
class StreamContext:
    """State that the producer of a stream shares with the rest of the pipeline.

    Attributes:
        send: The sender for the producer's bursts.
        deadline: When the consumer's own cancel scopes end the call, on the Trio clock; the stages are shielded from
            those scopes and cannot see them. The consumer updates it whenever it waits.
        span: The telemetry span of the stream; None if nobody listened when it began.
        failure: The exception that the consumer gets after the last event; set by `fail`.
        inbox: Takes messages of the user, if the stream is that of a turn.
        started_at: When the span began, `first_event` when the first burst came; `ended`: all was received.
    """

    send: BurstSender
    deadline: float = float("inf")
    span: Span | None = None
    failure: Exception | None = None
    inbox: Inbox | None = None
    started_at: float = 0.0
    first_event: float | None = None
    ended: bool = False

    def fail(self, error: Exception) -> None:
        """Let the consumer get an exception after the last event."""
        if isinstance(error, StopAsyncIteration):  # would look like a normal end of the iteration
            error = RuntimeError("on_event or halt_when raised StopAsyncIteration")
        self.failure = error


def receive_waiting(channel: trio.MemoryReceiveChannel[Burst]) -> Burst:
    """Take every waiting burst, joined into one; empty if none is waiting.

    Raises:
        trio.EndOfChannel: No burst is waiting and the sender has closed.
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
    return bursts[0] if len(bursts) == 1 else tuple(event for burst in bursts for event in burst)


@define(eq=False)
class EventStream(Generic[T_co]):
    """The events of one call: `async with allm.stream_generate(...) as events: async for event in events: ...`.

    The request is sent when the first event is asked for. Only one task may iterate, and only inside the block. After
    the block `result()` still has what arrived.
    """

    _fold: Fold[T_co]
    _start: Callable[[], None]
    _context: StreamContext
    _channel: trio.MemoryReceiveChannel[Burst]
    _burst: Burst = attrs.field(default=(), init=False)
    _left: Iterator[Any] = attrs.field(factory=lambda: iter(()), init=False)  # what of the burst was not read yet
    _folded: int = attrs.field(default=0, init=False)  # events of the burst; deltas are folded when somebody looks
    _before: int = attrs.field(default=0, init=False)  # events before the burst
    _owner: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _reader: ClassVar[Any] = staticmethod(trio.lowlevel.current_task)

    def __aiter__(self) -> EventStream[T_co]:
        return self

    async def __anext__(self) -> Event:
        """The next visible event.

        Raises:
            StreamError: Used outside its block, or by a second task.
            Exception: Raised by `on_event`.
        """
        if self._closed or self._reader() is not self._owner:  # the first time
            self._enter()
        while True:
            for event in self._left:
                if type(event) not in DELTAS:
                    if type(event) is Hidden:
                        continue
                    self._fold_read()
                return event  # type: ignore[no-any-return]
            if not await self._next_burst():
                raise StopAsyncIteration

    @trio.lowlevel.enable_ki_protection  # Ctrl-C in the middle would lose what was read
    def _fold_read(self) -> None:
        """Fold what has been read of the burst."""
        read = len(self._burst) - length_hint(self._left)
        if read > self._folded:
            begin, self._folded = self._folded, read
            fold_burst(self._fold, self._burst[begin:read])

    @trio.lowlevel.enable_ki_protection  # Ctrl-C in the middle would leave a reader without tasks
    def _enter(self) -> None:
        """Start the tasks if this is the first read, and refuse one outside the block or by a second task."""
        if self._closed:
            raise misuse_after_block()
        if (reader := self._reader()) is self._owner:
            return
        if self._owner is not None:
            raise StreamError(
                f"this stream is being read by task {self._owner.name!r}; a stream has one reader: open a second "
                "stream, or pass events on through a memory channel",
                reason="concurrent_iteration",
            )
        self._owner = reader
        self._start()

    async def _next_burst(self, *, waits_at_end: bool = True) -> bool:
        """Fetch a burst; False at the end. Checkpoints, at the end only if asked to; loses nothing if cancelled."""
        if not self._context.ended:
            await self._receive()
        if not self._context.ended:
            return True
        if waits_at_end:
            await trio.lowlevel.checkpoint()
        if self._context.failure is not None:
            raise self._context.failure
        return False

    @trio.lowlevel.enable_ki_protection  # and what was received
    async def _receive(self) -> None:
        self._fold_read()
        try:
            if burst := receive_waiting(self._channel):
                self._take(burst)
                await trio.lowlevel.checkpoint()
            else:
                self._context.deadline = trio.current_effective_deadline()
                self._take(await self._channel.receive())
        except trio.EndOfChannel:
            self._context.ended = True
            return
        except trio.ClosedResourceError:  # another task has left the block during this read
            raise misuse_after_block() from None
        if self._context.first_event is None:
            self._context.first_event = trio.current_time()

    def _take(self, burst: Burst) -> None:
        self._before += len(self._burst)
        self._burst, self._left, self._folded = burst, iter(burst), 0

    @property
    def number(self) -> int:
        """The place of the event that was read last, counted from 1, hidden ones too; 0 before the first."""
        return self._before + len(self._burst) - length_hint(self._left)

    def result(self) -> T_co:
        """The fold of the events read so far: at any time, in the block or after it, even after a cancellation."""
        if self._owner is None and not self._closed:
            what = "result() was called before anything was read: a request is sent when the first event is asked for"
            advise("stream", "", "unread", f"{what}; await events.until_done() reads all of them")
        self._fold_read()
        return self._fold.result()

    async def until_done(self) -> T_co:
        """Read to the end and return the result."""
        self._enter()
        has_waited = False
        while True:
            deque(self._left, 0)
            self._fold_read()
            if not await self._next_burst(waits_at_end=not has_waited):
                return self.result()
            has_waited = True

    def send_user(self, content: str | Message) -> None:
        """Let a message of the user join the turn while it runs; any task may call it.

        It joins before the next model call, after the results of the tools that run now. If the model had already
        finished, the turn goes on with one more step, unless it has made `max_turns` model calls: then, and if the turn
        is cut short or fails, the message is at the end of its conversation, for the next turn. The first model call
        has been prepared when the stream is opened, so no message joins it.

        Raises:
            StreamError: `closed`: the turn has ended, or the stream is not that of a turn.
            ValidationError: It is no message of the user: a text, or a `Message` of that role.
        """
        if (inbox := self._context.inbox) is None:
            raise StreamError(
                "send_user belongs to a turn that runs: the streams of allm.stream and of sessions", reason="closed"
            )
        if self._closed:
            inbox.closed = True
        inbox.add(content)

    def text(self, *, raise_on_error: bool = True) -> AsyncIterator[str]:
        """The visible text alone, piece by piece: `async for piece in events.text(): print(piece, end="")`.

        Args:
            raise_on_error: Raise the failure of the call after the last piece; False: it is in `result().error` only.

        Raises:
            AllmError: The call failed; `result()` has what had arrived.
        """
        from allm.execution.stream.output import TextPieces

        return TextPieces(self, raise_on_error)

    def partial_output(self, *, raise_on_error: bool = True) -> AsyncIterator[Any]:
        """The structured output as far as it has come: growing snapshots, as plain JSON values that are not checked.

        One for each burst of events that changes it; above 4 KB one for each 6 % of growth, since each parses all the
        text. The last is the whole value. Strings grow; numbers, names and keys come whole. Each step begins anew.
        `raise_on_error` is as for `text`; an answer that is not JSON or cut off is a `ValidationError`.
        """
        from allm.execution.stream import output

        return output.partial_output(self, self._fold.output_type, raise_on_error=raise_on_error)

    @overload
    def elements(self: EventStream[Listed[ItemT]], *, raise_on_error: bool = True) -> AsyncIterator[ItemT]: ...
    @overload
    def elements(self, item: TypeForm[ItemT], *, raise_on_error: bool = True) -> AsyncIterator[ItemT]: ...
    @overload
    def elements(self, *, raise_on_error: bool = True) -> AsyncIterator[Any]: ...
    def elements(self, item: Any = None, *, raise_on_error: bool = True) -> AsyncIterator[Any]:
        """The items of a list, each as soon as it is whole: `async for trip in events.elements(): ...`.

        The list is the answer (`response_format=list[Trip]`), or the one field of a class that is a list. Each item is
        parsed once and checked; the list itself is checked by `result().parsed()`. Each step of a turn begins anew.

        Args:
            item: The type of the items, for a schema by hand or a class with several lists.
            raise_on_error: As for `partial_output`. An item that does not fit raises in any case.

        Raises:
            ValidationError: `invalid_output`: an item does not fit, with every problem; the next read goes on behind
                it. `invalid_options`: the format has no list.
        """
        from allm.execution.stream import output

        return output.elements(self, self._fold.output_type, item, raise_on_error=raise_on_error)

    def _has_more(self) -> bool:
        """Whether visible events of the burst are waiting; folds hidden ones."""
        while length_hint(self._left):
            if type(self._burst[-length_hint(self._left)]) is not Hidden:
                return True
            next(self._left)
            self._fold_read()
        return False

    def _failure(self) -> AllmError | None:
        self._fold_read()
        return self._fold.failure()

    def _close(self) -> None:
        self._closed = True


def misuse_after_block(opening: str = "async with allm", loop: str = "async for") -> StreamError:
    """The error for a read after the block."""
    return StreamError(
        "the stream's block has been left, so there are no more events; iterate inside it:\n"
        f"    {opening}.stream_generate(...) as events:\n"
        f"        {loop} event in events: ...\n"
        "result() still has what arrived",
        reason="closed",
    )
