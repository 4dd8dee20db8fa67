"""Helpers for tests of streams: all events, the text, and the tool calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar, get_args

from allm.data.content import ToolCall
from allm.data.events import AdapterEvent, Event
from allm.data.response import Response
from allm.execution.stream.folds import StreamCollector

__all__ = ["collect", "text", "tool_calls"]

T = TypeVar("T")

_ADAPTER_EVENTS = get_args(AdapterEvent)


async def collect(stream: AbstractAsyncContextManager[AsyncIterator[T]] | AsyncIterator[T]) -> list[T]:
    """Collect every event of a stream, in order.

        events = await collect(allm.stream(engine, "How warm is it in Zug?"))
        assert text(events) == "21 degrees."

    Args:
        stream: The return value of `allm.stream` or a similar function; or the stream inside its block, which is then
            read from its current position.

    Raises:
        Exception: As when reading the stream; a failure of the provider is the event `Failed`.
    """
    if isinstance(stream, AbstractAsyncContextManager):
        async with stream as events:
            return [event async for event in events]
    return [event async for event in stream]


def text(events: Iterable[Event]) -> str:
    """The text of the model, over all of its responses."""
    return "".join(response.output_text for response in _responses(events))


def tool_calls(events: Iterable[Event]) -> tuple[ToolCall, ...]:
    """The tool calls of the model, over all of its responses, in order, including a truncated one."""
    return tuple(call for response in _responses(events) for call in response.tool_calls)


def _responses(events: Iterable[Event]) -> Iterator[Response]:
    collector = StreamCollector()
    for event in events:
        if not isinstance(event, _ADAPTER_EVENTS):
            continue
        if collector.ended:
            yield collector.response()
            collector = StreamCollector()
        collector.add(event)
    yield collector.response()
