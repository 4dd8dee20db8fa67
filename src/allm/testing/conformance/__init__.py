"""Conformance suites: subclass one to run every case that the bundled adapters pass against your adapter.

    class TestMyAdapter(StreamAdapterConformance):
        wire_format = "openai"

        def make_adapter(self, setup):
            return MyAdapter(api_key=setup.api_key, base_url=setup.base_url)

The cases are plain synchronous tests that start Trio themselves, so they need no pytest plugin.
"""

from allm.testing.conformance.audio_suites import (
    SpeechAdapterConformance as SpeechAdapterConformance,
    TranscriptionAdapterConformance as TranscriptionAdapterConformance,
)
from allm.testing.conformance.companion_suites import (
    ModelListConformance as ModelListConformance,
    TokenCountConformance as TokenCountConformance,
)
from allm.testing.conformance.embedding_suite import (
    EmbeddingAdapterConformance as EmbeddingAdapterConformance,
    EmbeddingCapability as EmbeddingCapability,
)
from allm.testing.conformance.file_suite import FilesConformance as FilesConformance
from allm.testing.conformance.image_suite import (
    ImageAdapterConformance as ImageAdapterConformance,
    ImageCapability as ImageCapability,
)
from allm.testing.conformance.setup import AdapterSetup as AdapterSetup, Capability as Capability
from allm.testing.conformance.suites import (
    AdapterConformance as AdapterConformance,
    StreamAdapterConformance as StreamAdapterConformance,
)
from allm.testing.conformance.text_suites import (
    ModerationAdapterConformance as ModerationAdapterConformance,
    RerankAdapterConformance as RerankAdapterConformance,
)
from allm.testing.conformance.unary_cases import ServiceCapability as ServiceCapability

__all__ = [
    "AdapterConformance",
    "AdapterSetup",
    "Capability",
    "EmbeddingAdapterConformance",
    "EmbeddingCapability",
    "FilesConformance",
    "ImageAdapterConformance",
    "ImageCapability",
    "ModelListConformance",
    "ModerationAdapterConformance",
    "RerankAdapterConformance",
    "ServiceCapability",
    "SpeechAdapterConformance",
    "StreamAdapterConformance",
    "TokenCountConformance",
    "TranscriptionAdapterConformance",
]
