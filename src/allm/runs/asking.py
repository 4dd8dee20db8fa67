"""Ask one input after the other, `limit` of them at once: the way in which a bulk run asks unless told otherwise.

Each of the tasks takes a job, asks, and hands over the outcome. An asker of another kind, such as one for the vendors'
batch endpoints, has the same two methods.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol, runtime_checkable

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError
from allm.data.errors import AdapterError, AllmError
from allm.data.response import Usage
from allm.data.user_functions import call_user
from allm.execution.failures import is_inner
from allm.execution.nurseries import nursery_boundary, start_task
from allm.runs.attempts import Attempts, BulkRetry, asking_for
from allm.runs.jobs import Job, Jobs, Outcome
from allm.runtime.budgets import Budget
from allm.runtime.costs import charged
from allm.runtime.engine import Engine

__all__ = ["Asker", "CancelsBatches", "OneByOne"]


class Asker(Protocol):
    """Asks for the answers of jobs.

    One that hands inputs over to a service, such as a vendor's batch endpoint, notes that in the journal before and
    after (`Journal.save_batch`), looks there first for the jobs that it gets (`batches`), since an earlier run may have
    handed them over, and removes the note when their outcomes are saved (`close_batch`).

    Attributes:
        limit: Jobs that it may have taken and that have not been saved.
    """

    limit: int

    async def run(self, jobs: Jobs, finish: Callable[[Job, Outcome | None], None], /) -> None:
        """Take jobs until there are no more, and finish each: with None if it was not asked to the end."""
        ...

    def stop(self) -> None:
        """Finish what is under way, and begin nothing."""
        ...


@runtime_checkable
class CancelsBatches(Protocol):
    """An `Asker` with something at the provider that goes on by itself."""

    def cancel(self) -> None:
        """End that too."""
        ...


@define(eq=False)
class OneByOne:
    """Asks with one call for each input.

    Attributes:
        engine, policy: As `with_retries` makes them.
        call: `allm.generate`, or any function of the same form.
        options: Its options.
        limit: Most calls at once.
        budget: All calls are charged to it.
    """

    engine: Engine
    call: Callable[..., Awaitable[Any]]
    options: Mapping[str, Any]
    limit: int
    policy: BulkRetry
    budget: Budget | None = None
    _underway: set[Attempts] = attrs.field(factory=set[Attempts], init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _is_ours: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._is_ours = is_of_library(self.call)

    async def run(self, jobs: Jobs, finish: Callable[[Job, Outcome | None], None], /) -> None:
        """See `Asker`."""
        async with nursery_boundary() as nursery:
            for _ in range(self.limit):
                if not await jobs.surplus():
                    break
                start_task(nursery, self._work, jobs, finish, name="allm bulk worker")
                await trio.lowlevel.checkpoint()  # it takes a job before the next one is started

    def stop(self) -> None:
        """See `Asker`."""
        self._stopped = True
        for attempts in self._underway:
            attempts.give_up()

    async def _work(self, jobs: Jobs, finish: Callable[[Job, Outcome | None], None]) -> None:
        is_inner.set(True)  # failures are data here
        with nullcontext() if self.budget is None else self.budget:
            while (job := await jobs.take()) is not None:
                await self.ask(job, jobs, finish)

    async def ask(self, job: Job, jobs: Jobs, finish: Callable[[Job, Outcome | None], None]) -> None:
        """Ask one input, and finish it."""
        try:
            outcome = await self._ask(job.request)
        finally:
            jobs.ended()
        finish(job, outcome)

    async def _ask(self, request: Any) -> Outcome | None:
        attempts = Attempts()
        asking_for.set(attempts)
        self._underway.add(attempts)
        try:
            with attempts.scope:
                return await self._until_answered(request, attempts)
            return None  # given up while it waited
        finally:
            self._underway.discard(attempts)

    async def _until_answered(self, request: Any, attempts: Attempts) -> Outcome | None:
        earlier: Usage | None = None
        while True:
            value, error = await self._once(request)
            usage = _total(earlier, getattr(value, "usage", None), getattr(value, "abandoned_usage", None))
            if error is None or not isinstance(error, AdapterError) or not error.retryable:
                break
            if not attempts.has_another(self.policy, error):
                if attempts.given_up:
                    return None
                break
            earlier = usage
            await trio.sleep_until(attempts.resume)
        failed = error is not None
        cost = None if usage is None else usage.total_cost
        count = attempts.failures + (not failed)
        is_budgeted = any(isinstance(account, Budget) for account in charged.get() or ())
        return Outcome(None if failed else value, error, count, usage, cost, attempts.refused_since, is_budgeted)

    async def _once(self, request: Any) -> tuple[Any, AllmError | None]:
        try:
            if self._is_ours:
                value = await self.call(self.engine, request, **self.options)
            else:
                value = await call_user(self._call_of_user, request)
        except AllmError as error:  # an invalid input is that input's failure
            return None, error
        except Exception as error:
            name = getattr(self.call, "__name__", type(self.call).__name__)
            raised = BulkError(f"{name} raised {type(error).__name__}: {error}", reason="call_failed")
            raised.__cause__ = error
            return None, raised
        inside = getattr(value, "error", None)
        return value, inside if isinstance(inside, AllmError) else None

    def _call_of_user(self, request: Any) -> Any:
        return self.call(self.engine, request, **self.options)


def _total(*parts: Any) -> Usage | None:
    """The sum of what the attempts of an input have used, as far as they say."""
    known = [part for part in parts if isinstance(part, Usage)]
    return functools.reduce(Usage.__add__, known) if known else None


def is_of_library(call: Callable[..., Any]) -> bool:
    """Whether a call is a function of `allm` itself, which runs where Trio does."""
    return getattr(call, "__module__", None) in {"allm", "allm.execution.generate"} and inspect.unwrap(call) is call
