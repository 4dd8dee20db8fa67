"""`BulkRun`: a bulk run as its consumer sees it, and the tasks behind it.

Theory of operation. The first read starts one task, which runs three kinds of others: the intake reads inputs and looks
them up (`intake.py`, `lookup.py`), the asker asks those that the journal does not have (`asking.py`), and the saver
saves what has ended and then hands it to the consumer (`saving.py`). None of them raises into the nursery: whatever
ends the run early is kept, and raised to the consumer after all that was finished. A run that ends early stops reading
and asking, finishes what is under way, and saves it; one whose inputs cannot be read on asks those before. Leaving the
block cancels what is under way, and saves what has ended.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from textwrap import indent
from typing import Any, Generic, TypeVar, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError, BulkItem
from allm.data.errors import AllmError, BudgetExceeded, StreamError
from allm.data.response import Usage
from allm.data.user_functions import call_user
from allm.execution.failures import log_failed_inputs
from allm.execution.nurseries import nursery_boundary, start_task
from allm.runs.asking import Asker, CancelsBatches
from allm.runs.attempts import CROWDED, is_fatal
from allm.runs.delivery import Delivery
from allm.runs.intake import Intake, Window
from allm.runs.jobs import Job, Jobs, Outcome, Spending
from allm.runs.journal import Journal, in_turn
from allm.runs.lookup import LookUp
from allm.runs.saving import Finished, Saver

__all__ = ["EXAMPLE", "BulkRun", "Parts"]

T = TypeVar("T")

EXAMPLE = """\
async with allm.bulk(engine, requests, journal="run.sqlite") as run:
    async for item in run: ..."""


@define(eq=False)
class Parts:
    """What a run consists of."""

    asker: Asker
    journal: Journal | None
    limiter: trio.CapacityLimiter
    on_progress: Callable[[BulkRun[Any]], Any] | None
    max_failures: int | None
    replays: bool
    is_shard: bool
    spending: Spending
    delivery: Delivery
    window: Window
    intake: Intake
    look_up: LookUp
    jobs: Jobs
    saver: Saver | None


@final
@define(eq=False)
class BulkRun(Generic[T]):
    """The items of a bulk run, as they are finished: `async for item in run: ...`.

    Nothing is sent before the first item is asked for. Only one task may read, and only inside the block.

    Attributes:
        done: Items that have ended: answered, failed or found in the journal.
        failed, replayed: How many of these failed, and how many were found.
        usage: What the answers of this run have used, without those that were found.
        total: The number of inputs, if known.
    """

    total: int | None
    done: int = attrs.field(default=0, init=False)
    failed: int = attrs.field(default=0, init=False)
    replayed: int = attrs.field(default=0, init=False)
    usage: Usage = attrs.field(factory=Usage, init=False)
    _parts: Parts = attrs.field(init=False)
    _start: Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
    _why: Exception | None = attrs.field(default=None, init=False)
    _over: bool = attrs.field(default=False, init=False)
    _owner: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _reported: int = attrs.field(default=0, init=False)
    _new_failures: Counter[str] = attrs.field(factory=Counter[str], init=False)  # reasons
    _began: float = attrs.field(default=0.0, init=False)
    _latest: float = attrs.field(default=0.0, init=False)
    _accepted: float = attrs.field(default=-math.inf, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    @property
    def spent(self) -> float:
        """US dollars that the run has cost, with earlier parts and other workers; without answers of unknown price."""
        return self._parts.spending.spent

    @property
    def rate(self) -> float:
        """Answers per second, from the first item that was asked for to the last one, without those that were found."""
        seconds = self._latest - self._began
        return (self.done - self.replayed) / seconds if seconds > 0 else 0.0

    def stop(self) -> None:
        """Send nothing more. What is under way is finished, saved and delivered; then reading raises `BulkError`."""
        what = "the run was stopped before its end; run it again with the same journal to go on"
        self._stop(BulkError(what, reason="stopped"))

    def cancel(self) -> None:
        """As `stop`, and end the batches at the provider; what it has answered is still collected and delivered.

        Without batches it is `stop`.
        """
        asker = self._parts.asker
        if not isinstance(asker, CancelsBatches):
            self.stop()
            return
        if not self._over:
            what = "the run was cancelled before its end; run it again with the same journal to go on"
            self._why = self._why or BulkError(what, reason="stopped")
            self._parts.intake.stop()
            self._parts.jobs.drop()
            asker.cancel()

    def __aiter__(self) -> BulkRun[T]:
        return self

    async def __anext__(self) -> BulkItem[T]:
        """The next item.

        Raises:
            BulkError: The run ended early; raised after every finished item was given.
            StreamError: Used outside its block, or by a second task.
            Exception: Raised by the iterable of inputs, by `key` or by `on_progress`.
        """
        self._enter()
        await trio.lowlevel.checkpoint()
        while True:
            await self._report()
            item = self._parts.delivery.take()
            if item is not None:
                self._parts.window.leave()
                return item
            if self._over:
                if self._why is not None:
                    raise self._why
                raise StopAsyncIteration
            await self._changed.park()

    def _enter(self) -> None:
        if self._closed:
            raise StreamError(
                "the block of this run has been left, so there are no more items; iterate inside it:\n"
                f"{indent(EXAMPLE, '    ')}",
                reason="closed",
            )
        task = trio.lowlevel.current_task()
        if self._owner is None:
            self._owner = task
            self._began = trio.current_time()
            self._start(self._run)
        elif self._owner is not task:
            raise StreamError(
                f"this run is being read by task {self._owner.name!r}; a run has one reader: pass items on through a "
                "memory channel",
                reason="concurrent_iteration",
            )

    async def _report(self) -> None:
        on_progress = self._parts.on_progress
        if on_progress is not None and self._reported != self.done:
            self._reported = self.done
            await call_user(on_progress, self)

    def _close(self) -> None:
        self._closed = True

    # --- the tasks -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        parts = self._parts
        try:
            async with nursery_boundary() as saving:
                if parts.saver is not None:
                    start_task(saving, parts.saver.run, name="allm bulk saver")
                try:
                    async with nursery_boundary() as nursery:
                        start_task(nursery, self._read, name="allm bulk reader")
                        start_task(nursery, self._look_up, name="allm bulk look-up")
                        await self._guarded(self._ask)
                finally:
                    if parts.saver is not None:
                        parts.saver.close()
            if parts.journal is not None and parts.intake.has_ended and self._why is None and not parts.is_shard:
                journal, count = parts.journal, parts.intake.count
                await self._guarded(lambda: in_turn(parts.limiter, lambda: journal.note(inputs=count)))
        finally:
            parts.delivery.close()
            self._over = True
            log_failed_inputs(self._new_failures, self.done - self.replayed)
            if isinstance(self._why, BulkError) and parts.saver is not None:
                self._why.unsaved = tuple(finished.item for finished in parts.saver.unsaved)
            self._changed.unpark_all()

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as error:
            self._stop(error)

    async def _read(self) -> None:
        try:
            await self._parts.intake.read()
        except Exception as error:  # raised by the inputs: those before it are asked
            self._why = self._why or error

    async def _look_up(self) -> None:
        try:
            await self._parts.intake.pass_on()
        except Exception as error:  # the inputs before it are asked
            self._why = self._why or error
            self._parts.intake.stop()
        finally:
            self._parts.jobs.end()

    async def _ask(self) -> None:
        await self._parts.asker.run(self._parts.jobs, self._finish)

    def _stop(self, why: Exception) -> None:
        if not self._over:
            self._why = self._why or why
            self._parts.intake.stop()
            self._parts.jobs.drop()
            self._parts.asker.stop()
            self._changed.unpark_all()

    # --- what they tell --------------------------------------------------------------------------------------------

    def _finish(self, job: Job, outcome: Outcome | None) -> None:
        """An input was asked; None if not to the end."""
        if outcome is None:
            self._parts.jobs.saved(1)
            return
        if isinstance(outcome.usage, Usage):
            self.usage += outcome.usage
        parts, error = self._parts, outcome.error
        parts.spending.add(outcome.cost)
        if error is None:
            self._accepted = trio.current_time()
            if parts.spending.budget is not None and outcome.cost is None:
                self._stop(_no_price(parts.spending.budget))
        elif (end := self._end(job, outcome, error)) is not None:
            # The input is not to blame, so it has not failed: it is asked again when the run is resumed.
            end.__cause__ = error
            self._stop(end)
            parts.jobs.saved(1)
            return
        item = BulkItem[Any](
            key=job.key,
            index=job.index,
            request=job.request,
            response=outcome.value,
            error=error,
            attempts=outcome.attempts,
        )
        finished = Finished(item, job.fingerprint, outcome.cost, was_asked=True)
        self._latest = trio.current_time()
        if parts.saver is None:
            self._deliver([finished])
        else:
            parts.saver.add(finished)

    def _end(self, job: Job, outcome: Outcome, error: AllmError) -> BulkError | None:
        """Why this failure ends the run; None if it is that of one input."""
        own_model = getattr(job.request, "model", None) is not None
        if isinstance(error, BudgetExceeded) and outcome.is_budgeted and not (own_model and error.reason == "no_price"):
            return BulkError(f"{error.problem}; what was answered is saved", reason="budget")
        refused = (
            error.reason in CROWDED and self._accepted <= outcome.refused_since < math.inf
        )  # so long, and nobody was let in
        if refused or is_fatal(error, own_model=own_model):
            what = f"every further request would fail like that of input {job.index}: {error}"
            return BulkError(what, reason="fatal")
        return None

    def _saved(self, batch: Sequence[Finished], spent: float) -> None:
        self._parts.spending.spent = spent + sum(left.cost or 0.0 for left in self._unsaved())
        self._deliver(batch)

    def _unsaved(self) -> Sequence[Finished]:
        saver = self._parts.saver
        return saver.unsaved if saver is not None else ()

    def _deliver(self, batch: Sequence[Finished]) -> None:
        parts = self._parts
        for finished in batch:
            self._count(finished.item)
            parts.delivery.put(finished.item)
            if parts.look_up.dedupe and finished.was_asked:
                for copy in parts.look_up.ended(finished.fingerprint, finished.item):
                    self._copied(copy)
        parts.jobs.saved(sum(finished.was_asked for finished in batch))
        most = parts.max_failures
        failed = self._new_failures.total()
        if most is not None and failed > most:
            what = f"{failed} inputs have failed, more than the {most} that were allowed"
            self._stop(BulkError(what, reason="failures"))
        self._changed.unpark_all()

    def _copied(self, finished: Finished) -> None:
        assert self._parts.saver is not None  # noqa: S101  (there is a journal where inputs are compared)
        self._parts.saver.add(finished)

    def _replayed(self, item: BulkItem[Any]) -> None:
        self._count(item)
        if self._parts.replays:
            self._parts.delivery.put(item)
        else:
            self._parts.delivery.skip(item.index)
            self._parts.window.leave()
        self._changed.unpark_all()

    def _count(self, item: BulkItem[Any]) -> None:
        self.done += 1
        self.replayed += item.replayed
        self.failed += item.error is not None
        if item.error is not None and not item.replayed:
            self._new_failures[item.error.reason] += 1


def _no_price(budget: float) -> BulkError:
    return BulkError(
        f"the price of the model's answers is not known, so the budget of ${budget:g} cannot be kept; leave the budget "
        "out",
        reason="budget",
    ).advised(", or put in the prices: allm.models")
