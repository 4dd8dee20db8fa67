"""Costs of what is not text: searches, hours of sound, characters, images. What has no known price is None, never 0."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import allm
from allm.data.content import HostedCall
from allm.data.events import HostedCallCompleted, MessageCompleted, UsageReported
from allm.data.image_request import ImageUsage
from allm.runtime import costs, service_costs
from allm.runtime.unit_prices import token_prices, unit_price

DAY = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(autouse=True)
def without_genai_prices(monkeypatch):
    """Use only our own prices, even if genai-prices is installed."""
    monkeypatch.setattr(costs, "_genai_prices", lambda: None)


def call(kind, number=0, status="completed", **asked):
    return HostedCall(f"call-{kind}-{number}", kind, status, asked or None)


def usage_of(provider, model, *calls, extra=None, tools=None, before=()):
    """The usage of an answer with these calls and a thousand tokens each way."""
    pricing = costs.Pricing(provider, model, DAY, asked_for={"tools": tools})
    told = [HostedCallCompleted(each.id, each) for each in calls]
    counts = allm.Usage(input_tokens=1000, output_tokens=1000, extra=extra or {})
    events = (*before, *told, UsageReported(counts), MessageCompleted(allm.assistant("Yes."), "stop"))
    usage = allm.Usage()
    for event in pricing.on(events):
        usage = usage.merge(event.usage) if isinstance(event, UsageReported) else usage
    return usage


def beside_tokens(provider, model, *calls, **more):
    """What the total is more than the tokens; None if it is not known."""
    usage = usage_of(provider, model, *calls, **more)
    assert usage.input_cost > 0
    assert usage.output_cost > 0
    return None if usage.total_cost is None else round(usage.total_cost - usage.input_cost - usage.output_cost, 9)


SEARCH, OPENED = call("web_search", 1, type="search", query="owls"), call("web_search", 2, type="open_page", url="x")
ASKED = [call("web_search", number, queries=["a", "b"]) for number in range(2)]


@pytest.mark.parametrize(
    ("provider", "model", "calls", "extra", "dollars"),
    [
        ("anthropic", "claude-sonnet-4-5", [], {}, 0),
        ("anthropic", "claude-sonnet-4-5", [call("web_search")], {"web_search_requests": 3}, 0.03),
        ("anthropic", "claude-sonnet-4-5", [call("web_search")], {}, 0.01),
        ("anthropic", "claude-sonnet-4-5", [call("web_search", status="failed")], {"web_search_requests": 0}, 0),
        ("anthropic", "claude-sonnet-4-5-20250929", [call("web_search"), call("web_fetch"), call("mcp")], {}, 0.01),
        ("anthropic", "claude-sonnet-4-5", [call("code_execution")], {}, None),
        ("anthropic", "claude-sonnet-4-5", [call("web_search"), call("anything_new")], {}, None),
        ("openai", "gpt-5.2", [SEARCH, OPENED], {}, 0.01),
        ("openai", "gpt-5.2-2025-12-11", [SEARCH, call("web_search", 3, type="search")], {}, 0.02),
        ("openai", "gpt-5.2", [call("file_search"), call("mcp")], {}, 0.0025),
        ("openai", "gpt-5.2", [call("code_execution")], {}, None),
        ("openai", "gpt-5.2", [call("image_generation")], {}, None),
        ("gemini", "gemini-2.5-flash", ASKED, {}, 0.035),
        ("gemini", "gemini-3-flash-preview", ASKED, {}, 0.056),
        ("gemini", "gemini-3-flash-preview", [call("web_fetch"), call("code_execution")], {}, 0),
        ("gemini", "gemini-3-flash-preview", [call("google_maps")], {}, None),
        ("mistral", "mistral-large-latest", [call("web_search")], {}, None),
    ],
)
def test_tools_of_the_provider(provider, model, calls, extra, dollars):
    """Searches are in the total; a tool of which nobody knows what it costs leaves no total, and the tokens' costs."""
    assert beside_tokens(provider, model, *calls, extra=extra) == dollars


def test_a_search_of_another_tariff():
    """OpenAI's preview of its search costs more for some models."""
    assert beside_tokens("openai", "gpt-4.1", SEARCH) == 0.01
    assert beside_tokens("openai", "gpt-4.1", SEARCH, tools=[{"type": "web_search_preview"}]) is None


def test_calls_after_the_usage():
    """Count as well: the costs are told once more at the end."""
    counts = UsageReported(allm.Usage(input_tokens=1, output_tokens=1))
    usage = usage_of("openai", "gpt-5.2", SEARCH, before=(counts,))
    assert usage.total_cost == pytest.approx(usage.input_cost + usage.output_cost + 0.01)


def test_what_the_provider_charges_wins():
    """It has its searches in it."""
    pricing = costs.Pricing("openai", "gpt-5.2", DAY)
    reported = UsageReported(allm.Usage(input_tokens=1, output_tokens=1, total_cost=0.5))
    events = pricing.on((HostedCallCompleted(SEARCH.id, SEARCH), reported))
    assert events[-1].usage.total_cost == 0.5


@pytest.mark.parametrize(
    ("provider", "model", "usage", "seconds", "dollars"),
    [
        ("openai", "whisper-1", {}, 3600, 0.36),
        ("openai", "whisper-1", {}, 1.5, 0.00015),
        ("openai", "whisper-1", {}, None, None),
        ("deepgram", "nova-3", {}, 3600, 0.258),
        ("elevenlabs", "scribe_v1", {}, 1800, 0.11),
        ("groq", "whisper-large-v3", {}, 3600, 0.111),
        ("groq", "whisper-large-v3", {}, 1, 0.111 / 360),
        ("mistral", "voxtral-mini-latest", {"input_tokens": 10, "output_tokens": 10}, 60, 0.003),
        ("openai", "gpt-4o-transcribe", {"input_tokens": 1_000_000, "output_tokens": 0}, 60, 2.5),
        ("openai", "unheard-of", {}, 60, None),
        ("unheard-of", "whisper-1", {}, 60, None),
        ("deepgram", None, {}, 60, None),
        ("openai", "whisper-1", {"total_cost": 7.0}, 60, 7),
    ],
)
def test_sound_that_is_heard(provider, model, usage, seconds, dollars):
    """Costs by the hour where it does not by the token; Groq charges for ten seconds at least."""
    found = service_costs.audio_usage(provider, model, allm.Usage(**usage), seconds=seconds)
    assert found.total_cost == (None if dollars is None else pytest.approx(dollars))


def test_sound_tokens_have_their_price():
    """They cost more than those of a text in the prompt."""
    usage = allm.Usage(input_tokens=1_000_000, output_tokens=0, extra={"input_audio_tokens": 1_000_000})
    assert service_costs.audio_usage("openai", "gpt-4o-transcribe", usage).total_cost == 6


@pytest.mark.parametrize(
    ("provider", "model", "dollars"),
    [
        ("openai", "tts-1", 15),
        ("openai", "tts-1-hd", 30),
        ("elevenlabs", "eleven_multilingual_v2", 80),
        ("openai", "gpt-4o-mini-tts", None),
        ("elevenlabs", "eleven_v99", None),
    ],
)
def test_a_text_that_is_said(provider, model, dollars):
    """Costs by the character."""
    assert service_costs.audio_usage(provider, model, allm.Usage(), characters=1_000_000).total_cost == dollars


@pytest.mark.parametrize(
    ("provider", "model", "usage", "edits", "dollars"),
    [
        ("openai", "gpt-image-1", {"input_tokens": 1_000_000, "output_tokens": 100_000}, False, 9),
        (
            "openai",
            "gpt-image-1",
            {"input_tokens": 1_000_000, "input_image_tokens": 500_000, "output_tokens": 0},
            True,
            7.5,
        ),
        (
            "openai",
            "gpt-image-1.5",
            {"input_tokens": 0, "output_tokens": 200_000, "output_image_tokens": 100_000},
            False,
            4.2,
        ),
        ("openai", "gpt-image-1.5", {"input_tokens": 0, "output_tokens": 200_000}, False, None),
        ("openai", "gpt-image-1", {}, False, None),
        ("openai", "dall-e-3", {"images": 1}, False, None),
        (
            "gemini",
            "gemini-2.5-flash-image",
            {"input_tokens": 0, "output_tokens": 1290, "output_image_tokens": 1290},
            False,
            0.0387,
        ),
        ("gemini", "imagen-3.0-generate-001", {"images": 3}, False, 0.12),
        ("xai", "grok-imagine-image", {"images": 2}, False, 0.04),
        ("xai", "grok-imagine-image", {"images": 2}, True, None),
        ("unheard-of", "x", {"images": 2}, False, None),
        ("openai", None, {"images": 2}, False, None),
    ],
)
def test_images(provider, model, usage, edits, dollars):
    """Cost by the token or by the image."""
    found = service_costs.image_cost(provider, model, ImageUsage(**usage), edits=edits)
    assert found == (None if dollars is None else pytest.approx(dollars))


def test_a_chat_that_draws():
    """Costs what its images do, which the catalog has not."""
    usage = usage_of("gemini", "gemini-2.5-flash-image", extra={"output_image_tokens": 900})
    assert (usage.input_cost, usage.output_cost) == (pytest.approx(0.0003), pytest.approx(0.02725))
    assert usage_of("gemini", "gemini-99-image").total_cost is None


def test_every_row_has_a_price():
    """None is 0: what is free is not told from what is not known."""
    from allm.runtime import unit_prices

    for provider in ("anthropic", "deepgram", "elevenlabs", "gemini", "groq", "mistral", "openai", "xai"):
        rows = unit_prices._rows(provider)
        assert rows
        for row in rows.values():
            prices = [value for name, value in row.items() if name not in {"provider", "id"}]
            assert prices
            assert all(value > 0 for value in prices)
    assert unit_price("openai", "GPT-5.2-2025-12-11", "web_search") == 10
    assert token_prices("openai", "whisper-1") is None


def test_what_a_cache_saved():
    """What was read costs less, what was written costs more, for an hour most; other tokens are the same either way."""
    usage = allm.Usage(input_tokens=1_000_000, output_tokens=5, cached_input_tokens=500_000)
    name = "anthropic:claude-3-5-haiku-latest"  # 0.80, cached 0.08, written 1.00 and 1.60
    assert allm.caches.saved(usage, name) == pytest.approx(0.36)
    written = allm.Usage(input_tokens=1_000_000, cache_write_input_tokens=1_000_000, output_tokens=5)
    assert allm.caches.saved(written, name) == pytest.approx(-0.2)
    for_an_hour = allm.Usage(
        input_tokens=1_000_000,
        cache_write_input_tokens=1_000_000,
        extra={"ephemeral_1h_input_tokens": 1_000_000},
    )
    assert allm.caches.saved(for_an_hour, name) == pytest.approx(-0.8)
    assert allm.caches.saved(allm.Usage(input_tokens=5, cached_input_tokens=0), name) == 0


def test_what_a_cache_saved_is_not_always_known():
    """Where nothing is said of a cache, or of the prices."""
    cached = allm.Usage(input_tokens=10, cached_input_tokens=5)
    assert allm.caches.saved(allm.Usage(input_tokens=10), "anthropic:claude-3-5-haiku-latest") is None
    assert allm.caches.saved(cached, "anthropic:unheard-of") is None
    assert allm.caches.saved(allm.Usage(cached_input_tokens=5), "anthropic:claude-3-5-haiku-latest") is None
    with pytest.raises(allm.EngineError, match="with its provider"):
        allm.caches.saved(cached, "claude-3-5-haiku-latest")
