"""Telemetry: spans with a start and an end, and single events such as a retry.

A handler is a function of one `TelemetryEvent`. A call starts its spans if `handlers` has any, and costs one check
otherwise. A handler that raises is logged and detached: observation never breaks a call.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Literal

import attrs

from allm.data.attrs_classes import define, frozen

__all__ = ["Handler", "Phase", "Span", "TelemetryEvent", "attach", "emit", "handlers", "start_span"]

logger: logging.Logger = logging.getLogger("allm")

Phase = Literal["start", "stop", "exception", "event"]


@frozen(kw_only=True)
class TelemetryEvent:
    """The start or end of a span, or a single event.

    Attributes:
        name: `generate`, `stream`, `step`, `chat`, `tool`, `image`, `embed`, or `adapter.retry`.
        phase: `start`, `stop` or `exception` of a span; `event` for a single one.
        span_id, parent_id: Unique in the process; the events of one span share them.
        time: `time.perf_counter()` seconds.
        duration: Seconds since the span's start; set on its last event.
        attributes: Facts such as provider, model, usage, finish reason, attempt; never keys, never content.
    """

    name: str
    phase: Phase
    span_id: int
    parent_id: int | None = None
    time: float = 0.0
    duration: float | None = None
    attributes: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


Handler = Callable[[TelemetryEvent], object]
"""A function that receives telemetry events; its return value is ignored."""

handlers: dict[int, tuple[Handler, frozenset[str] | None]] = {}
"""Those that are attached, with the names of the events that each one wants; None: all."""
_ids = itertools.count(1)
_current: ContextVar[int | None] = ContextVar("allm_span", default=None)


def attach(handler: Handler, events: Iterable[str] | None = None) -> Callable[[], None]:
    """Call `handler` for every telemetry event, or only for those named in `events`.

    Returns:
        A function that detaches the handler.
    """
    key = next(_ids)
    handlers[key] = (handler, None if events is None else frozenset(events))

    def detach() -> None:
        handlers.pop(key, None)

    return detach


def _send(event: TelemetryEvent) -> None:
    for key, (handler, names) in list(handlers.items()):  # a copy: a handler may attach or detach handlers
        if names is not None and event.name not in names:
            continue
        try:
            handler(event)
        except Exception:
            handlers.pop(key, None)
            logger.exception("telemetry handler %r failed and is detached", handler)


def emit(name: str, span: Span | None = None, **attributes: Any) -> None:
    """Send a single event, within `span` if given."""
    if handlers:
        parent = span.id if span is not None else _current.get()
        _send(
            TelemetryEvent(
                name=name,
                phase="event",
                span_id=next(_ids),
                parent_id=parent,
                time=time.perf_counter(),
                attributes=attributes,
            )
        )


@define(eq=False)
class Span:
    """A running span. It ends once, with the first `stop` or `fail`; later ones do nothing."""

    name: str
    id: int
    parent_id: int | None
    started: float
    attributes: dict[str, Any]
    _ended: bool = attrs.field(default=False, init=False)

    def stop(self, **attributes: Any) -> None:
        """End the span."""
        self._end("stop", attributes)

    def fail(self, error: BaseException, **attributes: Any) -> None:
        """End the span with an exception."""
        self._end("exception", {**attributes, "error": error})

    def _end(self, phase: Phase, attributes: dict[str, Any]) -> None:
        if self._ended:
            return
        self._ended = True
        now = time.perf_counter()
        self.attributes.update(attributes)
        if handlers:
            _send(
                TelemetryEvent(
                    name=self.name,
                    phase=phase,
                    span_id=self.id,
                    parent_id=self.parent_id,
                    time=now,
                    duration=now - self.started,
                    attributes=dict(self.attributes),
                )
            )


def start_span(name: str, *, parent: Span | None = None, **attributes: Any) -> Span:
    """Start a span; its parent is `parent`, else the span of the surrounding context."""
    parent_id = parent.id if parent is not None else _current.get()
    span = Span(name, next(_ids), parent_id, time.perf_counter(), attributes)
    if handlers:
        _send(
            TelemetryEvent(
                name=name,
                phase="start",
                span_id=span.id,
                parent_id=parent_id,
                time=span.started,
                attributes=dict(attributes),
            )
        )
    return span
