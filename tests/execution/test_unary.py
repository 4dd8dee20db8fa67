"""Unary calls: one retry loop, one time limit, one precedence of options."""

from __future__ import annotations

import functools

import pytest
import trio

import allm
from allm.execution.services.images import IMAGES
from allm.execution.services.unary import resolve_unary

RETRY = allm.RetryPolicy(max_attempts=3, base_delay=1, jitter=0)


class Echo:
    """Echoes its request, after some failures and a sleep."""

    provider = "echo"

    def __init__(self, *failures, nap=0.0):
        self.failures, self.nap, self.times = list(failures), nap, []

    def prepare(self, request, options):
        return request

    async def send(self, prepared):
        self.times.append(trio.current_time())
        await trio.sleep(self.nap)
        if self.failures:
            raise self.failures.pop(0)
        return prepared


def down(**fields):
    return allm.AdapterError("down", **{"reason": "overloaded", **fields})


def engine(adapter, **fields):
    return allm.Engine(image_adapter=adapter, **{"retry": RETRY, **fields})


async def ask(engine, requests=("a",), **options):
    call = resolve_unary(IMAGES, engine, options)
    with call.running(requests=len(requests)) as span:
        return [await call.attempt(functools.partial(call.adapter.send, call.prepare(x)), span) for x in requests]


async def test_one_budget_for_all_requests_of_a_call(autojump_clock):
    """All requests share the retries, and the waits keep growing."""
    adapter = Echo(down(), nap=0)
    assert await ask(engine(adapter), "ab") == ["a", "b"]
    assert adapter.times == [0, 1, 1]

    adapter = Echo(down(), down(), down())
    with pytest.raises(allm.ImageAdapterError, match="down") as caught:
        await ask(engine(adapter), "ab")
    assert len(adapter.times) == 3
    assert (caught.value.reason, caught.value.retryable) == ("overloaded", True)


async def test_what_cannot_succeed_is_not_tried_again(autojump_clock):
    """Errors that are not retryable fail at once, as does anything with retry=None."""
    for failure, options in ((down(reason="invalid_request"), {}), (down(), {"retry": None})):
        adapter = Echo(failure)
        with pytest.raises(allm.ImageAdapterError):
            await ask(engine(adapter), **options)
        assert len(adapter.times) == 1


async def test_the_whole_call_has_one_limit(autojump_clock):
    """Requests and pauses count; a pause that would exceed the limit is not started."""
    with pytest.raises(allm.ImageAdapterError, match="request_timeout") as caught:
        await ask(engine(Echo(nap=2)), "abc", request_timeout=5)
    assert (caught.value.reason, trio.current_time()) == ("timeout", 5)
    with pytest.raises(allm.ImageAdapterError, match="down"):
        await ask(engine(Echo(down(retry_after=9))), request_timeout=5)
    assert trio.current_time() == 5


async def test_a_retry_past_the_callers_deadline_is_not_tried(autojump_clock):
    """The failure is raised at once; a cancelled scope stays cancelled."""
    with trio.move_on_after(5), pytest.raises(allm.ImageAdapterError, match="down"):
        await ask(engine(Echo(down(retry_after=9))))
    assert trio.current_time() == 0

    class Cancelling(Echo):
        async def send(self, prepared):
            scope.cancel()
            raise down()

    with trio.CancelScope() as scope:
        await ask(engine(Cancelling()))
    assert scope.cancelled_caught


async def test_each_request_has_a_limit(autojump_clock):
    """A request without a response is retried, within the budget."""
    adapter = Echo(nap=10)
    with pytest.raises(allm.ImageAdapterError, match="first_event_timeout"):
        await ask(engine(adapter), first_event_timeout=4)
    assert adapter.times == [0, 5, 11]


async def test_the_engines_limiter_counts_them(autojump_clock):
    """Its place is released however the request ends."""
    limiter = trio.CapacityLimiter(1)
    with pytest.raises(allm.ImageAdapterError):
        await ask(engine(Echo(down(reason="invalid_request")), limiter=limiter))
    with trio.move_on_after(1):
        await ask(engine(Echo(nap=10), limiter=limiter))
    assert limiter.borrowed_tokens == 0


async def test_options_come_from_the_usual_places():
    """The call's own come first; the chat's model and sampling options are not used."""
    given = allm.Engine(
        image_adapter=Echo(), model="chatty", params={"request_timeout": 3, "temperature": 1, "top_p": 1, "model": "x"}
    )
    with allm.defaults(first_event_timeout=7, request_timeout=8, options={"a": 1}, api_key="k"):
        call = resolve_unary(IMAGES, given, {"retry": None})
    limits = call.execution_options
    assert (limits.request_timeout, limits.first_event_timeout, limits.retry) == (3, 7, None)
    request = call.request_for(allm.ImageRequest("a fox", model="m"))
    assert (request.model, request.options) == ("m", {"a": 1})
    assert call.adapter_options.api_key.reveal() == "k"


@pytest.mark.parametrize("adapter", [None, object(), allm.providers.Fake(script=[])])
async def test_an_engine_without_the_service(adapter):
    """The error says what to set; the chat adapter is never used instead."""
    with pytest.raises(allm.EngineError, match="image_adapter") as caught:
        resolve_unary(IMAGES, allm.Engine(adapter=Echo(), image_adapter=adapter), {})
    assert caught.value.reason == "missing_adapter"


async def test_any_exception_of_an_adapter_is_one_of_ours(autojump_clock):
    """It becomes an AdapterError, with the original as its cause."""
    with pytest.raises(allm.ImageAdapterError, match="KeyError") as caught:
        await ask(engine(Echo(KeyError("x"))))
    assert isinstance(caught.value.__cause__, KeyError)


async def test_telemetry_has_one_span_and_its_retries(autojump_clock):
    """One span, however many requests the call makes."""
    seen = []
    detach = allm.telemetry.attach(seen.append)
    try:
        await ask(engine(Echo(down())), "ab")
    finally:
        detach()
    assert [(event.name, event.phase) for event in seen] == [
        ("image", "start"),
        ("adapter.retry", "event"),
        ("image", "stop"),
    ]


@pytest.mark.parametrize("models", [{"image": "openai:x"}, {"paint_model": "openai:x"}, {"image_model": "nobody:x"}])
def test_services_that_there_are_not(models):
    """An unknown service is a clear error that lists the known ones."""
    with pytest.raises(allm.EngineError, match="expected"):
        allm.Engine().with_services(**models)
