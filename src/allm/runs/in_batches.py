"""Ask through a provider's batches: many inputs at once, answered within a day, at half the price.

Theory of operation. Inputs are gathered into a batch until it is full, or none comes for some seconds. The journal
notes the batch under a name of its own before it is sent, and the provider's id after it. So a process that is killed
at any point loses nothing: the next run with this journal finds the batch by its id, else by its name, and waits for
the answers instead of asking again. An input belongs to a noted batch if its key and its fingerprint are there.

A batch is closed in the journal when all its answers are saved. The end of the run leaves those that are not: the
provider goes on, and the next run collects them. `cancel` ends them at the provider.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError
from allm.data.errors import AdapterError, AllmError, BudgetExceeded
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.services.batch_charging import BatchCharge
from allm.execution.services.batches import Batches, batched_call, batches_of
from allm.runs.asking import OneByOne
from allm.runs.batch_parts import Asked, Gathered, Underway
from allm.runs.jobs import Job, Jobs, Outcome
from allm.runs.journal import Batch, Journal, in_turn
from allm.runtime.batch_jobs import BatchAnswer, BatchJob
from allm.runtime.budgets import Budget
from allm.runtime.costs import charged
from allm.runtime.engine import Engine

__all__ = ["InBatches"]

Finish = Callable[[Job, Outcome | None], None]

IDLE = 5.0
"""Seconds without another input after which a batch is sent that is not full."""
FIRST_POLL, LONGEST_POLL, GROWTH = 10.0, 60.0, 1.5
"""Seconds between two questions how far a batch is; most take minutes, some a day."""
MOST_UNHEARD = 3600.0
"""Seconds for which these questions may fail before the run ends; the batch goes on."""
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_EARLIER = 120.0
"""Seconds by which the clocks of this machine and of the provider may differ."""


@define(eq=False)
class InBatches:
    """An `Asker` that asks through batches.

    Attributes:
        engine, options: Of the calls.
        journal, limiter: Where batches are noted, and whose turn it is there.
        name: That of the run.
        limit: Most inputs in one batch; the provider may have a lower limit.
        saved: Waits until what was finished is in the journal; False if it cannot be saved.
        has_all: Whether the run has come to all of its inputs.
        first: Asks one input at the usual price where a budget needs to know what an answer costs.
        budget: All requests are charged to it.
    """

    engine: Engine
    options: Mapping[str, Any]
    journal: Journal
    limiter: trio.CapacityLimiter
    name: str
    limit: int
    saved: Callable[[], Awaitable[bool]]
    has_all: Callable[[], bool]
    first: OneByOne
    budget: Budget | None = None
    _batches: Batches = attrs.field(init=False)
    _underway: set[Underway] = attrs.field(factory=set[Underway], init=False)
    _claims: dict[tuple[str, str], tuple[Underway, str]] = attrs.field(
        factory=dict[tuple[str, str], tuple[Underway, str]], init=False
    )
    _partly: set[Underway] = attrs.field(factory=set[Underway], init=False)  # some of whose inputs have come
    _submitting: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _left: tuple[Job, BudgetExceeded] | None = attrs.field(default=None, init=False)  # the input that was too much
    _stopped: bool = attrs.field(default=False, init=False)
    _is_cancelled: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._batches = batches_of(self.engine, self.options)

    def stop(self) -> None:
        """Wait no longer. The provider goes on with the batches, whose answers the next run collects.

        One that has ended is read to its end: else its failures, if they are what ends the run, would end the next one.
        """
        self._stopped = True
        for batch in self._underway:
            batch.scope.cancel()

    def cancel(self) -> None:
        """End the batches at the provider; what it has answered is still collected."""
        self._stopped = self._is_cancelled = True
        for batch in self._underway:
            batch.cancelled.set()

    async def run(self, jobs: Jobs, finish: Finish, /) -> None:
        """See `Asker`."""
        with nullcontext() if self.budget is None else self.budget:
            await self._run(jobs, finish)
        if self._left is not None:  # told last, since it ends the run, and what was sent is waited for
            job, error = self._left
            jobs.ended()
            finish(job, Outcome(error=error, is_budgeted=True))

    async def _run(self, jobs: Jobs, finish: Finish) -> None:
        try:
            earlier = await self._reopened()
            async with nursery_boundary() as nursery:

                def start(batch: Underway) -> None:
                    self._underway.add(batch)
                    self._partly.discard(batch)
                    if self._is_cancelled:
                        batch.cancelled.set()
                    elif self._stopped:
                        batch.scope.cancel()
                    start_task(nursery, self._follow, batch, jobs, finish, name="allm batch")

                await self._gather(jobs, finish, start)
                for batch in earlier:
                    if batch in self._partly:
                        start(batch)  # some of its inputs are gone, or have other answers
            for batch in earlier:
                if batch.unclaimed and self.has_all():  # nobody will ask for the rest of its answers
                    await self._close(batch)
        except AdapterError as error:
            fatal = BulkError(
                f"the batches of the provider cannot be used: {error}. What was sent is in the journal, and the next "
                "run goes on with it",
                reason="fatal",
            )
            raise fatal from error

    # --- making batches --------------------------------------------------------------------------------------------

    async def _reopened(self) -> list[Underway]:
        """The batches of earlier runs, with claims to their answers for the inputs that are in them."""
        found: list[Underway] = []
        noted_batches = await in_turn(self.limiter, self.journal.batches)
        self._batches.known.update(noted.vendor_id for noted in noted_batches if noted.vendor_id is not None)
        for noted in noted_batches:
            batch = Underway(noted, unclaimed=len(noted.items))
            if noted.vendor_id is not None:
                batch.vendor = BatchJob(provider=noted.provider, id=noted.vendor_id)
            else:
                batch.vendor = await self._batches.find(noted.name, noted.submitted - _EARLIER, len(noted.items))
                if batch.vendor is None:  # it was never made
                    await self._close(batch)
                    continue
                await self._note(batch)
            found.append(batch)
            for place, (key, _, fingerprint) in enumerate(noted.items):
                self._claims[key, fingerprint] = batch, batch.key_of(place)
        return found

    async def _gather(self, jobs: Jobs, finish: Finish, start: Callable[[Underway], None]) -> None:
        """Take all jobs, and start the batches that they make."""
        gathered: dict[str, Gathered] = {}

        def send(one: Gathered) -> None:
            self._send(one, jobs, finish, start)

        def send_all() -> None:
            while gathered:
                send(gathered.popitem()[1])
            while self._partly:  # the others may come only when these have been answered, as few may be in memory
                start(self._partly.pop())

        try:
            while self._left is None:
                job = None
                with trio.move_on_after(IDLE if gathered or self._partly else float("inf")) as idle:
                    job = await jobs.take()
                if job is not None:
                    asked = await self._prepared(job, jobs, finish)
                    if asked is not None and not self._claimed(asked, start):
                        self._add(asked, gathered, send)
                    continue
                send_all()
                if not idle.cancelled_caught:
                    return
            send_all()
        finally:  # where it is cancelled
            for one in itertools.chain.from_iterable(some.asked for some in gathered.values()):
                self._leave(one, jobs, finish, was_sent=False)

    def _claimed(self, asked: Asked, start: Callable[[Underway], None]) -> bool:
        """Whether it is in a batch of an earlier run, which is followed when all of its inputs have come."""
        claimed = self._claims.pop((asked.job.key, asked.job.fingerprint), None)
        if claimed is None:
            return False
        batch, key = claimed
        batch.unclaimed -= 1
        if batch.is_read:
            batch.late[key] = asked
            return True
        batch.waiting[key] = asked
        if batch not in self._underway:
            self._partly.add(batch)
            if not batch.unclaimed:
                start(batch)
        return True

    def _add(self, asked: Asked, gathered: dict[str, Gathered], send: Callable[[Gathered], None]) -> None:
        group, size = asked.call.group, asked.call.size
        one = gathered.setdefault(group, Gathered())
        if one.asked and one.size + size > self._batches.most_bytes:
            send(gathered.pop(group))
            one = gathered.setdefault(group, Gathered())
        one.add(asked)
        if len(one.asked) >= min(self.limit, self._batches.most_requests):
            send(gathered.pop(group))

    async def _prepared(self, job: Job, jobs: Jobs, finish: Finish) -> Asked | None:
        """A job with its call; None if it has ended: it is invalid, or was asked to know what an answer costs."""
        is_claimed = (job.key, job.fingerprint) in self._claims
        if jobs.needs_cost and not is_claimed:
            await self.first.ask(job, jobs, finish)
            return None
        try:
            call = await batched_call(self.engine, job.request, self.options)
            accounts = charged.get()
            charge = None if accounts is None or is_claimed else BatchCharge.begin(accounts, call.call)
            return Asked(job, call, charge)
        except BudgetExceeded as error:
            self._left = job, error
            return None
        except AllmError as error:
            jobs.ended()
            finish(job, Outcome(error=error))
            return None

    def _send(self, gathered: Gathered, jobs: Jobs, finish: Finish, start: Callable[[Underway], None]) -> None:
        if self._stopped:
            for one in gathered.asked:
                self._leave(one, jobs, finish, was_sent=False)
            return
        noted = Batch(
            name=f"{_plain(self.name)}-{secrets.token_hex(8)}",
            provider=gathered.asked[0].call.sent.provider,
            submitted=time.time(),
            items=tuple((one.job.key, one.job.index, one.job.fingerprint) for one in gathered.asked),
        )
        batch = Underway(noted)
        batch.waiting = {batch.key_of(place): one for place, one in enumerate(gathered.asked)}
        start(batch)

    # --- the life of a batch ---------------------------------------------------------------------------------------

    async def _follow(self, batch: Underway, jobs: Jobs, finish: Finish) -> None:
        try:
            with batch.scope:
                if batch.vendor is None:
                    async with self._submitting:
                        await self._submit(batch)
                batch.vendor = await self._ended(batch)
            if batch.scope.cancelled_caught or batch.vendor is None:  # the run waits no longer
                return
            if batch.vendor.state == "failed":
                await self._close(batch)
                what = (
                    f"{batch.vendor.provider} refused the whole batch: {batch.vendor.problem or 'it does not say why'}"
                )
                raise BulkError(what, reason="fatal")
            batch.is_read = is_saved = True
            while batch.waiting and is_saved:
                await self._read(batch, batch.vendor, jobs, finish)
                is_saved = await self.saved()
                batch.waiting, batch.late = batch.late, {}
            if is_saved and not batch.unclaimed:
                await self._close(batch)
        finally:
            self._underway.discard(batch)
            batch.is_read = False
            for one in (*batch.waiting.values(), *batch.late.values()):
                self._leave(one, jobs, finish, was_sent=batch.is_sent)
            batch.waiting, batch.late = {}, {}

    async def _read(self, batch: Underway, vendor: BatchJob, jobs: Jobs, finish: Finish) -> None:
        await self._batches.read(vendor, functools.partial(self._answered, batch, jobs, finish))
        for key in list(batch.waiting):
            what = "the batch ended without an answer to this request"
            error = AdapterError(what, reason="timeout", provider=vendor.provider)
            await self._answered(batch, jobs, finish, BatchAnswer(key, error=error))

    def _leave(self, one: Asked, jobs: Jobs, finish: Finish, *, was_sent: bool) -> None:
        if one.charge is not None:
            if was_sent:
                one.charge.leave()
            else:
                one.charge.take_back()
        jobs.ended()
        finish(one.job, None)

    async def _submit(self, batch: Underway) -> None:
        noted = batch.noted
        await in_turn(self.limiter, lambda: self.journal.save_batch(noted))
        calls = [(key, one.call) for key, one in batch.waiting.items()]
        batch.is_sent = True
        refused: AdapterError | None = None
        try:
            batch.vendor = await self._batches.submit(noted.name, calls, noted.submitted - _EARLIER)
        except AdapterError as error:
            refused = error
        if refused is not None:
            if refused.status is not None and _CLIENT_ERROR <= refused.status < _SERVER_ERROR:  # it was not made
                batch.is_sent = False
                await self._close(batch)
            raise refused
        await self._note(batch)

    async def _note(self, batch: Underway) -> None:
        assert batch.vendor is not None  # noqa: S101
        self._batches.known.add(batch.vendor.id)
        batch.noted = noted = attrs.evolve(batch.noted, vendor_id=batch.vendor.id)
        await in_turn(self.limiter, lambda: self.journal.save_batch(noted))

    async def _close(self, batch: Underway) -> None:
        await in_turn(self.limiter, lambda: self.journal.close_batch(batch.noted.name, (), 0.0))

    async def _ended(self, batch: Underway) -> BatchJob:
        """Wait for the end of a batch."""
        assert batch.vendor is not None  # noqa: S101
        vendor, pause, heard, cancels, ended = batch.vendor, FIRST_POLL, trio.current_time(), False, trio.Event()
        while vendor.state == "running":
            if batch.cancelled.is_set() and not cancels:
                refused, cancels, pause = None, True, FIRST_POLL
                try:
                    vendor = await self._batches.cancel(vendor)
                except AdapterError as error:
                    refused = error
                if refused is not None and (vendor := await self._batches.get(vendor)).state == "running":
                    raise refused  # else it has just ended
                continue
            with trio.move_on_after(pause):
                await (ended if cancels else batch.cancelled).wait()
            pause = min(pause * GROWTH, LONGEST_POLL)
            try:
                vendor = await self._batches.get(vendor)
                heard = trio.current_time()
            except AdapterError as error:
                if not error.retryable or trio.current_time() - heard > MOST_UNHEARD:
                    raise
        return vendor

    async def _answered(self, batch: Underway, jobs: Jobs, finish: Finish, answer: BatchAnswer) -> None:
        """Finish an input; a checkpoint for each, as there may be thousands in one read."""
        one = batch.waiting.pop(answer.key, None)
        if one is None:  # read before the answers broke off, or of an input that is gone
            return
        job, response = one.job, one.call.response(answer)
        if one.charge is not None:
            one.charge.end(response)
        jobs.ended()
        failed = response.error is not None
        finish(job, Outcome(None if failed else response, response.error, 1, response.usage, response.usage.total_cost))
        await trio.lowlevel.checkpoint()


def _plain(name: str) -> str:
    """A name as every provider takes it."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)[:32]
