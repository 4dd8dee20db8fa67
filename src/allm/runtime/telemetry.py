"""Telemetry: spans with a start and an end, and single events such as a retry.

A handler is a function of one `TelemetryEvent`. A call starts its spans if `handlers` has any, and costs one check
otherwise. A handler that raises is logged and detached: observation never breaks a call.

Spans form a tree. While a span is open, the tasks that do its work have it as their current one (`entered`), in a
context variable: what they start, in other tasks and threads too, are its children. A handler that keeps context of its
own, such as OpenTelemetry's, is entered at the same places (`around`).
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Literal

import attrs

from allm.data.attrs_classes import define, frozen

__all__ = [
    "Around",
    "Content",
    "Handler",
    "Phase",
    "Span",
    "TelemetryEvent",
    "attach",
    "current_span",
    "emit",
    "entered",
    "handlers",
    "span",
    "start_span",
]

logger: logging.Logger = logging.getLogger("allm")

Phase = Literal["start", "stop", "exception", "event"]


@frozen(kw_only=True)
class TelemetryEvent:
    """The start or end of a span, or a single event.

    Attributes:
        name: `generate`, `chat`, `step`, `model_call`, `tool`, `image`, `embed` and so on, the name given to
            `allm.telemetry.span`; of single events `adapter.retry`, `engine.attempt` and `engine.skipped`.
        phase: `start`, `stop` or `exception` of a span; `event` for a single one.
        span_id, parent_id: Unique in the process; the events of one span share them.
        time: `time.perf_counter()` seconds.
        timestamp: Seconds since the epoch, in UTC. Within a tree of spans it moves with `time`, also when the clock of
            the machine is set.
        duration: Seconds since the span's start; set on its last event.
        attributes: Facts such as provider, model, usage, finish reason, attempt; never keys, never content.
        content: What was said, such as the messages, the answer, the arguments and the result of a tool; None for a
            handler that did not ask for it.
    """

    name: str
    phase: Phase
    span_id: int
    parent_id: int | None = None
    time: float = 0.0
    timestamp: float = 0.0
    duration: float | None = None
    attributes: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    content: Mapping[str, Any] | None = attrs.field(default=None, hash=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The event as values of JSON: usage by its counts, an error by its class, reason, status and message."""
        from allm.runtime.telemetry_json import event_as_json

        return event_as_json(self)


Handler = Callable[[TelemetryEvent], object]
"""A function that receives telemetry events; its return value is ignored."""
Content = Callable[[], Mapping[str, Any]]
"""Makes the content of an event; called only if a handler asks for it."""
Around = Callable[[int], AbstractContextManager[object]]
"""Makes what the work for the span with this id runs in."""


@frozen
class _Attached:
    handler: Handler
    names: frozenset[str] | None
    content: bool
    around: Around | None


handlers: dict[int, _Attached] = {}
"""Those that are attached; a key is smaller than the ids of the spans that began later."""
_ids = itertools.count(1)
_current: ContextVar[Span | None] = ContextVar("allm_span", default=None)


def attach(
    handler: Handler, events: Iterable[str] | None = None, *, content: bool = False, around: Around | None = None
) -> Callable[[], None]:
    """Call `handler` for every telemetry event, or only for those named in `events`.

    It is told of the spans that begin from now on.

    Args:
        content: Give the events their `content`: messages, answers, arguments and results of tools.
        around: A function of the id of a span that returns a context manager. Each task that works for the span runs in
            it, for context variables of your own.

    Returns:
        A function that detaches the handler.
    """
    key = next(_ids)
    handlers[key] = _Attached(handler, None if events is None else frozenset(events), content, around)

    def detach() -> None:
        handlers.pop(key, None)

    return detach


def _send(event: TelemetryEvent, content: Content | None = None) -> None:
    whole: TelemetryEvent | None = None
    for key, attached in list(handlers.items()):  # a copy: a handler may attach or detach handlers
        # An end without its start would tell nothing.
        if event.span_id < key or (attached.names is not None and event.name not in attached.names):
            continue
        try:
            if not attached.content:
                attached.handler(event)
                continue
            if whole is None:
                whole = attrs.evolve(event, content=_made(content))
            attached.handler(whole)
        except Exception as error:
            _give_up(key, attached, error)


def _made(content: Content | None) -> Mapping[str, Any]:
    try:
        return content() if content is not None else {}
    except Exception:
        logger.exception("the content of a telemetry event could not be made")
        return {}


def _give_up(key: int, attached: _Attached, error: Exception) -> None:
    handlers.pop(key, None)
    logger.error("telemetry handler %r failed and is detached", attached.handler, exc_info=error)


def emit(name: str, span: Span | None = None, **attributes: Any) -> None:
    """Send a single event, within `span` if given, else within the current one."""
    if handlers:
        span = span or _current.get()
        now = time.perf_counter()
        _send(
            TelemetryEvent(
                name=name,
                phase="event",
                span_id=next(_ids),
                parent_id=span.id if span is not None else None,
                time=now,
                timestamp=span.timestamp_at(now) if span is not None else time.time(),
                attributes=attributes,
            )
        )


@define(eq=False)
class Span:
    """A running span. It ends once, with the first `stop` or `fail`; later ones do nothing.

    Attributes:
        started: When it began, in `time.perf_counter()` seconds.
        timestamp: When it began, in seconds since the epoch.
        attributes: Facts that its last event has; may be added to while it runs.
        content: Makes the content of its last event.
    """

    name: str
    id: int
    parent_id: int | None
    started: float
    timestamp: float
    attributes: dict[str, Any]
    content: Content | None = attrs.field(default=None, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def timestamp_at(self, now: float) -> float:
        """The time since the epoch at `now`, in `time.perf_counter()` seconds."""
        return self.timestamp + (now - self.started)

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
            ended = TelemetryEvent(
                name=self.name,
                phase=phase,
                span_id=self.id,
                parent_id=self.parent_id,
                time=now,
                timestamp=self.timestamp_at(now),
                duration=now - self.started,
                attributes=dict(self.attributes),
            )
            _send(ended, self.content)


def start_span(
    name: str, facts: Mapping[str, Any] | None = None, *, content: Content | None = None, parent: Span | None = None
) -> Span:
    """Start a span with these attributes; its parent is `parent`, else the current span."""
    parent = parent or _current.get()
    now = time.perf_counter()
    span = Span(
        name,
        next(_ids),
        parent.id if parent is not None else None,
        now,
        parent.timestamp_at(now) if parent is not None else time.time(),
        dict(facts or {}),
    )
    if handlers:
        started = TelemetryEvent(
            name=name,
            phase="start",
            span_id=span.id,
            parent_id=span.parent_id,
            time=now,
            timestamp=span.timestamp,
            attributes=dict(span.attributes),
        )
        _send(started, content)
    return span


def current_span() -> Span | None:
    """The innermost span that this code runs for."""
    return _current.get()


def _go_into(key: int, attached: _Attached, around: Around, span_id: int, left: list[Callable[[], None]]) -> None:
    """Enter what a handler puts around the work of a span; what leaves it is added to `left`."""

    def leave() -> None:
        try:
            context.__exit__(None, None, None)  # how the work ended is told by the events
        except Exception as error:
            _give_up(key, attached, error)

    try:
        context = around(span_id)
        context.__enter__()
        left.append(leave)
    except Exception as error:
        _give_up(key, attached, error)


@contextmanager
def entered(span: Span) -> Generator[None]:
    """Run the block, and what it starts, as work of `span`."""
    token = _current.set(span)
    left: list[Callable[[], None]] = []
    for key, attached in list(handlers.items()):
        if attached.around is not None and span.id > key:
            _go_into(key, attached, attached.around, span.id, left)
    try:
        yield
    finally:
        while left:
            left.pop()()
        with suppress(ValueError):  # in a generator, the block may end in another context than it began in
            _current.reset(token)


@contextmanager
def span(
    name: str, /, facts: Mapping[str, Any] | None = None, *, content: Content | None = None, **attributes: Any
) -> Generator[Span]:
    """Run the block within a span of your own: the calls made in it are its children.

        with allm.telemetry.span("request", path="/ask") as span:
            await allm.chat(...)
            span.attributes["answered"] = True

    An exception ends it in the phase `exception`; a cancellation in `stop`, with the attribute `cancelled`.

    Args:
        name: Its name.
        facts: Attributes, as a mapping.
        content: Returns what only those handlers are told that ask for content.
        attributes: Attributes by name, such as numbers and texts.
    """
    if not handlers:  # nobody could be told of its start
        now = time.perf_counter()
        yield Span(name, next(_ids), None, now, time.time(), {**(facts or {}), **attributes})
        return
    running = start_span(name, {**(facts or {}), **attributes}, content=content)
    try:
        with entered(running):
            yield running
    except Exception as error:
        running.fail(error)
        raise
    except BaseException:
        running.stop(cancelled=True)
        raise
    else:
        running.stop()
