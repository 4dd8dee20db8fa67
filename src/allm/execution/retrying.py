"""Whether and when a failed request is retried, for streams and for unary calls.

A request is retried if its error is retryable, the policy has attempts left, and the wait ends before every deadline:
those of the surrounding scopes and the call's own `request_timeout`. A wait that would run into a deadline is not
started: the caller gets the error now, with the provider's `retry_after`, instead of a timeout later.

With a limiter that slows all calls when one is refused, a refusal uses up no attempt: it says nothing about the
request. The limiter's patience bounds how long that goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, AllmError
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessagesAdded, StepCompleted
from allm.data.response import Usage
from allm.execution.failures import log_retry, name_model
from allm.http.retry_after import retry_after_in
from allm.runtime import telemetry
from allm.runtime.retry import RetryPolicy

if TYPE_CHECKING:
    from allm.execution.options import ModelCall
    from allm.execution.stream.event_stream import StreamContext
    from allm.runtime.call_options import ExecutionOptions

__all__ = [
    "Retries",
    "adapter_raised",
    "fail_at_limit",
    "request_timed_out",
    "seconds",
    "silent",
    "timed_out",
    "truncated",
]

_ENDS = frozenset({MessageCompleted, Failed})
_UNFINISHED = (
    *(event for event in get_args(AdapterEvent) if event not in _ENDS),
    StepCompleted,
    MessagesAdded,
    type(None),
)
"""Types of the newest event while a response is unfinished or has not begun."""


@define(eq=False)
class Retries:
    """The retry budget of one call, shared by all the requests it makes.

    Concurrent requests tend to fail for the same reason, such as a rate limit. The first to fail uses up an attempt,
    the others wait with it: the policy's attempts count incidents, not requests.

    Attributes:
        policy: None never retries.
        provider: The name of the adapter, for telemetry.
        span: The telemetry span that the retry events belong to.
        model, session_id: For the log.
        patience: Seconds from the first refusal on in which refusals use up no attempts; None: they always do.
    """

    policy: RetryPolicy | None
    provider: str | None
    span: telemetry.Span | None = None
    model: str | None = None
    session_id: str | None = None
    patience: float | None = None
    _refused_since: float | None = attrs.field(default=None, init=False)
    _refusals: int = attrs.field(default=0, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _resume: float = attrs.field(default=float("-inf"), init=False)  # end of the latest pause, on the Trio clock

    async def ready(self) -> int:
        """Wait for the end of the current pause, if there is one.

        Returns:
            The number of failures so far, to pass to `wait_to_retry` if the request that is sent now fails.
        """
        if trio.current_time() < self._resume:
            await trio.sleep_until(self._resume)
        return self._failures

    async def wait_to_retry(
        self,
        error: AdapterError,
        seen: int | None = None,
        *,
        deadline: float = float("inf"),
        abandoned: Usage | None = None,
        moves_on: Callable[[AllmError], bool] | None = None,
    ) -> bool:
        """Decide whether to retry a request, and if so, wait until it is time.

        Args:
            error: The failure of the request.
            seen: What `ready` returned before the request was sent; None for calls that send one request at a time.
            deadline: The end of the call on the Trio clock, where no surrounding scope has it.
            abandoned: The usage that the provider reported before the failure.
            moves_on: Of a member of a group: whether another is asked instead. Logged at DEBUG.
        """
        if error.retry_after is None and error.retryable:
            # An error inside a stream has no headers of its own; OpenAI and others put the wait into the message.
            error.retry_after = retry_after_in(error.message)
        if moves_on is not None and moves_on(error):
            return False
        now = trio.current_time()
        delay = self._delay_of_refusal(error, now)
        free = delay is not None
        if not free:
            # A failure that others have counted since this request was sent is the same incident.
            charged = seen is None or self._failures == seen
            self._failures += charged
            delay = self.policy.delay(error, self._failures if charged else 1) if self.policy is not None else None
            if delay is not None and not charged:
                delay = max(delay, self._resume - now)
        # A deadline in the past does not count: it cancels the sleep, and the call with it, at once.
        if delay is None or now < min(deadline, trio.current_effective_deadline()) <= now + delay:
            return False
        if not free:
            self._resume = max(self._resume, now + delay)
        attempt = self._failures + self._refusals
        telemetry.emit(
            "adapter.retry",
            self.span,
            provider=self.provider,
            attempt=attempt,
            delay=delay,
            reason=error.reason,
            error=error,
            usage=abandoned,
        )
        known = {"provider": error.provider or self.provider, "model": error.model or self.model}
        level = logging.INFO if moves_on is None else logging.DEBUG
        log_retry(attempt, error, delay, self.span, level, **known, session_id=self.session_id)
        await trio.sleep(delay)
        return True

    def accepted(self) -> None:
        """A request was answered: the next refusal is the first of others."""
        self._refused_since, self._refusals = None, 0

    def _delay_of_refusal(self, error: AdapterError, now: float) -> float | None:
        """Seconds to wait after a refusal that uses up no attempt; None: it does, or it is none."""
        if self.patience is None or self.policy is None:
            return None
        from allm.runtime.limiter import is_refusal

        if not is_refusal(error):
            return None
        since = now if self._refused_since is None else self._refused_since
        delay = self.policy.wait(error, self._refusals + 1)
        if now + delay > since + self.patience:
            return None
        self._refused_since = since
        self._refusals += 1
        return delay


def adapter_raised(provider: str | None, raised: Exception) -> AdapterError:
    """An `AdapterError` for an exception of another class that escaped from an adapter."""
    error = AdapterError(
        f"the {provider} adapter raised {type(raised).__name__}: {raised}", reason="unknown", provider=provider
    )
    error.__cause__ = raised
    return error


def timed_out(what: str, limit: float | None, option: str, provider: str | None) -> AdapterError:
    """The error for a time limit that has passed, with the name of the option that set it.

    Args:
        what: Begins the message, such as `no event within`; the limit in seconds follows.
    """
    return AdapterError(f"{what} {limit} s", reason="timeout", provider=provider).advised(f" ({option})")


def request_timed_out(limit: float | None, provider: str | None) -> AdapterError:
    """The error for a call that ran into its `request_timeout`."""
    return timed_out("the call took longer than", limit, "request_timeout", provider)


async def fail_at_limit(context: StreamContext, limit: float | None, call: ModelCall) -> AdapterError:
    """End a call whose time limit has passed: deliver unsent events, then fail the response if it is unfinished."""
    error = request_timed_out(limit, call.adapter.provider)
    name_model(error, call.request.model)
    await context.send.send_unsent()
    if isinstance(context.send.last, _UNFINISHED):
        await context.send.send((Failed(error),))
    return error


def seconds(limit: float | None) -> float:
    """A limit in the form that Trio's scopes take; None means no limit."""
    return float("inf") if limit is None else limit


def silent(options: ExecutionOptions, provider: str | None, *, begun: bool) -> AdapterError:
    """The error for a provider that has sent nothing for too long; `begun`: in the middle of its response."""
    if begun:
        what = "no event in the middle of the response for"
        return timed_out(what, options.stream_timeout, "stream_timeout", provider)
    return timed_out("no event within", options.first_event_timeout, "first_event_timeout", provider)


def truncated(provider: str | None) -> AdapterError:
    """The error for a stream that has ended without the end of the response."""
    what = f"the {provider} adapter's stream ended without MessageCompleted: the response is truncated"
    return AdapterError(what, reason="stream_truncated", provider=provider)
