"""The pipeline: tasks in one nursery, memory channels between them, one consumer at the end.

    producer --> observer --> filter --> EventStream
                 (on_event)   (something is hidden)

Theory of operation. The block owns the nursery. Nothing runs until the consumer asks for the first event; then every
stage starts. The stages run in a scope that is shielded from the consumer's own cancellation and cancelled when the
block is left, so that the body goes first and the stages after it, always. A stage never raises into the nursery: an
adapter's failure is an event, a failing `on_event` is handed to the consumer, and a stage whose receiver is gone just
stops. The body's exception therefore is the only one there can be, and comes out as itself.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Generic, NoReturn, Protocol, TypeVar, final, get_args

import attrs
import trio

from allm.data.errors import StreamError
from allm.data.events import AdapterEvent, RawChunk, TextDelta, ToolCallDelta
from allm.execution.stream.channel import HAND_OVER, READ_AHEAD, Burst, BurstSender, StreamContext, receive_waiting
from allm.execution.stream.event_stream import EventStream, Fold, Hidden
from allm.execution.stream.nurseries import collapse_exception_group
from allm.runtime import telemetry
from allm.runtime.call_options import ExecutionOptions

__all__ = ["Produce", "StreamBlock", "open_stream"]

T = TypeVar("T")

Produce = Callable[[StreamContext], Awaitable[None]]
"""The first stage: sends bursts until it is done. An exception reaches the consumer as itself, after the events."""

_ADAPTER_EVENTS = frozenset(get_args(AdapterEvent))


@final
class StreamBlock(Generic[T]):
    """What `stream_generate` and its like return: enter it with `async with` to get the `EventStream`."""

    def __init__(self, manager: AbstractAsyncContextManager[EventStream[T]]) -> None:
        self._manager = manager
        self._entered = False

    async def __aenter__(self) -> EventStream[T]:
        if self._entered:
            raise StreamError("this stream was entered before; a call runs once: open another", reason="closed")
        self._entered = True
        if not trio.lowlevel.in_trio_task():
            raise RuntimeError(
                "this library runs on Trio, and this is no Trio task: trio.run(main), not asyncio.run(main())"
            )
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (cancels its own tasks first)

    def __aiter__(self) -> NoReturn:
        raise StreamError(
            "a stream is opened with `async with`, which closes it for sure:\n"
            "    async with allm.stream_generate(...) as events:\n"
            "        async for event in events: ...",
            reason="not_entered",
        )


def open_stream(name: str, produce: Produce, controls: ExecutionOptions, fold: Fold[T], **facts: Any) -> StreamBlock[T]:
    """The pipeline around `produce`, for the length of a block.

    Args:
        name: Of the telemetry span; `facts` are its attributes.
    """
    return StreamBlock(_pipeline(name, produce, controls, fold, facts))


@asynccontextmanager
async def _pipeline(
    name: str, produce: Produce, controls: ExecutionOptions, fold: Fold[T], facts: dict[str, Any]
) -> AsyncGenerator[EventStream[T]]:
    stages: list[trio.CancelScope] = []
    body_error: BaseException | None = None
    works = _stages(controls)
    send, receive = trio.open_memory_channel[Burst](HAND_OVER if works else READ_AHEAD)
    flow = StreamContext(BurstSender(send))

    def start() -> None:
        flow.span = telemetry.start_span(name, **facts)
        _start_stages(nursery, stages, produce, works, flow)

    events = EventStream(fold, start, flow, receive)
    try:
        async with trio.open_nursery() as nursery:
            try:
                with receive:
                    yield events
            except BaseException as error:
                body_error = error
                raise
            finally:
                events._close()
                for scope in stages:
                    scope.cancel()
    except BaseExceptionGroup as group:
        body_error = collapse_exception_group(group, body_error)
    finally:
        if flow.span is not None:
            flow.span.stop(**events._facts())
    try:
        if body_error is not None:
            raise body_error
    finally:
        del body_error  # the frame would keep its own exception alive


def _start_stages(
    nursery: trio.Nursery,
    scopes: list[trio.CancelScope],
    produce: Produce,
    works: list[_Work],
    flow: StreamContext,
) -> None:
    """Start the stages from the consumer's end backwards, each with the channel to the next one."""

    def start(stage: Callable[..., Awaitable[None]], *args: Any, name: str) -> None:
        scopes.append(trio.CancelScope(shield=True))
        nursery.start_soon(stage, scopes[-1], *args, name=f"allm {name}")

    send = flow.send.channel
    for index, work in enumerate(works, 1):
        upstream, receive = trio.open_memory_channel[Burst](READ_AHEAD if index == len(works) else HAND_OVER)
        start(_stage, work, receive, BurstSender(send), flow, name=work.name)
        send = upstream
    flow.send = BurstSender(send)
    start(_produce, produce, flow, name="producer")


async def _produce(scope: trio.CancelScope, produce: Produce, flow: StreamContext) -> None:
    with scope, flow.send.channel:
        try:
            await produce(flow)
        except Exception as error:  # a defect, or what the caller's own functions raised
            flow.failure = error


class _Work(Protocol):
    """What a stage does with the events it passes on; an exception goes to the consumer, after the events before it."""

    name: ClassVar[str]

    async def __call__(self, burst: Burst) -> Burst: ...


async def _stage(
    scope: trio.CancelScope,
    work: _Work,
    receive: trio.MemoryReceiveChannel[Burst],
    send: BurstSender,
    flow: StreamContext,
) -> None:
    with scope, receive, send.channel:
        try:
            while True:
                burst = receive_waiting(receive) or await receive.receive()
                try:
                    burst = await work(burst)
                except _ObserverFailed as failed:
                    if failed.index:
                        await send.send(burst[: failed.index])
                    flow.failure = failed.error
                    return
                await send.send(burst)
        except trio.EndOfChannel:
            pass


def _stages(controls: ExecutionOptions) -> list[_Work]:
    """The stages that the options call for, from the consumer's end backwards."""
    works: list[_Work] = []
    hidden = hidden_types(controls)
    if hidden:
        works.append(_Filter(hidden))
    if controls.on_event is not None:
        works.append(_Observer(controls.on_event))
    return works


def hidden_types(controls: ExecutionOptions) -> frozenset[type]:
    """The event types that the options keep from the consumer."""
    shown = {
        TextDelta: controls.emit_text_deltas,
        ToolCallDelta: controls.emit_tool_deltas,
        RawChunk: controls.include_raw_chunks,
    }
    return frozenset(event_type for event_type, show in shown.items() if not show)


@attrs.frozen
class _Filter:
    """Marks what the options hide."""

    name: ClassVar[str] = "filter"
    hidden: frozenset[type]

    async def __call__(self, burst: Burst) -> Burst:
        hidden = self.hidden
        for event in burst:
            if type(event) in hidden:
                return tuple(Hidden(event) if type(event) in hidden else event for event in burst)
        return burst


class _ObserverFailed(Exception):
    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(index, error)
        self.index = index
        self.error = error


@attrs.frozen(eq=False)
class _Observer:
    """Shows adapter events to `on_event`."""

    name: ClassVar[str] = "observer"
    on_event: Callable[[Any], Any]

    async def __call__(self, burst: Burst) -> Burst:
        for index, event in enumerate(burst):
            if type(event) in _ADAPTER_EVENTS:
                try:
                    outcome = self.on_event(event)
                    if outcome is not None and inspect.isawaitable(outcome):
                        await outcome
                except Exception as error:
                    raise _ObserverFailed(index, error) from error
        return burst
