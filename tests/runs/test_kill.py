"""Runs that are killed: nothing lost, nothing doubled, at most what was under way is asked twice.

In real time, with real processes and a server on loopback that counts what it was asked; no time is asserted.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from allm.runs.journal import open_journal
from allm.runs.saving import item_of
from bulk_server import Answers

WORKER = Path(__file__).with_name("worker.py")
COUNT, LIMIT = 400, 8


@pytest.mark.timeout(300)
async def test_a_run_that_is_killed_three_times(tmp_path, nursery):
    """The journal is exact, and the consumer's own file has each item that was not under way."""
    server, out = Answers(), tmp_path / "out.jsonl"
    url = await server.start(nursery)
    journal = tmp_path / "run.sqlite"
    command = [sys.executable, WORKER, journal, "run", url, str(COUNT), str(LIMIT), out]
    for times in (80, 180, 300):
        process = await trio.lowlevel.open_process(command)
        await server.has_been_asked(times)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    await trio.run_process(command)
    nursery.cancel_scope.cancel()
    with closing(open_journal(journal, "run")) as opened:
        rows = list(opened.rows())
    assert [row.index for row in rows] == list(range(COUNT))
    for row in rows:
        assert row.status == "done"
        assert item_of(row, None, row.index).response.output_text == f"re: q{row.index}"
    assert set(server.asked) == {f"q{index}" for index in range(COUNT)}
    assert max(server.asked.values()) <= 4
    assert COUNT <= server.asked.total() <= COUNT + 3 * LIMIT
    delivered = [json.loads(line) for line in out.read_text().splitlines()]
    assert (
        len({key for key, _ in delivered}) == len(delivered) >= COUNT - 3 * 4 * LIMIT
    )  # what was saved when it was killed
