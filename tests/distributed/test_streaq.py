"""`examples/bulk_on_streaq.py` with two workers, Redis and PostgreSQL: exact whatever ends or restarts."""

from __future__ import annotations

import importlib.util
import signal
import uuid
from contextlib import ExitStack, contextmanager

import pytest
import trio

import cluster
from bulk_server import Answers
from cluster import COUNT, LIMIT, Program, complete, ended, is_exact, rows

pytestmark = [
    pytest.mark.skipif(cluster.URL is None, reason="no server; `nox -s distributed` starts one"),
    pytest.mark.skipif(importlib.util.find_spec("streaq") is None, reason="needs the extra distributed"),
    pytest.mark.timeout(240),
]


class Redis:
    """A server that can be restarted with its data."""

    def __init__(self, folder):
        self.folder, self.port = folder, cluster.with_servers.free_port()
        self.stack = ExitStack()
        self.url = None

    def start(self):
        self.url = self.stack.enter_context(cluster.with_servers.redis(self.folder, self.port))

    def stop(self):
        self.stack.close()


@pytest.fixture
def redis(tmp_path):
    """A server of our own, since it is restarted."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Redis(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def answers(nursery):
    """The model, which counts what it is asked."""
    server = Answers()
    server.url = await server.start(nursery)
    return server


@pytest.fixture
def program(redis, answers, tmp_path):
    """The example; the rest of a killed worker's work is given away after 3 seconds."""
    return Program("bulk_on_streaq", answers.url, tmp_path, REDIS_URL=redis.url, ALLM_IDLE="3")


@pytest.fixture
def run_name():
    """A run that no other test uses."""
    return f"run-{uuid.uuid4()}"


@contextmanager
def workers(program):
    """Two."""
    with program.running("one", "work") as one, program.running("two", "work") as two:
        yield one, two


async def test_a_killed_worker_and_a_restarted_redis(program, answers, redis, run_name):
    """Each end of a worker's work has at most those asked twice that were under way, and nothing is missing."""
    with workers(program) as (one, two):
        await program.run("submit", program.inputs, run_name)
        await answers.has_been_asked(COUNT // 4)
        one.kill()
        await answers.has_been_asked(COUNT // 2)
        await trio.to_thread.run_sync(redis.stop)
        await trio.to_thread.run_sync(redis.start)
        found = await complete(run_name)
        two.send_signal(signal.SIGTERM)
        assert await ended(two) == 0
    assert is_exact(found)
    assert answers.asked.total() <= COUNT + 2 * LIMIT


async def test_sigterm(program, answers, run_name):
    """A worker ends at once and exits with 0; the other one does the rest."""
    with workers(program) as (one, two):
        await program.run("submit", program.inputs, run_name)
        await answers.has_been_asked(COUNT // 2)
        one.send_signal(signal.SIGTERM)
        assert await ended(one) == 0
        found = await complete(run_name)
        two.send_signal(signal.SIGTERM)
        assert await ended(two) == 0
    assert is_exact(found)
    assert answers.asked.total() <= COUNT + LIMIT


async def test_abort(program, answers, run_name):
    """It reaches the calls; what has ended is saved, and submitting again asks the rest."""
    with workers(program) as (one, two):
        await program.run("submit", program.inputs, run_name)
        await answers.has_been_asked(COUNT // 4)
        await program.run("abort", run_name)
        for process in (one, two):
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 0
    saved = len(rows(run_name))
    assert saved < COUNT
    assert answers.asked.total() <= saved + 2 * LIMIT
    with workers(program):
        assert await program.run("submit", program.inputs, run_name)
        found = await complete(run_name)
    assert is_exact(found)
    assert answers.asked.total() <= COUNT + 2 * LIMIT


async def test_submitted_twice(program, answers, run_name):
    """Two workers with the same parts ask nothing that the journal has."""
    with workers(program):
        await program.run("submit", program.inputs, run_name)
        await complete(run_name)
        await program.run("submit", program.inputs, run_name)
        await program.run("submit", program.inputs, other := f"{run_name}-after")
        found = await complete(other)
    assert is_exact(found)
    assert is_exact(rows(run_name))
    assert answers.asked.total() == 2 * COUNT
