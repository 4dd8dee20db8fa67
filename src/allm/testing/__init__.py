"""Tools for tests: a loopback server that plays providers and their faults, and conformance suites for adapters."""

from allm.testing.cancelling import (
    CancelReport as CancelReport,
    CancelTrial as CancelTrial,
    cancel_everywhere as cancel_everywhere,
)
from allm.testing.cassette import Cassette as Cassette, record as record, replay as replay
from allm.testing.clock import loopback_clock as loopback_clock
from allm.testing.conformance import (
    AdapterConformance as AdapterConformance,
    AdapterSetup as AdapterSetup,
    Capability as Capability,
    EmbeddingAdapterConformance as EmbeddingAdapterConformance,
    EmbeddingCapability as EmbeddingCapability,
    FilesConformance as FilesConformance,
    ImageAdapterConformance as ImageAdapterConformance,
    ImageCapability as ImageCapability,
    ModelListConformance as ModelListConformance,
    ModerationAdapterConformance as ModerationAdapterConformance,
    RerankAdapterConformance as RerankAdapterConformance,
    ServiceCapability as ServiceCapability,
    SpeechAdapterConformance as SpeechAdapterConformance,
    StreamAdapterConformance as StreamAdapterConformance,
    TokenCountConformance as TokenCountConformance,
    TranscriptionAdapterConformance as TranscriptionAdapterConformance,
)
from allm.testing.conformance.setup import Script as Script, Stage as Stage
from allm.testing.engines import override_engine as override_engine
from allm.testing.events import collect as collect, text as text, tool_calls as tool_calls
from allm.testing.faults import (
    BEFORE_HEAD as BEFORE_HEAD,
    Cut as Cut,
    Fault as Fault,
    Garbage as Garbage,
    GarbageHead as GarbageHead,
    HalfClose as HalfClose,
    KeepAlive as KeepAlive,
    Reset as Reset,
    Stall as Stall,
    TruncatedChunk as TruncatedChunk,
    WrongLength as WrongLength,
)
from allm.testing.kept_files import KeptFile as KeptFile
from allm.testing.leak_check import LeakCheck as LeakCheck, no_leaks as no_leaks
from allm.testing.network import NetworkDenied as NetworkDenied, deny_network as deny_network
from allm.testing.recorded import Outcome as Outcome, RecordedRequest as RecordedRequest
from allm.testing.replies import (
    DeliveryOptions as DeliveryOptions,
    Framing as Framing,
    Piece as Piece,
    Reply as Reply,
    ReplyOptions as ReplyOptions,
)
from allm.testing.services import Services as Services
from allm.testing.tape import Exchange as Exchange
from allm.testing.wire_formats import Provider as Provider
from allm.testing.wire_server import (
    ReplySource as ReplySource,
    ServerStatistics as ServerStatistics,
    WireServer as WireServer,
)

__all__ = [  # noqa: RUF022 - in the order of sorted()
    "AdapterConformance",
    "AdapterSetup",
    "BEFORE_HEAD",
    "CancelReport",
    "CancelTrial",
    "Capability",
    "Cassette",
    "Cut",
    "DeliveryOptions",
    "EmbeddingAdapterConformance",
    "EmbeddingCapability",
    "Exchange",
    "Fault",
    "FilesConformance",
    "Framing",
    "Garbage",
    "GarbageHead",
    "HalfClose",
    "ImageAdapterConformance",
    "ImageCapability",
    "KeepAlive",
    "KeptFile",
    "LeakCheck",
    "ModelListConformance",
    "ModerationAdapterConformance",
    "NetworkDenied",
    "Outcome",
    "Piece",
    "Provider",
    "RecordedRequest",
    "Reply",
    "ReplyOptions",
    "ReplySource",
    "RerankAdapterConformance",
    "Reset",
    "Script",
    "ServerStatistics",
    "ServiceCapability",
    "Services",
    "SpeechAdapterConformance",
    "Stage",
    "Stall",
    "StreamAdapterConformance",
    "TokenCountConformance",
    "TranscriptionAdapterConformance",
    "TruncatedChunk",
    "WireServer",
    "WrongLength",
    "cancel_everywhere",
    "collect",
    "deny_network",
    "loopback_clock",
    "no_leaks",
    "override_engine",
    "record",
    "replay",
    "text",
    "tool_calls",
]
