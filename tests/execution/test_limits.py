"""Time limits and retries, in virtual time."""

from __future__ import annotations

import pytest
import trio

import allm
from allm import fake

LIMITED = allm.AdapterError("slow down", reason="rate_limited", status=429)
NO_JITTER = allm.RetryPolicy(jitter=0)


def engine(*scripts, **fields):
    return allm.Engine(adapter=allm.providers.Fake(scripts=scripts), **fields)


async def test_first_event_timeout_ends_the_call(autojump_clock):
    """Without an event within the limit, the error is a timeout that names the option."""
    response = await allm.generate(
        engine([fake.delay(1000), fake.text("late")]), "hi", first_event_timeout=10, retry=None
    )
    assert trio.current_time() == 10
    assert response.error.reason == "timeout"
    assert "first_event_timeout" in response.error.message


async def test_stream_timeout_counts_the_gap_between_events(autojump_clock):
    """Only a gap between events runs into it; the text so far is kept."""
    steady = [item for _ in range(20) for item in (fake.delay(9), fake.text("x"))]
    response = await allm.generate(engine([*steady, fake.delay(11), fake.text("late")]), "hi", stream_timeout=10)
    assert trio.current_time() == 20 * 9 + 10
    assert response.error.reason == "timeout"
    assert "stream_timeout" in response.error.message
    assert response.output_text == "x" * 20


async def test_request_timeout_bounds_the_whole_call(autojump_clock):
    """Events do not extend it; the text so far is kept."""
    steady = [item for _ in range(20) for item in (fake.text("x"), fake.delay(9))]
    response = await allm.generate(engine(steady), "hi", request_timeout=50)
    assert trio.current_time() == 50
    assert response.error.reason == "timeout"
    assert response.output_text == "x" * 6


async def test_limits_do_not_count_a_slow_consumer(autojump_clock):
    """A consumer that takes an hour per event causes no timeout."""
    script = [fake.text("x") for _ in range(1000)]
    async with allm.stream_generate(engine(script), "hi", stream_timeout=5, first_event_timeout=5) as events:
        async for _ in events:
            await trio.sleep(3600)
    assert events.result().output_text == "x" * 1000
    assert events.result().finish_reason == "stop"


async def test_request_timeout_with_a_slow_consumer_loses_nothing(autojump_clock):
    """It is wall time; a waiting burst is delivered before the failure."""
    script = [fake.text("x") for _ in range(1000)]
    seen = []
    async with allm.stream_generate(engine(script), "hi", request_timeout=5) as events:
        async for event in events:
            seen.append(event)
            await trio.sleep(1)
    assert isinstance(seen[-1], allm.Failed)
    deltas = [event for event in seen if isinstance(event, allm.TextDelta)]
    assert 5 < len(deltas) < 1000
    assert events.result().output_text == "x" * len(deltas)


async def test_surrounding_deadline_wins(autojump_clock):
    """A Trio deadline around the call works without a parameter."""
    with trio.move_on_after(3) as scope:
        await allm.generate(engine([fake.delay(100), fake.text("x")]), "hi")
    assert scope.cancelled_caught
    assert trio.current_time() == 3


async def test_failure_before_the_first_event_is_retried(autojump_clock):
    """The wait doubles, and the response has no trace of the failures."""
    adapter = engine([fake.error(LIMITED)], [fake.error(LIMITED)], [fake.text("third")], retry=NO_JITTER)
    async with allm.stream_generate(adapter, "hi") as events:
        seen = [event async for event in events]
    assert events.result().output_text == "third"
    assert not any(isinstance(event, allm.Failed) for event in seen)
    assert trio.current_time() == 0.5 + 1.0


async def test_retries_are_bounded_and_the_last_error_is_kept(autojump_clock):
    """There are max_attempts attempts in all."""
    adapter = engine(*[[fake.error(LIMITED)]] * 5, retry=NO_JITTER)
    response = await allm.generate(adapter, "hi")
    assert response.error is LIMITED
    assert adapter.adapter.remaining == 2


async def test_nothing_is_retried_after_the_first_event(autojump_clock):
    """A partial response is kept, with its error."""
    adapter = engine([fake.text("half"), fake.error(LIMITED)], [fake.text("again")])
    response = await allm.generate(adapter, "hi")
    assert response.output_text == "half"
    assert response.error is LIMITED
    assert adapter.adapter.remaining == 1


@pytest.mark.parametrize("reason", ["quota_exhausted", "invalid_request", "authentication_failed", "not_found"])
async def test_hopeless_failures_are_not_retried(reason):
    """Errors that would occur again are not retried."""
    adapter = engine([fake.error(allm.AdapterError("no", reason=reason))], [fake.text("again")])
    response = await allm.generate(adapter, "hi")
    assert response.error.reason == reason
    assert adapter.adapter.remaining == 1


async def test_the_provider_says_how_long_to_wait(autojump_clock):
    """The provider's wait replaces the back-off, and `max_delay` does not cut it."""
    for asked, waited in ((7.0, 7.0), (0.1, 0.1), (45.0, 45.0)):
        error = allm.AdapterError("wait", reason="rate_limited", retry_after=asked)
        before = trio.current_time()
        response = await allm.generate(engine([fake.error(error)], [fake.text("ok")], retry=NO_JITTER), "hi")
        assert response.output_text == "ok"
        assert trio.current_time() - before == pytest.approx(waited)


async def test_a_longer_ask_than_allowed_is_an_error_at_once(autojump_clock):
    """A wait beyond the policy's limit fails now, with `retry_after`."""
    error = allm.AdapterError("wait", reason="rate_limited", retry_after=61.0)
    adapter = engine([fake.error(error)], [fake.text("ok")], [fake.text("ok")])
    response = await allm.generate(adapter, "hi")
    assert (response.error.reason, response.error.retry_after) == ("rate_limited", 61.0)
    assert trio.current_time() == 0
    patient = allm.RetryPolicy(max_retry_after=120)
    again = engine([fake.error(error)], [fake.text("ok")], retry=patient)
    assert (await allm.generate(again, "hi")).output_text == "ok"


async def test_a_wait_beyond_request_timeout_is_not_begun(autojump_clock):
    """The provider's own error comes at once, not a timeout later."""
    error = allm.AdapterError("wait", reason="rate_limited", retry_after=10)
    response = await allm.generate(engine([fake.error(error)], [fake.text("ok")]), "hi", request_timeout=2)
    assert response.error is error
    assert trio.current_time() == 0


async def test_the_wait_may_stand_in_the_sentence(autojump_clock):
    """Inside a stream the wait is read from the message, as there is no header."""
    error = allm.AdapterError("Limit 30000. Please try again in 1.5s. Visit us.", reason="rate_limited")
    response = await allm.generate(engine([fake.error(error)], [fake.text("ok")], retry=NO_JITTER), "hi")
    assert response.output_text == "ok"
    assert trio.current_time() == 1.5
    assert error.retry_after == 1.5


async def test_retry_that_cannot_finish_in_time_is_not_tried(autojump_clock):
    """With 5 s left and 20 s to wait, the error comes at once."""
    error = allm.AdapterError("wait", reason="rate_limited", retry_after=20)
    adapter = engine([fake.error(error)], [fake.text("ok")])
    with trio.move_on_after(5) as scope:
        response = await allm.generate(adapter, "hi")
    assert not scope.cancelled_caught
    assert response.error is error
    assert trio.current_time() == 0
    assert adapter.adapter.remaining == 1


async def test_first_event_timeout_is_retried(autojump_clock):
    """A timeout before the first event is retried like other failures."""
    adapter = engine([fake.delay(100), fake.text("late")], [fake.text("ok")], retry=NO_JITTER)
    response = await allm.generate(adapter, "hi", first_event_timeout=10)
    assert response.output_text == "ok"
    assert trio.current_time() == 10.5


async def test_each_retry_is_a_telemetry_event(autojump_clock):
    """The event has the attempt, the wait and the error."""
    seen = []
    detach = allm.telemetry.attach(seen.append)
    try:
        await allm.generate(engine([fake.error(LIMITED)], [fake.text("ok")], retry=NO_JITTER), "hi")
    finally:
        detach()
    start, retry, stop = seen
    assert (start.name, start.phase) == ("generate", "start")
    assert (retry.name, retry.parent_id) == ("adapter.retry", start.span_id)
    assert retry.attributes["attempt"] == 1
    assert retry.attributes["delay"] == 0.5
    assert retry.attributes["error"] is LIMITED
    assert (stop.phase, stop.span_id) == ("stop", start.span_id)
    assert stop.attributes["outcome"] == "completed"
    assert stop.attributes["finish_reason"] == "stop"
    assert stop.attributes["time_to_first_event"] == 0.5


async def test_span_of_a_halted_stream_says_so():
    """The span ends when the block is left, with the outcome "halted"."""
    seen = []
    detach = allm.telemetry.attach(seen.append)
    try:
        async with allm.stream_generate(engine([fake.text("a"), fake.text("b")]), "hi") as events:
            await anext(events)
            assert [event.phase for event in seen] == ["start"]
    finally:
        detach()
    assert seen[-1].attributes["outcome"] == "halted"


async def test_limiter_bounds_calls_of_one_engine(autojump_clock):
    """Three calls of 10 s through one slot take 30 s, and waiting for it has no timeout."""
    limited = allm.Engine(
        adapter=allm.providers.Fake(scripts=[[fake.delay(10), fake.text("x")]] * 3), limiter=trio.CapacityLimiter(1)
    )
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: allm.generate(limited, "hi", first_event_timeout=11, retry=None))
    assert trio.current_time() == 30
    assert limited.limiter.borrowed_tokens == 0


class Refusing:
    """An adapter for every service that always raises the same error."""

    provider = "p"
    requires_model = False

    def __init__(self, **fields):
        self.fields = fields

    def prepare(self, request, options):
        return None

    async def stream(self, prepared, emit):
        raise allm.AdapterError("slow down", reason="rate_limited", status=429, **self.fields)

    async def send(self, prepared):
        raise allm.AdapterError("slow down", reason="rate_limited", status=429, **self.fields)


@pytest.mark.parametrize("retry_after", [None, 0.2, 10, 61])
@pytest.mark.parametrize("limits", [{}, {"request_timeout": 2}, {"retry": None}], ids=str)
async def test_every_kind_of_call_reports_the_same(autojump_clock, retry_after, limits):
    """A stream, its fold and a unary call report the same error after the same time."""
    adapter = Refusing(retry_after=retry_after)
    refused = allm.Engine(adapter=adapter, embedding_adapter=adapter, image_adapter=adapter, moderation_adapter=adapter)
    options = {"retry": NO_JITTER, **limits}

    async def generated():
        return (await allm.generate(refused, "hi", **options)).error

    async def raised(call):
        with pytest.raises(allm.AdapterError) as caught:
            await call
        return caught.value

    said = []
    for work in (
        generated,
        lambda: raised(allm.embed(refused, ["hi"], **options)),
        lambda: raised(allm.generate_image(refused, "hi", **options)),
        lambda: raised(allm.moderate(refused, "hi", **options)),
    ):
        before = trio.current_time()
        error = await work()
        said.append((error.reason, error.retry_after, error.message, round(trio.current_time() - before, 6)))
    assert len(set(said)) == 1
    if retry_after in {10, 61} and limits:
        assert said[0][-1] == 0
