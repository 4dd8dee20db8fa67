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
from contextvars import ContextVar

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.errors import AdapterError, AllmError, EngineError
from allm.runtime.engine import Engine
from allm.runtime.retry import DEFAULT_RETRY, RetryPolicy

__all__ = ["CROWDED", "Attempts", "BulkRetry", "asking_for", "is_fatal", "with_retries"]

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
        given_up: Its wait was cut short, since the run ends; it is asked again when the run is resumed.
    """

    failures: int = attrs.field(default=0, init=False)
    resume: float = attrs.field(default=-math.inf, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    given_up: bool = attrs.field(default=False, init=False)
    refused_since: float = attrs.field(default=math.inf, init=False)
    _refusals: int = attrs.field(default=0, init=False)
    _ruled: AdapterError | None = attrs.field(default=None, init=False)
    _allowed: float | None = attrs.field(default=None, init=False)

    def give_up(self) -> None:
        """End a wait for another attempt; what is being asked right now goes on."""
        self.given_up = True
        if trio.current_time() < self.resume:
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


def with_retries(engine: Engine, attempts: int) -> Engine:
    """The engine for the calls of a run."""
    own = engine.retry or DEFAULT_RETRY
    kept = {name: getattr(own, name) for name in ("base_delay", "max_delay", "jitter", "respect_retry_after")}
    policy = BulkRetry(**kept, attempts=attempts, max_attempts=2**31, max_retry_after=MOST_REFUSED)
    return attrs.evolve(engine, retry=policy)


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
