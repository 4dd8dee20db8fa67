"""What is read of the headers with a provider's limits."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from allm.http.rate_headers import RateFact, rate_facts

DATE = {"date": "Sun, 29 Nov 2026 03:00:00 GMT"}


def openai(kind="requests", limit="500", remaining="499", reset="120ms"):
    """The three headers of one limit."""
    return {
        f"x-ratelimit-limit-{kind}": limit,
        f"x-ratelimit-remaining-{kind}": remaining,
        f"x-ratelimit-reset-{kind}": reset,
    }


@pytest.mark.parametrize(
    ("reset", "seconds", "resolution"),
    [
        ("6m0s", 360, 1),
        ("1s", 1, 1),
        ("20ms", 0.02, 0.001),
        ("8.64s", 8.64, 0.01),
        ("2m59.56s", 179.56, 0.01),
        ("24h0m0s", 86400, 1),
        ("0s", 0, 1),
        ("12", 12, 1),
        ("0.25", 0.25, 0.01),
        ("2026-11-29T03:00:30Z", 30, 1),
        ("2026-11-29T04:00:30+01:00", 30, 1),
        ("1795921230", 30, 1),
        ("1795921230000", 30, 1),
    ],
)
def test_a_reset_is_a_duration_or_a_moment(reset, seconds, resolution):
    """In Go's words, in seconds, or as a moment, which counts from the provider's own time."""
    (fact,) = rate_facts({**openai(reset=reset), **DATE})
    assert fact.reset == pytest.approx(seconds)
    assert fact.resolution == pytest.approx(resolution)


@pytest.mark.parametrize("reset", ["", "soon", "1970-01-01T00:00:00Z", "-3", "1e9", "1x", "9" * 40, "5s6", "nan"])
def test_a_reset_that_makes_no_sense_is_none(reset):
    """Recorded answers hold moments long gone; what is left of the limit still counts."""
    (fact,) = rate_facts({**openai(reset=reset), **DATE})
    assert (fact.limit, fact.remaining, fact.reset) == (500, 499, None)


def test_several_limits_of_one_answer():
    """Of OpenAI's headers, requests and tokens; others are left alone."""
    headers = {**openai(), **openai("tokens", "30000", "29000", "2s"), **openai("input-images", "5", "4", "1s")}
    assert {(fact.kind, fact.limit, fact.remaining) for fact in rate_facts(headers)} == {
        ("requests", 500, 499),
        ("tokens", 30000, 29000),
    }


def test_anthropics_limits():
    """Input and output tokens have limits of their own."""
    headers = {
        f"anthropic-ratelimit-{kind}-{what}": value
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
        for what, value in (("limit", "100"), ("remaining", "40"), ("reset", "2026-11-29T03:01:00Z"))
    }
    facts = rate_facts({**headers, **DATE})
    assert {fact.kind for fact in facts} == {"requests", "tokens", "input-tokens", "output-tokens"}
    assert {fact.reset for fact in facts} == {60}


def test_limits_for_a_period():
    """Mistral has it in the name, Azure in a header."""
    mistral = {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59"}
    azure = {**openai(reset="10"), "x-ratelimit-renewalperiod-requests": "60"}
    assert rate_facts(mistral) == [RateFact(kind="requests", limit=60, remaining=59, period=60)]
    assert [fact.period for fact in rate_facts(azure)] == [60]


@pytest.mark.parametrize("prefix", ["x-ratelimit-", "ratelimit-"])
def test_limits_without_a_kind_are_of_requests(prefix):
    """As OpenRouter, Together and the draft standard have them."""
    headers = {f"{prefix}limit": "20", f"{prefix}remaining": "3", f"{prefix}reset": "2"}
    assert rate_facts(headers) == [RateFact(kind="requests", limit=20, remaining=3, reset=2, resolution=1)]


def test_a_limit_that_is_not_told_whole_is_none():
    """What is left of an unknown limit, or a limit of nothing, says nothing."""
    assert rate_facts({"x-ratelimit-remaining-requests": "3"}) == []
    assert rate_facts({"x-ratelimit-limit-requests": "3"}) == []
    assert rate_facts(openai(limit="0", remaining="0")) == []
    assert rate_facts(openai(limit="many")) == []


_NAMES = st.sampled_from(list(openai()) + list(openai("tokens")) + ["ratelimit-limit", "ratelimit-remaining", "date"])


@given(st.dictionaries(_NAMES, st.text(max_size=20)))
def test_no_header_is_an_error(headers):
    """Whatever stands in them."""
    for fact in rate_facts(headers):
        assert 0 <= fact.remaining <= fact.limit
