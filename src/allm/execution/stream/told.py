"""`Told`: the telemetry span of a stream, from its first read to the end of its block."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import trio

from allm.data.attrs_classes import frozen
from allm.execution.stream.event_stream import StreamContext
from allm.execution.stream.fold import Fold
from allm.execution.telemetry_facts import answer_content
from allm.runtime import telemetry

__all__ = ["Told"]


@frozen
class Told:
    """What telemetry is told of a stream.

    Attributes:
        name: The name of its span.
        facts, content: Make its attributes and the content of its start.
    """

    name: str
    facts: Callable[[], dict[str, Any]]
    content: telemetry.Content

    def started(self, context: StreamContext) -> AbstractContextManager[None]:
        """Start the span of the stream; what starts within this block works for it."""
        context.started_at = trio.current_time()
        context.span = telemetry.start_span(self.name, self.facts(), content=self.content)
        return telemetry.entered(context.span)

    def ended(self, span: telemetry.Span, context: StreamContext, fold: Fold[Any]) -> None:
        """End the span: the stream was read to its end, failed, or was cut short by its reader or a cancellation."""
        facts = fold.facts()
        if context.first_event is not None:
            facts["time_to_first_event"] = context.first_event - context.started_at
        span.content = lambda: answer_content(fold.result())
        if context.failure is not None:
            span.attributes.update(facts, outcome="failed")
            span.fail(context.failure)
        elif context.ended or facts.get("finish_reason") or facts.get("halted_reason") not in {None, "cancelled"}:
            span.stop(**facts, outcome="failed" if facts.get("error") else "completed")
        else:
            span.stop(**facts, outcome="halted", cancelled=True)
