"""When a call is tried again, and how long it waits before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

import allm
from allm.http.retry_after import parse_retry_after, retry_after_in


def error(**fields):
    return allm.AdapterError("no", reason="rate_limited", **fields)


def test_waits_grow_up_to_a_limit():
    """Doubled for each attempt, plus a random part."""
    policy = allm.RetryPolicy(max_attempts=9, base_delay=1, max_delay=5, jitter=0.5)
    waits = [policy.delay(error(), attempt) for attempt in (1, 2, 3, 4, 8)]
    for wait, least in zip(waits, (1, 2, 4, 5, 5), strict=True):
        assert least <= wait <= min(least + 0.5, 5)


def test_what_ends_the_attempts():
    """The last one, and an error that no second try mends."""
    policy = allm.RetryPolicy(max_attempts=2)
    assert policy.delay(error(), 2) is None
    assert policy.delay(error(retryable=False), 1) is None


def test_what_the_provider_asks_for():
    """At least so long, whatever our own limit is; or not at all."""
    assert allm.RetryPolicy(base_delay=0, jitter=0).delay(error(retry_after=7), 1) == 7
    assert allm.RetryPolicy(base_delay=0, jitter=0, max_delay=3).delay(error(retry_after=7), 1) == 7
    assert allm.RetryPolicy(base_delay=0, jitter=0, respect_retry_after=False).delay(error(retry_after=7), 1) == 0
    assert allm.RetryPolicy(jitter=0).delay(error(retry_after=0), 1) == 0.5


def test_an_ask_that_is_too_long_is_not_shortened():
    """A request before its time would be refused again."""
    assert allm.RetryPolicy(jitter=0).delay(error(retry_after=60), 1) == 60
    assert allm.RetryPolicy().delay(error(retry_after=60.1), 1) is None
    assert allm.RetryPolicy(max_retry_after=3).delay(error(retry_after=7), 1) is None


def test_callers_that_were_told_the_same_do_not_come_back_together():
    """A thousand who were told "3 s" spread over the three quarters of a second after it."""
    waits = [allm.RetryPolicy().delay(error(retry_after=3), 1) for _ in range(1000)]
    assert all(3 <= wait <= 3.75 for wait in waits)
    for tenth in range(10):  # each tenth of the interval has its share
        low = 3 + 0.075 * tenth
        assert 50 < sum(low <= wait < low + 0.075 for wait in waits) < 170


def test_many_attempts_do_not_overflow():
    """A float holds two to the power of 1,023."""
    assert allm.RetryPolicy(max_attempts=9999, jitter=0).delay(error(), 5000) == 30


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("Rate limit reached for m on tokens per min (TPM): Limit 3, Used 2. Please try again in 1.5s. Visit x.", 1.5),
        ("Please try again in 20ms.", 0.02),
        ("Please try again in 2m59.56s.", 179.56),
        ("Please try again in 6m0s.", 360),
        ("Please retry after 20 seconds.", 20),
        ("Quota exceeded for metric x, limit: 2. Please retry in 37.25s.", 37.25),
        ("try again in 1 hour", 3600),
        ("Try again in 5 minutes, please", 300),
        ("Please try again in a moment", None),
        ("Please try again later.", None),
        ("Retry in 3 parsecs", None),
        ("Please try again in 999999999s.", None),
        ("", None),
    ],
)
def test_a_sentence_that_says_how_long(sentence, seconds):
    """As OpenAI, Groq, Azure and Gemini put it."""
    found = retry_after_in(sentence)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_the_headers_that_say_how_long():
    """OpenAI's milliseconds first, then seconds, then a date, with or without a zone."""
    assert parse_retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert parse_retry_after({"retry-after-ms": "soon", "retry-after": "9"}) == 9
    assert parse_retry_after({}) is None
    later = datetime.now(UTC) + timedelta(hours=1)
    for text in (format_datetime(later, usegmt=True), later.strftime("%d %b %Y %H:%M:%S -0000")):
        assert 3000 < parse_retry_after({"retry-after": text}) <= 3600
    assert parse_retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "nan", "inf", "1e9", "Mon, 99 Jan 2026 00:00:00 GMT", f"1 Jan {'9' * 30} 00:00:00 GMT"]
)
def test_a_header_that_says_nothing(text):
    """It is as if it were not there."""
    assert parse_retry_after({"retry-after": text}) is None
