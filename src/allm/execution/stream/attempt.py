"""One model call: attempts within their time limits, retried until one of them has shown content.

Theory of operation. Providers also report overload and rate limits inside a stream that began well: after
`response.created`, `message_start` or the role chunk. So events without content (`MessageStarted`, `UsageReported`,
`RawChunk`) are held back until content, the end of the response or a failure arrives. Until then the consumer has seen
nothing, and the call can be retried without a trace; after that nothing is retried, and a failure is the last event.
The held events are bounded: at the bound they are shown, and retries end.

The time limits count the provider's time only: while a burst waits for a slow consumer, the `stream_timeout` clock
stops. The limits on what an answer may hold (`answer_size.py`) count every event as it is emitted, held back or not; an
answer that exceeds one ends with the events before it, and its adapter is cancelled.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine
from math import inf
from typing import TYPE_CHECKING, Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, AllmError, StreamError
from allm.data.events import AdapterEvent, Failed, MessageCompleted, MessageStarted, RawChunk, UsageReported
from allm.data.json.text import measure
from allm.data.response import Response, Usage
from allm.execution.event_changes import ChangedEvents
from allm.execution.failures import name_model
from allm.execution.options import ModelCall
from allm.execution.retrying import Retries, adapter_raised, silent, truncated
from allm.execution.stream.event_stream import BurstSender, StreamContext
from allm.execution.telemetry_facts import answer_content, call_content, call_facts, response_facts
from allm.http.answer_size import AnswerSize
from allm.http.jumping_clock import in_thread
from allm.runtime import telemetry
from allm.runtime.costs import Pricing, charged, load_prices, prices_are_loaded

if TYPE_CHECKING:
    from allm.runtime.limiter import LimiterPlace

__all__ = ["Held", "run_attempts", "run_model_call"]

logger: logging.Logger = logging.getLogger("allm")

_ENDS = frozenset({MessageCompleted, Failed})
_HELD = frozenset({MessageStarted, UsageReported, RawChunk})
"""Types of the events that carry no content."""
MAX_HELD_EVENTS = 64
"""Most events to hold back; providers send one to three before the content."""
MAX_HELD_BYTES = 1024 * 1024
"""Most raw chunks to hold back, in bytes of their texts and about eight for each other value."""
_NOTED = _ENDS | _HELD
"""Event types that an attempt has to inspect; for all others it only notes that something arrived."""
_PRECISION = 0.01
"""Share of `stream_timeout` by which the limit may fire early: 3 s of 300 s. A slow stream moves it for each token."""


@define(eq=False)
class Held:
    """The events of an attempt before its content, and the usage of abandoned attempts; times are of the Trio clock."""

    events: list[AdapterEvent] = attrs.field(factory=list[AdapterEvent], init=False)
    abandoned: Usage | None = attrs.field(default=None, init=False)
    _size: int = attrs.field(default=0, init=False)
    since: float = attrs.field(default=0.0, init=False)
    first_event: float | None = attrs.field(default=None, init=False)
    first_content: float | None = attrs.field(default=None, init=False)

    def times(self) -> dict[str, float]:
        """For telemetry: seconds until the first event and the first content, as far as they came."""
        times = {"time_to_first_event": self.first_event, "time_to_first_token": self.first_content}
        return {name: when - self.since for name, when in times.items() if when is not None}

    def add(self, events: tuple[AdapterEvent, ...]) -> bool:
        """Hold `events` back; False once there are more than the bounds allow."""
        self.events += events
        shown = (event.payload for event in events if isinstance(event, RawChunk))
        self._size += sum(measure(payload, most=MAX_HELD_BYTES, deepest=MAX_HELD_BYTES).size for payload in shown)
        return len(self.events) <= MAX_HELD_EVENTS and self._size <= MAX_HELD_BYTES

    def usage(self) -> Usage | None:
        """The usage of the attempt, as far as it was reported."""
        reports = [event.usage for event in self.events if isinstance(event, UsageReported)]
        return functools.reduce(Usage.merge, reports) if reports else None

    def abandon(self) -> None:
        """Drop the events of an attempt that is going to be retried, and keep its usage."""
        used = self.usage()
        self.events, self._size = [], 0
        if used is not None:
            self.abandoned = used if self.abandoned is None else self.abandoned + used

    def take(self, *newest: AdapterEvent) -> tuple[AdapterEvent, ...]:
        """Release the held events, followed by `newest`, with the usage of abandoned attempts in `MessageStarted`."""
        events, self.events = (*self.events, *newest), []
        abandoned, self.abandoned = self.abandoned, None
        if abandoned is None:
            return events
        first = events[0] if events else None
        if isinstance(first, MessageStarted):
            return attrs.evolve(first, abandoned_usage=(first.abandoned_usage or Usage()) + abandoned), *events[1:]
        return MessageStarted(abandoned_usage=abandoned), *events


@define(eq=False)
class _Attempt:
    """The `emit` of one attempt: enforces limits, adds costs to usage, and holds events back until content.

    Attributes:
        begun: The adapter has emitted something.
        shown: Events were shown to the consumer, so the attempt can no longer be retried.
        ended: The last event of the response has arrived.
        failure: How the attempt failed before anything was shown.
        charge: An `AnswerCharge`, where the call is made under a budget or by a tool.
    """

    send: BurstSender
    held: Held
    scope: trio.CancelScope
    gap: float
    pricing: Pricing
    raw_chunks: bool
    size: AnswerSize
    place: LimiterPlace | None  # at the engine's limiter
    _moved_at: float  # when the limit began to count, on the Trio clock
    begun: bool = False
    shown: bool = False
    ended: bool = False
    failure: Failed | None = None
    charge: Any = None

    async def __call__(self, *events: AdapterEvent) -> None:
        events = self._to_show(events)
        waits = bool(events) and not self.send.send_nowait(events)
        if waits:
            self.scope.deadline = float("inf")  # the wait is the consumer's, not the provider's
            await self.send.send(events)
        self._moved(waited=waits)

    def room(self) -> bool:
        """Whether the channel has room for a burst, which then only this attempt can use up."""
        return self.send.has_room()

    def now(self, events: list[AdapterEvent]) -> None:
        """Emit a burst for which there is room."""
        shown = self._to_show(tuple(events))
        if shown and not self.send.send_nowait(shown):
            self.send.leave(shown)  # the consumer has left
        self._moved(waited=False)

    def _to_show(self, events: tuple[AdapterEvent, ...]) -> tuple[AdapterEvent, ...]:
        """What of a burst the consumer gets now: as it can be kept, with costs, and nothing before the content."""
        if self.ended:
            raise StreamError(
                f"the adapter emitted {[type(event).__name__ for event in events]} after the end of its response",
                reason="already_done",
            )
        if not self.begun:
            self.begun = True
            self.held.first_event = trio.current_time()
        if not self.size.grow(events):
            events = self.size.admit(events)
            kinds = set(map(type, events))
            if not kinds.isdisjoint(_NOTED):
                events = self._note(events, kinds)
        if self.charge is not None and (over := self.charge.add(events)) is not None:
            events, self.ended = (*events, over), True
        return events if self.shown else self._hold(events)

    def _moved(self, *, waited: bool) -> None:
        """Move the deadline of `stream_timeout`, and end an answer that is too large."""
        now = trio.current_time()
        # Moving a deadline costs more than the rest of this method, so it is not moved for every token.
        if waited or now - self._moved_at > self.gap * _PRECISION:
            self._moved_at = now
            self.scope.deadline = now + self.gap
        if self.size.is_full or (self.charge is not None and self.charge.is_cut):
            self.scope.cancel()  # the answer has ended, whatever else the adapter would read

    def retryable_error(self, failure: Failed) -> AdapterError | None:
        """The error if the attempt may be retried, else None."""
        error = failure.error
        if self.shown or not isinstance(error, AdapterError):
            return None
        # After a timeout the provider may still be generating the response that it began, and will charge for it.
        return None if self.begun and error.reason == "timeout" else error

    def _note(self, events: tuple[AdapterEvent, ...], kinds: set[type]) -> tuple[AdapterEvent, ...]:
        """The events up to the end of the response, with costs, and without raw chunks unless they were asked for.

        Args:
            kinds: The types of the events.
        """
        if not kinds.isdisjoint(_ENDS):
            self.ended = True
            index = next(index for index, event in enumerate(events) if type(event) in _ENDS)
            events = events[: index + 1]
            if isinstance(last := events[-1], Failed):
                name_model(last.error, self.pricing.model)
        if self.place is not None:
            self.place.note(events)
        if RawChunk in kinds and not self.raw_chunks:
            events = tuple(event for event in events if type(event) is not RawChunk)
        return self.pricing.on(events)

    def _hold(self, events: tuple[AdapterEvent, ...]) -> tuple[AdapterEvent, ...]:
        """Hold `events` back if they have no content; returns what to show now."""
        last = events[-1] if events else None
        early = events[:-1] if isinstance(last, Failed) else events
        if _HELD.issuperset(map(type, early)):
            room = self.held.add(early)
            if isinstance(last, Failed):
                self.failure = last
                return ()
            if room:
                return ()
            events = ()
        self.shown = True
        self.held.first_content = trio.current_time()
        return self.held.take(*events)


def run_model_call(
    call: ModelCall, prepared: Any, context: StreamContext, response: Callable[[], Response] | None = None
) -> Coroutine[Any, Any, None]:
    """Run the adapter until its response ends, and emit its events; a failure is the last event, `Failed`.

    Args:
        response: Gives the response so far, for telemetry: this is one call of several. None: the stream has no other,
            so that the stream's span is that of the call.
    """
    if context.span is None:  # most calls: a coroutine less is in memory while they run
        return _until_ended(call, prepared, context, Held(), None)
    return _told(call, prepared, context, context.span, response)


async def _told(call: ModelCall, prepared: Any, context: StreamContext, whole: telemetry.Span, response: Any) -> None:
    held = Held()
    if response is None:
        try:
            await _until_ended(call, prepared, context, held, whole)
        finally:
            whole.attributes.update(held.times())
    else:
        name, content = "members" if call.engine.is_group else "model_call", functools.partial(call_content, call)
        with telemetry.span(name, call_facts(call), content=content) as span:
            try:
                await _until_ended(call, prepared, context, held, span)
            finally:
                answer = response()
                span.attributes.update(response_facts(answer), **held.times())
                span.content = functools.partial(answer_content, answer)


async def _until_ended(
    call: ModelCall, prepared: Any, context: StreamContext, held: Held, span: telemetry.Span | None
) -> None:
    if span is not None:
        held.since = trio.current_time()
    try:
        failure = await run_attempts(call, prepared, context, context.send, held, span)
        if failure is not None:
            await context.send.send(held.take(failure))
    except trio.Cancelled:
        context.send.leave(held.take())  # at a time limit they are shown before the failure
        raise


def run_attempts(
    call: ModelCall,
    prepared: Any,
    context: StreamContext,
    send: BurstSender,
    held: Held,
    span: telemetry.Span | None,
    moves_on: Callable[[AllmError], bool] | None = None,  # of a member of a group: whether another is asked at once
) -> Coroutine[Any, Any, Failed | None]:
    """Make attempts until one has ended, or no other is made; returns the failure if nothing was shown before it."""
    if call.engine.is_group:
        from allm.execution.group.run import run_group

        return run_group(prepared, context, send, held, span, moves_on)
    is_ready = prices_are_loaded(call.adapter.provider) and call.execution_options.compact is None
    return (_retried if is_ready else _made_ready)(call, prepared, context, send, held, span, moves_on)


async def _made_ready(call: ModelCall, prepared: Any, *rest: Any) -> Failed | None:
    provider = call.adapter.provider
    if not prices_are_loaded(provider):
        await in_thread(functools.partial(load_prices, provider))
    if call.execution_options.compact is not None:
        from allm.execution.compaction import fitted

        if isinstance(made := await fitted(call, prepared), AllmError):
            return Failed(made)
        call, prepared = made
    return await _retried(call, prepared, *rest)


async def _retried(
    call: ModelCall, prepared: Any, context: StreamContext, send: BurstSender, held: Held, span: Any, moves_on: Any
) -> Failed | None:
    options, limiter, overflowed = call.execution_options, call.engine.limiter, False
    patience = None if limiter is None else getattr(limiter, "patience", None)
    retries = Retries(options.retry, call.adapter.provider, span, call.request.model, options.session_id, patience)
    failure: Failed | None = None
    try:
        while True:
            if limiter is None:
                failure, attempt = await _attempt(call, prepared, send, held)
            else:
                from allm.execution.places import limited_attempt

                run = functools.partial(_attempt, call, prepared, send, held)
                failure, attempt = await limited_attempt(limiter, call, prepared, context.deadline, run)
            if failure is None:
                return None
            if attempt.shown:
                await send.send(held.take(failure))
                return None
            if options.compact is not None and not overflowed:
                from allm.execution.compaction import compacted_after

                if (shorter := await compacted_after(call, failure)) is not None:
                    (call, prepared), overflowed = shorter, True
                    held.abandon()
                    continue
            if (error := attempt.retryable_error(failure)) is None or not await retries.wait_to_retry(
                error, deadline=context.deadline, abandoned=held.usage(), moves_on=moves_on
            ):
                return failure
            held.abandon()
    except AdapterError as error:  # of the limiter: there is no room before a deadline
        name_model(error, call.request.model)
        if failure is not None:  # why it was to be sent again
            error.__cause__ = error.__cause__ or failure.error
        return Failed(error)


async def _attempt(
    call: ModelCall, prepared: Any, send: BurstSender, held: Held, place: LimiterPlace | None = None
) -> tuple[Failed | None, _Attempt]:
    """Run one attempt; returns how it failed, or None if the response has ended and its end was shown."""
    options, adapter = call.execution_options, call.adapter
    first, gap = options.first_event_timeout, options.stream_timeout
    now = trio.current_time()
    scope = trio.CancelScope(deadline=now + (inf if first is None else first))
    attempt = _Attempt(
        send,
        held,
        scope,
        inf if gap is None else gap,
        Pricing.of_call(adapter, call.request),
        options.include_raw_chunks,
        AnswerSize(call.engine.answer_limits, adapter.provider, options.include_raw_chunks),
        place,
        now if first == gap else -inf,
    )
    error: AllmError | None = None
    with scope:
        error = await _sent(call, prepared, attempt)
    if attempt.ended:
        if error is not None:
            logger.debug("the adapter failed after the end of its response", exc_info=error)
        return attempt.failure, attempt
    if scope.cancelled_caught:
        error = silent(options, adapter.provider, begun=attempt.begun)
    elif error is None:
        error = truncated(adapter.provider)
    name_model(error, call.request.model)
    failure = Failed(error)
    if place is not None:
        place.note((failure,))
    return failure, attempt


async def _sent(call: ModelCall, prepared: Any, attempt: _Attempt) -> AllmError | None:
    """Let the adapter send an attempt and emit its events; returns what it raised."""
    adapter = call.adapter
    error: AllmError | None = None
    try:
        if (accounts := charged.get()) is not None:
            from allm.execution.budgeting import begin_answer

            attempt.charge, prepared = begin_answer(accounts, call, prepared, attempt.size)
        if isinstance(prepared, ChangedEvents):
            await prepared.stream(adapter, attempt)
        else:
            await adapter.stream(prepared, attempt)
    except AllmError as raised:
        error = raised
    except Exception as raised:
        error = adapter_raised(adapter.provider, raised)
    finally:
        if attempt.charge is not None:
            attempt.charge.settle(error)
    return error
