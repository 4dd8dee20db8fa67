"""Budgets: what is counted, what is refused before it is sent, what is cut, and how turns and sessions end."""

from __future__ import annotations

import asyncio

import attrs
import pytest
import trio

import allm
from allm import fake, models
from allm.data.message import unanswered_in
from allm.models import ModelInfo, Prices
from allm.providers import Anthropic, Fake, Gemini, OpenAI
from allm.providers.fake.audio import FakeSpeech, FakeTranscription
from allm.providers.fake.embeddings import FakeEmbeddings
from allm.testing import Reply, WireServer

DOLLAR = Prices(input=1_000_000, output=1_000_000)
"""A dollar for a token, so that the sums can be seen."""


@pytest.fixture(autouse=True)
def _prices():
    models.put(ModelInfo(provider="fake", id="fake", prices=DOLLAR))
    yield
    models.clear()


def answer(text="Hello", **counts):
    return [fake.text(text), fake.usage(**{"input_tokens": 1, "output_tokens": 1, **counts})]


def engine_of(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts), **fields)


def endless(*items):
    return allm.Engine(adapter=Fake(respond=lambda _request: list(items or answer())))


# --- what is counted --------------------------------------------------------------------------------------------------


async def test_calls_are_counted_as_the_provider_reports_them():
    """Money, tokens and calls; nothing of them is an estimate."""
    with allm.budget(usd=10, tokens=100, calls=5) as budget:
        await allm.generate(endless(), "Hi")
        await allm.generate(endless(), "Hi")
    assert budget.spent == allm.Spending(usd=4.0, tokens=4, calls=2)
    assert budget.remaining == allm.Remaining(usd=6.0, tokens=96, calls=3)
    assert budget.estimated == allm.Spending(usd=0.0, tokens=0, calls=0)


async def test_without_a_budget_nothing_is_counted():
    """A call after the block is not paid from its budget."""
    with allm.budget(calls=1) as budget:
        pass
    await allm.generate(endless(), "Hi")
    assert budget.spent.calls == 0


async def test_a_budget_counts_in_those_around_it_and_the_tighter_one_decides():
    """The inner one refuses first; the outer one has paid for everything."""
    with allm.budget(calls=3) as outer:
        await allm.generate(endless(), "Hi")
        with allm.budget(calls=1) as inner:
            assert inner.remaining.calls == 1
            await allm.generate(endless(), "Hi")
            with pytest.raises(allm.BudgetExceeded):
                await allm.generate(endless(), "Hi")
        with allm.budget(calls=5) as wide:
            assert wide.remaining.calls == 1
    assert (outer.spent.calls, inner.spent.calls, outer.remaining.calls) == (2, 1, 1)


async def test_a_budget_can_be_entered_again_also_inside_itself():
    """It goes on counting, and counts each call once."""
    budget = allm.budget(tokens=100)
    with budget, budget:
        await allm.generate(endless(), "Hi")
    with budget:
        await allm.generate(endless(), "Hi")
    await allm.generate(endless(), "Hi")
    assert budget.spent.tokens == 4


async def test_parallel_tasks_share_a_budget():
    """Each of them is counted, and what is under way is seen by the others."""
    with allm.budget(calls=3) as budget:
        refused = []

        async def ask():
            try:
                await allm.generate(endless(), "Hi")
            except allm.BudgetExceeded as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
    assert (budget.spent.calls, budget.spent.tokens) == (3, 6)


async def test_retries_are_calls_and_a_refusal_costs_nothing():
    """An attempt that the provider refused before it began is a call without a cost."""
    failed = allm.AdapterError("too busy", reason="overloaded")
    engine = engine_of([fake.error(failed)], answer(), retry=allm.RetryPolicy(base_delay=0))
    with allm.budget(usd=10) as budget:
        await allm.generate(engine, "Hi")
    assert budget.spent == allm.Spending(usd=2.0, tokens=2, calls=2)


async def test_an_abandoned_attempt_that_reported_usage_is_counted():
    """It failed after its usage had come; it is paid as well."""
    failed = allm.AdapterError("too busy", reason="overloaded")
    first = [fake.usage(input_tokens=3, output_tokens=0), fake.error(failed)]
    with allm.budget(usd=100) as budget:
        await allm.generate(engine_of(first, answer(), retry=allm.RetryPolicy(base_delay=0)), "Hi")
    assert budget.spent.tokens == 5
    assert budget.estimated.tokens == 3


async def test_services_are_counted(autojump_clock):
    """Embeddings, speech and transcriptions: by their usage, else estimated from what was sent."""
    engine = allm.Engine(
        embedding_adapter=FakeEmbeddings(), speech_adapter=FakeSpeech(), transcription_adapter=FakeTranscription("Hi.")
    )
    with allm.budget(usd=1000) as budget:
        await allm.embed(engine, ["one text", "another text"])
        embedded = budget.spent
        assert embedded.calls == 1
        assert embedded.usd
        await allm.synthesize(engine, "Hello there.")
        spoken = budget.spent
        await allm.transcribe(engine, allm.Audio(b"abc", "audio/mpeg"))
    assert spoken.calls == 2
    assert spoken.tokens > embedded.tokens
    assert budget.estimated.calls >= 1
    assert budget.spent.calls == 3


async def test_a_service_that_no_longer_fits_is_refused():
    """Before it is sent, as itself and not as the error of an adapter."""
    adapter = FakeEmbeddings()
    with allm.budget(calls=0) as budget, pytest.raises(allm.BudgetExceeded):
        await allm.embed(allm.Engine(embedding_adapter=adapter), ["text"])
    assert budget.spent.calls == 0
    speech = FakeSpeech()
    with allm.budget(tokens=1), pytest.raises(allm.BudgetExceeded):
        await allm.synthesize(allm.Engine(speech_adapter=speech), "word " * 100)


# --- what is refused --------------------------------------------------------------------------------------------------


async def test_a_call_whose_least_cost_does_not_fit_is_refused_before_it_is_sent():
    """By the call itself, and the adapter is not asked for anything."""
    engine = endless()
    with allm.budget(tokens=20):
        with pytest.raises(allm.BudgetExceeded, match="no room for a call of") as refused:
            allm.stream_generate(engine, "word " * 1000)
        assert refused.value.reason == "tokens"
    assert not engine.adapter.requests


async def test_a_model_without_a_price_is_refused_where_money_is_limited():
    """It is never free; where only tokens are limited, its cost in dollars is not known."""
    models.clear()
    engine = endless()
    with allm.budget(usd=1), pytest.raises(allm.BudgetExceeded, match="price of fake:fake is not known") as refused:
        await allm.generate(engine, "Hi")
    assert refused.value.reason == "no_price"
    with allm.budget(tokens=100) as budget:
        await allm.generate(engine, "Hi")
    assert budget.spent == allm.Spending(usd=None, tokens=2, calls=1)


async def test_a_special_tariff_has_no_price():
    """What a faster or slower tier costs is not known, so it is refused."""
    models.put(ModelInfo(provider="openai", id="m", prices=DOLLAR))
    engine = allm.Engine(adapter=OpenAI(api_key="k"), model="m")
    with allm.budget(usd=1000), pytest.raises(allm.BudgetExceeded, match="service tier"):
        await allm.generate(engine, "Hi", service_tier="priority")


@pytest.mark.parametrize(
    ("limits", "error"),
    [({"usd": "1"}, TypeError), ({"tokens": 1.5}, TypeError), ({"calls": True}, TypeError), ({"usd": -1}, ValueError)],
)
def test_a_limit_has_to_be_a_number(limits, error):
    """Not below 0, and whole for tokens and calls."""
    with pytest.raises(error):
        allm.budget(**limits)


def test_price_is_public():
    """Of any usage, at the prices of any model; None where they are not known."""
    models.put(ModelInfo(provider="test", id="m", prices=Prices(input=2, output=10)))
    usage = allm.Usage(input_tokens=500_000, output_tokens=100_000, total_cost=99.0)
    assert allm.price(usage, "test:m") == 2.0
    assert allm.price(usage, "test:unknown") is None
    with pytest.raises(allm.ValidationError, match="provider:model"):
        allm.price(usage, "m")


# --- max_tokens -------------------------------------------------------------------------------------------------------


async def test_max_tokens_is_lowered_to_what_the_budget_pays():
    """In the request that is prepared; a lower one of the call stays."""
    engine = endless()
    with allm.budget(tokens=50):
        await allm.generate(engine, "Hi")
        await allm.generate(engine, "Hi", max_tokens=7)
        await allm.generate(engine, "Hi", max_tokens=1000)
    first, second, third = (request.max_tokens for request in engine.adapter.requests)
    assert (first, second) == (49, 7)
    assert third == 45


WIRES = {
    "openai": (lambda url: OpenAI(base_url=url, api_key="k", endpoint="chat_completions"), "max_tokens"),
    "openai_responses": (lambda url: OpenAI(base_url=url, api_key="k", endpoint="responses"), "max_output_tokens"),
    "anthropic": (lambda url: Anthropic(base_url=url, api_key="k"), "max_tokens"),
    "gemini": (lambda url: Gemini(base_url=url, api_key="k"), "maxOutputTokens"),
}


@pytest.mark.parametrize("wire", WIRES)
async def test_the_body_that_is_sent_has_the_lowered_number(wire):
    """Under the vendor's own name; a budget that pays for all that the model can write changes nothing."""
    make, field = WIRES[wire]
    async with WireServer() as server:
        server.add(*[Reply.script(wire, answer()) for _ in range(3)])
        adapter = make(server.url(wire))
        models.put(ModelInfo(provider=adapter.provider, id="m", prices=Prices(input=1, output=10), output_limit=1000))
        engine = allm.Engine(adapter=adapter, model="m")
        with allm.budget(usd=0.005) as budget:
            await allm.generate(engine, "Hi")
            await allm.generate(engine, "Hi", max_tokens=800)
        with allm.budget(usd=1):
            await allm.generate(engine, "Hi")
        bodies = [body.get("generationConfig", body) for body in (request.json() for request in server.requests)]
    assert 450 <= bodies[1][field] <= bodies[0][field] <= 500
    assert bodies[2].get(field) in {None, 1000}
    assert budget.spent.calls == 2


async def test_a_limit_that_the_caller_wrote_into_the_body_is_lowered_too():
    """It would win over the option."""
    models.put(ModelInfo(provider="openai", id="m", prices=Prices(input=1, output=10), output_limit=1000))
    async with WireServer() as server:
        server.add(Reply.script("openai", answer()))
        adapter = OpenAI(base_url=server.url("openai"), api_key="k", endpoint="chat_completions")
        with allm.budget(usd=0.005):
            await allm.generate(allm.Engine(adapter=adapter, model="m"), "Hi", options={"max_tokens": 900})
        assert 450 <= server.requests[0].json()["max_tokens"] <= 500


async def test_a_model_that_cannot_answer_in_so_little_is_refused():
    """One that thinks with more tokens than the budget pays: the adapter's objection becomes the budget's."""
    models.put(ModelInfo(provider="anthropic", id="claude-3-7-sonnet", prices=DOLLAR, output_limit=64_000))
    engine = allm.Engine(adapter=Anthropic(api_key="k"), model="claude-3-7-sonnet")
    with allm.budget(tokens=500) as budget:
        response = await allm.generate(engine, "Hi", reasoning_effort="high")
    assert isinstance(response.error, allm.BudgetExceeded)
    assert budget.spent.calls == 0


# --- what is cut ------------------------------------------------------------------------------------------------------


async def test_an_answer_that_runs_over_is_cut_and_kept():
    """It ends with what had come; it is paid by an estimate, and the next call is refused."""
    long = [*[fake.text("word " * 20) for _ in range(20)], fake.usage(input_tokens=1, output_tokens=400)]
    engine = engine_of(long, answer())
    with allm.budget(tokens=60) as budget:
        response = await allm.generate(engine, "Hi")
        assert response.finish_reason == "error"
        assert isinstance(response.error, allm.BudgetExceeded)
        assert 60 < len(response.output_text.split()) < 400
        assert budget.spent == budget.estimated
        assert budget.spent.tokens >= 60
        assert budget.remaining.tokens == 0
        with pytest.raises(allm.BudgetExceeded):
            await allm.generate(engine, "Hi")


async def test_an_answer_that_reports_too_much_at_its_end_is_whole():
    """It has been paid for; the next one is refused."""
    with allm.budget(tokens=60) as budget:
        response = await allm.generate(endless(*answer(output_tokens=100)), "Hi")
        assert response.finish_reason == "stop"
        with pytest.raises(allm.BudgetExceeded):
            await allm.generate(endless(), "Hi")
    assert budget.spent.tokens == 101
    assert budget.estimated.tokens == 0


async def test_an_answer_that_is_cancelled_costs_its_prompt_and_what_had_come(autojump_clock):
    """Never less than the provider may bill: one token for each byte at most."""
    script = [fake.text("Hello"), fake.delay(10), fake.text(" there")]
    with allm.budget(usd=1000) as budget, trio.move_on_after(1):
        await allm.generate(engine_of(script), "A prompt of several words")
    assert budget.spent == budget.estimated
    assert budget.spent.calls == 1
    assert budget.spent.tokens >= 5 + 5


async def test_an_answer_without_usage_is_estimated():
    """Some servers report none."""
    with allm.budget(tokens=1000) as budget:
        await allm.generate(endless(fake.text("Hello")), "Hi")
    assert budget.estimated.calls == 1
    assert budget.spent.tokens == budget.estimated.tokens > 2


# --- turns and sessions -----------------------------------------------------------------------------------------------


@allm.tool
async def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} is a word"


CALL = [fake.tool_call("look_up", {"word": "a"}), fake.usage(input_tokens=1, output_tokens=1)]


async def test_a_turn_ends_where_the_budget_does():
    """With the steps so far, and a conversation that can go on."""
    engine = allm.Engine(adapter=Fake(scripts=[CALL, CALL, CALL, answer()]))
    with allm.budget(calls=2):
        result = await allm.chat(engine, "Go", tools=[look_up])
    assert result.halted_reason == "budget"
    assert isinstance(result.error, allm.BudgetExceeded)
    assert len(result.steps) == 2
    later = await allm.chat(engine, result.thread.add(allm.user("Go on")), tools=[look_up])
    assert later.halted_reason == "completed"


async def test_a_turn_that_uses_its_budget_up_exactly_is_complete():
    """A budget that is reached is not exceeded."""
    with allm.budget(calls=2, usd=4):
        result = await allm.chat(engine_of(CALL, answer()), "Go", tools=[look_up])
    assert result.halted_reason == "completed"


async def test_the_budget_comes_before_every_other_gate():
    """Also in the last step that the turn may have, and before calls that are left to the caller."""
    over = [*CALL[:1], fake.usage(input_tokens=1, output_tokens=100)]
    with allm.budget(tokens=50):
        result = await allm.chat(engine_of(over), "Go", tools=[look_up], max_turns=1)
    assert result.halted_reason == "budget"
    manual = attrs.evolve(look_up, manual=True)
    with allm.budget(tokens=50):
        result = await allm.chat(engine_of(over), "Go", tools=[manual])
    assert result.halted_reason == "budget"
    assert not unanswered_in(result.thread)
    with allm.budget(tokens=50):
        result = await allm.chat(engine_of(answer(output_tokens=100)), "Go")
    assert (result.halted_reason, result.output_text) == ("budget", "Hello")


async def test_a_step_that_is_cut_ends_the_turn_with_the_budget():
    """Its calls are not run."""
    cut = [*[fake.text("word " * 20) for _ in range(20)], *CALL]
    with allm.budget(tokens=60):
        result = await allm.chat(engine_of(cut), "Go", tools=[look_up])
    assert result.halted_reason == "budget"
    assert result.final_response.finish_reason == "error"
    assert result.output_text


async def test_a_session_is_idle_after_it_and_goes_on():
    """The budget of one turn is not that of the next."""
    engine = allm.Engine(adapter=Fake(scripts=[CALL, answer("Done")]))
    session = allm.Session(id="s")
    with allm.budget(calls=1):
        session, result = await allm.session.reply(engine, session, "Go", tools=[look_up])
    assert (result.halted_reason, session.status) == ("budget", "idle")
    session, result = await allm.session.reply(engine, session, "Go on", tools=[look_up])
    assert (result.output_text, session.status) == ("Done", "completed")


async def test_an_agent_in_a_tool_is_paid_by_the_budget_and_is_in_the_usage_of_the_turn():
    """Once, at any depth, also where agents run in parallel; and with what they embed."""
    inner = allm.Engine(adapter=Fake(respond=lambda _request: answer("found")), embedding_adapter=FakeEmbeddings())

    @allm.tool
    async def deep(question: str) -> str:
        """Ask deeper."""
        return (await allm.chat(inner, question)).output_text

    @allm.tool
    async def agent(question: str) -> str:
        """Ask an agent."""
        middle = engine_of(
            [fake.tool_call("deep", {"question": question}), fake.usage(input_tokens=10, output_tokens=0)],
            answer(input_tokens=20, output_tokens=0),
        )
        return (await allm.chat(middle, question, tools=[deep])).output_text

    calls = [fake.tool_call("agent", {"question": name}) for name in "ab"]
    outer = engine_of(
        [*calls, fake.usage(input_tokens=100, output_tokens=0)], answer(input_tokens=200, output_tokens=0)
    )
    with allm.budget() as budget:
        result = await allm.chat(outer, "Go", tools=[agent])
    assert result.halted_reason == "completed"
    assert result.usage.input_tokens == 100 + 200 + 2 * (10 + 20 + 1)
    assert result.steps[0].tool_usage.input_tokens == 2 * (10 + 20 + 1)
    assert result.usage.total_cost == budget.spent.usd
    assert budget.spent.tokens == result.usage.input_tokens + result.usage.output_tokens
    assert allm.from_json(allm.to_json(result)) == result


async def test_a_tighter_budget_in_a_tool_ends_the_agent_alone():
    """The turn around it goes on, and tells the model what the tool says."""

    @allm.tool
    async def agent(question: str) -> str:
        """Ask an agent."""
        with allm.budget(calls=1):
            found = await allm.chat(engine_of(CALL, answer()), question, tools=[look_up])
        return found.halted_reason

    outer = engine_of([fake.tool_call("agent", {"question": "a"})], answer())
    with allm.budget(calls=50):
        result = await allm.chat(outer, "Go", tools=[agent])
    assert result.halted_reason == "completed"
    assert result.steps[0].tool_results[0].text == "budget"


async def test_sync_tools_in_threads_are_counted():
    """Their calls through `allm.blocking` are paid from the budget around the turn."""

    @allm.tool
    def agent(question: str) -> str:
        """Ask an agent, blocking."""
        return allm.blocking.generate(endless(), question).output_text

    with allm.budget() as budget:
        result = await allm.chat(engine_of([fake.tool_call("agent", {"question": "a"})], answer()), "Go", tools=[agent])
    assert result.halted_reason == "completed"
    assert budget.spent.calls == 3


# --- from asyncio and plain code --------------------------------------------------------------------------------------


def test_a_budget_holds_for_asyncio():
    """Around calls, streams and gathered tasks of `allm.aio`; each is refused, cut and counted as on Trio."""

    async def main():
        with allm.budget(calls=4) as budget:
            await allm.aio.generate(endless(), "Hi")
            async with allm.aio.stream_generate(endless(), "Hi") as events:
                assert (await events.until_done()).output_text == "Hello"
            await asyncio.gather(*[allm.aio.generate(endless(), "Hi") for _ in range(2)])
            with pytest.raises(allm.BudgetExceeded):
                await allm.aio.generate(endless(), "Hi")
        await allm.aio.generate(endless(), "Hi")
        return budget.spent

    assert asyncio.run(main()) == allm.Spending(usd=8.0, tokens=8, calls=4)


def test_a_budget_holds_for_plain_code():
    """Around calls of `allm.blocking`."""
    with allm.budget(usd=3) as budget:
        allm.blocking.generate(endless(), "Hi")
        with pytest.raises(allm.BudgetExceeded):
            allm.blocking.generate(endless(), "Hi")
    assert budget.spent.usd == 2.0


async def test_a_stream_is_paid_from_the_budget_in_which_it_is_read():
    """Also one that is left early: what had come is estimated."""
    engine = endless(fake.text("Hello"), fake.delay(1000), fake.text("there"))
    with allm.budget() as budget:
        async with allm.stream_generate(engine, "Hi") as events:
            async for event in events:
                if isinstance(event, allm.TextDelta):
                    break
    assert budget.spent == budget.estimated
    assert budget.spent.calls == 1
    assert budget.spent.tokens > 5


async def test_what_was_embedded_before_the_limit_is_not_lost():
    """The stream of a call whose next request is refused still has the vectors that are paid."""
    engine = allm.Engine(embedding_adapter=FakeEmbeddings())
    with allm.budget(calls=2) as budget:
        async with allm.stream_embed(engine, ["a", "b", "c", "d"], batch_size=1, max_concurrency=1) as batches:
            with pytest.raises(allm.BudgetExceeded):
                await batches.until_done()
        assert len(batches.result().embeddings) == 2
    assert budget.spent.calls == 2


async def test_a_nested_call_is_in_the_usage_of_a_turn_that_runs_out_of_time(autojump_clock):
    """What the tool's own call had used before the deadline is not lost."""

    @allm.tool
    async def agent(question: str) -> str:
        """Ask an agent, then wait."""
        await allm.generate(endless(), question)
        await trio.sleep(1000)
        return "late"

    outer = engine_of([fake.tool_call("agent", {"question": "a"}), fake.usage(input_tokens=10, output_tokens=0)])
    result = await allm.chat(outer, "Go", tools=[agent], tool_timeout=None, request_timeout=5)
    assert result.halted_reason == "error"
    assert result.usage.input_tokens == 11
