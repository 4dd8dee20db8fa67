"""OpenTelemetry: spans and metrics by the conventions for generative AI. Needs the extra `otel`.

Our spans become spans of OpenTelemetry while they run: their parent is whatever span is current where the call began,
and they are current themselves where their work is done, also in tools, their threads and their event loops. A step has
no span in the conventions: its model calls and tools are children of the turn.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, final

from allm._version import __version__
from allm.data.attrs_classes import define
from allm.data.errors import AllmError
from allm.data.tool_control import exception_text
from allm.runtime import telemetry
from allm.runtime.telemetry import TelemetryEvent
from allm.runtime.telemetry_json import as_json
from allm.telemetry.genai_names import (
    DURATION_BUCKETS,
    OPERATIONS,
    PROVIDERS,
    SCHEMA_URL,
    TOKEN_BUCKETS,
    finish_reason,
)

try:
    from opentelemetry import context as otel_context
    from opentelemetry.metrics import Histogram, MeterProvider, get_meter
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, get_tracer, set_span_in_context
except ModuleNotFoundError as _missing:
    raise ImportError(f"OpenTelemetry needs the extra 'otel': pip install 'allm-trio[otel]' ({_missing})") from _missing

__all__ = ["Instrumented", "instrument"]

logger: logging.Logger = logging.getLogger("allm")

MOST_OPEN = 10_000
"""Spans that are open at once. Each ends with its call, so more than that would be a leak, and the oldest is ended."""
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_YES = frozenset({"true", "1", "span_only", "span_and_event"})
_MOST = 2**63
_INTERNAL = frozenset({"chat", "tool"})
_METERED = frozenset(OPERATIONS) - _INTERNAL
_OF_OPERATION: dict[str, dict[str, Any]] = {
    "chat": {"gen_ai.request.stream": True},
    "execute_tool": {"gen_ai.tool.type": "function"},
}
_OF_REQUEST = {
    "model": "gen_ai.request.model",
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "stop": "gen_ai.request.stop_sequences",
    "seed": "gen_ai.request.seed",
    "output_type": "gen_ai.output.type",
    "session_id": "gen_ai.conversation.id",
    "tool_name": "gen_ai.tool.name",
    "tool_call_id": "gen_ai.tool.call.id",
    "tool_description": "gen_ai.tool.description",
    "response_id": "gen_ai.response.id",
    "response_model": "gen_ai.response.model",
    "time_to_first_event": "gen_ai.response.time_to_first_chunk",
    "dimensions": "gen_ai.embeddings.dimension.count",
    "request_id": "allm.request.id",
    "halted_reason": "allm.halted_reason",
    "cancelled": "allm.cancelled",
    "abandoned": "allm.tool.abandoned",
    "group": "allm.group",
}
_OF_USAGE = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_input_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "total_cost": "allm.usage.cost",
}


def instrument(
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    content: bool | None = None,
) -> Instrumented:
    """Turn the calls of this process into spans and metrics of OpenTelemetry, from now on.

    Args:
        tracer_provider, meter_provider: Whom they go to; None: the global ones.
        content: Put what was said into attributes: messages, answers, arguments and results of tools, and the messages
            of errors. None: if the environment variable OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so.

    Returns:
        A function that ends this; also a context manager.
    """
    if content is None:
        content = os.environ.get(_CAPTURE, "").strip().lower() in _YES
    spans = _Spans(tracer_provider, meter_provider, content=content)
    return Instrumented(telemetry.attach(spans.on_event, content=content, around=spans.around), spans)


@final
class Instrumented:
    """What `instrument` returns: call it, or leave its block, to end the instrumentation."""

    def __init__(self, detach: Callable[[], None], spans: _Spans) -> None:
        self._detach = detach
        self._spans = spans

    def __call__(self) -> None:
        """End it; spans that are open end now."""
        self._detach()
        self._spans.end_all()

    def __enter__(self) -> Instrumented:
        return self

    def __exit__(self, *_: object) -> None:
        self()


@define(eq=False)
class _Open:
    """A span that is open: that of OpenTelemetry, and the attributes of its metrics."""

    span: Span
    metered: dict[str, Any]


class _Spans:
    """The handler. A failure in it, such as that of an exporter, is logged and affects nothing else."""

    def __init__(
        self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None, *, content: bool
    ) -> None:
        self._tracer = get_tracer("allm", __version__, tracer_provider, SCHEMA_URL)
        meter = get_meter("allm", __version__, meter_provider, SCHEMA_URL)

        def histogram(name: str, unit: str, what: str, buckets: list[float]) -> Histogram:
            return meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=buckets)

        self._duration = histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.", DURATION_BUCKETS
        )
        self._first_chunk = histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Time to receive the first chunk.", DURATION_BUCKETS
        )
        tokens: list[float] = [*TOKEN_BUCKETS]
        self._tokens = histogram("gen_ai.client.token.usage", "{token}", "Number of tokens used.", tokens)
        self._content = content
        self._open: dict[int, _Open] = {}
        self._failed = False

    def on_event(self, event: TelemetryEvent) -> None:
        """Handle one event."""
        try:
            self._handle(event)
        except Exception as error:
            self._has_failed(error)

    def _has_failed(self, error: Exception) -> None:
        # Once as a warning: what is broken here is broken for each span of each call.
        level = logging.DEBUG if self._failed else logging.WARNING
        self._failed = True
        logger.log(level, "OpenTelemetry failed; the call goes on", exc_info=error)

    def around(self, span_id: int) -> AbstractContextManager[object]:
        """What the work for a span runs in: the span of OpenTelemetry is current."""
        opened = self._open.get(span_id)
        return nullcontext() if opened is None else _current(opened.span)

    def end_all(self) -> None:
        """End what is open."""
        while self._open:
            with suppress(KeyError):
                self._open.pop(next(iter(self._open))).span.end()

    def _handle(self, event: TelemetryEvent) -> None:
        if event.phase == "event":
            self._add_event(event)
        elif event.phase == "start":
            if event.name != "step":
                self._start(event)
        elif (opened := self._open.pop(event.span_id, None)) is not None:
            try:
                self._measure(event, opened)
            finally:
                self._end(event, opened.span)

    def _start(self, event: TelemetryEvent) -> None:
        facts, operation = event.attributes, OPERATIONS.get(event.name)
        several = event.name in _METERED and (facts.get("validation_retries") or facts.get("group"))
        operation = None if several else operation  # it is that of the spans inside
        target = facts.get("tool_name") or (facts.get("model") if event.name != "chat" else None)
        own = facts["group"] if event.name == "members" else event.name
        name = " ".join(filter(None, (operation or own, target))) if operation or several else own
        metered = _identity(operation, facts)
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT if event.name in _METERED and operation else SpanKind.INTERNAL,
            attributes={**metered, **_OF_OPERATION.get(operation or "", {}), **self._facts(event)},
            start_time=_nanoseconds(event.timestamp),
        )
        while len(self._open) >= MOST_OPEN:
            self._open.pop(next(iter(self._open))).span.end()
        self._open[event.span_id] = _Open(span, metered)

    def _end(self, event: TelemetryEvent, span: Span) -> None:
        try:
            if span.is_recording():
                span.set_attributes(self._facts(event))
                error = event.attributes.get("error")
                if error is not None:
                    span.set_attribute("error.type", _type_of(error))
                    span.set_status(
                        Status(StatusCode.ERROR, exception_text(error) if self._content else _type_of(error))
                    )
        finally:
            span.end(_nanoseconds(event.timestamp))

    def _measure(self, event: TelemetryEvent, opened: _Open) -> None:
        operation = opened.metered.get("gen_ai.operation.name")
        if event.name not in _METERED or operation is None:
            return
        facts, about = event.attributes, dict(opened.metered)
        if facts.get("response_model") is not None:
            about["gen_ai.response.model"] = facts["response_model"]
        self._count(facts.get("usage"), about)
        if (first := facts.get("time_to_first_event")) is not None:
            self._first_chunk.record(first, about)
        if facts.get("error") is not None:
            about["error.type"] = _type_of(facts["error"])
        elif facts.get("cancelled"):
            about["error.type"] = "cancelled"
        self._duration.record(event.duration or 0.0, about)

    def _count(self, usage: Any, about: dict[str, Any]) -> None:
        for kind in ("input", "output"):
            if (count := getattr(usage, f"{kind}_tokens", None)) is not None:
                self._tokens.record(count, {**about, "gen_ai.token.type": kind})

    def _add_event(self, event: TelemetryEvent) -> None:
        opened = self._open.get(event.parent_id or 0)
        if opened is None:
            return
        facts = event.attributes
        if event.name == "adapter.retry":
            self._count(facts.get("usage"), opened.metered)  # of the attempt that was given up
            made = {"allm.retry.attempt": facts["attempt"], "allm.retry.delay": facts["delay"]}
            made["error.type"] = _type_of(facts["error"])
            if self._content:
                made["exception.message"] = exception_text(facts["error"])
        else:
            known = {name: value for name, value in facts.items() if value is not None and name != "error"}
            made = {f"allm.{name}": _value(value) for name, value in known.items()}
            if (error := facts.get("error")) is not None:
                made["error.type"] = _type_of(error)
        opened.span.add_event(event.name, made, _nanoseconds(event.timestamp))

    def _facts(self, event: TelemetryEvent) -> dict[str, Any]:
        """The attributes of an event under the names of the conventions; those of a user's own span as they are."""
        facts = event.attributes
        made: dict[str, Any] = {}
        if event.name not in OPERATIONS and event.name != "members":
            made = {name: _value(value) for name, value in facts.items() if value is not None and name != "error"}
        else:
            made = {ours: _value(facts[name]) for name, ours in _OF_REQUEST.items() if facts.get(name) is not None}
            usage = facts.get("usage")
            counts = {ours: getattr(usage, name, None) for name, ours in _OF_USAGE.items()}
            made |= {name: count for name, count in counts.items() if count is not None}
            if (reason := facts.get("finish_reason")) is not None:
                made["gen_ai.response.finish_reasons"] = [finish_reason(reason)]
        if event.content and event.name != "members":
            from allm.telemetry.genai_content import content_attributes

            try:
                made |= content_attributes(event.name, event.content, facts)
            except Exception as error:  # the span is worth having without it
                self._has_failed(error)
        return made


def _identity(operation: str | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that spans and metrics share."""
    if operation is None:
        return {}
    made: dict[str, Any] = {"gen_ai.operation.name": operation}
    if (provider := facts.get("provider")) is not None:
        made["gen_ai.provider.name"] = PROVIDERS.get(provider, provider)
    if facts.get("model") is not None:
        made["gen_ai.request.model"] = facts["model"]
    return made


@contextmanager
def _current(span: Span) -> Generator[None]:
    token = otel_context.attach(set_span_in_context(span))
    try:
        yield
    finally:
        otel_context.detach(token)


def _type_of(error: BaseException) -> str:
    """A word for the kind of error, of which there are few."""
    return error.reason if isinstance(error, AllmError) else type(error).__qualname__


def _nanoseconds(timestamp: float) -> int:
    return round(timestamp * 1e9)


def _value(value: Any) -> Any:
    """A value as OpenTelemetry takes it, which has 64 bits for an int."""
    if isinstance(value, int) and not -_MOST <= value < _MOST:
        return str(as_json(value))
    if isinstance(value, (str, bool, int, float)):
        return value
    made = as_json(value)
    return made if isinstance(made, list) and all(isinstance(item, str) for item in made) else json.dumps(made)
