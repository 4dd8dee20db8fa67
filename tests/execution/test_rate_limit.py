"""Calls under an `allm.RateLimit`: who waits, for how long, and what a refusal does to all of them."""

from __future__ import annotations

import importlib.util
import itertools
import logging
from pathlib import Path

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.adapters import AdapterOptions
from allm.execution.places import place_of
from allm.providers import Anthropic, Fake, FakeEmbeddings, FakeSpeech, OpenAI
from allm.testing import Reply, WireServer, cancel_everywhere

SLOW_DOWN = allm.AdapterError("slow down", reason="rate_limited", status=429)
NO_JITTER = allm.RetryPolicy(jitter=0)


def engine(limiter, *scripts, **fields):
    """An engine whose answers are scripted, or else all the same."""
    adapter = Fake(scripts=scripts) if scripts else Fake(respond=lambda _: "ok")
    return allm.Engine(adapter=adapter, limiter=limiter, **{"model": "m", "retry": NO_JITTER, **fields})


async def at_once(*calls):
    """Start the calls in order; when each ended, on the clock, in that order."""
    ended = []

    async def one(number, call):
        error = (await call()).error
        ended.append((number, trio.current_time(), error))

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(one, number, call)
            await trio.testing.wait_all_tasks_blocked()
    return ended


async def test_calls_are_spread_over_the_minute_in_their_order(autojump_clock):
    """Five calls with a limit of 60 begin a second apart, first come, first served."""
    paced = engine(allm.RateLimit(requests_per_minute=60, adaptive=False))
    ended = await at_once(*[lambda: allm.generate(paced, "hi")] * 5)
    assert [number for number, _, _ in ended] == [0, 1, 2, 3, 4]
    assert [when for _, when, _ in ended] == pytest.approx([n / 0.995 for n in range(5)])


async def test_engines_share_it_and_models_do_not(autojump_clock):
    """One line for each model, whichever engine or service the call is of."""
    limit = allm.RateLimit(requests_per_minute=60, adaptive=False)
    first, second = engine(limit), engine(limit)
    ended = await at_once(
        lambda: allm.generate(first, "hi"),
        lambda: allm.generate(second, "hi"),
        lambda: allm.generate(second.with_model("other"), "hi"),
        lambda: allm.chat(first, "hi"),
    )
    assert {number: round(when) for number, when, _ in ended} == {0: 0, 1: 1, 2: 0, 3: 2}
    assert {(line.model, line.sent) for line in limit.statistics()} == {("m", 3), ("other", 1)}


async def test_keys_have_lines_of_their_own():
    """A key function, a key and a header with a key each stand for an account."""
    limit = allm.RateLimit(requests_per_minute=1)
    async with WireServer() as server:
        server.add(*[Reply.script("openai", [fake.text("ok")])] * 4)
        url = server.url("openai")
        adapters = [
            OpenAI(base_url=url, api_key="one"),
            OpenAI(base_url=url, api_key="two"),
            OpenAI(base_url=url, api_key=lambda: "one"),
            OpenAI(base_url=url, headers={"authorization": "Bearer three"}),
        ]
        for adapter in adapters:
            calling = allm.Engine(adapter=adapter, model="m", limiter=limit)
            assert (await allm.generate(calling, "hi", request_timeout=30)).error is None
        again = allm.Engine(adapter=OpenAI(base_url=url, api_key="one"), model="m", limiter=limit)
        refused = await allm.generate(again, "hi", request_timeout=30)
    assert refused.error.reason == "rate_limited"
    assert len(server.requests) == 4
    assert "one" not in repr(limit.statistics())


def test_an_account_is_an_address_a_model_and_a_key():
    """Paths and bodies differ from call to call; and other adapters than those over HTTP have a line for each model."""

    def account(model="m", prepared=None, **fields):
        given = {"base_url": "https://a.example/v1", "api_key": "k", **fields}
        made = OpenAI(**given).prepare(allm.request("hi", model=model), AdapterOptions())
        return place_of("openai", model, prepared or made).account

    assert account() == account() == account(endpoint="responses")
    assert len({account(), account(model="other"), account(api_key="l"), account(base_url="https://b.example")}) == 4
    assert account(prepared=object()) == ("openai", "m")


async def test_who_is_cancelled_leaves_the_line(autojump_clock):
    """In front of it or behind: the others go when they would have gone without."""
    limit = allm.RateLimit(requests_per_minute=60, adaptive=False)
    paced = engine(limit)
    await allm.generate(paced, "hi")
    scopes = [trio.CancelScope() for _ in range(2)]

    async def cancelled(scope):
        with scope:
            await allm.generate(paced, "hi")

    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(cancelled, scope)
            await trio.testing.wait_all_tasks_blocked()
        ended = []

        async def last():
            await allm.generate(paced, "hi")
            ended.append(trio.current_time())

        nursery.start_soon(last)
        await trio.sleep(0.5)
        assert limit.statistics()[0].waiting == 3
        scopes[1].cancel()
        scopes[0].cancel()
    assert ended == [pytest.approx(1 / 0.995)]
    assert limit.statistics()[0].sent == 2
    assert limit.statistics()[0].waiting == 0


async def test_waiting_is_in_the_request_timeout_and_not_in_that_of_the_first_event(autojump_clock):
    """The wait is our own; a slow provider is another thing."""
    paced = engine(allm.RateLimit(requests_per_minute=6, adaptive=False))
    ended = await at_once(*[lambda: allm.generate(paced, "hi", first_event_timeout=1)] * 3)
    assert [error for _, _, error in ended] == [None] * 3
    assert ended[-1][1] > 20


@pytest.mark.parametrize("scope", [True, False])
async def test_a_wait_that_cannot_end_in_time_is_not_begun(autojump_clock, scope):
    """The error comes at once, says how long the wait would be, and is not retried."""
    paced = engine(allm.RateLimit(requests_per_minute=1))
    await allm.generate(paced, "hi")
    with trio.move_on_after(30 if scope else 1000):
        response = await allm.generate(paced, "hi", **({} if scope else {"request_timeout": 30}))
    assert trio.current_time() == 0
    assert response.error.reason == "rate_limited"
    assert response.error.retry_after == pytest.approx(60, rel=0.01)
    assert response.error.model == "m"


async def test_those_behind_others_know_it_too(autojump_clock):
    """The tenth of a line of ten cannot go within five seconds, at one a second."""
    paced = engine(allm.RateLimit(requests_per_minute=60))
    ended = await at_once(*[lambda: allm.generate(paced, "hi", request_timeout=5)] * 10)
    assert [number for number, when, error in ended if error is not None and when == 0] == [5, 6, 7, 8, 9]


async def test_services_raise_it(autojump_clock):
    """With the class of the service's errors."""
    paced = allm.Engine(
        embedding_adapter=FakeEmbeddings(),
        embedding_model="v",
        limiter=allm.RateLimit(requests_per_minute=1),
    )
    await allm.embed(paced, ["a"])
    with pytest.raises(allm.EmbeddingAdapterError) as caught:
        await allm.embed(paced, ["a"], request_timeout=30)
    assert caught.value.reason == "rate_limited"
    assert trio.current_time() == 0


async def test_a_wait_of_hours_is_logged_once(autojump_clock, caplog):
    """One WARNING says how long; whoever has a deadline gets the error at once, also who waits already."""
    day = allm.AdapterError("used up", reason="rate_limited", status=429, retry_after=8 * 3600)
    script = [[fake.error(day)], *[[fake.text("ok")]] * 4]
    limited = engine(allm.RateLimit(), *script)
    assert (await allm.generate(limited, "hi")).error is day
    with caplog.at_level(logging.INFO, logger="allm"):
        ended = await at_once(
            lambda: allm.generate(limited, "hi"),
            lambda: allm.generate(limited, "hi", request_timeout=3600),
            lambda: allm.generate(limited, "hi"),
        )
    assert [(number, error is None) for number, _, error in ended] == [(1, False), (0, True), (2, True)]
    assert [when for _, when, _ in ended] == [0, 28800, pytest.approx(28800.5, abs=0.5)]
    assert ended[2][1] > 28800
    waits = [record.getMessage() for record in caplog.records if record.getMessage().startswith("the rate limit")]
    assert waits == ["the rate limit of fake for m leaves no room for 28800 s; 1 calls wait"]


async def test_those_who_wait_already_get_the_error_when_the_provider_asks_for_longer(autojump_clock):
    """A pause that begins while they wait is not run into either."""
    day = allm.AdapterError("used up", reason="rate_limited", status=429, retry_after=3600)
    limited = engine(allm.RateLimit(requests_per_minute=6), [fake.delay(1), fake.error(day)], *[[fake.text("ok")]] * 3)
    ended = await at_once(*[lambda: allm.generate(limited, "hi", request_timeout=600)] * 4)
    assert {round(when) for _, when, _ in ended} == {1}
    assert all(error.retry_after == pytest.approx(3600, abs=1) for _, _, error in ended)


async def test_refusals_use_up_no_attempt(autojump_clock):
    """Ten of them, with a policy of two attempts, and then an answer; without a `RateLimit` the second is the last."""
    script = [*[[fake.error(SLOW_DOWN)]] * 10, [fake.text("ok")]]
    policy = allm.RetryPolicy(max_attempts=2, jitter=0)
    response = await allm.generate(engine(allm.RateLimit(), *script, retry=policy), "hi")
    assert response.output_text == "ok"
    assert (await allm.generate(engine(None, *script, retry=policy), "hi")).error is not None
    assert (await allm.generate(engine(allm.RateLimit(), *script, retry=None), "hi")).error is not None


async def test_patience_ends(autojump_clock):
    """A call that is refused for longer than that fails with the refusal."""
    limited = engine(allm.RateLimit(patience=120), *[[fake.error(SLOW_DOWN)]] * 100)
    response = await allm.generate(limited, "hi")
    assert response.error.reason == "rate_limited"
    assert 60 < trio.current_time() < 240


async def test_other_failures_still_do(autojump_clock):
    """A lost connection says nothing about the rate."""
    lost = allm.AdapterError("lost", reason="network_error")
    script = [[fake.error(SLOW_DOWN)], *[[fake.error(lost)]] * 3, [fake.text("ok")]]
    limit = allm.RateLimit()
    assert (await allm.generate(engine(limit, *script), "hi")).error.reason == "network_error"
    assert limit.statistics()[0].refused == 1


@pytest.mark.parametrize("fields", [{"reason": "overloaded"}, {"reason": "provider_unavailable", "status": 503}])
async def test_an_overload_counts_and_so_does_one_inside_a_stream(autojump_clock, fields):
    """Also behind content, where nothing is retried."""
    limit = allm.RateLimit()
    busy = allm.AdapterError("busy", **fields)
    response = await allm.generate(engine(limit, [fake.text("so far"), fake.error(busy)]), "hi")
    assert response.output_text == "so far"
    assert limit.statistics()[0].refused == 1


async def test_exhausted_credit_is_no_refusal(autojump_clock):
    """To wait would not help."""
    limit = allm.RateLimit()
    spent = allm.AdapterError("no credit", reason="quota_exhausted", status=429)
    await allm.generate(engine(limit, [fake.error(spent)]), "hi")
    assert limit.statistics()[0].refused == 0


async def test_a_refusal_slows_everybody(autojump_clock):
    """Also an engine that has met none."""
    limit = allm.RateLimit(requests_per_minute=6000)
    script = [*[[fake.text("ok")]] * 100, [fake.error(SLOW_DOWN)], [fake.text("ok")]]
    met = engine(limit, *script)
    for _ in range(101):
        await allm.generate(met, "hi")
    assert limit.statistics()[0].requests_per_minute < 5950
    await allm.generate(engine(limit), "hi")
    assert len(limit.statistics()) == 1


async def test_tokens_are_corrected_by_usage(autojump_clock):
    """600 a minute, and answers of 100: the seventh waits; after many, the estimate is what they use."""
    limit = allm.RateLimit(tokens_per_minute=60_000, adaptive=False)
    answer = [fake.text("ok"), fake.usage(input_tokens=900, output_tokens=100)]
    paced = engine(limit, *[answer] * 200)
    for _ in range(200):
        await allm.generate(paced, "hi")
    assert trio.current_time() == pytest.approx(200_000 / 1000 / 0.98, rel=0.02)


async def test_the_headers_of_answers_are_learned_from():
    """Of a server over HTTP, also of its errors."""
    async with WireServer() as server:
        limit = allm.RateLimit()
        headers = {"x-ratelimit-limit-req-minute": "60", "x-ratelimit-remaining-req-minute": "59"}
        server.add(
            attrs.evolve(good := Reply.script("openai", [fake.text("ok")]), headers={**good.headers, **headers}),
        )
        adapter = OpenAI(base_url=server.url("openai"), api_key="k")
        assert (await allm.generate(allm.Engine(adapter=adapter, model="m", limiter=limit), "hi")).error is None
        refused = Reply.error("anthropic", 429)
        told = {f"anthropic-ratelimit-requests-{name}": "50" for name in ("limit", "remaining")}
        told["anthropic-ratelimit-requests-reset"] = "2026-11-29T03:00:00Z"
        server.add(attrs.evolve(refused, headers={**refused.headers, **told, **headers}))
        claude = Anthropic(base_url=server.url("anthropic"), api_key="k")
        calling = allm.Engine(adapter=claude, model="m", limiter=limit, retry=None)
        assert (await allm.generate(calling, "hi")).error.reason == "rate_limited"
    assert [round(line.requests_per_minute) for line in limit.statistics()] == [60, 60]
    assert [line.refused for line in limit.statistics()] == [0, 1]


class Recording:
    """A limiter that notes the places it gives."""

    def __init__(self):
        self.taken, self.returned = [], []

    async def acquire_on_behalf_of(self, borrower):
        await trio.lowlevel.checkpoint()
        self.taken.append(borrower)

    def release_on_behalf_of(self, borrower):
        self.returned.append(borrower)


async def test_a_limiter_of_ones_own_is_told_of_each_attempt(autojump_clock):
    """Who is asked, what was used, and how it failed; each place is given back, also when the call is cancelled."""
    own = Recording()
    script = [[fake.error(SLOW_DOWN)], [fake.text("ok"), fake.usage(input_tokens=3, output_tokens=4)], [fake.delay(9)]]
    calling = engine(own, *script)
    await allm.generate(calling, "hi")
    with trio.move_on_after(1):
        await allm.generate(calling, "hi")
    assert own.taken == own.returned
    assert len(set(map(id, own.taken))) == 3
    refused, answered, _ = own.returned
    assert (refused.provider, refused.model, refused.error) == ("fake", "m", SLOW_DOWN)
    assert answered.usage.input_tokens == 3
    assert answered.error is None


@pytest.mark.parametrize("limiter", [3, allm.RateLimit, object()])
def test_what_is_no_limiter_is_refused(limiter):
    """Also a class, where an instance was meant."""
    with pytest.raises(allm.EngineError, match="limiter"):
        allm.Engine(limiter=limiter)


@pytest.mark.parametrize("field", ["requests_per_minute", "tokens_per_minute", "burst", "patience"])
@pytest.mark.parametrize("value", ["9", True, 0, float("nan")])
def test_a_limit_that_is_no_number_above_zero_is_refused(field, value):
    """The message names the argument and shows the value."""
    with pytest.raises(
        allm.ValidationError, match=rf"RateLimit\({field}=...\) is {value!r}; expected a number"
    ) as caught:
        allm.RateLimit(**{field: value})
    assert (caught.value.reason, caught.value.errors) == ("invalid_limits", (((field,), "invalid_limit"),))


def test_patience_has_no_none():
    """It is the one field that always is a number; None would leave it out without a word."""
    with pytest.raises(allm.ValidationError, match=r"RateLimit\(patience=...\) is None; expected a number"):
        allm.RateLimit(patience=None)


def test_a_limit_by_another_name():
    """The error says what it is called here."""
    with pytest.raises(TypeError, match="RateLimit has no field 'rpm'; use requests_per_minute="):
        allm.RateLimit(rpm=500)


@pytest.fixture(scope="module")
def simulation():
    """`benchmarks/rate_limits.py`."""
    path = Path(__file__).parents[2] / "benchmarks" / "rate_limits.py"
    spec = importlib.util.spec_from_file_location("rate_limits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STORMS = [
    ("50/s, 5 at once", 1),
    ("50/s, 50 at once", 1),
    ("50/s, Retry-After 1", 1),
    ("50/s, headers", 1),
    ("50/s, headers and Retry-After", 1),
    ("50/s, 5 at once", 2),
]


@pytest.mark.parametrize(("name", "programs"), STORMS)
def test_a_storm(simulation, name, programs):
    """Of 50 requests a second that are allowed, two minutes use 97 %, and under 1 % are refused; no call fails.

    Two programs that know nothing of each other are two limiters.
    """
    found = simulation.run(simulation.SCENARIOS[name], lambda: [allm.RateLimit() for _ in range(programs)], at_once=100)
    assert found.failed == 0
    assert found.share >= 97
    assert found.wasted < 1


@pytest.mark.parametrize("name", ["60,000 tokens a minute", "60,000 tokens a minute, headers"])
def test_a_storm_of_tokens(simulation, name):
    """With the limit given, 97 % of it are used, and under 1 % of the requests are refused."""
    make = simulation.SCENARIOS[name]
    found = simulation.run(make, lambda: [allm.RateLimit(tokens_per_minute=60_000)], at_once=100)
    assert found.failed == 0
    assert found.token_share >= 97
    assert found.wasted < 1


async def test_lines_that_nobody_uses_any_more_are_forgotten(autojump_clock):
    """A program whose users bring their keys makes a new line for each; those in use stay."""
    limit = allm.RateLimit(adaptive=False)

    async def ask(first, count):
        for number in range(first, first + count):
            await allm.generate(engine(limit, model=f"m{number}"), "hi")

    await ask(0, 998)
    await trio.sleep(121)
    await ask(998, 1)
    await ask(2000, 1)
    assert {line.model for line in limit.statistics()} == {"m998", "m2000"}


async def test_a_call_of_a_service_waits_and_is_refused_as_a_chat_is(autojump_clock):
    """Requests of one call that run at once have places of their own, and refusals use up none of its attempts."""
    limit = allm.RateLimit(requests_per_minute=60)
    busy = allm.EmbeddingAdapterError("busy", reason="overloaded", status=529)
    adapter = Refused(FakeEmbeddings(), [busy] * 7)
    calling = allm.Engine(embedding_adapter=adapter, embedding_model="v", limiter=limit, retry=NO_JITTER)
    response = await allm.embed(calling, ["a", "b", "c", "d"], batch_size=1)
    assert len(response.vectors) == 4
    (line,) = limit.statistics()
    assert (line.sent, line.refused, line.model) == (11, 7, "v")
    assert trio.current_time() > 10


class Refused:
    """An adapter of a service that is refused at first."""

    def __init__(self, adapter, errors):
        self.adapter, self.errors, self.provider = adapter, list(errors), adapter.provider
        self.prepare = adapter.prepare

    async def send(self, prepared):
        await trio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop()
        return await self.adapter.send(prepared)


async def test_it_is_sound_however_a_call_is_cancelled(autojump_clock):
    """At each step: while it waits for others and while it is under way; the line is empty then."""
    limit = allm.RateLimit(requests_per_minute=60)

    async def three():
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(allm.generate, engine(limit), "hi")

    await cancel_everywhere(three)
    assert [line.waiting for line in limit.statistics()] == [0]
    assert (await allm.generate(engine(limit), "hi")).error is None


def test_its_statistics_can_be_read_outside_of_trio():
    """Such as in a program that calls from asyncio or from threads, and after the run has ended."""
    limit = allm.RateLimit()

    async def main():
        await allm.generate(engine(limit), "hi")
        return limit.statistics()

    (line,) = trio.run(main)
    assert line.sent == 1
    limit.statistics()
    assert trio.run(main)[-1].sent == 1


async def test_who_waits_since_before_tokens_were_known_is_counted_by_what_is_known_now(autojump_clock):
    """Their tokens are estimated when they go: answers of 1,000 tokens each, one a second, however early they came."""
    limit = allm.RateLimit(tokens_per_minute=60_000, adaptive=False)
    answer = [fake.delay(0.1), fake.text("ok"), fake.usage(input_tokens=10, output_tokens=990)]
    paced = engine(limit, *[answer] * 100)
    ended = await at_once(*[lambda: allm.generate(paced, "hi")] * 100)
    late = [when for _, when, _ in ended[20:]]
    gaps = [after - before for before, after in itertools.pairwise(late)]
    assert min(gaps) > 0.9
    assert max(gaps) < 1.2


async def test_a_stream_of_speech_holds_nothing_to_its_end(autojump_clock):
    """Unlike at a `trio.CapacityLimiter`: while one is read, the next may begin when the minute has room for it."""
    limit = allm.RateLimit(requests_per_minute=60)
    calling = allm.Engine(speech_adapter=FakeSpeech(), speech_model="s", limiter=limit)
    async with allm.stream_synthesize(calling, "One.") as first:
        await anext(aiter(first))
        async with allm.stream_synthesize(calling, "Two.") as second:
            async for _ in second:
                pass
    assert limit.statistics()[0].sent == 2
    assert trio.current_time() == pytest.approx(1 / 0.995)
