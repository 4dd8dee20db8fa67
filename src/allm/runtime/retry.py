"""How long to wait before a failed request is asked again: the arithmetic. `allm.execution.retrying` decides."""

from __future__ import annotations

import random

import attrs

from allm.data.errors import AdapterError

__all__ = ["DEFAULT_RETRY", "RetryPolicy"]

_MOST_DOUBLINGS = 63
"""Far beyond any delay that is waited for; a float overflows at 1,024."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How a failed call is repeated before its first content. Times are seconds.

    Attributes:
        max_attempts: Calls in all, the first included; 1 never retries.
        base_delay: Wait before the first retry; doubled for each further one.
        max_delay: Longest wait of our own choice.
        max_retry_after: Longest wait that the provider may ask for. A longer ask is neither shortened nor tried early:
            the error comes at once and carries `retry_after`.
        jitter: Random part, so that callers who failed together do not come back together: at most this share of
            `base_delay` is added to our own wait, and this share of what the provider asks to that.
        respect_retry_after: Wait as long as the provider asks.
    """

    max_attempts: int = attrs.field(default=3, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)])
    base_delay: float = attrs.field(default=0.5, validator=attrs.validators.ge(0))
    max_delay: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    max_retry_after: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))
    jitter: float = attrs.field(default=0.25, validator=attrs.validators.ge(0))
    respect_retry_after: bool = True

    def delay(self, error: AdapterError, attempt: int) -> float | None:
        """Seconds to wait after attempt number `attempt` (from 1) failed with `error`; None: do not try again."""
        if not error.retryable or attempt >= self.max_attempts:
            return None
        spread = random.uniform(0, self.jitter)  # noqa: S311  (spreads callers, keeps no secret)
        asked = error.retry_after if self.respect_retry_after else None
        if asked:  # 0 names no time, so the wait is ours
            return asked * (1 + spread) if asked <= self.max_retry_after else None
        return min(self.base_delay * (2.0 ** min(attempt - 1, _MOST_DOUBLINGS) + spread), self.max_delay)


DEFAULT_RETRY = RetryPolicy()
"""The library's own policy, which an engine has that says nothing of it."""
