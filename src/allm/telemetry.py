"""Telemetry: `attach` a handler for each `TelemetryEvent` (see `allm.runtime.telemetry`), `record` them in a file."""

from allm.runtime.recording import record as record
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
    "record",
]
