"""Blocks that own tasks: `StreamBlock`, and the pipeline of a stream.

Every function named `stream_...` returns a `StreamBlock`. It starts nothing by itself: `async with` enters the context
manager inside it, which owns the tasks and the connection and gives the stream. The nursery in it is invisible to
users: an exception comes out as itself, without a group around it. `open_stream` opens the block of a model call or a
turn: tasks in one nursery, memory channels between them, one consumer at the end.

    producer --> observer --> filter --> EventStream
                 (on_event)   (hides deltas)

Theory of operation. The block owns the nursery. A stage exists only if an option gives it work, so by default there is
one task, the producer. Nothing runs until the consumer asks for the first event; then every stage starts. The stages
run in scopes that are shielded from the consumer's own cancellation and cancelled when the block is left, so the body
always ends first and the stages after it. A stage never raises into the nursery: an adapter's failure is an event, the
exception of a failing `on_event` is handed to the consumer, and a stage whose receiver is gone just stops. Therefore
the body's exception is the only one, and comes out as itself.

A stream that is only folded (`until_done`) has no consumer that anything could run beside: its producer runs in the
caller's task and folds its bursts itself, so it needs no nursery, no channel and no shield.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from textwrap import indent
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import StreamError
from allm.data.events import TextDelta, ToolCallDelta
from allm.execution.failures import is_inner, log_failure
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.stream.event_stream import Burst, BurstSender, ChannelSender, EventStream, FoldT, StreamContext
from allm.execution.stream.fold import Fold
from allm.execution.stream.folds import fold_burst
from allm.execution.stream.inbox import Inbox
from allm.execution.stream.stages import Filter, Observer, Work, run_stage
from allm.execution.stream.told import Told
from allm.http.trio_task import outside_trio
from allm.runtime import telemetry
from allm.runtime.call_options import ExecutionOptions

__all__ = [
    "Block",
    "Produce",
    "StreamBlock",
    "open_stream",
    "until_done",
]

T = TypeVar("T")
StreamT = TypeVar("StreamT")

READ_AHEAD = 32
"""Bursts by which the producer may run ahead of the next stage; after that, back-pressure reaches the socket."""

HAND_OVER = 1
"""Bursts that may wait between two later stages. One is enough, since a stage takes everything that is waiting."""

Produce = Callable[[StreamContext], Awaitable[None]]
"""The first stage: sends bursts until it is done. An exception is raised to the consumer, after the events."""


class Block(Generic[StreamT]):
    """A context manager to enter once, with `async with`; whoever forgets that is told."""

    __slots__ = ("_alone", "_example", "_manager", "_opening")

    def __init__(
        self,
        opening: Callable[[], AbstractAsyncContextManager[StreamT]],
        example: str,
        alone: Callable[[], Coroutine[Any, Any, Any]] | None = None,
    ) -> None:
        """Wrap a context manager.

        Args:
            opening: Makes the context manager that owns everything that runs in the block, and ends it with the block.
            example: Lines of code that show correct use, for the error messages.
            alone: Runs the stream to its end without entering the block, for `until_done`.
        """
        self._opening: Callable[[], AbstractAsyncContextManager[StreamT]] | None = opening
        self._manager: AbstractAsyncContextManager[StreamT] | None = None
        self._example = example
        self._alone = alone

    @trio.lowlevel.enable_ki_protection  # Ctrl-C between two statements would leave tasks that nobody ends
    async def __aenter__(self) -> StreamT:
        opening = self._enter()
        self._manager = opening()
        return await self._manager.__aenter__()

    def _enter(self) -> Callable[[], AbstractAsyncContextManager[StreamT]]:
        """Note that it was, and keep neither way of running it while it is open."""
        opening = self._opening
        if opening is None:
            raise StreamError(
                f"this block was entered before, and runs once; open another:\n{indent(self._example, '    ')}",
                reason="closed",
            )
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        self._opening = self._alone = None
        return opening

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None  # noqa: S101  (it was entered)
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (cancels its own tasks first)

    # Python's own errors for these mistakes mention protocols instead of the fix. Type checkers find the mistakes
    # before the code runs, and would no longer do so if they saw these methods.
    if not TYPE_CHECKING:

        def __aiter__(self) -> NoReturn:
            raise self._not_entered("`async for` reads the stream, not its block")

        def __iter__(self) -> NoReturn:
            raise self._not_entered("a plain `for` cannot read a stream")

        def __await__(self) -> NoReturn:
            raise self._not_entered("`await` does not open a block")

        def __enter__(self) -> NoReturn:
            raise self._not_entered("a plain `with` does not open a block")

        def __exit__(self, *_: object) -> None:
            """Never called; `with` looks it up before it calls `__enter__`."""

        def __getattr__(self, name: str) -> NoReturn:
            problem = f"the block has no attribute {name!r}"
            raise AttributeError(f"{problem}: {self._right()}" if name[:1] != "_" else problem)

        def _not_entered(self, mistake: str) -> StreamError:
            return StreamError(f"{mistake}: {self._right()}", reason="not_entered")

        def _right(self) -> str:
            return f"open it with `async with`, which closes it for sure:\n{indent(self._example, '    ')}"


@final
class StreamBlock(Block[StreamT]):
    """The return value of a `stream_...` function: enter it once, with `async with`, to get the stream."""

    __slots__ = ()


# --- the pipeline of a stream ----------------------------------------------------------------------------------------


def open_stream(
    name: str,
    produce: Produce,
    options: ExecutionOptions,
    fold: Fold[T],
    facts: Callable[[], dict[str, Any]],
    content: telemetry.Content,
    inbox: Inbox | None = None,
) -> StreamBlock[EventStream[T]]:
    """A block that runs the pipeline around `produce`.

    Args:
        name: The name of the telemetry span.
        facts, content: Make its attributes and the content of its start.
        inbox: Takes messages of the user, if the stream is that of a turn.
    """
    told = Told(name, facts, content)
    alone = None if options.on_event is not None else functools.partial(_alone, told, produce, fold, inbox)
    return StreamBlock(functools.partial(_pipeline, told, produce, options, fold, inbox), _example(name), alone)


@functools.cache
def _example(name: str) -> str:
    call = "stream" if name == "chat" else f"stream_{name}"
    return f"async with allm.{call}(...) as events:\n    async for event in events: ..."


async def until_done(block: StreamBlock[EventStream[T]]) -> T:
    """Run a stream to its end and return its fold: what `events.until_done()` does as the only use of the block.

    Nobody reads the events. Without an `on_event`, nothing has to run beside the producer either: it runs in the
    caller's task, and folds its bursts itself.
    """
    alone = block._alone
    if alone is None:
        async with block as events:
            return await events.until_done()
    block._enter()
    result: T = await alone()
    return result


async def _alone(told: Told, produce: Produce, fold: Fold[T], inbox: Inbox | None) -> T:
    await trio.lowlevel.checkpoint()  # the adapter may have none
    sender = _FoldSender(fold)
    context = sender.context = StreamContext(sender, inbox=inbox)
    outer = is_inner.set(True)
    try:
        with told.started(context) if telemetry.handlers else nullcontext():
            try:
                await produce(context)
            except Exception as error:  # as in `_produce`
                context.fail(error)
        context.ended = True
    finally:
        is_inner.reset(outer)
        _report(told, context, fold)
    if context.failure is not None:
        raise context.failure
    return fold.result()


@define(eq=False)
class _FoldSender(BurstSender):
    """Folds each burst at once. After as many as a channel would hold there is no room, so that other tasks can run."""

    fold: Fold[Any]
    context: StreamContext = attrs.field(init=False)
    _room: int = attrs.field(default=READ_AHEAD, init=False)

    def send_nowait(self, burst: Burst) -> bool:
        if not self._room:
            return False
        self._room -= 1
        if self.context.first_event is None and self.context.span is not None:  # which alone asks for it
            self.context.first_event = trio.current_time()
        fold_burst(self.fold, burst)
        self._record(burst)
        return True

    def has_room(self) -> bool:
        return self._room > 0

    def folded(self, fold: FoldT) -> FoldT:  # noqa: ARG002
        return cast("FoldT", self.fold)

    async def send(self, burst: Burst) -> None:
        if not self.send_nowait(burst):
            self._room = READ_AHEAD
            self.send_nowait(burst)
            await trio.lowlevel.checkpoint()  # the adapter may wait for nothing


@asynccontextmanager
async def _pipeline(
    told: Told, produce: Produce, options: ExecutionOptions, fold: Fold[T], inbox: Inbox | None
) -> AsyncGenerator[EventStream[T]]:
    works = _works(options)
    # One channel behind the producer, and one behind each stage; only the producer may run ahead.
    links = [trio.open_memory_channel[Burst](HAND_OVER if index else READ_AHEAD) for index in range(len(works) + 1)]
    context = StreamContext(ChannelSender(links[0][0]), inbox=inbox)
    receive = links[-1][1]
    stages = _Stages(told, produce, works, links, context)
    events = EventStream(fold, stages.start, context, receive)
    try:
        async with nursery_boundary() as stages.nursery:
            try:
                with receive:
                    yield events
            finally:
                events._close()
                for scope in stages.scopes:
                    scope.cancel()
    finally:
        _report(told, context, fold)


@define(eq=False)
class _Stages:
    """The tasks of a stream: what they are started with, and their scopes once they are."""

    told: Told
    produce: Produce
    works: list[Work]
    links: Sequence[tuple[trio.MemorySendChannel[Burst], trio.MemoryReceiveChannel[Burst]]]
    context: StreamContext
    nursery: trio.Nursery = attrs.field(init=False)
    scopes: list[trio.CancelScope] = attrs.field(factory=list[trio.CancelScope], init=False)

    def start(self) -> None:
        with self.told.started(self.context) if telemetry.handlers else nullcontext():
            self._start_all()

    def _start_all(self) -> None:
        context, links = self.context, self.links
        self._start(_produce, self.produce, context, links[0][0], name="producer")
        for work, (_, source), (target, _) in zip(self.works, links, links[1:], strict=False):
            self._start(run_stage, work, source, ChannelSender(target), context, name=work.name)

    def _start(self, stage: Callable[..., Awaitable[None]], *args: Any, name: str) -> None:
        self.scopes.append(trio.CancelScope(shield=True))
        start_task(self.nursery, stage, self.scopes[-1], *args, name=f"allm {name}")


def _report(told: Told, context: StreamContext, fold: Fold[Any]) -> None:
    """Tell telemetry and the log how a stream went."""
    if context.span is not None:
        told.ended(context.span, context, fold)
    if (failure := fold.failure()) is not None:
        # The failure names its provider and model; the id of the conversation is known to the call alone.
        log_failure(told.name, failure, context.span, session_id=told.facts().get("session_id"))


async def _produce(
    scope: trio.CancelScope, produce: Produce, context: StreamContext, channel: trio.MemorySendChannel[Burst]
) -> None:
    is_inner.set(True)  # in the context of this task, and of the tools that it runs
    with scope, channel:
        try:
            await produce(context)
        except Exception as error:  # a bug, or raised by the caller's own functions
            context.fail(error)


def _works(options: ExecutionOptions) -> list[Work]:
    """The stages that the options ask for, in order; none by default."""
    works: list[Work] = []
    if options.on_event is not None:
        works.append(Observer(options.on_event))
    hidden = _hidden_types(options)
    if hidden:
        works.append(Filter(hidden))
    return works


def _hidden_types(options: ExecutionOptions) -> frozenset[type]:
    shown = {TextDelta: options.emit_text_deltas, ToolCallDelta: options.emit_tool_deltas}
    return frozenset(event_type for event_type, show in shown.items() if not show)
