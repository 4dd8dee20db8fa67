"""Telemetry: `attach` a handler of `TelemetryEvent` (see `allm.runtime.telemetry`)."""

from allm.runtime.telemetry import TelemetryEvent as TelemetryEvent, attach as attach

__all__ = ["TelemetryEvent", "attach"]
