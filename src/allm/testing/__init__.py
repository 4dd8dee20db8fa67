"""Tools for tests: a loopback server that speaks the providers' wire formats and plays their faults."""

from allm.testing.clock import loopback_clock as loopback_clock
from allm.testing.faults import (
    BEFORE_HEAD as BEFORE_HEAD,
    Cut as Cut,
    Fault as Fault,
    Garbage as Garbage,
    GarbageHead as GarbageHead,
    KeepAlive as KeepAlive,
    Reset as Reset,
    Stall as Stall,
)
from allm.testing.recorded import RecordedRequest as RecordedRequest
from allm.testing.replies import Reply as Reply
from allm.testing.wire_server import ServerStatistics as ServerStatistics, WireServer as WireServer

__all__ = [
    "BEFORE_HEAD",
    "Cut",
    "Fault",
    "Garbage",
    "GarbageHead",
    "KeepAlive",
    "RecordedRequest",
    "Reply",
    "Reset",
    "ServerStatistics",
    "Stall",
    "WireServer",
    "loopback_clock",
]
