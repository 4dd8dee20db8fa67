"""What a service says it charged goes before what its tokens would cost, in each way in which services say it."""

from __future__ import annotations

import pytest

import allm
from allm.models import ModelInfo, Prices
from allm.providers.openai.answer_notes import chat_usage
from allm.providers.openai.responses_decode import responses_usage
from allm.runtime import costs

SHARES = {"upstream_inference_cost": 0.06, "upstream_inference_prompt_cost": 0.04}
CASES = {
    "OpenRouter": ({"cost": 0.25}, (None, None, 0.25)),
    "OpenRouter, nothing charged": ({"cost": 0}, (None, None, 0.0)),
    "OpenRouter with shares": (
        {"cost": 0.25, "cost_details": {**SHARES, "upstream_inference_completions_cost": 0.01}},
        (0.04, 0.01, 0.25),
    ),
    "OpenRouter with a key of one's own": (
        {"cost": 0.01, "is_byok": True, "cost_details": SHARES},
        (0.04, None, 0.07),
    ),
    "OpenRouter without upstream": ({"cost": 0.01, "is_byok": True}, (None, None, 0.01)),
    "Perplexity": (
        {"cost": {"input_tokens_cost": 0.01, "output_tokens_cost": 0.02, "request_cost": 5, "total_cost": 5.03}},
        (0.01, 0.02, 5.03),
    ),
    "xAI": ({"cost_in_usd_ticks": 2_500_000_000}, (None, None, 0.25)),
    "a text": ({"cost": "0.25"}, (None, None, 0.25)),
    "an object": ({"cost": {"usd": 0.25}}, (None, None, 0.25)),
    "an estimate": ({"estimated_cost": 0.25}, (None, None, 0.25)),
    "nothing": ({"cost": None, "cost_details": None}, (None, None, None)),
    "shares of nothing": ({"cost": {"input_tokens_cost": 1}}, (None, None, None)),
    "nonsense": ({"cost": "free", "cost_in_usd_ticks": True, "estimated_cost": -1}, (None, None, None)),
    "no number": ({"cost": "NaN"}, (None, None, None)),
}


@pytest.fixture(autouse=True)
def _prices():
    allm.models.put(ModelInfo(provider="openai", id="m", prices=Prices(input=2, output=10)))
    yield
    allm.models.clear()


def in_dollars(usage):
    return usage.input_cost, usage.output_cost, usage.total_cost


@pytest.mark.parametrize("case", CASES)
def test_reported_costs(case):
    """On both endpoints."""
    reported, expected = CASES[case]
    assert in_dollars(chat_usage({"prompt_tokens": 1, **reported})) == expected
    assert in_dollars(responses_usage({"input_tokens": 1, **reported})) == expected


@pytest.mark.parametrize("case", CASES)
def test_what_is_reported_wins(case):
    """The catalog is asked only where nothing is reported."""
    reported, expected = CASES[case]
    usage = chat_usage({"prompt_tokens": 1_000_000, "completion_tokens": 100_000, **reported})
    [event] = costs.Pricing("openai", "m").on((allm.UsageReported(usage),))
    assert in_dollars(event.usage) == (expected if expected[-1] is not None else (2.0, 1.0, 3.0))


def test_the_last_report_of_several_counts():
    """Perplexity has one in every chunk, with costs of 0 but in the last."""
    pricing, fold = costs.Pricing("openai", "m"), allm.StreamCollector()
    for total in (0, 0, 0.5):
        usage = chat_usage({"prompt_tokens": 1, "completion_tokens": 1, "cost": {"total_cost": total}})
        for event in pricing.on((allm.UsageReported(usage),)):
            fold.add(event)
    assert fold.response().usage.total_cost == 0.5


def test_tokens_of_other_kinds():
    """Under the names that they have everywhere; what only this service counts is kept as it is, a 0 too."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 9,
        "prompt_tokens_details": {"audio_tokens": 4, "image_tokens": 3, "text_tokens": 3},
        "completion_tokens_details": {"audio_tokens": 5, "image_tokens": 0},
        "num_sources_used": 0,
        "queue_time": 0.5,
        "is_byok": False,
    }
    extra = {"input_audio_tokens": 4, "input_image_tokens": 3, "output_audio_tokens": 5}
    assert chat_usage(usage).extra == {**extra, "num_sources_used": 0, "queue_time": 0.5}
    details = {"input_tokens_details": {"audio_tokens": 4}, "output_tokens_details": {"image_tokens": 2}}
    assert responses_usage(details).extra == {"input_audio_tokens": 4, "output_image_tokens": 2}
