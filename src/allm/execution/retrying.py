"""Whether a failed request is asked again, and when: decided here for streams and for calls in one piece.

An error may be asked again if it is one that passes, the policy has attempts left, and the wait ends before every
deadline: those of the surrounding scopes and the call's own `request_timeout`. A wait that would run into a deadline is
not begun: the caller gets the error now, with the provider's `retry_after`, instead of a timeout later.
"""

from __future__ import annotations

import logging

import attrs
import trio

from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.http.retry_after import retry_after_in
from allm.runtime import telemetry
from allm.runtime.retry import RetryPolicy

__all__ = ["Retries", "adapter_raised", "request_timed_out", "seconds", "timed_out"]

logger: logging.Logger = logging.getLogger("allm")


@attrs.define(eq=False)
class Retries:
    """The retries of one call, however many requests it makes at once.

    Requests that were under way together meet the same trouble, such as a rate limit: the first to fail is charged, the
    others wait with it. So the policy's attempts are a budget of troubles, not of requests.

    Attributes:
        policy: None never retries.
        span: Whose events the retries are.
    """

    policy: RetryPolicy | None
    provider: str | None
    span: telemetry.Span | None = None
    _failures: int = attrs.field(default=0, init=False)
    _resume: float = attrs.field(default=float("-inf"), init=False)  # when the latest pause is over, on the Trio clock

    async def ready(self) -> int:
        """Wait until the pause of the call is over.

        Returns:
            How many failures there have been, which `again` wants to know of the request that is sent now.
        """
        if trio.current_time() < self._resume:
            await trio.sleep_until(self._resume)
        return self._failures

    async def again(
        self,
        error: AdapterError,
        seen: int | None = None,
        *,
        deadline: float = float("inf"),
        abandoned: Usage | None = None,
    ) -> bool:
        """Whether the request is to be made again; if so, the wait is over when this returns.

        Args:
            error: What the request failed with.
            seen: What `ready` said before it was sent; not needed of a call that makes one request at a time.
            deadline: When the call has to have ended, on the Trio clock, if no surrounding scope knows.
            abandoned: What the provider reported as used before it failed.
        """
        if error.retry_after is None and error.retryable:
            # Inside a stream there are no headers to say it; OpenAI and others put it into the sentence.
            error.retry_after = retry_after_in(error.message)
        charged = seen is None or self._failures == seen
        self._failures += charged
        now = trio.current_time()
        delay = self.policy.delay(error, self._failures if charged else 1) if self.policy is not None else None
        if delay is not None and not charged:
            delay = max(delay, self._resume - now)
        # A deadline that has passed is not looked at: it is about to end the sleep, and the call with it.
        if delay is None or now < min(deadline, trio.current_effective_deadline()) <= now + delay:
            return False
        self._resume = max(self._resume, now + delay)
        telemetry.emit(
            "adapter.retry",
            self.span,
            provider=self.provider,
            attempt=self._failures,
            delay=delay,
            error=error,
            usage=abandoned,
        )
        logger.debug("request %d failed (%s); trying again in %.2f s", self._failures, error, delay)
        await trio.sleep(delay)
        return True


def adapter_raised(provider: str | None, raised: Exception) -> AdapterError:
    """The error for an exception that an adapter let out and that says nothing of the provider."""
    error = AdapterError(
        f"the {provider} adapter raised {type(raised).__name__}: {raised}", reason="unknown", provider=provider
    )
    error.__cause__ = raised
    return error


def timed_out(what: str, limit: float | None, option: str, provider: str | None) -> AdapterError:
    """The error of a limit that has passed, with the name of the option that set it.

    Args:
        what: Such as `no event within`; the limit in seconds follows it.
    """
    return AdapterError(f"{what} {limit} s ({option})", reason="timeout", provider=provider)


def request_timed_out(limit: float | None, provider: str | None) -> AdapterError:
    """The error of a call that ran into its `request_timeout`."""
    return timed_out("the call took longer than", limit, "request_timeout", provider)


def seconds(limit: float | None) -> float:
    """A limit as Trio's scopes take it; None is none."""
    return float("inf") if limit is None else limit
