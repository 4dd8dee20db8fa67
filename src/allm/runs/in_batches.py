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
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError
from allm.data.errors import AdapterError, AllmError
from allm.execution.services.batches import BatchedCall, Batches, batched_call, batches_of
from allm.execution.stream.block import nursery_boundary
from allm.runs.asking import OneByOne
from allm.runs.jobs import Job, Jobs, Outcome
from allm.runs.journal import Batch, Journal, in_turn
from allm.runtime.batch_jobs import BatchAnswer, BatchJob
from allm.runtime.engine import Engine

__all__ = ["InBatches"]

Finish = Callable[[Job, Outcome | None], None]

IDLE = 5.0
"""Seconds without another input after which a batch is sent that is not full."""
FIRST_POLL, LONGEST_POLL, GROWTH = 10.0, 60.0, 1.5
"""Seconds between two questions how far a batch is; most take minutes, some a day."""
MOST_UNHEARD = 3600.0
"""Seconds for which these questions may fail before the run ends; the batch goes on."""
_EARLIER = 120.0
"""Seconds by which the clocks of this machine and of the provider may differ."""


@define(eq=False)
class _Underway:
    """A batch, and the inputs that wait for its answers.

    Attributes:
        noted: As the journal has it.
        waiting: By their key in the batch, which is the place in `noted.items`.
    """

    noted: Batch
    vendor: BatchJob | None = None
    waiting: dict[str, tuple[Job, BatchedCall]] = attrs.field(factory=dict[str, tuple[Job, BatchedCall]])
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    cancelled: trio.Event = attrs.field(factory=trio.Event)
    unclaimed: int = 0


@define(eq=False)
class _Gathered:
    """Inputs that will be a batch, and how many bytes their calls have."""

    pairs: list[tuple[Job, BatchedCall]] = attrs.field(factory=list[tuple[Job, BatchedCall]])
    size: int = 0

    def add(self, job: Job, call: BatchedCall) -> None:
        self.pairs.append((job, call))
        self.size += call.size


@define(eq=False)
class InBatches:
    """An `Asker` that asks through batches.

    Attributes:
        engine, options: Of the calls.
        journal, limiter: Where batches are noted, and whose turn it is there.
        name: That of the run.
        limit: Most inputs in one batch; the provider may have a lower limit.
        saved: Waits until what was finished is in the journal.
        first: Asks one input at the usual price where a budget needs to know what an answer costs.
    """

    engine: Engine
    options: Mapping[str, Any]
    journal: Journal
    limiter: trio.CapacityLimiter
    name: str
    limit: int
    saved: Callable[[], Awaitable[None]]
    first: OneByOne
    _batches: Batches = attrs.field(init=False)
    _underway: set[_Underway] = attrs.field(factory=set[_Underway], init=False)
    _claims: dict[tuple[str, str], tuple[_Underway, str]] = attrs.field(
        factory=dict[tuple[str, str], tuple[_Underway, str]], init=False
    )
    _stopped: bool = attrs.field(default=False, init=False)
    _is_cancelled: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._batches = batches_of(self.engine, self.options)

    def stop(self) -> None:
        """Wait no longer. The provider goes on with the batches, whose answers the next run collects."""
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
        try:
            earlier = await self._reopened()
            async with nursery_boundary() as nursery:

                def start(batch: _Underway) -> None:
                    self._underway.add(batch)
                    if self._is_cancelled:
                        batch.cancelled.set()
                    nursery.start_soon(self._follow, batch, jobs, finish, name="allm batch")

                await self._gather(jobs, finish, start)
                for batch in earlier:
                    if batch.waiting and batch not in self._underway:
                        start(batch)  # some of its inputs are gone, or have other answers
                    elif not batch.waiting and not self._stopped:
                        await self._close(batch)
        except AdapterError as error:
            fatal = BulkError(
                f"the batches of the provider cannot be used: {error}. What was sent is in the journal, and the next "
                "run goes on with it",
                reason="fatal",
            )
            raise fatal from error

    # --- making batches --------------------------------------------------------------------------------------------

    async def _reopened(self) -> list[_Underway]:
        """The batches of earlier runs, with claims to their answers for the inputs that are in them."""
        found: list[_Underway] = []
        for noted in await in_turn(self.limiter, self.journal.batches):
            batch = _Underway(noted, unclaimed=len(noted.items))
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
                self._claims[key, fingerprint] = batch, str(place)
        return found

    async def _gather(self, jobs: Jobs, finish: Finish, start: Callable[[_Underway], None]) -> None:
        """Take all jobs, and start the batches that they make."""
        gathered: dict[str, _Gathered] = {}
        while True:
            job = None
            with trio.move_on_after(IDLE if gathered else float("inf")) as idle:
                job = await jobs.take()
            if job is None:
                for one in gathered.values():
                    self._send(one, jobs, finish, start)
                gathered.clear()
                if not idle.cancelled_caught:
                    return
            elif (call := await self._prepared(job, jobs, finish)) is not None:
                claimed = self._claims.pop((job.key, job.fingerprint), None)
                if claimed is not None:
                    batch, place = claimed
                    batch.waiting[place] = job, call
                    batch.unclaimed -= 1
                    if not batch.unclaimed:
                        start(batch)
                    continue
                one = gathered.setdefault(call.group, _Gathered())
                if one.pairs and one.size + call.size > self._batches.most_bytes:
                    self._send(gathered.pop(call.group), jobs, finish, start)
                    one = gathered.setdefault(call.group, _Gathered())
                one.add(job, call)
                if len(one.pairs) >= min(self.limit, self._batches.most_requests):
                    self._send(gathered.pop(call.group), jobs, finish, start)

    async def _prepared(self, job: Job, jobs: Jobs, finish: Finish) -> BatchedCall | None:
        """The call of a job; None if it has ended: it is invalid, or was asked to know what an answer costs."""
        if jobs.needs_cost and (job.key, job.fingerprint) not in self._claims:
            await self.first.ask(job, jobs, finish)
            return None
        try:
            return await batched_call(self.engine, job.request, self.options)
        except AllmError as error:
            jobs.ended()
            finish(job, Outcome(error=error))
            return None

    def _send(self, gathered: _Gathered, jobs: Jobs, finish: Finish, start: Callable[[_Underway], None]) -> None:
        if self._stopped:
            for job, _ in gathered.pairs:
                jobs.ended()
                finish(job, None)
            return
        noted = Batch(
            name=f"{_plain(self.name)}-{secrets.token_hex(8)}",
            provider=gathered.pairs[0][1].sent.provider,
            submitted=time.time(),
            items=tuple((job.key, job.index, job.fingerprint) for job, _ in gathered.pairs),
        )
        start(_Underway(noted, waiting={str(place): pair for place, pair in enumerate(gathered.pairs)}))

    # --- the life of a batch ---------------------------------------------------------------------------------------

    async def _follow(self, batch: _Underway, jobs: Jobs, finish: Finish) -> None:
        try:
            with batch.scope:
                if batch.vendor is None:
                    await self._submit(batch)
                vendor = await self._ended(batch)
                if vendor.state == "failed":
                    await self._close(batch)
                    what = f"{vendor.provider} refused the whole batch: {vendor.problem or 'it does not say why'}"
                    raise BulkError(what, reason="fatal")
                await self._batches.read(vendor, functools.partial(self._answered, batch, jobs, finish))
                for place in list(batch.waiting):
                    what = "the batch ended without an answer to this request"
                    error = AdapterError(what, reason="timeout", provider=vendor.provider)
                    await self._answered(batch, jobs, finish, BatchAnswer(place, error=error))
                await self.saved()
                await self._close(batch)
        finally:
            self._underway.discard(batch)
            for job, _ in batch.waiting.values():
                jobs.ended()
                finish(job, None)
            batch.waiting.clear()

    async def _submit(self, batch: _Underway) -> None:
        noted = batch.noted
        await in_turn(self.limiter, lambda: self.journal.save_batch(noted))
        calls = [(place, call) for place, (_, call) in batch.waiting.items()]
        batch.vendor = await self._batches.submit(noted.name, calls, noted.submitted - _EARLIER)
        await self._note(batch)

    async def _note(self, batch: _Underway) -> None:
        assert batch.vendor is not None  # noqa: S101
        batch.noted = noted = attrs.evolve(batch.noted, vendor_id=batch.vendor.id)
        await in_turn(self.limiter, lambda: self.journal.save_batch(noted))

    async def _close(self, batch: _Underway) -> None:
        await in_turn(self.limiter, lambda: self.journal.close_batch(batch.noted.name, (), 0.0))

    async def _ended(self, batch: _Underway) -> BatchJob:
        """Wait for the end of a batch."""
        assert batch.vendor is not None  # noqa: S101
        vendor, pause, heard, cancels, ended = batch.vendor, FIRST_POLL, trio.current_time(), False, trio.Event()
        while vendor.state == "running":
            if batch.cancelled.is_set() and not cancels:
                vendor, cancels = await self._batches.cancel(vendor), True
                pause = FIRST_POLL
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

    async def _answered(self, batch: _Underway, jobs: Jobs, finish: Finish, answer: BatchAnswer) -> None:
        """Finish an input; a checkpoint for each, as there may be thousands in one read."""
        pair = batch.waiting.pop(answer.key, None)
        if pair is None:  # read before the answers broke off, or of an input that is gone
            return
        job, call = pair
        response = call.response(answer)
        jobs.ended()
        failed = response.error is not None
        finish(job, Outcome(None if failed else response, response.error, 1, response.usage, response.usage.total_cost))
        await trio.lowlevel.checkpoint()


def _plain(name: str) -> str:
    """A name as every provider takes it."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)[:32]
