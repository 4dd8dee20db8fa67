"""The arithmetic of rates, with the time given."""

from __future__ import annotations

import math
from math import inf

import pytest
from hypothesis import given, strategies as st

from allm.http.rate_headers import RateFact
from allm.runtime.rates import LONG_PAUSE, OUTAGE, Bucket, Pace


def send(pace, now, tokens=0.0):
    """Wait as long as it takes, send, and return when."""
    amounts = {"tokens": tokens}
    first = now
    while (wait := pace.wait(now, amounts)) > 0:
        now += wait
    pace.take(now, amounts, waited=now > first)
    return now


def sent_in(pace, seconds, now=0.0):
    """When requests go that come without a pause, for so many seconds."""
    end, times = now + seconds, []
    while (now := send(pace, now)) < end:
        times.append(now)
    return times


def most_in(times, seconds):
    """The largest number of moments in a span, its end left out."""
    return max((sum(at <= other < at + seconds - 1e-6 for other in times) for at in times), default=0)


@given(
    rate=st.floats(1, 3000),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=300),
    burst=st.none() | st.integers(1, 20),
)
def test_no_more_than_the_limit_is_let_through(rate, pauses, burst):
    """In no minute more than was given, and in no shorter span more than its part and the burst."""
    pace, now, times = Pace(given=rate / 60, burst=burst), 0.0, []
    for pause in pauses:
        now = send(pace, now + pause)
        times.append(now)
    allowed = burst or max(1.0, 0.05 * rate / 60)
    for span in (0.1, 1.0, 10.0, 60.0):
        assert most_in(times, span) <= allowed + span * rate / 60
    if burst is None:
        assert most_in(times, 60) <= math.ceil(rate)


@given(
    rate=st.floats(100, 100_000),
    requests=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1.5)), min_size=1, max_size=200),
)
def test_no_more_tokens_than_the_limit_are_let_through(rate, requests):
    """In no minute more than were given and one request, of any size."""
    pace, now, sent = Pace(given_tokens=rate / 60, learns=False), 0.0, []
    for pause, share in requests:
        now = send(pace, now + pause, share * rate)
        sent.append((now, share * rate))
    largest = max(amount for _, amount in sent)
    for begin, _ in sent:
        assert sum(amount for at, amount in sent if begin <= at < begin + 60 - 1e-6) <= rate + largest + 1e-6


@given(st.data())
def test_no_report_makes_it_faster_than_what_was_given(data):
    """Whatever headers say and whoever is refused, in any order; and there is always a next moment."""
    pace, now, times = Pace(given=5.0), 0.0, []
    reports = st.sampled_from(["send", "refuse", "tell"])
    for report in data.draw(st.lists(reports, max_size=60)):
        now += data.draw(st.floats(0, 2))
        if report == "send":
            now = send(pace, now)
            times.append(now)
        elif report == "refuse" and times:
            pace.refuse(now, data.draw(st.sampled_from(times)), data.draw(st.none() | st.floats(0, 100)))
        else:
            limit = data.draw(st.floats(1, 1000))
            left, reset = data.draw(st.floats(0, limit)), data.draw(st.none() | st.floats(0, 1000))
            pace.told(now, [RateFact(kind="requests", limit=limit, remaining=left, reset=reset)])
    assert pace.wait(now, {}) < inf
    assert most_in(times, 60) <= 300


def test_a_given_rate_is_kept_and_used():
    """99.5 % of it, evenly."""
    times = sent_in(Pace(given=50.0, learns=False), 120)
    assert 0.99 * 6000 < len(times) <= 6000
    assert most_in(times, 1.0) <= 53


def test_a_bucket_leaves_a_debt():
    """A request that is larger than the bucket waits until it is full, and the next until that is paid."""
    bucket = Bucket(rate=10.0, most=20.0, level=0.0, at=0.0)
    assert bucket.wait(0.0, 100.0) == 2
    assert bucket.wait(2.0, 100.0) == 0
    bucket.level -= 100.0
    assert bucket.wait(2.0, 5.0) == pytest.approx(8.5)


def test_the_start_grows_only_while_requests_wait():
    """A program that asks once in a while does not learn that it could ask a thousand times a second."""
    idle, busy = Pace(), Pace()
    for second in range(100):
        assert send(idle, float(second)) == second
    sent_in(busy, 3.0)
    assert idle.rate < 25
    assert busy.rate > 200


def test_refusals_that_were_under_way_together_cut_once():
    """The rate is lowered to what was accepted, and by the later ones not again."""
    pace = Pace(given=100.0)
    times = sent_in(pace, 5.0)
    late = times[-50:]
    pace.refuse(5.0, late[0])
    rate = pace.rate
    for at in late[1:]:
        pace.refuse(5.1, at)
    assert 80 < rate < 99
    assert pace.rate == rate
    assert pace.refused == 50


def test_after_a_cut_the_rate_comes_back():
    """In eight seconds to where it was, and beyond it while nothing is refused, up to what was given."""
    pace = Pace(given=100.0)
    pace.refuse(5.0, sent_in(pace, 5.0)[-1])
    low = pace.rate
    sent_in(pace, 8.0, now=5.0)
    assert low < 0.96 * 100
    assert pace.rate == pytest.approx(low / 0.95, rel=0.01)
    sent_in(pace, 60.0, now=13.0)
    assert pace.rate == pytest.approx(99.5)


def test_an_outage_is_a_pause_for_all():
    """When nothing is accepted, everybody waits, longer and longer; then it begins slowly."""
    pace = Pace(given=100.0)
    now = sent_in(pace, 5.0)[-1]
    pauses = []
    for _ in range(1 + OUTAGE + 8):  # the first comes behind requests that were accepted
        now = send(pace, now + 0.01)
        pace.refuse(now + 0.01, now)
        pauses.append(max(0.0, pace.paused_until - now - 0.01))
    assert pauses[:OUTAGE] == [0] * OUTAGE
    assert pauses[OUTAGE:] == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])
    assert pace.rate <= 5
    sent_in(pace, 6.0, now=now + 31)
    assert pace.rate > 90


def test_a_long_retry_after_is_a_pause_at_once():
    """A provider that asks for hours has not been asked too fast: something is used up."""
    pace = Pace()
    now = send(pace, 0.0)
    pace.refuse(now + 0.1, now, 3600.0)
    assert pace.wait(now + 0.1, {}) == pytest.approx(3600)
    other = Pace()
    other.refuse(0.1, send(other, 0.0), LONG_PAUSE)
    assert other.wait(0.1, {}) < 2


def tell(pace, now, limit, remaining, reset, kind="requests", **fields):
    pace.told(now, [RateFact(kind=kind, limit=limit, remaining=remaining, reset=reset, **fields)])


def test_a_bucket_that_refills_tells_its_rate():
    """What is missing, divided by the time until nothing is: the end moves on with each request."""
    pace = Pace()
    for step in range(20):
        missing = 10 + step
        tell(pace, step * 0.2, 3000, 3000 - missing, missing / 50, resolution=0.001)
    assert pace.rate == pytest.approx(0.995 * 50)


def test_a_window_tells_what_is_left_until_its_end():
    """The end stands still; when nothing is left, nothing goes before it; the next window is of the same kind."""
    pace = Pace()
    for second in range(6):
        tell(pace, float(second), 600, 600 - 60 * second, 60 - second, resolution=0.001)
    assert pace.rate == pytest.approx(300 / 55)
    tell(pace, 40.0, 600, 0, 20, resolution=0.001)
    assert pace.wait(40.0, {}) == pytest.approx(20)
    tell(pace, 60.0, 600, 599, 60, resolution=0.001)
    assert pace.wait(60.0, {}) < 2
    assert pace.rate == pytest.approx(599 / 60)


def test_a_few_missing_units_in_whole_seconds_tell_nothing():
    """One of 6,000 is missing and comes back within "1 s", which is no rate of one a second."""
    pace = Pace()
    for step in range(20):
        tell(pace, step * 1.0, 6000, 5997, 1.0, resolution=1.0)
    assert pace.rate == 20


def test_a_period_tells_the_rate_at_once():
    """Nothing has to be found out."""
    pace = Pace()
    tell(pace, 0.0, 60, 59, None, period=60)
    assert pace.rate == pytest.approx(0.995)


def test_tokens_that_are_told_are_counted():
    """A limit of tokens that only headers know of holds requests back."""
    pace = Pace(given=1000.0)
    assert not pace.counts_tokens
    for step in range(10):
        missing = 6000 + 1000 * step
        tell(pace, step * 0.3, 60_000, 60_000 - missing, missing / 1000, kind="tokens", resolution=0.001)
    assert pace.counts_tokens
    send(pace, 3.0, 5000)
    assert pace.wait(3.0, {"tokens": 1000.0}) > 3
    pace.correct({"tokens": 5000.0}, {"tokens": 100.0})
    assert pace.wait(3.0, {"tokens": 1000.0}) < 1


def test_without_learning_nothing_changes():
    """Only what was given counts."""
    pace = Pace(given=10.0, learns=False)
    pace.refuse(0.1, send(pace, 0.0), 3600.0)
    tell(pace, 0.2, 1, 0, None, period=3600)
    assert pace.rate == pytest.approx(9.95)
    assert pace.wait(1.0, {}) == 0
    assert pace.refused == 1
