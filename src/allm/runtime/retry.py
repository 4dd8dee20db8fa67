"""How long to wait before a failed call is retried; `allm.execution.retrying` runs the attempts."""

from __future__ import annotations

import random
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.constructors import explains_arguments
from allm.data.errors import AdapterError, ValidationError
from allm.data.problems import wrong_field

__all__ = ["DEFAULT_RETRY", "RetryPolicy"]

_MOST_DOUBLINGS = 63
"""Far beyond any delay that makes sense; two to the power of 1,024 would overflow a float."""


def _count(_policy: Any, attribute: Any, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise _wrong(attribute.name, value, "a whole number, 1 or more")


def _seconds(_policy: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:  # not a number is not
        raise _wrong(attribute.name, value, "a number, 0 or more")


def _wrong(name: str, value: Any, expected: str) -> ValidationError:
    return wrong_field("RetryPolicy", name, value, expected, tag="out_of_range", reason="invalid_retry")


@explains_arguments(
    max_retries="max_attempts= counts the first attempt too",
    timeout="limits belong to the call: request_timeout=, or a cancel scope such as trio.move_on_after(30)",
)
@frozen(kw_only=True)
class RetryPolicy:
    """How a call that fails before its first content is retried. Times are in seconds.

    Attributes:
        max_attempts: Attempts in all, the first included; 1 never retries.
        base_delay: Wait before the first retry; doubled for each further one.
        max_delay: Longest wait where the provider does not ask for one.
        max_retry_after: Longest wait that the provider may ask for. A longer one is neither shortened nor waited for:
            the call fails at once with an error that carries `retry_after`.
        jitter: Share of random extra wait, so that callers who failed together do not retry together: of `base_delay`
            where the wait is ours, of the provider's wait where it asks for one.
        respect_retry_after: Wait as long as the provider asks.

    Raises:
        ValidationError: `invalid_retry`: a number is none, or too small.
    """

    max_attempts: int = attrs.field(default=3, validator=_count)
    base_delay: float = attrs.field(default=0.5, validator=_seconds)
    max_delay: float = attrs.field(default=30.0, validator=_seconds)
    max_retry_after: float = attrs.field(default=60.0, validator=_seconds)
    jitter: float = attrs.field(default=0.25, validator=_seconds)
    respect_retry_after: bool = True

    def delay(self, error: AdapterError, attempt: int) -> float | None:
        """Return the seconds to wait after attempt `attempt` (from 1) failed with `error`; None: do not retry."""
        if not error.retryable or attempt >= self.max_attempts:
            return None
        asked = error.retry_after if self.respect_retry_after else None
        return None if asked and asked > self.max_retry_after else self.wait(error, attempt)

    def wait(self, error: AdapterError, attempt: int) -> float:
        """Return the seconds to wait after attempt `attempt` (from 1), whatever the bounds are."""
        spread = random.uniform(0, self.jitter)  # noqa: S311  (spreads load, not a secret)
        asked = error.retry_after if self.respect_retry_after else None
        if asked:  # 0 names no time, so our own wait applies
            # The random part only adds to it: a retry before that time would be refused again.
            return asked * (1 + spread)
        return min(self.base_delay * (2.0 ** min(attempt - 1, _MOST_DOUBLINGS) + spread), self.max_delay)


DEFAULT_RETRY = RetryPolicy()
"""The policy of an engine that sets none."""
