"""One model call with its time limits and retries: the only retry loop of the library.

An attempt may be repeated only while nothing of its answer has been emitted. The limits count the provider's time:
while a burst waits for a slow consumer, the clock of the gap stands still.
"""

from __future__ import annotations

import logging
from typing import Any, get_args

import attrs
import trio

from allm.data.errors import AdapterError, AllmError, StreamError
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessageStarted, StepCompleted, UsageReported
from allm.execution.options import ModelCall
from allm.execution.stream.channel import BurstSender, StreamContext
from allm.runtime import telemetry
from allm.runtime.call_options import ExecutionOptions
from allm.runtime.costs import Pricing

__all__ = ["fail_at_limit", "run_model_call"]

logger: logging.Logger = logging.getLogger("allm")

_ENDS = frozenset({MessageCompleted, Failed})
_NOTED = _ENDS | {MessageStarted, UsageReported}
"""Events that mean more to an attempt than that something came."""
_UNFINISHED = (*(event for event in get_args(AdapterEvent) if event not in _ENDS), StepCompleted, type(None))
"""What the newest event is while an answer runs or is about to."""
_PRECISION = 0.001
"""Share of `stream_timeout` by which the limit may fire early: 0.3 s of 300 s."""


@attrs.define(eq=False)
class _Attempt:
    """The `emit` of one attempt: keeps time, puts costs on usage, and holds back a failure that may be retried."""

    send: BurstSender
    scope: trio.CancelScope
    gap: float
    pricing: Pricing | None
    emitted: bool = False
    ended: bool = False
    error: AllmError | None = None
    _moved_at: float = float("-inf")

    async def __call__(self, *events: AdapterEvent) -> None:
        if not events:
            return
        if self.ended:
            raise StreamError(
                f"the adapter emitted {type(events[0]).__name__} after the end of its answer", reason="already_done"
            )
        noted = False
        for index, event in enumerate(events):
            if type(event) not in _NOTED:
                continue
            noted = True
            if type(event) in _ENDS:
                events = events[: index + 1]
                self.ended = True
                if not self.emitted and isinstance(events[0], Failed):
                    self.error = events[0].error
                    return
                break
        self.emitted = True
        if noted and self.pricing is not None:
            events = self.pricing.on(events)
        waited = not self.send.send_nowait(events)
        if waited:
            self.scope.deadline = float("inf")  # from here on it is the consumer's time
            await self.send.send(events)
        now = trio.current_time()
        # Moving a deadline costs more than the rest of this method, so it is not done for every token.
        if waited or now - self._moved_at > self.gap * _PRECISION:
            self._moved_at = now
            self.scope.deadline = now + self.gap


async def run_model_call(call: ModelCall, prepared: Any, flow: StreamContext) -> None:
    """Run the adapter until its answer ends, and emit its events; a failure is the last event, `Failed`."""
    policy, number = call.controls.retry, 0
    while True:
        number += 1
        error, emitted = await _attempt(call, prepared, flow.send)
        if error is None:
            return
        delay = None
        if not emitted and policy is not None and isinstance(error, AdapterError):
            delay = policy.delay(error, number)
        if delay is None or trio.current_time() + delay >= flow.deadline:
            await flow.send.send((Failed(error),))
            return
        telemetry.emit(
            "adapter.retry", flow.span, provider=call.adapter.provider, attempt=number, delay=delay, error=error
        )
        logger.debug("attempt %d failed (%s); trying again in %.2f s", number, error, delay)
        await trio.sleep(delay)


async def fail_at_limit(flow: StreamContext, limit: float | None) -> AdapterError:
    """The limit of the whole call has passed: deliver what was on its way, and let a running answer fail."""
    error = AdapterError(f"the call took longer than {limit} s (request_timeout)", reason="timeout")
    await flow.send.send_unsent()
    if isinstance(flow.send.last, _UNFINISHED):
        await flow.send.send((Failed(error),))
    return error


async def _attempt(call: ModelCall, prepared: Any, send: BurstSender) -> tuple[AllmError | None, bool]:
    """One attempt: the error that ended it (None for an answer with an end of its own), and whether it had emitted."""
    limiter = call.engine.limiter
    if limiter is None:
        return await _timed(call, prepared, send)
    async with limiter:
        return await _timed(call, prepared, send)


async def _timed(call: ModelCall, prepared: Any, send: BurstSender) -> tuple[AllmError | None, bool]:
    controls, adapter = call.controls, call.adapter
    pricing = Pricing.of_call(adapter, call.request)
    scope = trio.CancelScope(deadline=trio.current_time() + _seconds(controls.first_event_timeout))
    attempt = _Attempt(send, scope, _seconds(controls.stream_timeout), pricing)
    error: AllmError | None = None
    with scope:
        try:
            await adapter.stream(prepared, attempt)
        except AllmError as raised:
            error = raised
        except Exception as raised:
            error = _unexpected(adapter, raised)
    if attempt.ended:
        if error is not None:
            logger.debug("the adapter failed after the end of its answer", exc_info=error)
        return attempt.error, attempt.emitted
    if scope.cancelled_caught:
        error = _timeout(adapter, controls, emitted=attempt.emitted)
    elif error is None:
        error = AdapterError(
            f"the {adapter.provider} adapter's stream ended without MessageCompleted: the answer is cut off",
            reason="stream_truncated",
            provider=adapter.provider,
        )
    return error, attempt.emitted


def _seconds(limit: float | None) -> float:
    return float("inf") if limit is None else limit


def _timeout(adapter: Any, controls: ExecutionOptions, *, emitted: bool) -> AdapterError:
    if emitted:
        message = f"no event for {controls.stream_timeout} s in the middle of the answer (stream_timeout)"
    else:
        message = f"no event within {controls.first_event_timeout} s (first_event_timeout)"
    return AdapterError(message, reason="timeout", provider=adapter.provider)


def _unexpected(adapter: Any, raised: Exception) -> AdapterError:
    error = AdapterError(
        f"the {adapter.provider} adapter raised {type(raised).__name__}: {raised}",
        reason="unknown",
        provider=adapter.provider,
    )
    error.__cause__ = raised
    return error
