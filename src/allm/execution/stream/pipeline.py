"""The pipeline of a stream: tasks in one nursery, memory channels between them, one consumer at the end.

    producer --> observer --> filter --> EventStream
                 (on_event)   (hides deltas)

Theory of operation. The block owns the nursery. A stage exists only if an option gives it work, so by default there is
one task, the producer. Nothing runs until the consumer asks for the first event; then every stage starts. The stages
run in scopes that are shielded from the consumer's own cancellation and cancelled when the block is left, so the body
always ends first and the stages after it. A stage never raises into the nursery: an adapter's failure is an event, the
exception of a failing `on_event` is handed to the consumer, and a stage whose receiver is gone just stops. Therefore
the body's exception is the only one, and comes out as itself.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Protocol, TypeVar, get_args

import attrs
import trio

from allm.data.events import AdapterEvent, TextDelta, ToolCallDelta
from allm.execution.stream.block import StreamBlock, nursery_boundary
from allm.execution.stream.channel import HAND_OVER, READ_AHEAD, Burst, BurstSender, StreamContext, receive_waiting
from allm.execution.stream.event_stream import EventStream, Fold, Hidden
from allm.runtime import telemetry
from allm.runtime.call_options import ExecutionOptions

__all__ = ["Produce", "open_stream"]

T = TypeVar("T")

Produce = Callable[[StreamContext], Awaitable[None]]
"""The first stage: sends bursts until it is done. An exception is raised to the consumer, after the events."""

_ADAPTER_EVENTS = frozenset(get_args(AdapterEvent))


def open_stream(
    name: str, produce: Produce, options: ExecutionOptions, fold: Fold[T], **facts: Any
) -> StreamBlock[EventStream[T]]:
    """A block that runs the pipeline around `produce`.

    Args:
        name: The name of the telemetry span; `facts` are its attributes.
    """
    call = "stream" if name == "chat" else f"stream_{name}"
    example = f"async with allm.{call}(...) as events:\n    async for event in events: ..."
    return StreamBlock(_pipeline(name, produce, options, fold, facts), example)


@asynccontextmanager
async def _pipeline(
    name: str, produce: Produce, options: ExecutionOptions, fold: Fold[T], facts: dict[str, Any]
) -> AsyncGenerator[EventStream[T]]:
    works = _works(options)
    # One channel behind the producer, and one behind each stage; only the producer may run ahead.
    links = [trio.open_memory_channel[Burst](HAND_OVER if index else READ_AHEAD) for index in range(len(works) + 1)]
    context = StreamContext(BurstSender(links[0][0]))
    receive = links[-1][1]
    scopes: list[trio.CancelScope] = []

    def start() -> None:
        if telemetry.handlers:
            context.span = telemetry.start_span(name, **facts)
        task(_produce, produce, context, name="producer")
        for work, (_, source), (target, _) in zip(works, links, links[1:], strict=False):
            task(_stage, work, source, BurstSender(target), context, name=work.name)

    def task(stage: Callable[..., Awaitable[None]], *args: Any, name: str) -> None:
        scopes.append(trio.CancelScope(shield=True))
        nursery.start_soon(stage, scopes[-1], *args, name=f"allm {name}")

    events = EventStream(fold, start, context, receive)
    try:
        async with nursery_boundary() as nursery:
            try:
                with receive:
                    yield events
            finally:
                events._close()
                for scope in scopes:
                    scope.cancel()
    finally:
        if context.span is not None:
            context.span.stop(**events._facts())


async def _produce(scope: trio.CancelScope, produce: Produce, context: StreamContext) -> None:
    with scope, context.send.channel:
        try:
            await produce(context)
        except Exception as error:  # a bug, or raised by the caller's own functions
            context.failure = error


class _Work(Protocol):
    """The work of a stage: maps each burst to the burst that it passes on."""

    name: ClassVar[str]

    async def __call__(self, burst: Burst) -> Burst: ...


async def _stage(
    scope: trio.CancelScope,
    work: _Work,
    receive: trio.MemoryReceiveChannel[Burst],
    send: BurstSender,
    context: StreamContext,
) -> None:
    with scope, receive, send.channel:
        try:
            while True:
                burst = receive_waiting(receive) or await receive.receive()
                try:
                    burst = await work(burst)
                except _ObserverFailed as failed:
                    # The consumer gets the events before the failing one first, then the exception.
                    if failed.index:
                        await send.send(burst[: failed.index])
                    context.failure = failed.error
                    return
                await send.send(burst)
        except trio.EndOfChannel:
            pass


def _works(options: ExecutionOptions) -> list[_Work]:
    """The stages that the options ask for, in order; none by default."""
    works: list[_Work] = []
    if options.on_event is not None:
        works.append(_Observer(options.on_event))
    hidden = _hidden_types(options)
    if hidden:
        works.append(_Filter(hidden))
    return works


def _hidden_types(options: ExecutionOptions) -> frozenset[type]:
    shown = {TextDelta: options.emit_text_deltas, ToolCallDelta: options.emit_tool_deltas}
    return frozenset(event_type for event_type, show in shown.items() if not show)


@attrs.frozen
class _Filter:
    """Wraps the events that the options hide in `Hidden`."""

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
    """Calls `on_event` with every adapter event."""

    name: ClassVar[str] = "observer"
    on_event: Callable[[Any], Any]

    async def __call__(self, burst: Burst) -> Burst:
        for index, event in enumerate(burst):
            if type(event) in _ADAPTER_EVENTS:
                try:
                    returned = self.on_event(event)
                    if returned is not None and inspect.isawaitable(returned):  # skips the slow check per token
                        await returned
                except Exception as error:
                    raise _ObserverFailed(index, error) from error
        return burst
