"""Telemetry: `attach` a handler, `span` for spans of your own (see `allm.runtime.telemetry`), `record` in a file."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from allm.telemetry import otel as otel


def __getattr__(name: str) -> Any:
    """`otel`, which needs a package of its own and is loaded when a program asks for it."""
    if name != "otel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("allm.telemetry.otel")
