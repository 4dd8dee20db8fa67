"""What depends on the model: output limits, thinking, and how a schema is sent."""

from __future__ import annotations

import logging

import pytest

from allm import Request, Tool, ValidationError, models, user
from allm.providers.anthropic.encode import FALLBACK_MAX_TOKENS, Settings, encode, output_limit
from allm.providers.anthropic.models import Model
from allm.runtime.adapters import AdapterOptions
from request_types import check_anthropic

CLOCK = Tool("clock", "Tells the time.")


def body_of(name, fields=None, **options):
    """The body of a short request to `name`."""
    request = Request((user("hi"),), model=name, **(fields or {}))
    return encode(request, AdapterOptions(**options), Settings())


@pytest.mark.parametrize(
    ("name", "version", "family"),
    [
        ("claude-3-opus-20240229", (3, 0), "opus"),
        ("claude-3-5-haiku-latest", (3, 5), "haiku"),
        ("claude-3-7-sonnet-20250219", (3, 7), "sonnet"),
        ("claude-sonnet-4-20250514", (4, 0), "sonnet"),
        ("claude-opus-4-0", (4, 0), "opus"),
        ("claude-opus-4-1@20250805", (4, 1), "opus"),
        ("claude-haiku-4-5-20251001", (4, 5), "haiku"),
        ("anthropic.claude-opus-4-6-v1:0", (4, 6), "opus"),
        ("anthropic/claude-opus-4.7", (4, 7), "opus"),
        ("Claude-Sonnet-5", (5, 0), "sonnet"),
        ("claude-fable-5-1", (5, 1), "fable"),
        ("claude-instant-1.2", (1, 2), None),
    ],
)
def test_names(name, version, family):
    """Version before or behind the family, with dates, prefixes and suffixes of the clouds."""
    model = Model.named(name)

    assert (model.version, model.family, model.is_claude) == (version, family, True)


@pytest.mark.parametrize("name", ["claude-latest", "claude-mythos-preview"])
def test_a_claude_without_a_version_is_new(name):
    """Names that stand for the newest have none."""
    model = Model.named(name)

    assert model.has_structured_output
    assert model.thinks_in_levels
    assert not model.takes_budgets


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-20241022", 8192),
        ("claude-3-7-sonnet-latest", 64_000),
        ("claude-sonnet-4-0", 64_000),
        ("claude-opus-4-1", 32_000),
        ("claude-opus-4-1@elsewhere", 32_000),
        ("claude-haiku-4-5", 64_000),
        ("claude-opus-4-5", 64_000),
        ("claude-sonnet-4-6", 128_000),
        ("claude-opus-5-5", 128_000),
        ("claude-2.1", None),
        ("claude-latest", None),
        ("gpt-5.4", None),
    ],
)
def test_output_limits(name, limit):
    """A request without `max_tokens` gets all that its model can give."""
    assert output_limit(name) == limit
    assert body_of(name)["max_tokens"] == (limit or FALLBACK_MAX_TOKENS)


def test_the_catalog_knows_the_limit():
    """Facts of the catalog, and those that an application put in, go before what a version suggests."""
    assert output_limit("claude-mythos-preview") == 128_000
    models.put(models.ModelInfo(provider="anthropic", id="my-model", output_limit=777))
    try:
        assert body_of("my-model")["max_tokens"] == 777
    finally:
        models.clear()


def test_an_unknown_limit_is_logged_once(caplog):
    """Whoever gets a short answer finds out why, and not at every call."""
    output_limit.__globals__["_fallback"].cache_clear()
    with caplog.at_level(logging.WARNING, "allm"):
        for _ in range(3):
            assert body_of("some-model")["max_tokens"] == FALLBACK_MAX_TOKENS
        body_of("some-model", {"max_tokens": 9})
        body_of("another-model", {"options": {"max_tokens": 9}})
        body_of("claude-haiku-4-5")

    [record] = caplog.records
    assert "some-model" in record.getMessage()
    assert f"max_tokens is {FALLBACK_MAX_TOKENS} where none is given" in record.getMessage()


ADAPTIVE = {"type": "adaptive"}


def budget(tokens, **beside):
    """Thinking with a budget."""
    return {"type": "enabled", "budget_tokens": tokens, **beside}


@pytest.mark.parametrize(
    ("name", "options", "thinking", "effort"),
    [
        ("claude-opus-4-6", {"reasoning_effort": "low"}, ADAPTIVE, "low"),
        ("claude-sonnet-5-5", {"reasoning_effort": "max"}, ADAPTIVE, "max"),
        ("claude-sonnet-5-5", {"reasoning_effort": "minimal"}, ADAPTIVE, "low"),
        ("claude-opus-4-6", {"reasoning_effort": "3000"}, budget(3000), None),
        ("claude-haiku-4-5", {"reasoning_effort": "minimal"}, budget(1024), None),
        ("claude-haiku-4-5", {"reasoning_effort": "low"}, budget(2048), None),
        ("claude-haiku-4-5", {"reasoning_effort": "medium"}, budget(8192), None),
        ("claude-haiku-4-5", {"reasoning_effort": "high"}, budget(24_576), None),
        ("claude-haiku-4-5", {"reasoning_effort": "max"}, budget(32_000), None),
        ("claude-opus-4-1", {"reasoning_effort": "max"}, budget(16_000), None),
        ("claude-haiku-4-5", {"reasoning_effort": "63999"}, budget(63_999), None),
        ("kimi-k3", {"reasoning_effort": "high"}, budget(2048), None),
        # The least that each can do.
        ("claude-haiku-4-5", {"reasoning_effort": "none"}, None, None),
        ("claude-opus-4-8", {"reasoning_effort": "none"}, None, None),
        ("claude-sonnet-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ("claude-opus-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ("claude-haiku-5-5", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ("claude-opus-5-5", {"reasoning_effort": "none"}, None, "low"),
        ("claude-fable-5", {"reasoning_effort": "none"}, None, "low"),
        ("claude-mythos-preview", {"reasoning_effort": "none"}, None, "low"),
        ("kimi-k3", {"reasoning_effort": "none"}, {"type": "disabled"}, None),
        # What is shown of it.
        ("claude-opus-5", {"reasoning_summary": "auto"}, {**ADAPTIVE, "display": "summarized"}, None),
        ("claude-opus-5", {"reasoning_summary": "none"}, {**ADAPTIVE, "display": "omitted"}, None),
        ("claude-opus-4-7", {"reasoning_summary": "detailed"}, {**ADAPTIVE, "display": "summarized"}, None),
        ("claude-opus-4-7", {"reasoning_summary": "none"}, None, None),
        ("claude-haiku-4-5", {"reasoning_summary": "auto"}, None, None),
        (
            "claude-opus-5",
            {"reasoning_effort": "high", "reasoning_summary": "auto"},
            {**ADAPTIVE, "display": "summarized"},
            "high",
        ),
        (
            "claude-haiku-4-5",
            {"reasoning_effort": "low", "reasoning_summary": "none"},
            budget(2048, display="omitted"),
            None,
        ),
        ("claude-opus-5", {}, None, None),
    ],
)
def test_thinking(name, options, thinking, effort):
    """An effort for those that think as they see fit, a budget for older ones, nothing where nothing is asked."""
    body = body_of(name, **options)

    assert body.get("thinking") == thinking
    assert body.get("output_config") == (None if effort is None else {"effort": effort})
    check_anthropic(body, "2023-06-01")


def test_between_tools():
    """The least thinking of Claude Sonnet 5.5, which only the newer types know."""
    body = body_of("claude-sonnet-5-5", reasoning_effort="none")

    assert body["thinking"] == {"type": "between_tools"}
    check_anthropic(body, "2026-10-21")


@pytest.mark.parametrize(
    ("name", "effort", "fields", "problem"),
    [
        ("claude-opus-4-7", "3000", {}, (("reasoning_effort",), "unsupported")),
        ("claude-haiku-4-5", "1023", {}, (("reasoning_effort",), "out_of_range")),
        ("claude-haiku-4-5", "64000", {}, (("reasoning_effort",), "out_of_range")),
        ("claude-haiku-4-5", "huge", {}, (("reasoning_effort",), "unknown")),
        ("claude-haiku-4-5", "low", {"max_tokens": 1024}, (("max_tokens",), "too_small")),
        (
            "claude-haiku-4-5",
            "low",
            {"tools": (CLOCK,), "tool_choice": "required"},
            (("tool_choice",), "conflicts_with_thinking"),
        ),
        (
            "claude-opus-4-6",
            "low",
            {"tools": (CLOCK,), "tool_choice": "clock"},
            (("tool_choice",), "conflicts_with_thinking"),
        ),
    ],
)
def test_thinking_that_cannot_be(name, effort, fields, problem):
    """What Anthropic would refuse is refused before anything is sent."""
    with pytest.raises(ValidationError) as caught:
        body_of(name, fields, reasoning_effort=effort)

    assert caught.value.errors == (problem,)


def test_no_thinking_leaves_room_for_a_forced_call():
    """Only thinking stands against it; a model of someone else may do both."""
    fields = {"tools": (CLOCK,), "tool_choice": "required"}

    assert body_of("claude-sonnet-5", fields, reasoning_effort="none")["tool_choice"] == {"type": "any"}
    assert body_of("kimi-k3", fields, reasoning_effort="low")["tool_choice"] == {"type": "any"}
