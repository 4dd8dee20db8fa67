"""Many workers of one bulk run on one account, in virtual time: workers die, and the provider refuses for a while.

    python benchmarks/scale_simulation.py

Each worker is what `allm.run_shard` makes of it, with a `RateLimit` of its own that knows nothing of the others; the
adapter is the simulated provider of `rate_limits.py`. An engine that distributes parts is a queue: it gives a part to
another worker when the one that had it has died. A death is a SIGKILL: nothing is saved after it. Nothing here depends
on the speed of the machine.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import attrs
import trio
import trio.testing
from rate_limits import Bucket, Provider

import allm

LEASE = 30.0
"""Seconds after which the engine gives a part to another worker, and in which a new worker takes a dead one's place."""


@attrs.frozen(kw_only=True)
class Scenario:
    """What is simulated.

    Attributes:
        parts: How many the engine distributes.
        limit: Most calls at once of each worker.
        rate: Requests a second that the account has.
        latency: Seconds that an answer takes, from and to.
        deaths: How many workers die, at equal distances in the first half of the time that is needed at least.
        storm: From when to when the provider refuses everything, in seconds.
        told: Each worker is told its part of the account's rate, `requests_per_minute=rate * 60 / workers`.
        start: Seconds in which the workers start, at random.
    """

    workers: int
    items: int
    parts: int
    limit: int
    rate: float
    latency: tuple[float, float] = (1.0, 3.0)
    deaths: int = 0
    storm: tuple[float, float] | None = None
    told: bool = False
    start: float = 5.0


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        seconds: Until the last item was saved.
        share: Per cent of what the account allowed until nine tenths were accepted.
        wasted: Per cent of the requests that were refused.
        rows, failed: In the journal at the end.
        deaths: Workers that died in a part.
        asked: Requests that the provider accepted.
        lost: The most answers that these deaths may lose: `limit` for each.
        saved_twice: Rows that were saved by two workers.
    """

    seconds: float
    share: float
    wasted: float
    rows: int
    failed: int
    deaths: int
    asked: int
    lost: int
    saved_twice: int

    @property
    def asked_twice(self) -> int:
        """Answers that were paid for and asked for again."""
        return self.asked - self.rows


@attrs.define(eq=False)
class Table:
    """The rows of the run, which all workers see."""

    rows: dict[str, Any] = attrs.field(factory=dict[str, Any])
    twice: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def save(self, rows: Sequence[Any]) -> None:
        """As a journal does: a row that is done stays."""
        with self._lock:
            for row in rows:
                old = self.rows.get(row.key)
                if old is None or old.status != "done":
                    self.rows[row.key] = row
                else:
                    self.twice += 1


@attrs.define(eq=False)
class WorkerJournal:
    """A worker's connection to the table; it ends with the worker."""

    table: Table
    is_dead: bool = False

    def find(self, keys: Sequence[str], /) -> dict[str, Any]:
        """The rows of those that have one."""
        return {key: self.table.rows[key] for key in keys if key in self.table.rows}

    def find_same(self, _fingerprints: Sequence[str], /) -> dict[str, Any]:
        """Of no use here."""
        return {}

    def save(self, rows: Sequence[Any], _spent: float, /) -> float:
        """Save, if the worker lives."""
        if not self.is_dead:
            self.table.save(rows)
        return 0.0

    def note(self, **_facts: Any) -> None:
        """Of no use here."""

    def totals(self) -> Any:
        """Nothing is known of other runs."""
        from allm.runs.journal import RunTotals

        return RunTotals()

    def batches(self) -> tuple[Any, ...]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to close."""


@attrs.define(eq=False)
class Cluster:
    """The workers and the queue of parts."""

    scenario: Scenario
    provider: Provider
    table: Table = attrs.field(factory=Table)
    deaths: int = 0
    _queue: deque[range] = attrs.field(init=False)
    _left: int = attrs.field(init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _busy: dict[trio.CancelScope, WorkerJournal] = attrs.field(
        factory=dict[trio.CancelScope, WorkerJournal], init=False
    )
    _random: random.Random = attrs.field(factory=lambda: random.Random(1), init=False)  # noqa: S311  (the same each time)

    def __attrs_post_init__(self) -> None:
        count, parts = self.scenario.items, self.scenario.parts
        self._queue = deque(range(count * n // parts, count * (n + 1) // parts) for n in range(parts))
        self._left = parts

    def _engine(self) -> allm.Engine:
        own = 60 * self.scenario.rate / self.scenario.workers if self.scenario.told else None
        return allm.Engine(adapter=self.provider, model="m", limiter=allm.RateLimit(requests_per_minute=own))

    async def worker(self) -> None:
        """Take parts until all are done; be born anew after a death."""
        await trio.sleep(self._random.uniform(0, self.scenario.start))
        engine = self._engine()
        while self._left:
            if not self._queue:
                await self._changed.park()
                continue
            part = self._queue.popleft()
            if await self._run(engine, part):
                self._left -= 1
            else:
                self.deaths += 1
                await trio.sleep(LEASE)
                engine = self._engine()  # of a new process, which knows nothing
                self._queue.append(part)
            self._changed.unpark_all()

    async def _run(self, engine: allm.Engine, part: range) -> bool:
        journal: Any = WorkerJournal(self.table)
        with trio.CancelScope() as life:
            self._busy[life] = journal
            try:
                await allm.run_shard(
                    engine,
                    (f"q{index}" for index in part),
                    first=part.start,
                    journal=journal,
                    run="r",
                    limit=self.scenario.limit,
                )
            finally:
                del self._busy[life]
        return not journal.is_dead

    async def die(self) -> None:
        """Kill one worker after the other."""
        least = self.scenario.items / self.scenario.rate
        for _ in range(self.scenario.deaths):
            await trio.sleep(least / 2 / self.scenario.deaths)
            if self._busy:
                life = self._random.choice(list(self._busy))
                self._busy[life].is_dead = True
                life.cancel()


@attrs.define(eq=False)
class Meter:
    """When nine tenths of the items were accepted."""

    bucket: Bucket
    wanted: int
    taken: int = 0
    at: float = 0.0
    rate: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rate = self.bucket.rate

    def take(self, now: float, amount: float) -> bool:
        """See `Bucket`."""
        self.bucket.rate = self.rate
        if not self.bucket.take(now, amount):
            return False
        self.taken += 1
        if self.taken <= self.wanted:
            self.at = now
        return True

    @property
    def most(self) -> float:
        """See `Bucket`."""
        return self.bucket.most

    @property
    def level(self) -> float:
        """See `Bucket`."""
        return self.bucket.level


def simulate(scenario: Scenario) -> Outcome:
    """Run the scenario to its end."""
    before = logging.root.manager.disable
    logging.disable()  # thousands of refusals
    try:
        return _simulated(scenario)
    finally:
        logging.disable(before)


def _simulated(scenario: Scenario) -> Outcome:
    begin, end = scenario.storm or (0.0, 0.0)
    meter = Meter(Bucket(scenario.rate, scenario.rate), scenario.items * 9 // 10)
    provider = Provider(
        limit=meter,
        latency=scenario.latency,
        factor=lambda now: 1e-9 if begin <= now < end else 1.0,
    )
    if scenario.storm:
        meter.bucket.most = scenario.rate / 10  # or the storm would begin with what was kept
    cluster = Cluster(scenario, provider)

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cluster.die)
            for _ in range(scenario.workers):
                nursery.start_soon(cluster.worker)
        return trio.current_time()

    seconds = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    storm = max(0.0, min(meter.at, end) - begin)
    rows = list(cluster.table.rows.values())
    return Outcome(
        seconds=seconds,
        share=100 * min(meter.taken, meter.wanted) / (scenario.rate * (meter.at - storm)),
        wasted=100 * provider.refused / (provider.ok + provider.refused),
        rows=len(rows),
        failed=sum(row.status != "done" for row in rows),
        deaths=cluster.deaths,
        asked=provider.ok,
        lost=cluster.deaths * scenario.limit,
        saved_twice=cluster.table.twice,
    )


RATE, ITEMS = 200.0, 8_000


def scenarios() -> Iterator[tuple[str, Scenario]]:
    """What the page shows: the same work and account for each number of workers."""
    for workers, limit in ((10, 64), (100, 8), (1000, 2)):
        plain = Scenario(workers=workers, items=ITEMS, parts=2 * workers, limit=limit, rate=RATE)
        yield "nothing happens", plain
        yield "each is told its part of the rate", attrs.evolve(plain, told=True)
        yield "a tenth of the workers dies", attrs.evolve(plain, deaths=workers // 10)
        yield "the provider refuses all for 20 s", attrs.evolve(plain, storm=(15.0, 35.0))


def table() -> Iterator[str]:
    """The lines of the table."""
    yield "| workers | what happens | seconds | of the allowed | refused | failed | deaths | asked twice | at most |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    with ProcessPoolExecutor(2) as pool:
        found = pool.map(simulate, [scenario for _, scenario in scenarios()])
        for (name, scenario), outcome in zip(scenarios(), found, strict=True):
            yield (
                f"| {scenario.workers:,} | {name} | {outcome.seconds:.0f} | {outcome.share:.1f} % | "
                f"{outcome.wasted:.1f} % | {outcome.failed} of {outcome.rows:,} | {outcome.deaths} | "
                f"{outcome.asked_twice} | {outcome.lost} |"
            )


def main() -> None:
    """Print the table."""
    for line in table():
        print(line, flush=True)


if __name__ == "__main__":
    main()
