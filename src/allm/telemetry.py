"""Telemetry: `attach` a handler for each `TelemetryEvent` (see `allm.runtime.telemetry`)."""

from allm.runtime.telemetry import (
    Handler as Handler,
    Phase as Phase,
    TelemetryEvent as TelemetryEvent,
    attach as attach,
)

__all__ = [
    "Handler",
    "Phase",
    "TelemetryEvent",
    "attach",
]
