"""Telemetry: `attach` a handler, `span` for spans of your own (see `allm.runtime.telemetry`), `record` in a file."""

from allm.runtime.telemetry import (
    Around as Around,
    Content as Content,
    Handler as Handler,
    Phase as Phase,
    Span as Span,
    TelemetryEvent as TelemetryEvent,
    attach as attach,
    current_span as current_span,
    span as span,
)
from allm.telemetry.recording import record as record

__all__ = [
    "Around",
    "Content",
    "Handler",
    "Phase",
    "Span",
    "TelemetryEvent",
    "attach",
    "current_span",
    "record",
    "span",
]
