"""The bundled adapters, each loaded when it is first named, and `register` for those of others."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from allm.runtime.registry import AdapterFactory as AdapterFactory, register as register

if TYPE_CHECKING:
    from allm.providers.anthropic import Anthropic as Anthropic
    from allm.providers.anthropic.adapter import ClaudeHost as ClaudeHost
    from allm.providers.anthropic.structured import StructuredOutput as StructuredOutput
    from allm.providers.bedrock import Bedrock as Bedrock
    from allm.providers.cohere.adapter import Cohere as Cohere
    from allm.providers.cohere.embeddings import CohereEmbeddings as CohereEmbeddings
    from allm.providers.cohere.rerank import CohereRerank as CohereRerank
    from allm.providers.cohere.transcription import CohereTranscription as CohereTranscription
    from allm.providers.deepgram.transcription import DeepgramTranscription as DeepgramTranscription
    from allm.providers.elevenlabs.speech import ElevenLabsSpeech as ElevenLabsSpeech
    from allm.providers.elevenlabs.transcription import ElevenLabsTranscription as ElevenLabsTranscription
    from allm.providers.fake import Fake as Fake
    from allm.providers.fake.audio import FakeSpeech as FakeSpeech, FakeTranscription as FakeTranscription
    from allm.providers.fake.embeddings import FakeEmbeddings as FakeEmbeddings
    from allm.providers.fake.images import FakeImages as FakeImages, ImageScriptItem as ImageScriptItem
    from allm.providers.fake.moderation import FakeModeration as FakeModeration
    from allm.providers.fake.rerank import FakeRerank as FakeRerank
    from allm.providers.gemini import Gemini as Gemini
    from allm.providers.gemini.embeddings import GeminiEmbeddings as GeminiEmbeddings
    from allm.providers.gemini.images import GeminiImages as GeminiImages
    from allm.providers.gemini.speech import GeminiSpeech as GeminiSpeech
    from allm.providers.gemini.transcription import GeminiTranscription as GeminiTranscription
    from allm.providers.local import Local as Local
    from allm.providers.openai import OpenAI as OpenAI, Preset as Preset
    from allm.providers.openai.embeddings import OpenAIEmbeddings as OpenAIEmbeddings
    from allm.providers.openai.images import OpenAIImages as OpenAIImages
    from allm.providers.openai.moderation import OpenAIModeration as OpenAIModeration
    from allm.providers.openai.presets import Endpoint as Endpoint, UrlField as UrlField
    from allm.providers.openai.speech import OpenAISpeech as OpenAISpeech
    from allm.providers.openai.transcription import OpenAITranscription as OpenAITranscription
    from allm.providers.voyage.embeddings import VoyageEmbeddings as VoyageEmbeddings
    from allm.providers.voyage.rerank import VoyageRerank as VoyageRerank
    from allm.providers.xai.speech import XaiSpeech as XaiSpeech
    from allm.providers.xai.transcription import XaiTranscription as XaiTranscription

__all__ = [
    "AdapterFactory",
    "Anthropic",
    "Bedrock",
    "ClaudeHost",
    "Cohere",
    "CohereEmbeddings",
    "CohereRerank",
    "CohereTranscription",
    "DeepgramTranscription",
    "ElevenLabsSpeech",
    "ElevenLabsTranscription",
    "Endpoint",
    "Fake",
    "FakeEmbeddings",
    "FakeImages",
    "FakeModeration",
    "FakeRerank",
    "FakeSpeech",
    "FakeTranscription",
    "Gemini",
    "GeminiEmbeddings",
    "GeminiImages",
    "GeminiSpeech",
    "GeminiTranscription",
    "ImageScriptItem",
    "Local",
    "OpenAI",
    "OpenAIEmbeddings",
    "OpenAIImages",
    "OpenAIModeration",
    "OpenAISpeech",
    "OpenAITranscription",
    "Preset",
    "StructuredOutput",
    "UrlField",
    "VoyageEmbeddings",
    "VoyageRerank",
    "XaiSpeech",
    "XaiTranscription",
    "register",
]

_MODULES = {
    "Anthropic": "anthropic",
    "Bedrock": "bedrock",
    "ClaudeHost": "anthropic.adapter",
    "Cohere": "cohere.adapter",
    "CohereEmbeddings": "cohere.embeddings",
    "CohereRerank": "cohere.rerank",
    "CohereTranscription": "cohere.transcription",
    "DeepgramTranscription": "deepgram.transcription",
    "ElevenLabsSpeech": "elevenlabs.speech",
    "ElevenLabsTranscription": "elevenlabs.transcription",
    "Endpoint": "openai.presets",
    "Fake": "fake",
    "FakeEmbeddings": "fake.embeddings",
    "FakeImages": "fake.images",
    "FakeModeration": "fake.moderation",
    "FakeRerank": "fake.rerank",
    "FakeSpeech": "fake.audio",
    "FakeTranscription": "fake.audio",
    "Gemini": "gemini",
    "GeminiEmbeddings": "gemini.embeddings",
    "GeminiImages": "gemini.images",
    "GeminiSpeech": "gemini.speech",
    "GeminiTranscription": "gemini.transcription",
    "ImageScriptItem": "fake.images",
    "Local": "local",
    "OpenAI": "openai",
    "OpenAIEmbeddings": "openai.embeddings",
    "OpenAIImages": "openai.images",
    "OpenAIModeration": "openai.moderation",
    "OpenAISpeech": "openai.speech",
    "OpenAITranscription": "openai.transcription",
    "Preset": "openai",
    "StructuredOutput": "anthropic.structured",
    "UrlField": "openai.presets",
    "VoyageEmbeddings": "voyage.embeddings",
    "VoyageRerank": "voyage.rerank",
    "XaiSpeech": "xai.speech",
    "XaiTranscription": "xai.transcription",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
