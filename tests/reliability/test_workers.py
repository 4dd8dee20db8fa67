"""Workers of a shared store may die or stand still at any moment. In real time, since they are processes."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections import defaultdict
from pathlib import Path

import pytest
import trio

import allm
from worker_turns import expected

STOPPED = Path(__file__).with_name("stopped_workers.py")
SERVERS = {"postgres": "ALLM_TEST_POSTGRES", "redis": "ALLM_TEST_REDIS"}


@pytest.fixture(params=["sqlite", *SERVERS])
def store_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/chat.db"
    url = os.environ.get(SERVERS[request.param])
    return url or pytest.skip(f"{request.param}: no server; `nox -s reliability` starts one")


def brief(message, ran):
    if message.role != "tool":
        return (message.role, message.text, [call.id for call in message.tool_calls])
    return ("tool", message.tool_call_id, message.text in ran[message.tool_call_id])


@pytest.mark.timeout(900)
async def test_a_worker_that_stands_still_is_fenced(store_url, tmp_path, long, record_property):
    """A worker that is stopped until its lease has run out cannot write when it wakes.

    Each version is saved by one worker, and every session is whole.
    """
    stops, name = 60 if long else 3, f"stop-{uuid.uuid4()}"
    command = [sys.executable, STOPPED, store_url, tmp_path / name, str(stops), os.environ["ALLM_SEED"]]
    await trio.run_process(command)
    acknowledged, ran, counts = defaultdict(list), defaultdict(list), defaultdict(int)
    for line in (tmp_path / name).read_text().splitlines():
        fact, subject, *rest = json.loads(line)
        counts[fact] += 1
        if fact == "acknowledged":
            acknowledged[subject].append(rest[0])
        elif fact == "ran":
            ran[subject] += rest
    assert counts["stopped"] == stops
    async with allm.session.open_store(store_url) as store:
        for session_id, versions in acknowledged.items():
            session, version = await store.load(session_id)
            allm.validate(session)
            assert sorted(versions) == list(range(1, version + 1)), "a version was saved twice, or by nobody"
            assert [brief(message, ran) for message in session.thread.messages] == [
                line for number in range(1, version + 1) for line in expected(session_id, number)
            ]
    record_property("workers stopped", stops)
    record_property("workers refused when they woke", counts["refused"])
    record_property("turns", counts["acknowledged"])
