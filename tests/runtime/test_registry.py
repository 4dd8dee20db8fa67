"""Providers by name: how a model name is split, and which adapter it gives."""

from __future__ import annotations

import importlib
from typing import get_args

import pytest

import allm
from allm.runtime.registry import PROVIDERS, SERVICES, adapter_for, service_adapter, split_model

NAMES = {
    "openai:gpt-5.4": ("openai", "gpt-5.4"),
    "gpt-5.4@openai": ("openai", "gpt-5.4"),
    "ollama:llama3:8b": ("ollama", "llama3:8b"),
    "openrouter:a/b@c": ("openrouter", "a/b@c"),
    "llama3:8b@ollama": ("ollama", "llama3:8b"),
}


@pytest.mark.parametrize("text", NAMES)
def test_both_spellings(text):
    """The model's own name may contain colons and at signs."""
    assert split_model(text) == NAMES[text]


@pytest.mark.parametrize("text", ["gpt-5.4", "", ":", "openai:", "@openai", "opanai:gpt-5.4", "gpt-5.4@opanai"])
def test_an_unknown_provider(text):
    """The error lists the known providers and suggests the nearest name."""
    with pytest.raises(allm.EngineError, match="openai, openrouter") as caught:
        split_model(text)
    assert caught.value.reason == "unknown_provider"
    assert ("did you mean 'openai:gpt-5.4'" in str(caught.value)) == ("gpt" in text)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_every_provider_has_an_adapter(name):
    """The adapter reports the name that it was made by."""
    assert adapter_for(name).provider == name


@pytest.mark.parametrize(
    ("service", "name"), sorted((service, name) for service, names in SERVICES.items() for name in names)
)
def test_every_service_has_an_adapter(service, name):
    """The adapter reports the name that it was made by."""
    assert service_adapter(service, name).provider == name


def test_adapters_are_loaded_by_attribute():
    """They are imported on first access, and an unknown name is an AttributeError."""
    providers = importlib.import_module("allm.providers")
    for name in providers.__all__:
        found = getattr(providers, name)
        assert getattr(found, "__name__", name) == name or get_args(found)  # aliases have no name of their own
        assert name in dir(providers)
    with pytest.raises(AttributeError, match="NoSuchThing"):
        _ = providers.NoSuchThing
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = allm.no_such_thing


def test_subpackages_are_loaded_by_attribute():
    """`allm` loads them on first access and returns the same module afterwards."""
    for name in ("adapters", "providers", "session", "testing"):
        assert allm.__getattr__(name) is importlib.import_module(f"allm.{name}")
