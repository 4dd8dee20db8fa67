"""How often an input is asked: the retry policy of a bulk run, and what it knows of each input under way.

Theory of operation. The retries of a call stay with the call, which asks the policy of its engine; the policy of a run
finds the input that the call is for in a context variable. A refusal because of the provider's load (`rate_limited`,
`overloaded`) says nothing about the input: it costs no attempt, and the input waits as long as the provider asks. The
wait has a bound, or a run would wait for ever for a limit that a single request exceeds.

A call retries only what has shown no content. In a bulk run nobody has seen the content either, so an answer that broke
off is asked for again; that second loop is in `asking.py`, and counts with the same object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.errors import AdapterError, AllmError, EngineError
from allm.runtime.engine import Engine
from allm.runtime.limiter import Limiter
from allm.runtime.rate_limit import RateLimit
from allm.runtime.retry import DEFAULT_RETRY, RetryPolicy

__all__ = ["CROWDED", "Attempts", "BulkRetry", "Gate", "asking_for", "is_fatal", "with_retries"]

CROWDED = frozenset({"rate_limited", "overloaded"})
"""Reasons that are the provider's state, and not the input's fault."""
_FATAL = frozenset({"authentication_failed", "quota_exhausted", "not_found"})
"""Reasons with which every further request would fail."""
MOST_REFUSED = 900.0
"""Seconds for which an input may be refused: far beyond a limit per minute, and short of one per day."""


@define(eq=False)
class Attempts:
    """The attempts of one input.

    Attributes:
        failures: Those that count, so far.
        resume: When the current wait for another attempt ends, on the Trio clock.
        scope: Cancels it.
        refused_since: When it was refused first.
        in_line: It waits at the engine's limiter.
        is_answered: A request was, and a turn of several goes on.
        given_up: Its wait was cut short, since the run ends; it is asked again when the run is resumed.
    """

    failures: int = attrs.field(default=0, init=False)
    resume: float = attrs.field(default=-math.inf, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    in_line: bool = attrs.field(default=False, init=False)
    is_answered: bool = attrs.field(default=False, init=False)
    given_up: bool = attrs.field(default=False, init=False)
    refused_since: float = attrs.field(default=math.inf, init=False)
    _refusals: int = attrs.field(default=0, init=False)
    _ruled: AdapterError | None = attrs.field(default=None, init=False)
    _allowed: float | None = attrs.field(default=None, init=False)

    def give_up(self) -> None:
        """End a wait for another attempt; what is being asked right now goes on."""
        self.given_up = True
        if (self.in_line and not self.is_answered) or trio.current_time() < self.resume:
            self.scope.cancel()

    def failed(self, policy: BulkRetry, error: AdapterError) -> float | None:
        """Count a failure; seconds until the next attempt, None if there is none."""
        self._ruled = error
        self._allowed = self._counted(policy, error)
        if self._allowed is not None:
            self.resume = trio.current_time() + self._allowed
        return self._allowed

    def has_another(self, policy: BulkRetry, error: AdapterError) -> bool:
        """Whether a call that failed may be made again, at `resume`."""
        ruled, self._ruled = self._ruled, None
        # The call's own retries may have counted this failure, and not waited because of a deadline of the call.
        return (self._allowed if ruled is error else self.failed(policy, error)) is not None

    def _counted(self, policy: BulkRetry, error: AdapterError) -> float | None:
        now = trio.current_time()
        if error.reason not in CROWDED:
            self.failures += 1
            if self.given_up or self.failures >= policy.attempts:
                return None
            return policy.pause_after(error, self.failures)
        if not self._refusals:
            self.refused_since = now
        self._refusals += 1
        wait = policy.pause_after(error, self._refusals)
        if self.given_up or wait is None or now + wait - self.refused_since > MOST_REFUSED:
            return None
        return wait


asking_for: ContextVar[Attempts | None] = ContextVar("allm_bulk_attempts", default=None)
"""The input that the calls here are made for."""


@define(eq=False)
class Gate:
    """The limiter of a run: waits at another one, and notes for which inputs, so that a stop can end the wait.

    It has no `patience`, as limiters may: the run counts refusals itself.
    """

    limiter: Limiter

    async def acquire_on_behalf_of(self, borrower: Any, /) -> None:
        """See `allm.Limiter`."""
        item = asking_for.get()
        if item is None:
            await self.limiter.acquire_on_behalf_of(borrower)
            return
        item.in_line = True
        if item.given_up and not item.is_answered:
            item.scope.cancel()
        try:
            await self.limiter.acquire_on_behalf_of(borrower)
        finally:
            item.in_line = False

    def release_on_behalf_of(self, borrower: Any, /) -> None:
        """See `allm.Limiter`."""
        self.limiter.release_on_behalf_of(borrower)
        item = asking_for.get()
        if item is not None and getattr(borrower, "error", None) is None:
            item.is_answered = True


@frozen(kw_only=True)
class BulkRetry(RetryPolicy):
    """The policy of an engine in a bulk run, with the waits of the engine's own.

    Attributes:
        attempts: Of each input in all, without refusals.
    """

    attempts: int = 1

    def delay(self, error: AdapterError, attempt: int) -> float | None:
        """See `RetryPolicy`."""
        item = asking_for.get()
        return RetryPolicy.delay(self, error, attempt) if item is None else item.failed(self, error)

    def pause_after(self, error: AdapterError, failures: int) -> float | None:
        """Seconds to wait after that many failures; None if the same request cannot succeed later."""
        return RetryPolicy.delay(self, error, failures)


def with_retries(engine: Engine, attempts: int) -> tuple[Engine, BulkRetry]:
    """The engine for the calls of a run, and its policy; engines of a group keep their own waits and limiters."""
    return _with_retries(engine, attempts, RateLimit()), _policy(engine, attempts)


def _with_retries(engine: Engine, attempts: int, rate: RateLimit) -> Engine:
    members: Sequence[Engine] | None = getattr(engine, "members", None)
    if members is not None:
        changed: Any = {"members": tuple(_with_retries(member, attempts, rate) for member in members)}
        return attrs.evolve(engine, **changed)
    return attrs.evolve(engine, retry=_policy(engine, attempts), limiter=Gate(engine.limiter or rate))


def _policy(engine: Engine, attempts: int) -> BulkRetry:
    own = engine.retry or DEFAULT_RETRY
    kept = {name: getattr(own, name) for name in ("base_delay", "max_delay", "jitter", "respect_retry_after")}
    return BulkRetry(**kept, attempts=attempts, max_attempts=2**31, max_retry_after=MOST_REFUSED)


def is_fatal(error: AllmError, *, own_model: bool) -> bool:
    """Whether every further request would fail in the same way.

    Args:
        error: Why an input failed.
        own_model: The input names a model of its own, which the others need not have.
    """
    if isinstance(error, EngineError):
        return not own_model
    if not isinstance(error, AdapterError):
        return False
    if error.reason in CROWDED:
        return (error.retry_after or 0.0) > MOST_REFUSED
    return error.reason in _FATAL and not (own_model and error.reason == "not_found")
