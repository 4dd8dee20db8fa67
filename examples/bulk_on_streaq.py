"""Many requests on several machines: streaQ hands out the parts, and a journal in PostgreSQL decides what is done.

    pip install '.[testing,distributed]'
    export REDIS_URL=redis://localhost:6379 ALLM_JOURNAL=postgresql://user@host/database
    python examples/bulk_on_streaq.py work                          # a worker: one for each core of each machine
    python examples/bulk_on_streaq.py submit reviews.txt labels-1   # each line is an input; again: what is not done
    allm bulk status $ALLM_JOURNAL --run labels-1
    python examples/bulk_on_streaq.py abort labels-1                # what has ended is saved
    allm bulk export $ALLM_JOURNAL --run labels-1 -o labels.jsonl

A part may run more than once, also twice at a time: when a worker is killed, another one gets its parts, and what the
journal has is not asked again. The results of streaQ's tasks are therefore not looked at. docs/distributed.md has the
details.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import demo
import trio
from coredis.exceptions import RedisError
from streaq import StreaqRetry, TaskStatus, Worker

import allm

PART = int(os.environ.get("ALLM_PART", "500"))  # inputs: minutes of work, so that few parts are many times as long
LIMIT = int(os.environ.get("ALLM_LIMIT", "64"))  # calls at once in a worker


@asynccontextmanager
async def context() -> AsyncGenerator[allm.Engine]:
    """What a worker opens once: the engine."""
    async with demo.engine() as engine:
        yield engine


worker = Worker(
    os.environ.get("REDIS_URL", "redis://localhost:6379"),
    queue_name="allm",
    concurrency=1,  # parts at once; the calls of a part are concurrent
    lifespan=context,
    anyio_backend="trio",
    idle_timeout=float(os.environ.get("ALLM_IDLE", "30")),  # seconds of silence until others get a worker's parts
    signing_secret=os.environ.get("STREAQ_SECRET"),  # tasks are pickles: without it, Redis must be as trusted as code
)


@worker.task(max_tries=None)  # a worker that ends is no fault of its part
async def part(run: str, first: int, texts: list[str]) -> None:
    """Ask one part of a run; whoever has large inputs passes where they are, and reads them here."""
    problem: str | None = "Redis was away"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        problem = await ask(run, first, texts)
        nursery.cancel_scope.cancel()
    if problem:
        raise StreaqRetry(problem, delay=10)


async def ask(run: str, first: int, texts: list[str]) -> str | None:
    """Ask them; returns why it has to be tried again, if it has."""
    log = logging.getLogger("streaq")
    try:
        report = await allm.run_shard(
            worker.context, texts, first=first, run=run, journal=os.environ["ALLM_JOURNAL"], limit=LIMIT
        )
    except allm.BulkError as error:
        if error.reason == "journal":
            return str(error)
        log.error("%s from %d on ended early; when that is mended, submit it again: %s", run, first, error)
    else:
        log.info("%s from %d on: %s", run, first, report)
    return None


async def watch(scope: trio.CancelScope) -> None:
    """Cancel the part once Redis was away: others may no longer hear that it runs, and ask the same beside us."""
    with suppress(RedisError):
        while True:
            await trio.sleep(1)
            await worker.redis.ping()
    scope.cancel()


async def submit(path: str, run: str) -> None:
    """Queue the parts of a run."""
    texts = Path(path).read_text("utf-8").splitlines()
    parts = [part.enqueue(run, first, texts[first : first + PART]) for first in range(0, len(texts), PART)]
    async with worker:
        await worker.enqueue_many(parts)
    print(f"{run}: {len(texts)} inputs in {len(parts)} parts")


async def abort(run: str) -> None:
    """Cancel the parts that run, and drop those that wait."""
    async with worker:
        found = [
            task
            for status in (TaskStatus.QUEUED, TaskStatus.SCHEDULED, TaskStatus.RUNNING)
            for task in await worker.get_tasks_by_status(status, limit=1_000_000)
            if task.args[0] == run
        ]
        for task in found:
            await worker.abort_by_id(task.task_id, timeout=0)
    print(f"{run}: {len(found)} parts aborted")


def work() -> None:
    """Work until SIGTERM. A worker of streaQ ends when Redis is away, so it is started afresh until Redis is back."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        worker.run_sync()
        return
    except* RedisError as group:
        logging.getLogger("streaq").error("Redis is away, trying again: %r", group.exceptions[0])
    time.sleep(1)
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606  # as it was started


def main(command: str, *words: str) -> None:
    """Run one of the commands."""
    if command == "work":
        work()
    else:
        trio.run({"submit": submit, "abort": abort}[command], *words)


if __name__ == "__main__":
    main(*sys.argv[1:])
