"""One model call: attempts within their time limits, until one of them has shown content.

Theory of operation. Providers report overload and rate limits also inside a stream that began well: after
`response.created`, `message_start` or the role chunk. So events without content (`MessageStarted`, `UsageReported`,
`RawChunk`) are held back until content, the end of the answer or a failure. Until then nothing was shown and the call
can be made again as if nothing had been; from then on nothing is retried, and a failure is the last event. What is held
is bounded: at the bound it is shown, and retries end.

The limits count the provider's time: while a burst waits for a slow consumer, the clock of the gap stands still.
"""

from __future__ import annotations

import logging
from math import inf
from typing import Any, get_args

import attrs
import trio

from allm.data.errors import AdapterError, AllmError, StreamError
from allm.data.events import (
    AdapterEvent,
    Failed,
    MessageCompleted,
    RawChunk,
    StepCompleted,
)
from allm.execution.options import ModelCall
from allm.execution.retrying import Retries, adapter_raised, request_timed_out, timed_out
from allm.execution.stream.channel import HELD, BurstSender, HeldEvents, StreamContext
from allm.runtime.costs import Pricing

__all__ = ["fail_at_limit", "run_model_call"]

logger: logging.Logger = logging.getLogger("allm")

_ENDS = frozenset({MessageCompleted, Failed})
_NOTED = _ENDS | HELD
"""Events that mean more to an attempt than that something came."""
_UNFINISHED = (*(event for event in get_args(AdapterEvent) if event not in _ENDS), StepCompleted, type(None))
"""What the newest event is while an answer runs or is about to."""
_PRECISION = 0.001
"""Share of `stream_timeout` by which the limit may fire early: 0.3 s of 300 s."""


@attrs.define(eq=False)
class _Attempt:
    """The `emit` of one attempt: keeps time, puts costs on usage, and holds back what comes before the content.

    Attributes:
        begun: Something has come.
        shown: It can no longer be made again.
        failure: How it ended before it was shown.
    """

    send: BurstSender
    held: HeldEvents
    scope: trio.CancelScope
    gap: float
    pricing: Pricing
    raw_chunks: bool
    begun: bool = False
    shown: bool = False
    ended: bool = False
    failure: Failed | None = None
    _moved_at: float = float("-inf")

    async def __call__(self, *events: AdapterEvent) -> None:
        if self.ended:
            raise StreamError(
                f"the adapter emitted {[type(event).__name__ for event in events]} after the end of its answer",
                reason="already_done",
            )
        self.begun = True
        for event in events:
            if type(event) in _NOTED:
                events = self._note(events)
                break
        if not self.shown:
            events = self._hold(events)
        waited = False
        if events and not self.send.send_nowait(events):
            waited = True
            self.scope.deadline = float("inf")  # from here on it is the consumer's time
            await self.send.send(events)
        now = trio.current_time()
        # Moving a deadline costs more than the rest of this method, so it is not done for every token.
        if waited or now - self._moved_at > self.gap * _PRECISION:
            self._moved_at = now
            self.scope.deadline = now + self.gap

    def repeatable(self, failure: Failed) -> AdapterError | None:
        """The error of an attempt that may be made again; None for one that must not."""
        error = failure.error
        if self.shown or not isinstance(error, AdapterError):
            return None
        # After a timeout the provider may still be at work on the answer that it has begun, and charges for it.
        return None if self.begun and error.reason == "timeout" else error

    def _note(self, events: tuple[AdapterEvent, ...]) -> tuple[AdapterEvent, ...]:
        """The events up to the end of the answer, with costs, and without chunks that nobody asked for."""
        for index, event in enumerate(events):
            if type(event) in _ENDS:
                self.ended = True
                events = events[: index + 1]
                break
        if not self.raw_chunks:
            events = tuple(event for event in events if type(event) is not RawChunk)
        return self.pricing.on(events)

    def _hold(self, events: tuple[AdapterEvent, ...]) -> tuple[AdapterEvent, ...]:
        """What is to be shown of an answer that has shown nothing yet."""
        last = events[-1] if events else None
        early = events[:-1] if isinstance(last, Failed) else events
        if all(type(event) in HELD for event in early):
            room = self.held.add(early)
            if isinstance(last, Failed):
                self.failure = last
                return ()
            if room:
                return ()
            events = ()
        self.shown = True
        return self.held.take(*events)


async def run_model_call(call: ModelCall, prepared: Any, context: StreamContext) -> None:
    """Run the adapter until its answer ends, and emit its events; a failure is the last event, `Failed`."""
    adapter = call.adapter
    held = context.held = HeldEvents()
    retries = Retries(call.controls.retry, adapter.provider, context.span)
    while True:
        failure, attempt = await _attempt(call, prepared, context.send, held)
        if failure is None:
            return
        error = attempt.repeatable(failure)
        if error is not None and (await retries.again(error, deadline=context.deadline, abandoned=held.usage())):
            held.abandon()
            continue
        await context.send.send(held.take(failure))
        return


async def fail_at_limit(context: StreamContext, limit: float | None) -> AdapterError:
    """The limit of the whole call has passed: deliver what was on its way, and let a running answer fail."""
    error = request_timed_out(limit, None)
    await context.send.send_unsent()
    if isinstance(context.send.last, _UNFINISHED):
        await context.send.send(context.held.take(Failed(error)))
    return error


async def _attempt(
    call: ModelCall, prepared: Any, send: BurstSender, held: HeldEvents
) -> tuple[Failed | None, _Attempt]:
    """One attempt, and how it failed; None for an answer that has ended, whose end has been shown."""
    limiter = call.engine.limiter
    if limiter is None:
        return await _timed(call, prepared, send, held)
    async with limiter:
        return await _timed(call, prepared, send, held)


async def _timed(call: ModelCall, prepared: Any, send: BurstSender, held: HeldEvents) -> tuple[Failed | None, _Attempt]:
    controls, adapter = call.controls, call.adapter
    first, gap = controls.first_event_timeout, controls.stream_timeout
    scope = trio.CancelScope(deadline=trio.current_time() + (inf if first is None else first))
    attempt = _Attempt(
        send,
        held,
        scope,
        inf if gap is None else gap,
        Pricing.of_call(adapter, call.request),
        controls.include_raw_chunks,
    )
    error: AllmError | None = None
    with scope:
        try:
            await adapter.stream(prepared, attempt)
        except AllmError as raised:
            error = raised
        except Exception as raised:
            error = adapter_raised(adapter.provider, raised)
    if attempt.ended:
        if error is not None:
            logger.debug("the adapter failed after the end of its answer", exc_info=error)
        return attempt.failure, attempt
    if scope.cancelled_caught:
        if attempt.begun:
            what, option = "no event in the middle of the answer for", "stream_timeout"
        else:
            what, option = "no event within", "first_event_timeout"
        error = timed_out(what, getattr(controls, option), option, adapter.provider)
    elif error is None:
        error = AdapterError(
            f"the {adapter.provider} adapter's stream ended without MessageCompleted: the answer is cut off",
            reason="stream_truncated",
            provider=adapter.provider,
        )
    return Failed(error), attempt
