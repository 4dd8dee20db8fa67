"""Many requests on several machines: streaQ hands out the parts, and a journal in PostgreSQL decides what is done.

    pip install '.[cli,distributed]'
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
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import demo
import trio
from coredis import PureToken
from coredis.exceptions import RedisError
from streaq import StreaqRetry, Worker

import allm

log = logging.getLogger("streaq")
PART = int(os.environ.get("ALLM_PART", "500"))  # inputs: minutes of work, so that few parts are many times as long
LIMIT = int(os.environ.get("ALLM_LIMIT", "64"))  # calls at once in a worker
IDLE = int(os.environ.get("ALLM_IDLE", "30"))  # seconds of silence until others get what a worker has
PAUSE = min(IDLE, 10)  # seconds until a part is tried again


def aborted(run: str) -> str:
    """The key in Redis that ends a run."""
    return f"allm:{run}:aborted"


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
    idle_timeout=IDLE,
    signing_secret=os.environ.get("STREAQ_SECRET"),  # tasks are pickles: without it, Redis must be as trusted as code
)


@worker.task(max_tries=None)  # a worker that ends is no fault of its part
async def part(run: str, first: int, texts: list[str]) -> None:
    """Ask one part of a run; whoever has large inputs passes where they are, and reads them here."""
    lock, owner = f"allm:{run}:{first}", uuid.uuid4().hex
    problem: str | None = "Redis was away"
    try:
        if await worker.redis.exists([aborted(run)]):
            return
        is_ours = await worker.redis.set(lock, owner, condition=PureToken.NX, px=IDLE * 1000)
    except RedisError as error:
        raise StreaqRetry(problem, delay=PAUSE) from error
    if not is_ours:
        raise StreaqRetry("another worker has it, or had it when it was killed", delay=PAUSE)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, run, lock, owner, nursery.cancel_scope)
            problem = await ask(run, first, texts)
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(1, shield=True), suppress(RedisError):
            if await worker.redis.get(lock) == owner:
                await worker.redis.delete([lock])
    if problem:
        raise StreaqRetry(problem, delay=PAUSE)  # any other exception would end the part for good


async def keep(run: str, lock: str, owner: str, scope: trio.CancelScope) -> None:
    """Keep the lock of a part, and cancel the part if that fails: another worker would ask the same beside us."""
    with suppress(RedisError):
        while await worker.redis.get(lock) == owner and not await worker.redis.exists([aborted(run)]):
            await worker.redis.pexpire(lock, IDLE * 1000)
            await trio.sleep(1)
    scope.cancel()


async def ask(run: str, first: int, texts: list[str]) -> str | None:
    """Ask them; returns why it has to be tried again, if it has."""
    try:
        report = await allm.run_shard(
            worker.context, texts, first=first, run=run, journal=os.environ["ALLM_JOURNAL"], limit=LIMIT
        )
    except allm.AllmError as error:
        if isinstance(error, allm.BulkError) and error.reason == "journal":
            return str(error)
        log.error("%s from %d on ended early; when that is mended, submit it again: %s", run, first, error)  # noqa: TRY400
    else:
        log.info("%s from %d on: %s", run, first, report)
    return None


async def submit(path: str, run: str) -> None:
    """Queue the parts of a run."""
    texts = Path(path).read_text("utf-8").splitlines()  # noqa: ASYNC240  # before there is anything to keep waiting
    parts = [part.enqueue(run, first, texts[first : first + PART]) for first in range(0, len(texts), PART)]
    async with worker:
        await worker.redis.delete([aborted(run)])
        await worker.enqueue_many(parts)
    print(f"{run}: {len(texts)} inputs in {len(parts)} parts")


async def abort(run: str) -> None:
    """End its parts, within a second, and drop those that wait."""
    async with worker:
        await worker.redis.set(aborted(run), "yes")
    print(f"{run}: aborted")


def work() -> None:
    """Work until SIGTERM. A worker of streaQ ends when Redis is away, so it is started afresh until Redis is back."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        worker.run_sync()
        return  # noqa: TRY300
    except* RedisError as group:
        log.error("Redis is away, trying again: %r", group.exceptions[0])  # noqa: TRY400
    time.sleep(1)
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606  # as it was started


def main(words: list[str]) -> None:
    """Run one of the commands."""
    match words:
        case ["work"]:
            work()
        case ["submit", path, run]:
            trio.run(submit, path, run)
        case ["abort", run]:
            trio.run(abort, run)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
