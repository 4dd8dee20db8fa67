"""Bulk runs with a journal: saved before delivered, resumed, changed inputs, keys, damaged files, two runs."""

from __future__ import annotations

import os
import sqlite3
import uuid
from contextlib import closing
from dataclasses import make_dataclass

import pytest
import trio

import allm
from allm import fake
from allm.runs.journal import Batch, Row, open_journal
from bulk_inputs import Echo, failing, items_of, texts, until_raised

SERVERS = {"postgres": url} if (url := os.environ.get("ALLM_TEST_POSTGRES")) else {}


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """Where a journal is, and the name of a run that no other test uses: as arguments of `bulk`."""
    if request.param == "sqlite":
        return {"journal": tmp_path / "run.sqlite", "run": "run"}
    if not SERVERS:
        pytest.skip("no server; `nox -s stores` starts one")
    return {"journal": SERVERS["postgres"], "run": f"run-{uuid.uuid4()}"}


def rows_of(place):
    journal = open_journal(place["journal"], place["run"])
    try:
        return {row.key: row for row in journal.rows()}
    finally:
        journal.close()


async def test_what_was_answered_is_not_asked_again(place):
    """A second run delivers the same items, replayed, and sends nothing."""
    echo = Echo(input_tokens=1, total_cost=0.5)
    first = await items_of(allm.bulk(echo.engine(), iter(texts(100)), limit=8, **place))
    async with allm.bulk(echo.engine(), iter(texts(100)), limit=8, **place) as run:
        again = [item async for item in run]
    assert echo.total == 100
    assert {item.index: item.response for item in first} == {item.index: item.response for item in again}
    assert all(item.replayed and item.attempts == 1 for item in again)
    assert (run.done, run.replayed, run.failed, run.spent) == (100, 100, 0, 50.0)
    assert run.usage == allm.Usage()


async def test_a_run_goes_on_where_it_ended(place):
    """Leaving the block saves what has ended; the next run asks the rest."""
    echo = Echo()
    async with allm.bulk(echo.engine(), iter(texts(100)), limit=4, **place) as run:
        async for _ in run:
            if run.done >= 30:
                break
    saved = len(rows_of(place))
    assert 30 <= saved <= 38
    items = await items_of(allm.bulk(echo.engine(), iter(texts(100)), limit=4, ordered=True, **place))
    assert [item.response.output_text for item in items] == [f"re: {text}" for text in texts(100)]
    assert sum(item.replayed for item in items) == saved
    assert echo.total <= 104


async def test_saved_before_delivered(place):
    """Whoever has an item finds it in the journal."""
    reader = None
    try:
        async with allm.bulk(Echo().engine(), texts(50), limit=4, **place) as run:
            async for item in run:
                reader = reader or _reader(place)
                assert item.key in await trio.to_thread.run_sync(reader.find, [item.key])
    finally:
        reader.close()


def _reader(place):
    if place["run"] == "run":
        from allm.runs.sqlite import SqliteJournal

        return SqliteJournal(str(place["journal"]), "run", reads_only=True)
    return open_journal(place["journal"], place["run"])


async def test_failures_on_resume(place, autojump_clock):
    """Those that may pass are asked again, the others only if all are."""
    echo = Echo({"q0": [failing("invalid_request")], "q1": [failing()] * 4, "q2": [failing("invalid_request")]})
    items = await items_of(allm.bulk(echo.engine(), texts(3), ordered=True, **place))
    assert [item.error.retryable for item in items] == [False, True, False]
    assert {row.status for row in rows_of(place).values()} == {"failed", "open"}
    items = await items_of(allm.bulk(echo.engine(), texts(3), ordered=True, **place))
    assert [item.error and item.error.reason for item in items] == ["invalid_request", None, "invalid_request"]
    assert [item.replayed for item in items] == [True, False, True]
    items = await items_of(allm.bulk(echo.engine(), texts(3), ordered=True, retry="all", **place))
    assert [item.error for item in items] == [None, None, None]
    assert echo.asked == {"q0": 2, "q1": 5, "q2": 2}


async def test_a_fatal_error_is_not_kept(place):
    """With a good key the run goes on, and asks the input that met it."""
    echo = Echo({"q0": [failing("authentication_failed")]})
    _, error = await until_raised(allm.bulk(echo.engine(), texts(5), limit=1, **place))
    assert error.reason == "fatal"
    items = await items_of(allm.bulk(echo.engine(), texts(5), limit=1, **place))
    assert [item.error for item in items] == [None] * 5


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({}, False),
        ({"request_timeout": 3.0}, False),
        ({"api_key": "other"}, False),
        ({"temperature": 0.5}, True),
        ({"model": "other"}, True),
        ({"options": {"seed": 3}}, True),
        ({"response_format": int}, True),
    ],
    ids=str,
)
async def test_changed_options(place, change, is_another):
    """What the model is asked counts, how the call is made does not."""
    echo = Echo()
    await items_of(allm.bulk(echo.engine(), ["a"], **place))
    block = allm.bulk(echo.engine(), ["a"], **place, **change)
    if is_another:
        items, error = await until_raised(block)
        assert (items, error.reason) == ([], "changed_input")
    else:
        assert (await items_of(block))[0].replayed
    assert echo.total == 1


async def test_a_changed_type(place):
    """Of the same name, with another field: the model is asked for something else."""
    echo = Echo({"a": [[fake.text('{"x": 1}')], [fake.text('{"x": 1, "y": 2}')]]})
    await items_of(allm.bulk(echo.engine(), ["a"], response_format=make_dataclass("Label", [("x", int)]), **place))
    block = allm.bulk(echo.engine(), ["a"], response_format=make_dataclass("Label", [("x", int), ("y", int)]), **place)
    _, error = await until_raised(block)
    assert error.reason == "changed_input"


async def test_changed_inputs(place):
    """They are noticed before they are asked, or asked again on request."""
    echo = Echo()
    await items_of(allm.bulk(echo.engine(), texts(10), **place))
    changed = [*texts(5), "other", *texts(10)[6:]]
    items, error = await until_raised(allm.bulk(echo.engine(), changed, ordered=True, **place))
    assert error.reason == "changed_input"
    assert "'5'" in error.message
    assert [item.index for item in items] == [0, 1, 2, 3, 4]
    items = await items_of(allm.bulk(echo.engine(), changed, ordered=True, changed="rerun", **place))
    assert [item.replayed for item in items] == [True] * 5 + [False] + [True] * 4
    assert echo.total == 11
    assert (await items_of(allm.bulk(echo.engine(), changed, ordered=True, **place)))[5].response.output_text == (
        "re: other"
    )


@pytest.mark.parametrize("with_journal", [True, False])
@pytest.mark.parametrize("at", [1, 30])
async def test_a_key_twice(place, with_journal, at):
    """Ends the run before the second one is asked, however far apart they are."""
    echo = Echo()
    keys = [str(index) for index in range(40)]
    keys[at] = "0"
    block = allm.bulk(
        echo.engine(), texts(40), key=lambda index, _: keys[index], limit=4, **place if with_journal else {}
    )
    items, error = await until_raised(block)
    assert error.reason == "duplicate_key"
    assert sorted(item.index for item in items) == list(range(at))


async def test_a_key_twice_is_noticed_on_resume(place):
    """Also if the first of the two was answered in an earlier run."""
    echo = Echo()
    await items_of(allm.bulk(echo.engine(), ["a"], key=lambda *_: "k", **place))
    _, error = await until_raised(allm.bulk(echo.engine(), ["a", "a"], key=lambda *_: "k", **place))
    assert error.reason == "duplicate_key"


@pytest.mark.parametrize("key", ["", True, 0.5, None, "a\0b", "\ud800", "x" * 501])
async def test_invalid_keys(place, key):
    """Refused before anything is sent for it, whatever the journal would make of it."""
    echo = Echo()
    _, error = await until_raised(allm.bulk(echo.engine(), ["a"], key=lambda *_: key, **place))
    assert error.reason == "invalid_key"
    assert not echo.total


async def test_keys_may_be_numbers(place):
    """Such as the ids of rows."""
    for _ in range(2):
        items = await items_of(allm.bulk(Echo().engine(), ["a"], key=lambda *_: 17, **place))
        assert items[0].key == "17"
    assert items[0].replayed


async def test_keys_free_the_order(place):
    """With keys of their own, inputs may come in another order."""
    echo = Echo()
    await items_of(allm.bulk(echo.engine(), texts(20), key=lambda _, text: text, **place))
    items = await items_of(allm.bulk(echo.engine(), texts(20)[::-1], key=lambda _, text: text, ordered=True, **place))
    assert [item.response.output_text for item in items] == [f"re: {text}" for text in texts(20)[::-1]]
    assert [item.index for item in items] == list(range(20))
    assert echo.total == 20


async def test_without_replays(place):
    """For readers of the journal: only what is new is delivered."""
    echo = Echo()
    await items_of(allm.bulk(echo.engine(), texts(50), limit=2, **place))
    for ordered in (False, True):
        inputs = texts(50) + [f"new {ordered}"] * 2
        block = allm.bulk(echo.engine(), inputs, limit=2, ordered=ordered, replay=False, changed="rerun", **place)
        async with block as run:
            assert [item.index async for item in run] == [50, 51]
        assert run.replayed == 50


async def test_identical_inputs(place):
    """Each is asked, since answers differ; with `dedupe` one is, and all get its answer."""
    echo = Echo(seconds=0)
    inputs = ["a", "b", "a", "a", "b"] * 20
    await items_of(allm.bulk(echo.engine(), inputs, limit=4))
    assert echo.asked == {"a": 60, "b": 40}
    for _ in range(2):
        items = await items_of(allm.bulk(echo.engine(), inputs, limit=4, dedupe=True, ordered=True, **place))
        assert [item.response.output_text for item in items] == [f"re: {text}" for text in inputs]
        assert echo.asked == {"a": 61, "b": 41}
    assert len(rows_of(place)) == 100
    assert len(await items_of(allm.bulk(echo.engine(), inputs, limit=4, dedupe=True))) == 100
    assert echo.asked == {"a": 62, "b": 42}


async def test_identical_inputs_that_fail(place):
    """All that waited for it get the failure; nobody waits for ever."""
    echo = Echo({"a": [failing("invalid_request")]})
    items = await items_of(allm.bulk(echo.engine(), ["a"] * 10, limit=4, dedupe=True, **place))
    assert [item.error.reason for item in items] == ["invalid_request"] * 10
    assert echo.total == 1


async def test_the_budget_counts_earlier_runs(place):
    """What the journal says was spent, failures and inputs that were asked again included."""
    echo = Echo(total_cost=0.01)
    _, error = await until_raised(allm.bulk(echo.engine(), texts(100), limit=4, budget=0.105, **place))
    assert error.reason == "budget"
    items, error = await until_raised(allm.bulk(echo.engine(), texts(100), limit=4, budget=0.205, **place))
    assert error.reason == "budget"
    assert (len(items), echo.total) == (20, 20)
    items, error = await until_raised(allm.bulk(echo.engine(), texts(100), limit=4, budget=0.15, **place))
    assert echo.total == 20


@pytest.mark.parametrize(
    "request_", ["\ud800", "", "é\0", [allm.user("a"), allm.assistant("b"), allm.user("c")]], ids=repr
)
async def test_any_input_is_kept(place, request_):
    """Texts that no database takes, and conversations: failures of one input are data too."""
    for _ in range(2):
        items = await items_of(allm.bulk(Echo().engine(), [request_, "a"], ordered=True, **place))
        assert len(items) == 2
    assert all(item.replayed for item in items)


async def test_an_iterator_of_messages(place):
    """Is read once, though it is compared and sent."""
    echo = Echo()
    for _ in range(2):
        (item,) = await items_of(allm.bulk(echo.engine(), [iter([allm.user("a")])], **place))
        assert item.response.output_text == "re: a"
    assert echo.total == 1


async def test_tools_with_handlers(place):
    """A request that cannot be serialised can be compared: a tool is what the model is told of it."""

    @allm.tool
    def look(place: str) -> str:
        """Look."""
        return place

    echo = Echo()
    for _ in range(2):
        requests = [allm.request("a", tools=[look])]
        (item,) = await items_of(allm.bulk(echo.engine(tools=[look]), requests, call=allm.chat, tools=[look], **place))
        assert item.response.output_text == "re: a"
    assert item.replayed


async def test_structured_output_of_a_replay(place):
    """It has its type again."""
    for _ in range(2):
        (item,) = await items_of(
            allm.bulk(Echo({"a": [[fake.text("3")]]}).engine(), ["a"], response_format=int, **place)
        )
        assert item.response.parsed() == 3
    assert item.replayed


async def test_other_values(place):
    """What a function of the program returns is kept if it is JSON data or a value of allm."""

    async def call(_engine, value):
        await trio.lowlevel.checkpoint()
        return {"object": object(), "data": {"a": [1, None]}, "image": allm.user("x"), "float": 0.5}[value]

    for _ in range(2):
        items = await items_of(
            allm.bulk(Echo().engine(), ["data", "object", "image", "float"], call=call, ordered=True, **place)
        )
        assert [item.response for item in items] == [{"a": [1, None]}, None, allm.user("x"), 0.5]
        assert items[1].error.reason == "call_failed"
        assert "object" in items[1].error.message


async def test_an_input_of_which_nothing_is_known(place):
    """It could not be compared in another process, so it is refused, and not asked."""
    echo = Echo()
    _, error = await until_raised(allm.bulk(echo.engine(), [object()], **place))
    assert isinstance(error, allm.ValidationError)
    assert not echo.total


async def test_runs_of_one_journal_are_apart(place):
    """Each has its rows, and its spending."""
    echo = Echo(total_cost=1.0)
    for name in ("one", "two"):
        async with allm.bulk(echo.engine(), ["a"], **{**place, "run": f"{place['run']}-{name}"}) as run:
            assert not (await anext(run)).replayed
            assert run.spent == 1.0


# --- the journal itself ----------------------------------------------------------------------------------------------


async def test_a_second_run_is_refused(tmp_path):
    """A SQLite file has one writer; the other says so, and sends nothing. Readers may look."""
    path, echo = tmp_path / "run.sqlite", Echo()
    async with allm.bulk(echo.engine(), texts(2), journal=path, limit=1) as run:
        await anext(run)
        with pytest.raises(allm.BulkError, match="another run is using") as caught:
            await items_of(allm.bulk(echo.engine(), texts(2), journal=path, run="other"))
        assert caught.value.reason == "journal"
        with closing(_reader({"run": "run", "journal": path})) as reader:
            assert len(reader.find(["0"])) == 1
        await anext(run)
    assert len(await items_of(allm.bulk(echo.engine(), texts(2), journal=path))) == 2


@pytest.mark.parametrize("damage", ["head", "middle", "text", "sessions"])
async def test_a_damaged_file_is_refused(tmp_path, damage):
    """Before anything is sent."""
    path, echo = tmp_path / "run.sqlite", Echo()
    await items_of(allm.bulk(echo.engine(), texts(300), journal=path))
    asked = echo.total
    if damage == "text":
        path.write_text("[]")
    elif damage == "sessions":
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE allm_bulk_items (run TEXT)")
        connection.close()
    else:
        data = bytearray(path.read_bytes())
        at = 0 if damage == "head" else len(data) // 2
        data[at : at + 8192] = b"\xff" * 8192
        path.write_bytes(data)
    with pytest.raises(allm.BulkError) as caught:
        await items_of(allm.bulk(echo.engine(), texts(300), journal=path))
    assert caught.value.reason == "journal"
    assert str(path) in caught.value.message
    assert echo.total == asked


@pytest.mark.parametrize("place_", ["{}/none/run.sqlite", "redis://localhost", "postgresql://127.0.0.1:9/none"])
async def test_a_journal_that_cannot_be_opened(tmp_path, place_):
    """Says so before anything is sent."""
    echo = Echo()
    with pytest.raises((allm.BulkError, ImportError)):
        await items_of(allm.bulk(echo.engine(), ["a"], journal=place_.format(tmp_path)))
    assert not echo.total


async def test_a_journal_that_fails_in_the_middle(tmp_path, monkeypatch):
    """Nothing more is sent, what is under way is finished, and the error has what could not be saved."""
    from allm.runs.sqlite import SqliteJournal

    echo, saves = Echo(), []
    save = SqliteJournal.save

    def failing_save(self, rows, spent):
        saves.append(len(rows))
        if len(saves) > 3:
            raise self._failure(sqlite3.OperationalError("disk I/O error"))
        return save(self, rows, spent)

    monkeypatch.setattr(SqliteJournal, "save", failing_save)
    items, error = await until_raised(allm.bulk(echo.engine(), texts(1000), limit=4, journal=tmp_path / "run.sqlite"))
    assert error.reason == "journal"
    assert len(items) == sum(saves[:3])
    assert {item.index for item in error.unsaved} | {item.index for item in items} == {
        int(text[1:]) for text in echo.asked
    }


def test_batches(place):
    """What was submitted to a batch endpoint is kept until its results are saved with it."""
    journal = open_journal(place["journal"], place["run"])
    try:
        batch = Batch(name="b1", provider="openai", submitted=1.0, items=(("k", 0, "f"),), details={"file": "x"})
        journal.save_batch(batch)
        journal.save_batch(Batch(name="b1", provider="openai", vendor_id="v", submitted=2.0, items=batch.items))
        (found,) = journal.batches()
        assert (found.vendor_id, found.items, found.details) == ("v", (("k", 0, "f"),), {})
        assert journal.close_batch("b1", [Row("k", 0, "f", "done", 1, 0.5, "{}")], 0.5) == 0.5
        assert journal.batches() == ()
        totals = journal.totals()
        assert (totals.done, totals.spent) == (1, 0.5)
    finally:
        journal.close()


def test_rows_come_in_order_of_their_indexes(place):
    """Page by page."""
    journal = open_journal(place["journal"], place["run"])
    try:
        journal.save([Row(f"k{index}", index, "f", "done", 1, None, "{}") for index in range(450)][::-1], 0.0)
        journal.save([Row(f"f{index}", index, "f", "failed", 1, None, "{}") for index in range(3)], 0.0)
        assert [row.index for row in journal.rows("done")] == list(range(450))
        assert [row.key for row in journal.rows("failed")] == ["f0", "f1", "f2"]
        assert len(list(journal.rows())) == 453
    finally:
        journal.close()
