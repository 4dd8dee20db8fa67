"""Bulk runs through a provider's batches: each input is paid once, whatever ends the run, and no answer is lost."""

from __future__ import annotations

from collections import Counter

import pytest
import trio

import allm
from allm.providers import Anthropic, Fake, OpenAI
from allm.testing import Reply, WireServer, loopback_clock, no_leaks

from batch_vendor import Batches, engine_at, run_at  # isort: skip
from bulk_inputs import items_of, texts, until_raised  # isort: skip


@pytest.fixture
def autojump_clock():
    """Time that jumps over every wait."""
    return loopback_clock()


async def test_every_input_is_answered_through_one_batch(autojump_clock, tmp_path):
    """With its key, its index, its input, and its costs, which are half."""
    vendor = Batches()
    async with no_leaks(), WireServer(default=vendor) as server:
        async with run_at(server, tmp_path, texts(20)) as run:
            items = [item async for item in run]
        assert (run.done, run.failed) == (20, 0)
    assert sorted(item.response.output_text for item in items) == sorted(f"re: q{index}" for index in range(20))
    assert all(item.response.output_text == f"re: {item.request}" for item in items)
    assert len(vendor.made) == 1
    prices = allm.models.lookup("anthropic", "claude-haiku-4-5").prices[-1]
    one = (1000 * prices.input + 100 * prices.output) / 2_000_000
    assert run.spent == pytest.approx(20 * one)
    assert vendor.gets == 3  # two waits, then the end


async def test_what_the_journal_has_is_not_asked_again(autojump_clock, tmp_path):
    """The second run replays, and makes no batch."""
    vendor = Batches()
    async with WireServer(default=vendor) as server:
        await items_of(run_at(server, tmp_path, texts(5)))
        items = await items_of(run_at(server, tmp_path, texts(5)))
    assert all(item.replayed for item in items)
    assert len(vendor.made) == 1


@pytest.mark.parametrize("seconds", [0.001, 5.001, 9, 16, 30, 45, 90])
async def test_a_run_that_is_left_goes_on_later(autojump_clock, tmp_path, seconds):
    """Whenever it is left: what was submitted is collected, nothing is asked twice, nothing is lost."""
    vendor = Batches(polls=4)
    async with no_leaks(), WireServer(default=vendor) as server:
        with trio.move_on_after(seconds):
            await items_of(run_at(server, tmp_path, texts(7)))
        items = await items_of(run_at(server, tmp_path, texts(7)))
        assert sorted(item.request for item in items) == texts(7)
        assert [item.error for item in items] == [None] * 7
    assert vendor.asked == Counter(texts(7))


@pytest.mark.parametrize("left_after", [None, 3.0])
async def test_an_answer_to_create_that_is_lost(autojump_clock, tmp_path, left_after):
    """The batch is found again: by the same run, and by the next one if this one has ended before."""
    vendor = Batches(loses=1)
    async with WireServer(default=vendor) as server:
        if left_after is not None:
            with trio.move_on_after(5 + 0.5):
                await items_of(run_at(server, tmp_path, texts(3)))
        items = await items_of(run_at(server, tmp_path, texts(3)))
    assert [item.error for item in items] == [None] * 3
    assert vendor.asked == Counter(texts(3))


async def test_limits_of_a_batch(autojump_clock, tmp_path):
    """More inputs than fit make several batches; those of another model, too, where the vendor wants that."""
    vendor = Batches()
    async with WireServer(default=vendor) as server:
        items = await items_of(run_at(server, tmp_path, texts(25), limit=10))
    assert sorted(map(len, vendor.made.values())) == [5, 10, 10]
    assert {item.error for item in items} == {None}


async def test_failures_are_items(autojump_clock, tmp_path):
    """One that is bad by itself fails for ever; an input that no provider would take is never sent."""
    vendor = Batches()
    invalid = allm.Thread([allm.tool_result("nobody", "x")])
    async with WireServer(default=vendor) as server:
        items = await items_of(run_at(server, tmp_path, ["a", "bad", invalid]))
        again = await items_of(run_at(server, tmp_path, ["a", "bad", invalid]))
    errors = {item.index: item.error for item in items}
    assert errors[0] is None
    assert errors[1].reason == "invalid_request"
    assert isinstance(errors[2], allm.ValidationError)
    assert [item.replayed for item in again] == [True] * 3
    assert vendor.asked == Counter(["a", "bad"])


async def test_cancel_ends_the_batch_at_the_provider(autojump_clock, tmp_path):
    """Its inputs are failures that are asked again by the next run."""
    vendor = Batches(polls=1000)
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
        assert vendor.cancelled == {"b0"}
        assert [item.error.retryable for item in items] == [True] * 3
        vendor.polls = 1
        assert [item.error for item in await items_of(run_at(server, tmp_path, texts(3)))] == [None] * 3


async def test_stop_leaves_the_batch_to_the_provider(autojump_clock, tmp_path):
    """The run ends at once, not when the batch does; the next one collects it."""
    vendor = Batches(polls=4)
    async with WireServer(default=vendor) as server:
        async with trio.open_nursery() as nursery, run_at(server, tmp_path, texts(3)) as run:

            async def stop():
                await trio.sleep(20)
                run.stop()

            nursery.start_soon(stop)
            with pytest.raises(allm.BulkError, match="stopped"):
                async for _ in run:
                    pass
        assert trio.current_time() < 40
        assert vendor.cancelled == set()
        items = await items_of(run_at(server, tmp_path, texts(3)))
    assert [item.error for item in items] == [None] * 3
    assert vendor.asked == Counter(texts(3))


async def test_a_budget_asks_one_input_directly(autojump_clock, tmp_path):
    """To know what an answer costs; then no more is sent than it pays."""
    vendor = Batches()
    prices = allm.models.lookup("anthropic", "claude-haiku-4-5").prices[-1]
    one = (1000 * prices.input + 100 * prices.output) / 1_000_000
    async with WireServer(default=vendor) as server:
        items, error = await until_raised(run_at(server, tmp_path, texts(10), budget=one * 4.5))
    assert error.reason == "budget"
    assert vendor.direct.total() == 1
    assert 0 < vendor.asked.total() < 9
    assert len(items) == 1 + vendor.asked.total()


async def test_a_batch_that_is_refused_ends_the_run(autojump_clock, tmp_path):
    """With what the provider says; the next run makes it anew."""
    refused = {
        "id": "b",
        "status": "failed",
        "errors": {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}]},
    }
    async with WireServer() as server:
        server.add(Reply.json({"id": "file-1"}), Reply.json({"id": "b", "status": "validating"}), Reply.json(refused))
        engine = allm.Engine(adapter=OpenAI(api_key="k", base_url=f"{server.base_url}/v1"), model="gpt-4o-mini")
        block = allm.bulk(engine, texts(2), via="batch", journal=tmp_path / "j.sqlite")
        items, error = await until_raised(block)
    assert items == []
    assert error.reason == "fatal"
    assert "Enqueued token limit reached." in str(error)


async def test_an_input_that_has_changed_is_not_given_the_old_answer(autojump_clock, tmp_path):
    """An input belongs to a batch by its key and by what was asked."""
    vendor = Batches(polls=4)
    async with WireServer(default=vendor) as server:
        with trio.move_on_after(30):
            await items_of(run_at(server, tmp_path, ["a", "b"]))
        items = await items_of(run_at(server, tmp_path, ["a", "B"]))
    assert sorted(item.response.output_text for item in items) == ["re: B", "re: a"]


def test_what_cannot_be():
    """Is refused when the block is made."""
    engine = allm.Engine(adapter=Anthropic(api_key="k"), model="m")
    with pytest.raises(allm.OptionError, match="batches need a journal"):
        allm.bulk(engine, ["a"], via="batch")
    with pytest.raises(allm.OptionError, match="via is 'file'"):
        allm.bulk(engine, ["a"], via="file")
    with pytest.raises(allm.OptionError, match="one response to each input"):
        allm.bulk(engine, ["a"], via="batch", call=allm.chat, journal="j")
    with pytest.raises(allm.AdapterError, match="fake has no batches"):
        allm.bulk(allm.Engine(adapter=Fake()), ["a"], via="batch", journal="j")


async def test_a_day_is_enough_for_batches(autojump_clock, tmp_path):
    """`within=` chooses: a day or more where the provider has batches, else call by call."""
    vendor = Batches()
    async with WireServer(default=vendor) as server:
        journal = tmp_path / "j.sqlite"
        await items_of(allm.bulk(engine_at(server), ["a"], within=3600, journal=journal))
        assert (vendor.direct, vendor.made) == (Counter("a"), {})
        await items_of(allm.bulk(engine_at(server), ["a", "b"], within=86_400, journal=journal))
        assert [len(requests) for requests in vendor.made.values()] == [1]
    script = [allm.fake.text("x")]
    fake = allm.Engine(adapter=Fake(scripts=[script]))
    assert len(await items_of(allm.bulk(fake, ["a"], within=86_400, journal=tmp_path / "k.sqlite"))) == 1
