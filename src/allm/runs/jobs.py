"""The queue between the inputs that were read and those who ask; it is where a budget holds an input back."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError
from allm.data.errors import AllmError
from allm.runs.journal import RunTotals

__all__ = ["Job", "Jobs", "Outcome", "Spending"]


@define(eq=False)
class Job:
    """An input that has to be asked."""

    index: int
    key: str
    request: Any
    fingerprint: str


@define(eq=False)
class Outcome:
    """How it went.

    Attributes:
        value: What the call returned, if it did not fail.
        cost: US dollars; None where they are not known.
        refused_since: When the provider first refused it because of its load, on the Trio clock.
    """

    value: Any = None
    error: AllmError | None = None
    attempts: int = 1
    usage: Any = None
    cost: float | None = None
    refused_since: float = math.inf


@define(eq=False)
class Spending:
    """Whether a budget allows another request, from what answers of this run have cost.

    Attributes:
        budget: US dollars for the whole run, earlier parts of it included; None for no limit.
        spent: So far, by all workers of the run.
    """

    budget: float | None = None
    spent: float = 0.0
    _known: int = 0
    _sum: float = 0.0

    @classmethod
    def after(cls, budget: float | None, totals: RunTotals) -> Spending:
        """That of a run that goes on."""
        known = totals.done if totals.spent else 0
        return cls(budget, totals.spent, known, totals.spent if known else 0.0)

    @property
    def knows_costs(self) -> bool:
        """Whether an answer has told what it costs."""
        return self._known > 0

    def add(self, cost: float | None) -> None:
        """Count an answer."""
        if cost is not None:
            self.spent += cost
            self._sum += cost
            self._known += 1

    def room(self, underway: int) -> bool | None:
        """Whether one more may be asked beside those under way; None: not before one of them has ended."""
        if self.budget is None:
            return True
        if self.spent >= self.budget:
            return False
        if not self._known:
            return None if underway else True  # the first one tells what they cost
        if self.spent + self._sum / self._known * (underway + 1) <= self.budget:
            return True
        return None if underway else False


@define(eq=False)
class Jobs:
    """The queue. Whoever takes a job says `ended` when it has.

    Attributes:
        most: Jobs that may be under way or not saved yet: what is lost if the process is killed.
        underway, unsaved: How many are.
    """

    most: float
    _spending: Spending
    _stop: Callable[[Exception], None]
    underway: int = attrs.field(default=0, init=False)
    unsaved: int = attrs.field(default=0, init=False)
    idle: int = attrs.field(default=0, init=False)
    _waiting: deque[Job] = attrs.field(factory=deque[Job], init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _lot: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _arrived: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    @property
    def needs_cost(self) -> bool:
        """Whether a budget has to know first what an answer costs."""
        return self._spending.budget is not None and not self._spending.knows_costs

    def put(self, jobs: list[Job]) -> None:
        """Add jobs."""
        if not self._ended:
            self._waiting.extend(jobs)
            self._lot.unpark(count=len(jobs))
            self._arrived.unpark_all()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._lot.unpark_all()
        self._arrived.unpark_all()

    def drop(self) -> None:
        """End, without those that wait."""
        self._waiting.clear()
        self.end()

    def ended(self) -> None:
        """A job that was taken has ended, and waits to be saved."""
        self.underway -= 1
        self.unsaved += 1

    def saved(self, count: int) -> None:
        """Jobs are saved, or there is nothing to save of them."""
        self.unsaved -= count
        if self._spending.budget is not None:
            self._lot.unpark_all()
        else:
            self._lot.unpark(count=count)

    async def surplus(self) -> int:
        """Wait for jobs that no idle taker is there for, and return how many; 0 at the end."""
        while True:
            waiting = len(self._waiting) - self.idle
            if waiting > 0:
                return waiting
            if self._ended:
                return 0
            await self._arrived.park()

    async def take(self) -> Job | None:
        """The next job; None at the end."""
        while True:
            if self._waiting and self.underway + self.unsaved < self.most:
                room = self._spending.room(self.underway)
                if room:
                    self.underway += 1
                    return self._waiting.popleft()
                if room is False:
                    self._stop(_used_up(self._spending))
            if self._ended and not self._waiting:
                return None
            self.idle += 1
            try:
                await self._lot.park()
            finally:
                self.idle -= 1


def _used_up(spending: Spending) -> BulkError:
    return BulkError(
        f"the budget of ${spending.budget:g} is used up: ${spending.spent:.6g} were spent, and another answer would "
        "exceed it. What was answered is saved; raise the budget and run again to go on",
        reason="budget",
    )
