"""`allm.hedge`: the first content wins, and whoever loses is closed before it is given."""

from __future__ import annotations

import random

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.http import transport
from allm.providers import Fake, OpenAI
from allm.testing import Reply, WireServer, cancel_everywhere, loopback_clock, no_leaks

BUSY = allm.AdapterError("busy", reason="overloaded", status=529)
BROKEN = allm.AdapterError("no", reason="invalid_request", status=400)
ONCE = allm.RetryPolicy(max_attempts=1)


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts), **fields)


class Slow:
    """An adapter that says when its stream is open, and takes its time to close."""

    provider = "slow"
    requires_model = False

    def __init__(self, *, name, begins=0.0, content=1.0, ends=0.5, closes=0.0, used=None, fails=None):
        self.name, self.begins, self.content, self.ends, self.closes = name, begins, content, ends, closes
        self.used, self.fails = used, fails
        self.is_open = False
        self.opened = 0
        self.billed = 0

    def prepare(self, request, options):
        return request

    async def stream(self, _prepared, emit):
        self.is_open = True
        self.opened += 1
        try:
            await trio.sleep(self.begins)
            await emit(allm.MessageStarted(id=self.name, model=self.name))
            if self.used is not None:
                self.billed += self.used
                await emit(allm.UsageReported(allm.Usage(input_tokens=self.used)))
            await trio.sleep(self.content)
            if self.fails is not None:
                raise self.fails
            await emit(allm.TextDelta("text", self.name))
            await trio.sleep(self.ends)
            await emit(allm.TextCompleted("text", self.name))
            await emit(allm.MessageCompleted(message=allm.assistant(self.name), finish_reason="stop"))
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.closes)
            self.is_open = False


def tokens(usage):
    return 0 if usage is None else usage.input_tokens or 0


@pytest.mark.parametrize("seed", range(10))
async def test_the_loser_is_closed_before_the_winner_is_heard(autojump_clock, seed):
    """With any delays and failures: only its stream is open when it has an event; nothing leaks, and all is counted."""
    lots = random.Random(seed)  # noqa: S311  (delays, not a secret)

    def delay():
        return lots.choice([0.0, 0.5, 1.0, round(lots.random() * 3, 2)])

    for _ in range(100):
        adapters = [
            Slow(
                name=f"m{index}",
                begins=delay(),
                content=delay(),
                ends=delay(),
                closes=delay(),
                used=lots.choice([None, 3, 7]),
                fails=lots.choice([None, None, None, BUSY, BROKEN]),
            )
            for index in range(lots.choice([2, 2, 2, 3]))
        ]
        group = allm.hedge(*[allm.Engine(adapter=adapter, retry=ONCE) for adapter in adapters], after=delay())
        async with no_leaks():
            async with allm.stream_generate(group, "hi") as events:
                collector = allm.StreamCollector()
                async for event in events:
                    collector.add(event)
                    running = {adapter.name for adapter in adapters if adapter.is_open}
                    assert running <= {collector.response().id}, event
            assert not any(adapter.is_open for adapter in adapters)
        response = events.result()
        assert response == collector.response()
        assert tokens(response.usage) + tokens(response.abandoned_usage) == sum(each.billed for each in adapters)
        if response.error is None:
            assert response.output_text == response.id
        else:
            assert all(adapter.fails is not None for adapter in adapters)
        for adapter in adapters:
            adapter.billed = 0
        before = trio.current_time()
        folded = await allm.generate(group, "hi")
        if response.error is None and folded.id == response.id:
            assert attrs.evolve(folded, abandoned_usage=None) == attrs.evolve(response, abandoned_usage=None)
        assert not any(adapter.is_open for adapter in adapters)
        assert trio.current_time() >= before
        assert tokens(folded.usage) + tokens(folded.abandoned_usage) == sum(each.billed for each in adapters)


async def test_the_second_is_asked_when_the_first_has_shown_nothing(autojump_clock):
    """Not before, and not if the first has begun to answer; a start without content is nothing."""
    first, second = Slow(name="a", content=1.9, ends=60), Slow(name="b")
    group = allm.hedge(allm.Engine(adapter=first), allm.Engine(adapter=second), after=2)
    assert (await allm.generate(group, "hi")).output_text == "a"
    assert second.opened == 0
    first.content = 10
    begin = trio.current_time()
    assert (await allm.generate(group, "hi")).output_text == "b"
    assert trio.current_time() - begin == pytest.approx(2 + 1 + 0.5)


async def test_the_first_may_still_win(autojump_clock):
    """The race goes on after the second has begun."""
    first, second = Slow(name="a", content=3, used=5), Slow(name="b", content=3, used=2)
    group = allm.hedge(allm.Engine(adapter=first), allm.Engine(adapter=second), after=2)
    response = await allm.generate(group, "hi")
    assert (response.output_text, tokens(response.usage), tokens(response.abandoned_usage)) == ("a", 5, 2)


async def test_a_failure_starts_the_next_at_once(autojump_clock):
    """Nobody waits for `after` or a retry, and the failure is not seen; the retry may still win."""
    for error in (BROKEN, BUSY):
        group = allm.hedge(engine([fake.error(error)]), engine([fake.text("hi")]), after=60)
        response = await allm.generate(group, "hi")
        assert (response.output_text, response.error) == ("hi", None)
        assert trio.current_time() == 0
    group = allm.hedge(engine([fake.error(BUSY)], [fake.text("again")]), engine([fake.delay(60)]), after=60)
    assert (await allm.generate(group, "hi")).output_text == "again"


async def test_all_failing_is_one_failure(autojump_clock):
    """It is that of the last, and names the others."""
    group = allm.hedge(engine([fake.error(BROKEN)], model="m"), engine([fake.error(BUSY)], retry=None), after=1)
    response = await allm.generate(group, "hi")
    assert (response.error.reason, response.error.status) == ("overloaded", 529)
    assert "fake m: invalid_request, status 400" in response.error.message


async def test_a_turn_with_tools_races_each_step(autojump_clock):
    """A tool runs once, whoever asks for it, and the usage of the turn has that of the losers."""
    ran = []
    tool = allm.Tool("look", "Looks.", handler=lambda _arguments: ran.append(1) or "seen")
    slow = engine(*[[fake.usage(input_tokens=1), fake.delay(60), fake.text("late")]] * 2, tools=[tool])
    fast = engine([fake.tool_call("look", {})], [fake.text("done"), fake.usage(input_tokens=10)])
    result = await allm.chat(allm.hedge(slow, fast, after=1), "hi")
    assert (result.output_text, ran, result.halted_reason) == ("done", [1], "completed")
    assert result.usage.input_tokens == 12


async def test_a_time_limit_keeps_what_is_known(autojump_clock):
    """The call ends as any other does, with what both have used, and both are closed."""
    adapters = [Slow(name="a", content=60, used=3), Slow(name="b", content=60, used=4)]
    group = allm.hedge(*[allm.Engine(adapter=adapter) for adapter in adapters], after=1)
    response = await allm.generate(group, "hi", request_timeout=5)
    assert response.error.reason == "timeout"
    assert tokens(response.usage) + tokens(response.abandoned_usage) == 7
    assert not any(adapter.is_open for adapter in adapters)


@pytest.fixture
def clock():
    return loopback_clock()


async def test_the_connection_of_the_loser_is_closed_first(monkeypatch, clock):
    """Over HTTP: its `aclose()` has returned when the first event of the winner is given."""
    closed = []
    leave = transport.send.__aexit__

    async def noted(answer, *exc):
        await leave(answer, *exc)
        closed.append(answer)

    monkeypatch.setattr(transport.send, "__aexit__", noted)
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.usage(input_tokens=1), fake.delay(3600), fake.text("late")]))
        server.add(Reply.script("openai", [fake.text("soon"), fake.delay(5), fake.text(" and all")]))
        adapter = OpenAI(base_url=server.url("openai"), api_key="k", endpoint="chat_completions")
        member = allm.Engine(adapter=adapter, model="m")
        async with allm.stream_generate(allm.hedge(member, member, after=2), "hi") as events:
            await anext(events)
            assert len(closed) == 1
            async for _ in events:
                pass
        assert events.result().output_text == "soon and all"
        assert len(server.requests) == 2


async def test_it_can_be_cancelled_everywhere():
    """At every moment, in a stream and in a fold, with nested groups."""
    lots = {"begins": 0, "content": 0, "ends": 0, "closes": 0}
    inner = allm.fallback(
        allm.Engine(adapter=Slow(name="x", fails=BUSY, **lots)), allm.Engine(adapter=Slow(name="b", **lots))
    )
    group = allm.hedge(allm.Engine(adapter=Slow(name="a", **{**lots, "content": 0.001})), inner, after=0)

    async def fold():
        return (await allm.generate(group, "hi")).output_text

    async def stream():
        async with allm.stream(group, "hi") as events:
            async for _ in events:
                pass
        return events.result()

    assert (await cancel_everywhere(fold)).trials > 20
    assert (await cancel_everywhere(stream)).trials > 20


async def test_a_budget_counts_the_losers(autojump_clock):
    """What they have reported, and one that can pay for no engine is told of as a budget, not as a refusal."""
    slow = engine([fake.usage(input_tokens=100, output_tokens=0), fake.delay(60), fake.text("late")], model="a")
    fast = engine([fake.text("hi"), fake.usage(input_tokens=10, output_tokens=2)], model="b")
    with allm.budget(tokens=100_000) as budget:
        response = await allm.generate(allm.hedge(slow, fast, after=1), "hi")
    assert response.output_text == "hi"
    assert budget.spent.tokens >= 112
    assert budget.spent.calls == 2
    group = allm.fallback(engine([fake.text("a")], model="a"), engine([fake.text("b")], model="b"))
    with allm.budget(calls=0), pytest.raises(allm.BudgetExceeded):
        await allm.generate(group, "hi")


async def test_a_budget_counts_services_of_groups_once(autojump_clock):
    """Each member's requests are charged, and the call of the group is not."""
    first = allm.providers.FakeEmbeddings(script=[[fake.error(BUSY)]])
    members = [allm.Engine(embedding_adapter=each) for each in (first, allm.providers.FakeEmbeddings())]
    with allm.budget(calls=10) as budget:
        await allm.embed(allm.fallback(*members), "a")
    assert budget.spent.calls == 2
