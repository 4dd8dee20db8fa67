"""Provider names as data: which class answers to `"openai:..."`. Nothing is imported until a name is used."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from allm.data.errors import EngineError

__all__ = ["PROVIDERS", "adapter_for", "split_model"]

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


def split_model(text: str) -> tuple[str, str]:
    """`"provider:id"` or `"id@provider"` as `(provider, id)`; the id may hold colons (`ollama:llama3:8b`).

    Raises:
        EngineError: `unknown_provider`.
    """
    provider, colon, model = text.partition(":")
    if not (colon and provider in PROVIDERS):
        head, at, tail = text.rpartition("@")
        if at and tail in PROVIDERS:
            provider, model = tail, head
    if provider not in PROVIDERS or not model:
        near = difflib.get_close_matches(provider, PROVIDERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != provider else ""
        raise EngineError(
            f"cannot tell the provider of {text!r}: expected provider:model or model@provider, with a provider of "
            f"{', '.join(sorted(PROVIDERS))}{hint}",
            reason="unknown_provider",
        )
    return provider, model


def adapter_for(provider: str) -> Any:
    """A new adapter of `provider`, with its defaults."""
    module, _, name = PROVIDERS[provider].partition(":")
    adapter_type = getattr(importlib.import_module(module), name)
    return adapter_type(preset=provider) if provider in COMPATIBLE else adapter_type()
