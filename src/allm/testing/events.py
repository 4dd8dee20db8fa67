"""What a test wants to know of a stream: its events, what was said, and what was called."""

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

_OF_ANSWERS = get_args(AdapterEvent)


async def collect(stream: AbstractAsyncContextManager[AsyncIterator[T]] | AsyncIterator[T]) -> list[T]:
    """Every event of a stream, in order.

        events = await collect(allm.stream(engine, "How warm is it in Zug?"))
        assert text(events) == "21 degrees."

    Args:
        stream: What `allm.stream` and its like give; or the stream itself, inside its block, from where it is now.

    Raises:
        Exception: As reading the stream does; a failure of the provider is the event `Failed`.
    """
    if isinstance(stream, AbstractAsyncContextManager):
        async with stream as events:
            return [event async for event in events]
    return [event async for event in stream]


def text(events: Iterable[Event]) -> str:
    """What the model said, over all of its answers."""
    return "".join(answer.output_text for answer in _answers(events))


def tool_calls(events: Iterable[Event]) -> tuple[ToolCall, ...]:
    """What the model called, over all of its answers, in order; a call that was cut off too."""
    return tuple(call for answer in _answers(events) for call in answer.tool_calls)


def _answers(events: Iterable[Event]) -> Iterator[Response]:
    collector = StreamCollector()
    for event in events:
        if not isinstance(event, _OF_ANSWERS):
            continue
        if collector.ended:
            yield collector.response()
            collector = StreamCollector()
        collector.add(event)
    yield collector.response()
