"""When a call is tried again, and how long it waits before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

import allm
from allm.http.retry_after import parse_retry_after


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
    """At least so long, but no longer than the limit; or not at all."""
    assert allm.RetryPolicy(base_delay=0, jitter=0).delay(error(retry_after=7), 1) == 7
    assert allm.RetryPolicy(base_delay=0, max_delay=3).delay(error(retry_after=7), 1) == 3
    assert allm.RetryPolicy(base_delay=0, jitter=0, respect_retry_after=False).delay(error(retry_after=7), 1) == 0


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
