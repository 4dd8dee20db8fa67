"""When to try again, and how long to wait. The arithmetic of the back-off is tenacity's; the decision is here.

One owner: only the execution layer loops, and only while nothing of the answer has been emitted.
"""

from __future__ import annotations

import attrs

from allm.data.errors import AdapterError

__all__ = ["DEFAULT_RETRY", "RetryPolicy"]


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How a failed call is repeated before its first event.

    Attributes:
        max_attempts: Calls in all, the first included; 1 never retries.
        base_delay: Seconds before the first retry; doubled for each further one.
        max_delay: Longest wait in seconds, also for what the provider asks.
        jitter: Random part added, as a share of `base_delay`.
        respect_retry_after: Wait at least as long as the provider asks.
    """

    max_attempts: int = attrs.field(default=3, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)])
    base_delay: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    max_delay: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    jitter: float = attrs.field(default=0.25, validator=attrs.validators.ge(0))
    respect_retry_after: bool = True

    def delay(self, error: AdapterError, attempt: int) -> float | None:
        """Seconds to wait after attempt number `attempt` (from 1) failed with `error`; None: do not try again."""
        if not error.retryable or attempt >= self.max_attempts:
            return None
        seconds = self._backoff(attempt)
        if self.respect_retry_after and error.retry_after is not None:
            seconds = min(max(seconds, error.retry_after), self.max_delay)
        return seconds

    def _backoff(self, attempt: int) -> float:
        import tenacity  # costs 60 ms to import: only a call that failed pays

        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = attempt
        wait = tenacity.wait_exponential(multiplier=self.base_delay) + tenacity.wait_random(
            0, self.base_delay * self.jitter
        )
        return min(wait(state), self.max_delay)


DEFAULT_RETRY = RetryPolicy()
"""The library's own policy, which an engine has that says nothing of it."""
