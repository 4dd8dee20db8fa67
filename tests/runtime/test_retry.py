"""Whether a failed call is retried, and how long it waits before."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

import allm
from allm.http.retry_after import parse_retry_after, retry_after_in
from allm.providers import OpenAI
from allm.testing import Reply, WireServer, loopback_clock


@pytest.fixture
def clock():
    return loopback_clock()


def error(**fields):
    return allm.AdapterError("no", reason="rate_limited", **fields)


def test_waits_grow_up_to_a_limit():
    """The wait doubles with each attempt, up to the limit, plus a random part."""
    policy = allm.RetryPolicy(max_attempts=9, base_delay=1, max_delay=5, jitter=0.5)
    waits = [policy.delay(error(), attempt) for attempt in (1, 2, 3, 4, 8)]
    for wait, least in zip(waits, (1, 2, 4, 5, 5), strict=True):
        assert least <= wait <= min(least + 0.5, 5)


def test_no_retry_after_the_last_attempt_or_a_permanent_error():
    """`delay` then returns None."""
    policy = allm.RetryPolicy(max_attempts=2)
    assert policy.delay(error(), 2) is None
    assert policy.delay(error(retryable=False), 1) is None


def test_the_providers_wait_is_respected():
    """The wait is at least as long, whatever our own limit is, or there is no retry."""
    assert allm.RetryPolicy(base_delay=0, jitter=0).delay(error(retry_after=7), 1) == 7
    assert allm.RetryPolicy(base_delay=0, jitter=0, max_delay=3).delay(error(retry_after=7), 1) == 7
    assert allm.RetryPolicy(base_delay=0, jitter=0, respect_retry_after=False).delay(error(retry_after=7), 1) == 0
    assert allm.RetryPolicy(jitter=0).delay(error(retry_after=0), 1) == 0.5


def test_a_longer_wait_than_allowed_is_not_shortened():
    """An early request would be refused again."""
    assert allm.RetryPolicy(jitter=0).delay(error(retry_after=60), 1) == 60
    assert allm.RetryPolicy().delay(error(retry_after=60.1), 1) is None
    assert allm.RetryPolicy(max_retry_after=3).delay(error(retry_after=7), 1) is None


def test_callers_with_the_same_retry_after_are_spread_out():
    """A thousand callers with "3 s" spread over the three quarters of a second after it."""
    waits = [allm.RetryPolicy().delay(error(retry_after=3), 1) for _ in range(1000)]
    assert all(3 <= wait <= 3.75 for wait in waits)
    for tenth in range(10):  # each tenth of the interval has its share
        low = 3 + 0.075 * tenth
        assert 50 < sum(low <= wait < low + 0.075 for wait in waits) < 170


def test_many_attempts_do_not_overflow():
    """The exponent stays below what a float can hold."""
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
        ("Please try again in 999999999s.", 999999999),
        ("", None),
    ],
)
def test_retry_time_in_a_message(sentence, seconds):
    """In the wording of OpenAI, Groq, Azure and Gemini."""
    found = retry_after_in(sentence)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_retry_time_in_headers():
    """OpenAI's milliseconds come first, then seconds, then a date with or without a zone."""
    assert parse_retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert parse_retry_after({"retry-after-ms": "soon", "retry-after": "9"}) == 9
    assert parse_retry_after({}) is None
    later = datetime.now(UTC) + timedelta(hours=1)
    for text in (format_datetime(later, usegmt=True), later.strftime("%d %b %Y %H:%M:%S -0000")):
        assert 3000 < parse_retry_after({"retry-after": text}) <= 3600
    assert parse_retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", "1e9", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_a_header_without_a_usable_time(text):
    """It is ignored."""
    assert parse_retry_after({"retry-after": text}) is None


@pytest.mark.parametrize(
    "text",
    [
        "86401",
        "1000000000",
        "9" * 400,
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -1200",
        f"1 Jan {'9' * 30} 00:00:00 GMT",
    ],
)
def test_a_time_of_more_than_a_day(text):
    """It means what it says: not now. It is no reason to try early, and no clock overflows."""
    seconds = parse_retry_after({"retry-after": text})
    assert 86400 < seconds <= 100 * 366 * 86400
    asked = error(retryable=True, retry_after=seconds)
    assert allm.RetryPolicy().delay(asked, 1) is None
    assert allm.RetryPolicy(max_retry_after=math.inf).delay(asked, 1) >= seconds
    assert parse_retry_after({"retry-after-ms": "9" * 400}) > 86400


async def test_a_provider_that_asks_for_a_week(clock):
    """The call fails at once, and the error says how long to wait."""
    async with WireServer() as server:
        server.default = Reply.json({"error": {"message": "no"}}, status=429, headers={"retry-after": "604800"})
        adapter = OpenAI(api_key="k", base_url=server.url("openai"))
        response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")
        assert len(server.requests) == 1
    assert response.error.retry_after == 604800


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("max_attempts", "3", "is '3'; expected a whole number, 1 or more"),
        ("max_attempts", 0, "is 0; expected a whole number, 1 or more"),
        ("max_attempts", True, "is True; expected a whole number"),
        ("base_delay", "1", "is '1'; expected a number, 0 or more"),
        ("max_delay", -1, "is -1; expected a number, 0 or more"),
        ("jitter", math.nan, "is nan; expected a number, 0 or more"),
    ],
)
def test_a_policy_that_makes_no_sense(field, value, expected):
    """One sentence names the field, its value and what was expected."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.RetryPolicy(**{field: value})
    assert caught.value.message.startswith(f"RetryPolicy({field}=...) {expected}")
    assert (caught.value.reason, caught.value.errors) == ("invalid_retry", (((field,), "out_of_range"),))


@pytest.mark.parametrize(
    ("name", "told"), [("attempts", "did you mean 'max_attempts'?"), ("max_retries", "max_attempts= counts the first")]
)
def test_a_field_of_a_policy_by_another_name(name, told):
    """The error says what it is called here."""
    with pytest.raises(TypeError, match=f"RetryPolicy has no field '{name}'; ") as caught:
        allm.RetryPolicy(**{name: 3})
    assert told in str(caught.value)
