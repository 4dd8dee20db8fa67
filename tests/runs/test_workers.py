"""Several workers on one run, with a journal in PostgreSQL: exact whatever happens to a worker or to the server."""

from __future__ import annotations

import functools
import os
import signal
import sys
import uuid
from pathlib import Path

import pytest
import trio

import allm
from allm.runs.journal import open_journal
from bulk_inputs import Echo, items_of, texts
from bulk_server import Answers

URL = os.environ.get("ALLM_TEST_POSTGRES")
COUNT, LIMIT = 300, 4
pytestmark = pytest.mark.skipif(URL is None, reason="no server; `nox -s stores` starts one")


@pytest.fixture
def run_name():
    """A run that no other test uses."""
    return f"run-{uuid.uuid4()}"


def rows(run):
    journal = open_journal(URL, run)
    try:
        return list(journal.rows())
    finally:
        journal.close()


async def test_shards_at_the_same_time(run_name):
    """Their indexes are those of the whole run; a shard that is run twice is asked once."""
    echo = Echo(total_cost=0.01)
    reports = []

    async def shard(first):
        inputs = texts(100)[first : first + 25]
        reports.append(await allm.run_shard(echo.engine(), inputs, journal=URL, run=run_name, first=first, limit=LIMIT))

    async with trio.open_nursery() as nursery:
        for first in range(0, 100, 25):
            nursery.start_soon(shard, first)
    await shard(25)
    assert [row.index for row in rows(run_name)] == list(range(100))
    assert echo.total == 100
    assert (reports[-1].done, reports[-1].replayed, reports[-1].failed) == (25, 25, 0)
    assert max(report.spent for report in reports) == pytest.approx(1.0)
    items = await items_of(allm.bulk(echo.engine(), texts(100), journal=URL, run=run_name, ordered=True))
    assert [item.response.output_text for item in items] == [f"re: {text}" for text in texts(100)]
    assert echo.total == 100


async def test_the_budget_is_that_of_all_workers(run_name):
    """Each sees what the others have spent."""
    echo = Echo(total_cost=0.01)

    async def shard(first):
        inputs = texts(1000)[first : first + 500]
        with pytest.raises(allm.BulkError) as caught:
            await allm.run_shard(echo.engine(), inputs, journal=URL, run=run_name, first=first, limit=LIMIT, budget=0.5)
        assert caught.value.reason == "budget"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shard, 0)
        nursery.start_soon(shard, 500)
    assert 50 <= echo.total <= 50 + 2 * LIMIT


@pytest.mark.timeout(300)
async def test_a_worker_that_is_killed(run_name, tmp_path, nursery):
    """Another runs its shard again: the journal is exact, and at most what was under way is asked twice."""
    server = Answers()
    url = await server.start(nursery)
    start = functools.partial(worker, run_name, url, tmp_path)
    killed, other = await start(0, "one"), await start(COUNT, "two")
    await server.has_been_asked(COUNT // 2)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    again = await start(0, "three")
    assert await other.wait() == 0
    assert await again.wait() == 0
    nursery.cancel_scope.cancel()
    found = rows(run_name)
    assert sorted(int(row.key) for row in found) == list(range(2 * COUNT))
    assert {row.status for row in found} == {"done"}
    assert server.asked.total() <= 2 * COUNT + LIMIT


async def worker(run, url, folder, first, name):
    script = Path(__file__).with_name("worker.py")
    command = [sys.executable, script, URL, run, url, str(COUNT), str(LIMIT), folder / name, str(first)]
    return await trio.lowlevel.open_process(command)


async def test_connections_that_are_cut(run_name):
    """The server may be restarted: a save is repeated, and nothing is lost."""
    import psycopg

    echo = Echo()
    async with allm.bulk(echo.engine(), texts(200), journal=URL, run=run_name, limit=LIMIT) as run:
        async for item in run:
            if item.index % 50 == 7:
                await trio.to_thread.run_sync(cut, psycopg, run_name)
    assert [row.index for row in rows(run_name)] == list(range(200))
    assert echo.total == 200


def cut(psycopg, run_name):
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%%allm_bulk%%' "
            "AND pid <> pg_backend_pid()"
        )
