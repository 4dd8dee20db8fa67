"""Stores and real processes: workers that are killed at any point, and two that reply at once.

These tests run in real time, since they are about processes and databases; none asserts a time. In the nox session
`tests` a few workers of SQLite are killed, in `stores` 200 of each store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import trio

import allm
from conversations import TEXT, engine
from worker_turns import expected

WORKER = Path(__file__).with_name("worker.py")
KILLS = int(os.environ.get("ALLM_TEST_KILLS", "20"))
pytestmark = pytest.mark.timeout(600)  # seconds; two hundred processes on a busy machine
STORES = pytest.mark.parametrize("store_url", ["sqlite", "postgres", "redis"], indirect=True)

if not hasattr(os, "fork"):
    pytest.skip("the workers are forked", allow_module_level=True)


@STORES
async def test_workers_that_are_killed(store_url, store, tmp_path, new_id, record_property):
    """No acknowledged turn is lost, no tool runs again once its result was written, every session can be read."""
    path = tmp_path / new_id
    await trio.run_process([sys.executable, WORKER, "kill", store_url, path, str(KILLS)])
    ran, versions, safe, killed = defaultdict(list), defaultdict(list), set(), 0
    for line in path.read_text().splitlines():
        fact, name, *rest = json.loads(line)
        if fact == "ran":
            assert name not in safe, "a call ran again whose result was written"
            ran[name] += rest
        elif fact == "journaled":
            safe.add(name)
        elif fact in {"acknowledged", "found"}:
            versions[name].append(rest[0])
        else:
            killed += 1
    assert killed >= KILLS
    record_property("workers killed", killed)
    record_property("turns acknowledged", sum(map(len, versions.values())))
    for name, known in versions.items():
        session, version = await store.load(name)
        allm.validate(session)
        # Each worker found at least what an earlier one had acknowledged; each saved turn is one version.
        assert known == sorted(known)
        assert version == known[-1]
        assert session.status == "completed"
        assert [brief(message, ran) for message in session.thread.messages] == [
            line for number in range(1, version + 1) for line in expected(name, number)
        ]


def brief(message, ran):
    """The message in one line; the result of a call must be that of its last run."""
    if message.role != "tool":
        return (message.role, message.text, [call.id for call in message.tool_calls])
    return ("tool", message.tool_call_id, message.text == ran[message.tool_call_id][-1])


@STORES
@pytest.mark.parametrize("how", ["save", "turn"])
async def test_two_processes_reply_at_once(store_url, store, new_id, how):
    """Exactly one wins; the other gets the newer session and its version."""
    started, _ = await allm.session.start(engine(TEXT), "go", id=new_id)
    await store.save(started)
    command = [sys.executable, WORKER, "reply", store_url, new_id, how]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    workers = [await trio.lowlevel.open_process(command, **pipes) for _ in ("one", "two")]
    try:
        assert all([await worker.stdout.receive_some() for worker in workers])  # it begins to say that it is ready
        for worker in workers:
            await worker.stdin.send_all(b"\n")
        printed = [b"".join([piece async for piece in worker.stdout]) for worker in workers]
        outcomes = [json.loads(text.splitlines()[-1]) for text in printed]
    finally:
        for worker in workers:
            worker.kill()
            with trio.CancelScope(shield=True):
                await worker.wait()
            await worker.stdin.aclose()
            await worker.stdout.aclose()
    assert sorted(outcome[0] for outcome in outcomes) == ["conflict", "won"]
    session, version = await store.load(new_id)
    winner = next(worker for worker, outcome in zip(workers, outcomes, strict=True) if outcome[0] == "won")
    assert [message.text for message in session.thread.messages] == ["go", "done", str(winner.pid), "done"]
    assert [outcome[1:] for outcome in outcomes] == [[version, allm.to_json(session)]] * 2
