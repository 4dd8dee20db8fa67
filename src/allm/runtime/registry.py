"""Provider names as data: which class answers to `"openai:..."`. Nothing is imported until a name is used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection
from typing import Any

from allm.data.errors import EngineError

__all__ = ["PROVIDERS", "SERVICES", "adapter_for", "service_adapter", "split_model"]

PROVIDERS: dict[str, str] = {
    "openai": "allm.providers.openai:OpenAI",
    "anthropic": "allm.providers.anthropic:Anthropic",
    "gemini": "allm.providers.gemini:Gemini",
    "fake": "allm.providers.fake:Fake",
}


COMPATIBLE = frozenset(
    {
        "azure",
        "deepseek",
        "fireworks",
        "groq",
        "llamacpp",
        "mistral",
        "ollama",
        "openrouter",
        "together",
        "vllm",
        "xai",
    }
)
"""Services that speak OpenAI's wire format: presets of its adapter."""

PROVIDERS.update(dict.fromkeys(COMPATIBLE, PROVIDERS["openai"]))


SERVICES: dict[str, dict[str, str]] = {
    "image": {
        "openai": "allm.providers.openai.images:OpenAIImages",
        "azure": "allm.providers.openai.images:OpenAIImages",
        "gemini": "allm.providers.gemini.images:GeminiImages",
        "fake": "allm.providers.fake.images:FakeImages",
    },
    "embedding": {
        **dict.fromkeys(
            ("openai", "azure", "fireworks", "llamacpp", "mistral", "ollama", "openrouter", "together", "vllm"),
            "allm.providers.openai.embeddings:OpenAIEmbeddings",
        ),
        "gemini": "allm.providers.gemini.embeddings:GeminiEmbeddings",
        "voyage": "allm.providers.voyage.embeddings:VoyageEmbeddings",
        "fake": "allm.providers.fake.embeddings:FakeEmbeddings",
    },
    "moderation": {
        "openai": "allm.providers.openai.moderation:OpenAIModeration",
        "mistral": "allm.providers.openai.moderation:OpenAIModeration",
        "fake": "allm.providers.fake.moderation:FakeModeration",
    },
    "speech": {
        "openai": "allm.providers.openai.speech:OpenAISpeech",
        "azure": "allm.providers.openai.speech:OpenAISpeech",
        "groq": "allm.providers.openai.speech:OpenAISpeech",
        "fake": "allm.providers.fake.audio:FakeSpeech",
    },
    "transcription": {
        "openai": "allm.providers.openai.transcription:OpenAITranscription",
        "azure": "allm.providers.openai.transcription:OpenAITranscription",
        "groq": "allm.providers.openai.transcription:OpenAITranscription",
        "gemini": "allm.providers.gemini.transcription:GeminiTranscription",
        "fake": "allm.providers.fake.audio:FakeTranscription",
    },
}
"""What else an engine can do, and who does it: the adapters of `Engine(image_adapter=...)` and the like."""


def split_model(text: str, known: Collection[str] = PROVIDERS) -> tuple[str, str]:
    """`"provider:id"` or `"id@provider"` as `(provider, id)`; the id may hold colons (`ollama:llama3:8b`).

    Raises:
        EngineError: `unknown_provider`.
    """
    if not isinstance(text, str):
        raise EngineError(
            f"the model is {type(text).__name__}; expected a text such as 'openai:gpt-5'", reason="unknown_provider"
        )
    provider, colon, model = text.partition(":")
    if not (colon and provider in known):
        head, at, tail = text.rpartition("@")
        if at and tail in known:
            provider, model = tail, head
    if provider not in known or not model:
        near = difflib.get_close_matches(provider, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != provider else ""
        raise EngineError(
            f"cannot tell the provider of {text!r}: expected provider:model or model@provider, with a provider of "
            f"{', '.join(sorted(known))}{hint}",
            reason="unknown_provider",
        )
    return provider, model


def adapter_for(provider: str) -> Any:
    """A new adapter of `provider`, with its defaults."""
    module, _, name = PROVIDERS[provider].partition(":")
    adapter_type = getattr(importlib.import_module(module), name)
    return adapter_type(preset=provider) if provider in COMPATIBLE else adapter_type()


def service_adapter(service: str, provider: str) -> Any:
    """A new adapter of `provider` for one of `SERVICES`, with its defaults."""
    module, _, name = SERVICES[service][provider].partition(":")
    adapter_type = getattr(importlib.import_module(module), name)
    return adapter_type(preset=provider) if provider in COMPATIBLE else adapter_type()
