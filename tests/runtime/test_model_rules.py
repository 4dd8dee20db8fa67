"""The rules of the catalog: what whole model families refuse, and when models are shut down."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from importlib import resources
from pathlib import Path

import attrs
import pytest

from allm import models
from allm.models import ModelInfo
from allm.runtime import catalog
from allm.runtime.fitting import NEAR

DATA = json.loads(resources.files("allm.runtime").joinpath("model_rules.json").read_text("utf-8"))
ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\b(?:gpt-\d[\w.-]*\w|gpt-\d|o\d(?:-[\w-]*\w)?|gpt-image-\d[\w.]*|claude-[\w-]*\w|gemini-[\w.-]*\w)")
SPEECH = {"gpt-4o-mini-tts"}
"""OpenAI has announced the shutdown of its speech models, but no successors."""


@pytest.mark.parametrize("rule", DATA["rules"], ids=lambda rule: rule["models"])
def test_a_rule_states_facts_with_their_source(rule):
    """It has known facts, a valid expression, and a source."""
    fields = {field.name for field in attrs.fields(ModelInfo)}
    assert rule["facts"].keys() <= fields - {"provider", "id", "prices"}
    assert re.compile(rule["models"])
    assert rule["source"]
    assert set(rule["facts"].get("efforts", ())) <= set(catalog.EFFORTS)


@pytest.mark.parametrize("rule", DATA["rules"], ids=lambda rule: rule["models"])
def test_a_rule_matches_a_model(rule):
    """One in the catalog, or one that only has a shutdown date."""
    known = [info.id for info in catalog.bundled() if info.provider == rule["provider"]]
    assert "shutdown" in rule["facts"] or any(re.search(rule["models"], model) for model in known)


@pytest.mark.parametrize(
    ("provider", "model", "day"),
    [
        ("openai", "gpt-5", "2026-12-11"),
        ("openai", "gpt-5-mini-2025-08-07", "2026-12-11"),
        ("openai", "gpt-5-nano", "2026-12-11"),
        ("openai", "o3", "2026-12-11"),
        ("openai", "o3-2025-04-16", "2026-12-11"),
        ("openai", "gpt-4o-mini", "2027-01-14"),
        ("openai", "ft:gpt-4o-2024-08-06:me::1", "2027-01-14"),
        ("openai", "o4-mini", "2026-10-23"),
        ("openai", "tts-1", "2027-01-06"),
        ("openai", "whisper-1", "2027-02-26"),
        ("openai", "gpt-4o-transcribe-diarize", "2027-02-26"),
        ("openai", "gpt-image-1", "2026-10-23"),
        ("anthropic", "claude-sonnet-4-5-20250929", "2026-11-30"),
        ("openai", "gpt-5.4-mini", None),
        ("openai", "gpt-5.5", None),
        ("openai", "gpt-image-2", None),
        ("anthropic", "claude-sonnet-4-6", None),
        ("gemini", "gemini-3.8-flash", None),
        ("groq", "gpt-5", None),
    ],
)
def test_shutdown_dates(provider, model, day):
    """As announced in the vendor's SDK, for a model and its snapshots, and for no similar model."""
    info = models.lookup(provider, model)
    assert (info and info.shutdown) == (day and date.fromisoformat(day))


@pytest.mark.parametrize(
    ("efforts", "asked", "sent"),
    [
        (("low", "high"), "none", "low"),
        (("low", "high"), "medium", "high"),
        (("low", "high"), "max", "high"),
        (("low", "medium", "high", "max"), "xhigh", "max"),
        (("low", "high"), "2048", "2048"),
        ((), "xhigh", "xhigh"),
    ],
)
def test_the_nearest_effort(efforts, asked, sent):
    """The word itself, the next higher one, or the highest; an unknown word is left alone."""
    assert ModelInfo(provider="a", id="m", efforts=efforts).nearest_effort(asked) == sent


def test_a_rule_adds_to_a_row_without_changing_it():
    """Facts of the row take precedence, and a model without a row has only those of the rules."""
    row = models.lookup("anthropic", "claude-opus-4-7")
    assert row.refuses
    assert row.prices
    alone = models.lookup("anthropic", "vertex/claude-opus-4-7@default")
    assert (alone.refuses, alone.prices, alone.tools) == (row.refuses, (), None)


@pytest.mark.parametrize("path", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_the_documentation_names_models_without_a_shutdown_date(path):
    """No reader should start with a model that is about to be shut down."""
    as_of = date.fromisoformat(DATA["as_of"])
    text = path.read_text("utf-8").replace('lookup("openai", "o3").shutdown', "")
    ends = {
        name: info.shutdown
        for name in sorted(set(NAME.findall(text)) - SPEECH)
        for provider in ("openai", "anthropic", "gemini")
        if (info := models.lookup(provider, name)) is not None and info.shutdown is not None
    }
    assert {name: day for name, day in ends.items() if day < as_of + NEAR + timedelta(days=1)} == {}
