"""Bulk runs without a journal: order, memory, failures, ends."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio

import allm
from allm import fake
from bulk_inputs import Echo, failing, items_of, texts, until_raised


async def test_every_input_is_answered():
    """One item for each input, with its index, its key, the input and the response."""
    echo = Echo()
    items = await items_of(allm.bulk(echo.engine(), iter(texts(200)), limit=8))
    assert sorted(item.index for item in items) == list(range(200))
    for item in items:
        assert (item.key, item.request) == (str(item.index), f"q{item.index}")
        assert item.response.output_text == f"re: q{item.index}"
        assert (item.error, item.attempts, item.replayed) == (None, 1, False)
    assert set(echo.asked.values()) == {1}


async def test_no_inputs():
    """A run without inputs has no items."""
    assert await items_of(allm.bulk(Echo().engine(), [])) == []


@pytest.mark.parametrize("limit", [1, 5, 64])
async def test_as_many_as_the_limit_run_at_once(autojump_clock, limit):
    """Never more, and as many where there is work."""
    echo = Echo(seconds=1)
    await items_of(allm.bulk(echo.engine(), texts(200), limit=limit))
    assert echo.peak == limit
    assert trio.current_time() < 200 / limit + 2


async def test_ordered(autojump_clock):
    """Items come in the order of the inputs, though later ones end first."""
    delays = {f"q{index}": [[fake.delay(10 - index), fake.text("x")]] for index in range(10)}
    items = await items_of(allm.bulk(Echo(delays).engine(), texts(10), ordered=True))
    assert [item.index for item in items] == list(range(10))
    items = await items_of(allm.bulk(Echo(delays).engine(), texts(10)))
    assert [item.index for item in items] == list(range(10))[::-1]


async def test_inputs_may_be_async_and_slow(autojump_clock):
    """An input that comes alone is asked at once; the generator is closed at the end."""
    closed = []

    async def inputs():
        try:
            for text in texts(3):
                await trio.sleep(10)
                yield text
        finally:
            closed.append(True)

    times = []
    async with allm.bulk(Echo().engine(), inputs(), limit=8) as run:
        async for _ in run:
            times.append(trio.current_time())
    assert [round(time) for time in times] == [10, 20, 30]
    assert closed


async def test_leaving_the_block_closes_the_inputs(autojump_clock):
    """An async generator of inputs is closed when the block is left early."""
    closed = []

    async def inputs():
        try:
            while True:
                yield "q"
                await trio.sleep(1)
        finally:
            closed.append(True)

    async with allm.bulk(Echo().engine(), inputs()) as run:
        await anext(run)
    assert closed


async def test_nothing_is_sent_before_the_first_item_is_asked_for():
    """Opening the block reads and sends nothing."""
    echo, read = Echo(), []
    inputs = (read.append(text) or text for text in texts(10))
    async with allm.bulk(echo.engine(), inputs):
        await trio.testing.wait_all_tasks_blocked()
    assert not echo.total
    assert not read


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_slow_consumer_stops_the_feeding(ordered):
    """At most four times the limit are in memory, from the reading of an input until its item is taken."""
    echo, read, limit, taken = Echo(), [], 5, 0
    inputs = (read.append(text) or text for text in texts(1000))
    async with allm.bulk(echo.engine(), inputs, limit=limit, ordered=ordered) as run:
        async for _ in run:
            taken += 1
            if taken % 50 == 1:
                await trio.testing.wait_all_tasks_blocked()
            assert len(read) <= taken + 4 * limit
    assert taken == 1000


async def test_items_are_not_kept():
    """What the consumer has taken is gone: no list grows with the run."""
    kept, most = weakref.WeakSet(), 0

    class Input:
        pass

    def inputs():
        for _ in range(2000):
            kept.add(value := Input())
            yield value

    async def call(_engine, _input):
        await trio.lowlevel.checkpoint()

    async with allm.bulk(Echo().engine(), inputs(), limit=8, call=call) as run:
        async for item in run:
            if item.index % 100 == 0:
                del item
                gc.collect()
                most = max(most, len(kept))
    assert most <= 4 * 8 + 2


# --- failures --------------------------------------------------------------------------------------------------------


async def test_a_failure_is_an_item():
    """It ends nothing, is counted, and is not retried if it would come again."""
    echo = Echo({"q3": [failing("invalid_request")]})
    async with allm.bulk(echo.engine(), texts(10), limit=2) as run:
        items = {item.index: item async for item in run}
    assert items[3].error.reason == "invalid_request"
    assert items[3].response is None
    assert len(items) == 10
    assert (run.done, run.failed) == (10, 1)
    assert echo.asked["q3"] == 1


async def test_an_invalid_input_is_the_failure_of_that_input():
    """Whatever is wrong with one input is raised by no other."""
    items = await items_of(allm.bulk(Echo().engine(), ["a", 3, [], "b"], ordered=True))
    assert [type(item.error) for item in items] == [
        type(None),
        allm.ValidationError,
        allm.ValidationError,
        type(None),
    ]


async def test_failures_that_may_pass_are_asked_again(autojump_clock):
    """As often as `attempts` says, first attempt included."""
    echo = Echo({"q0": [failing()] * 3, "q1": [failing()] * 9})
    items = await items_of(allm.bulk(echo.engine(), texts(2), attempts=4, ordered=True))
    assert items[0].response.output_text == "re: q0"
    assert items[1].error.reason == "network_error"
    assert echo.asked == {"q0": 4, "q1": 4}
    assert [item.attempts for item in items] == [4, 4]


async def test_an_answer_that_broke_off_is_asked_for_again(autojump_clock):
    """Nobody has seen its content, so that is no reason to give up; what it used is counted."""
    broken = [fake.text("half"), fake.usage(input_tokens=1, output_tokens=2), *failing("stream_truncated")]
    echo = Echo({"q0": [broken]}, input_tokens=1, output_tokens=5)
    async with allm.bulk(echo.engine(), texts(1)) as run:
        (item,) = [item async for item in run]
    assert item.response.output_text == "re: q0"
    assert item.attempts == 2
    assert run.usage.output_tokens == 7


async def test_refusals_cost_no_attempt(autojump_clock):
    """An input that is refused because of the provider's load waits as long as it says, however often."""
    echo = Echo({"q0": [failing("rate_limited", retry_after=5.0)] * 20 + [failing()]})
    (item,) = await items_of(allm.bulk(echo.engine(retry=allm.RetryPolicy(jitter=0)), texts(1), attempts=2))
    assert item.response.output_text == "re: q0"
    assert item.attempts == 2
    assert 100 <= trio.current_time() < 150


async def test_refusals_have_an_upper_bound(autojump_clock):
    """One input that is refused for a quarter of an hour fails, while others are answered."""
    echo = Echo({"q0": [failing("rate_limited", retry_after=50.0)] * 1000}, seconds=10)
    items = await items_of(allm.bulk(echo.engine(), texts(200), limit=2, ordered=True))
    assert items[0].error.reason == "rate_limited"
    assert all(item.error is None for item in items[1:])
    assert 10 <= echo.asked["q0"] <= 20


async def test_a_provider_that_refuses_all_ends_the_run(autojump_clock):
    """After a quarter of an hour without an answer, or at once if it asks for longer."""
    echo = Echo({text: [failing("rate_limited", retry_after=7200.0)] * 9 for text in texts(10)})
    items, error = await until_raised(allm.bulk(echo.engine(), texts(10), limit=2))
    assert (items, error.reason) == ([], "fatal")
    assert echo.total == 2
    echo = Echo({text: [failing("overloaded")] * 1000 for text in texts(10)})
    items, error = await until_raised(allm.bulk(echo.engine(), texts(10), limit=2))
    assert (items, error.reason) == ([], "fatal")
    assert trio.current_time() < 1000


@pytest.mark.parametrize("reason", ["authentication_failed", "quota_exhausted", "not_found"])
async def test_fatal_errors_end_the_run(autojump_clock, reason):
    """What is under way is finished and delivered; the input that met it has not failed."""
    slow = [[fake.delay(5), fake.text("slow")]]
    echo = Echo({"q0": slow, "q1": slow, "q2": [failing(reason)]})
    items, error = await until_raised(allm.bulk(echo.engine(), texts(50), limit=3))
    assert {item.index for item in items} == {0, 1}
    assert isinstance(error, allm.BulkError)
    assert error.reason == "fatal"
    assert error.__cause__.reason == reason
    assert echo.total == 3


async def test_a_model_of_one_input_that_is_not_found_ends_nothing():
    """The other inputs do not ask for it."""
    other = allm.request("q1", model="gone")
    echo = Echo({"q1": [failing("not_found")]})
    items = await items_of(allm.bulk(echo.engine(), ["q0", other, "q2"], ordered=True))
    assert [item.error and item.error.reason for item in items] == [None, "not_found", None]


def test_an_engine_that_cannot_be_asked_is_refused_at_once():
    """Before the block is opened."""
    with pytest.raises(allm.EngineError):
        allm.bulk(allm.Engine(), ["a"])


async def test_max_failures(autojump_clock):
    """One more ends the run."""
    echo = Echo({text: [failing("invalid_request")] for text in texts(100)})
    items, error = await until_raised(allm.bulk(echo.engine(), texts(100), limit=1, max_failures=5))
    assert error.reason == "failures"
    assert len(items) == 6
    assert echo.total == 6


async def test_inputs_that_raise():
    """What was read before is answered and delivered; then the exception comes out as itself."""

    def inputs():
        yield from texts(5)
        raise KeyError("the file is damaged")

    echo = Echo()
    for limit in (1, 3, 64):
        items, error = await until_raised(allm.bulk(echo.engine(), inputs(), limit=limit))
        assert isinstance(error, KeyError)
        assert {item.index for item in items} == set(range(5))


async def test_the_exception_of_the_body_comes_out_as_itself():
    """Not in a group, and everything has ended by then."""
    echo = Echo(seconds=1)
    with pytest.raises(ZeroDivisionError) as caught:
        async with allm.bulk(echo.engine(), texts(100), limit=4) as run:
            async for _ in run:
                raise ZeroDivisionError
    assert caught.value.__context__ is None
    assert not echo.underway


async def test_stop(autojump_clock):
    """What is under way is finished and delivered, then it raises; an input that waits to be retried is given up."""
    echo = Echo({"q1": [failing("rate_limited", retry_after=60.0)] * 9}, seconds=1)
    items = []
    async with allm.bulk(echo.engine(), texts(100), limit=4) as run:
        with pytest.raises(allm.BulkError, match="stopped") as caught:
            async for item in run:
                items.append(item)
                if len(items) == 3:
                    await trio.sleep(0.5)
                    run.stop()
    assert caught.value.reason == "stopped"
    assert {item.index for item in items} == {0, 2, 3, 4, 5, 6}
    assert trio.current_time() < 5
    assert echo.total == 7


async def test_stop_in_order(autojump_clock):
    """A gap of an ordered run holds back nothing that was finished."""
    echo = Echo({"q0": [failing("rate_limited", retry_after=60.0)] * 9})
    async with allm.bulk(echo.engine(), texts(8), limit=8, ordered=True) as run:
        with trio.move_on_after(1):
            await anext(run)
        run.stop()
        items, reason = [], None
        try:
            async for item in run:
                items.append(item.index)
        except allm.BulkError as error:
            reason = error.reason
    assert (items, reason) == ([1, 2, 3, 4, 5, 6, 7], "stopped")


async def test_an_end_is_raised_again():
    """Reading on after the end gives the same."""
    async with allm.bulk(Echo().engine(), texts(1)) as run:
        run.stop()
        for _ in range(2):
            with pytest.raises(allm.BulkError):
                await anext(run)


# --- budgets ---------------------------------------------------------------------------------------------------------


async def test_a_budget(autojump_clock):
    """Nothing is sent when the next answers may exceed it."""
    echo = Echo(seconds=1, total_cost=0.01)
    async with allm.bulk(echo.engine(), texts(1000), limit=16, budget=1.005) as run:
        items = []
        with pytest.raises(allm.BulkError) as caught:
            async for item in run:
                items.append(item)
    assert caught.value.reason == "budget"
    assert len(items) == echo.total == 100
    assert run.spent == pytest.approx(1.0)


async def test_a_budget_needs_prices():
    """An answer of unknown price ends a run that has a budget, and is delivered."""
    items, error = await until_raised(allm.bulk(Echo().engine(), texts(100), limit=8, budget=1.0))
    assert error.reason == "budget"
    assert len(items) == 1


@pytest.mark.parametrize("ambient", [False, True])
async def test_a_budget_object(ambient):
    """One that is given, or around the run, holds for all calls together; what does not fit ends the run."""
    echo = Echo(input_tokens=1, output_tokens=1, total_cost=0.01)
    budget = allm.budget(calls=10)
    if ambient:
        with budget:
            items, error = await until_raised(allm.bulk(echo.engine(), texts(100), limit=4))
    else:
        items, error = await until_raised(allm.bulk(echo.engine(), texts(100), limit=4, budget=budget))
    assert error.reason == "budget"
    assert isinstance(error.__cause__, allm.BudgetExceeded)
    assert len(items) == echo.total == 10
    assert budget.spent.calls == 10


async def test_a_budget_of_one_call():
    """Inside the function that asks, it is the failure of that input."""

    async def call(engine, text):
        with allm.budget(calls=0):
            return await allm.generate(engine, text)

    items = await items_of(allm.bulk(Echo().engine(), texts(3), call=call))
    assert [type(item.error) for item in items] == [allm.BudgetExceeded] * 3


# --- other calls -----------------------------------------------------------------------------------------------------


async def test_other_calls():
    """Whatever takes an engine and an input: chat, embeddings, and functions of the program."""
    items = await items_of(allm.bulk(Echo().engine(), ["a"], call=allm.chat))
    assert items[0].response.output_text == "re: a"
    engine = allm.Engine(embedding_adapter=allm.providers.FakeEmbeddings(), embedding_model="e")
    items = await items_of(allm.bulk(engine, [["a", "b"], "c"], call=allm.embed, ordered=True))
    assert [len(item.response.vectors) for item in items] == [2, 1]

    async def shout(engine, text):
        if text == "b":
            raise ValueError("not b")
        return allm.unwrap(await allm.generate(engine, text)).upper()

    items = await items_of(allm.bulk(Echo().engine(), ["a", "b"], call=shout, ordered=True))
    assert items[0].response == "RE: A"
    assert items[1].error.reason == "call_failed"
    assert isinstance(items[1].error.__cause__, ValueError)


async def test_options_reach_the_call():
    """All that `bulk` does not know itself."""
    echo = Echo()
    items = await items_of(allm.bulk(echo.engine(), ["3"], response_format=int))
    assert items[0].error is None
    with pytest.raises(allm.OptionError):
        allm.bulk(echo.engine(), ["3"], temprature=1)


async def test_progress():
    """Called with the run whenever more has ended; what it raises comes out."""
    seen = []
    await items_of(allm.bulk(Echo().engine(), texts(20), on_progress=lambda run: seen.append((run.done, run.total))))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)

    def broken(_run):
        raise RuntimeError("progress")

    with pytest.raises(RuntimeError, match="progress"):
        await items_of(allm.bulk(Echo().engine(), texts(20), on_progress=broken))


# --- misuse ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"limit": 0},
        {"limit": True},
        {"attempts": 0},
        {"budget": 0},
        {"budget": "1"},
        {"max_failures": -1},
        {"retry": allm.RetryPolicy()},
        {"changed": "ask"},
        {"run": ""},
        {"call": "generate"},
    ],
    ids=str,
)
def test_invalid_arguments_are_refused_at_once(arguments):
    """By name, with what was expected."""
    with pytest.raises(allm.OptionError, match=f"{next(iter(arguments))} is .*; expected"):
        allm.bulk(Echo().engine(), ["a"], **arguments)


@pytest.mark.parametrize(("name", "near"), [("journal_url", "journal"), ("temprature", "temperature")])
def test_an_unknown_argument_suggests_the_nearest_one(name, near):
    """Of the run, or of its calls."""
    with pytest.raises(allm.OptionError, match=f"did you mean '{near}'"):
        allm.bulk(Echo().engine(), ["a"], **{name: "x"})


@pytest.mark.parametrize("requests", ["one text", b"x", {"a": "b"}, 3, None])
def test_requests_that_are_one_value(requests):
    """A text is iterable, and would be asked letter by letter."""
    with pytest.raises(allm.OptionError, match="requests"):
        allm.bulk(Echo().engine(), requests)


async def test_a_block_that_is_not_opened():
    """It says how it is opened, and a second reader and a later one are told too."""
    block = allm.bulk(Echo().engine(), ["a"])
    with pytest.raises(allm.StreamError, match="async with"):
        aiter(block)
    with pytest.raises(AttributeError, match="async with"):
        block.done  # noqa: B018
    async with block as run:
        await anext(run)
        with pytest.RaisesGroup(allm.StreamError) as group:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, run)
        assert group.value.exceptions[0].reason == "concurrent_iteration"
    with pytest.raises(allm.StreamError) as caught:
        await anext(run)
    assert caught.value.reason == "closed"


async def test_the_log_has_one_line_for_all_failures(caplog):
    """A program that does not look at its items learns how many have failed, and why."""
    answers = {name: [failing("invalid_request")] for name in ("q1", "q3")} | {"q4": [failing("content_filter")]}
    with caplog.at_level("INFO", "allm"):
        await items_of(allm.bulk(Echo(answers).engine(), texts(6), attempts=1))
        await items_of(allm.bulk(Echo().engine(), texts(6)))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "bulk: 3 of 6 inputs failed: invalid_request 2, content_filter 1"
    assert record.allm_call == "bulk"
