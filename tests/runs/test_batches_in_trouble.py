"""Batches that go wrong: no input gets the answer of another, none is paid twice, and the run goes on."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
import trio

import allm
from allm.testing import WireServer, loopback_clock, no_leaks

from batch_vendor import Batches, run_at  # isort: skip
from bulk_inputs import items_of, texts, until_raised  # isort: skip


@pytest.fixture
def autojump_clock():
    """Time that jumps over every wait."""
    return loopback_clock()


@pytest.mark.parametrize("trouble", [{"refuses": [529]}, {"refuses": [529, 529]}, {"loses": 1}, {"loses": 2}])
async def test_batches_of_one_size_are_not_mixed_up(autojump_clock, tmp_path, trouble):
    """The provider keeps no names: a batch that may have been made is not taken for another one of the same size."""
    vendor = Batches(**trouble)
    async with no_leaks(), WireServer(default=vendor) as server:
        items = await items_of(run_at(server, tmp_path, texts(12), limit=3))
        again = await items_of(run_at(server, tmp_path, texts(12), limit=3))
    for found in (items, again):
        assert {item.request: item.error or item.response.output_text for item in found} == {
            text: f"re: {text}" for text in texts(12)
        }
    assert vendor.asked == Counter(texts(12))


@pytest.mark.parametrize("left_after", [0.001, 5.001, 9, 16])
async def test_a_batch_that_was_not_made_is_not_taken_for_another(autojump_clock, tmp_path, left_after):
    """Nor by the run that goes on with the journal."""
    vendor = Batches(polls=4, refuses=[529] * 4)
    async with WireServer(default=vendor) as server:
        with trio.move_on_after(left_after):
            with suppress(allm.BulkError):
                await items_of(run_at(server, tmp_path, texts(12), limit=3))
        vendor.refuses.clear()
        items = await items_of(run_at(server, tmp_path, texts(12), limit=3))
    assert {item.request: item.error or item.response.output_text for item in items} == {
        text: f"re: {text}" for text in texts(12)
    }
    assert vendor.asked == Counter(texts(12))


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error", "api_error"])
async def test_one_request_that_was_refused_ends_nothing(autojump_clock, tmp_path, kind):
    """A refusal inside a batch is the failure of that input, which the next run asks again."""
    vendor = Batches(errors={"q1": kind})
    async with WireServer(default=vendor) as server:
        items = await items_of(run_at(server, tmp_path, texts(5)))
        assert Counter(item.error is None for item in items) == {True: 4, False: 1}
        vendor.errors.clear()
        items = await items_of(run_at(server, tmp_path, texts(5)))
    assert [item.error for item in items] == [None] * 5
    assert vendor.asked == Counter([*texts(5), "q1"])


async def test_failures_of_all_end_the_run_and_not_the_next_one(autojump_clock, tmp_path):
    """Such as an account without money: the batch has been read, and its inputs are in another one next time."""
    vendor = Batches(errors=dict.fromkeys(texts(5)[1:], "billing_error"))
    async with WireServer(default=vendor) as server:
        items, error = await until_raised(run_at(server, tmp_path, texts(5)))
        assert error.reason == "fatal"
        assert [item.request for item in items] == ["q0"]
        vendor.errors.clear()
        items = await items_of(run_at(server, tmp_path, texts(5)))
    assert [item.error for item in items] == [None] * 5
    assert vendor.asked == Counter([*texts(5), *texts(5)[1:]])


async def test_results_that_break_off_are_read_again(autojump_clock, tmp_path):
    """Each input gets one item, and its cost is counted once."""
    vendor = Batches(cuts=2)
    async with no_leaks(), WireServer(default=vendor) as server:
        async with run_at(server, tmp_path, texts(9)) as run:
            items = [item async for item in run]
        assert sorted(item.request for item in items) == texts(9)
        assert run.usage.input_tokens == 9000
    assert vendor.asked == Counter(texts(9))


async def test_cancelling_a_batch_that_has_just_ended(autojump_clock, tmp_path):
    """The provider refuses that; the answers are there, and are delivered."""
    vendor = Batches(polls=1000, ends_on_cancel=True)
    async with WireServer(default=vendor) as server:
        items = []
        async with trio.open_nursery() as nursery, run_at(server, tmp_path, texts(3)) as run:

            async def cancel():
                await trio.sleep(60)
                run.cancel()

            nursery.start_soon(cancel)
            with pytest.raises(allm.BulkError) as caught:
                async for item in run:
                    items.append(item)
    assert caught.value.reason == "stopped"
    assert [item.error for item in items] == [None] * 3


async def test_inputs_that_break_off_give_no_batch_up(autojump_clock, tmp_path):
    """What their iterable did not get to is still in the journal, and is not paid again."""
    vendor = Batches(polls=4)

    def broken():
        yield from texts(2)
        raise RuntimeError("no more")

    async with WireServer(default=vendor) as server:
        with trio.move_on_after(30):
            await items_of(run_at(server, tmp_path, texts(6), limit=3))
        with pytest.raises(RuntimeError, match="no more"):
            await items_of(run_at(server, tmp_path, broken(), limit=3))
        items = await items_of(run_at(server, tmp_path, texts(6), limit=3))
    assert [item.error for item in items] == [None] * 6
    assert vendor.asked == Counter(texts(6))


async def test_stop_does_not_wait_for_the_batches_of_an_earlier_run(autojump_clock, tmp_path):
    """Nor for one of which only a part of the inputs has come."""
    vendor = Batches(polls=1000)

    async def slow():
        yield "q0"
        await trio.sleep(10)
        yield "q1"
        await trio.sleep_forever()

    async with WireServer(default=vendor) as server:
        with trio.move_on_after(30):
            await items_of(run_at(server, tmp_path, texts(3)))
        began = trio.current_time()
        async with trio.open_nursery() as nursery, run_at(server, tmp_path, slow(), limit=3) as run:

            async def stop():
                await trio.sleep(20)
                run.stop()

            nursery.start_soon(stop)
            with pytest.raises(allm.BulkError, match="stopped"):
                async for _ in run:
                    pass
        assert trio.current_time() - began < 30
        vendor.polls = 0
        vendor.left = dict.fromkeys(vendor.left, 1)
        items = await items_of(run_at(server, tmp_path, texts(3)))
    assert [item.error for item in items] == [None] * 3
    assert vendor.asked == Counter(texts(3))


async def test_a_budget_around_a_run_counts_the_answers_of_batches(autojump_clock, tmp_path):
    """At what they cost; no batch is made that it cannot pay."""
    vendor = Batches()
    prices = allm.models.lookup("anthropic", "claude-haiku-4-5").prices[-1]
    one = (1000 * prices.input + 100 * prices.output) / 2_000_000
    async with WireServer(default=vendor) as server:
        with allm.budget(usd=1) as budget:
            await items_of(run_at(server, tmp_path, texts(4)))
        assert budget.spent.usd == pytest.approx(4 * one)
        assert (budget.spent.calls, budget.spent.tokens) == (4, 4400)
        assert budget.estimated.calls == 0
        given = allm.budget(usd=1)
        await items_of(run_at(server, tmp_path, texts(6), budget=given))
        assert given.spent.usd == pytest.approx(2 * one)
        with allm.budget(usd=0), pytest.raises(allm.BulkError) as caught:
            await items_of(run_at(server, tmp_path, texts(7)))
        assert caught.value.reason == "budget"
    assert vendor.asked == Counter(texts(6))


@pytest.mark.parametrize("seconds", [0.001, 2, 5.001, 9, 16, 30])
async def test_a_run_that_is_left_holds_nothing_of_a_budget(autojump_clock, tmp_path, seconds):
    """What may be at the provider is an estimate, what was not sent is not counted, and the rest is paid once."""
    vendor = Batches(polls=4)
    budget = allm.budget(usd=1)
    async with no_leaks(), WireServer(default=vendor) as server:
        with budget, trio.move_on_after(seconds):
            await items_of(run_at(server, tmp_path, texts(3)))
        sent = vendor.asked.total()
        assert budget._under_way.calls == budget._under_way.usd == budget._under_way.tokens == 0
        assert budget.estimated.calls == budget.spent.calls >= sent
        with allm.budget(usd=1) as another:
            await items_of(run_at(server, tmp_path, texts(3)))
        assert another.spent.calls == 3 - sent
        assert another.estimated.calls == 0
