"""The attempts of a call of a group: `fall_back` one after the other; a hedge has them at once (`race.py`).

A member's call makes its attempts as any other call does. Only what it shows first is held back here: until then
another member may give the answer. So whatever happens before the content is never seen, and what was used for it is.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, AllmError
from allm.data.events import Failed
from allm.execution.failures import log_member
from allm.execution.group.circuit import circuits_of, in_order
from allm.execution.group.members import Candidate, Named, PreparedMembers
from allm.execution.stream.attempt import Held, run_attempts
from allm.execution.stream.event_stream import Burst, BurstSender, StreamContext
from allm.execution.stream.folds import StreamCollector
from allm.execution.telemetry_facts import answer_content, call_content, call_facts, response_facts
from allm.runtime import telemetry

__all__ = ["MemberSender", "MovesOn", "failure_of_all", "run_group", "run_member", "tell_of_attempt", "tell_of_skipped"]

MovesOn = Callable[[AllmError], bool]


async def run_group(
    members: PreparedMembers,
    context: StreamContext,
    send: BurstSender,
    held: Held,
    span: telemetry.Span | None,
    moves_on: MovesOn | None,
) -> Failed | None:
    """Let the members of a group answer; arguments and result are those of `run_attempts`."""
    moves_on = moves_on or _never
    if members.group.kind == "fallback":
        return await _fall_back(members, context, send, held, span, moves_on)
    from allm.execution.group.race import race

    return await race(members, context, send, held, span, moves_on)


def _never(_error: AllmError) -> bool:
    return False


async def _fall_back(
    members: PreparedMembers,
    context: StreamContext,
    send: BurstSender,
    held: Held,
    span: telemetry.Span | None,
    moves_on: MovesOn,
) -> Failed | None:
    group, circuits = members.group, circuits_of(members.group)
    up, down = ([members.candidates[index] for index in places] for places in in_order(circuits))
    waiting = up + down
    failures: list[tuple[Candidate, AllmError]] = []

    def has_next(others: list[Candidate]) -> bool:
        return any(candidate.is_ready() for candidate in others)

    def goes_on(error: AllmError) -> bool:  # who is down is asked only when these are used up
        others = [candidate for candidate in waiting if candidate not in down]
        return (group.moves_on(error) and has_next(others)) or moves_on(error)

    for candidate in down:
        tell_of_skipped(group.kind, candidate, span, reason="down")
    while waiting:
        candidate = waiting.pop(0)
        if not candidate.is_ready():
            tell_of_skipped(group.kind, candidate, span, reason="refused", error=candidate.refusal)
            continue
        before = failures[-1][1] if failures else None
        tell_of_attempt(group.kind, candidate, span, attempt=len(failures) + 1, error=before)
        circuit = circuits[candidate.index]
        held.first_content = None
        circuit.begin(held)
        try:
            failure = await run_member(candidate, context, send, held, span, goes_on)
        except BaseException:
            circuit.give_up(held)
            raise
        circuit.end(held, None if failure is None else failure.error)
        if failure is None:
            return None
        failures.append((candidate, failure.error))
        log_member(candidate.name, failure.error, span)
        if not (group.moves_on(failure.error) and has_next(waiting)):
            break
        held.abandon()
    return Failed(failure_of_all(failures))


async def run_member(
    candidate: Candidate,
    context: StreamContext,
    send: BurstSender,
    held: Held,
    span: telemetry.Span | None,
    moves_on: MovesOn,
) -> Failed | None:
    """Let one member make its attempts, with a span of its own."""
    call, prepared = candidate.call(), candidate.prepared
    assert call is not None  # noqa: S101  (it is ready)
    if span is None:
        return await run_attempts(call, prepared, context, send, held, None, moves_on)
    began = trio.current_time()
    told = MemberSender(send)
    name = "members" if call.engine.is_group else "model_call"
    with telemetry.span(name, call_facts(call), content=functools.partial(call_content, call)) as own:
        failure: Failed | None = None
        try:
            failure = await run_attempts(call, prepared, context, told, held, own, moves_on)
        finally:
            answer = told.answer.response()
            own.attributes.update(response_facts(answer))
            own.content = functools.partial(answer_content, answer)
            if not told.has_shown:
                own.attributes["usage"] = held.usage() or answer.usage
            times = {"time_to_first_event": held.first_event, "time_to_first_token": held.first_content}
            own.attributes.update({n: when - began for n, when in times.items() if when is not None and when >= began})
            if failure is not None:
                own.attributes.update(error=failure.error, finish_reason="error")
    if told.has_shown:
        span.attributes.update(provider=call.adapter.provider, model=call.request.model)
    return failure


@define(eq=False)
class MemberSender(BurstSender):
    """Passes a member's bursts on, and folds them for telemetry."""

    target: BurstSender
    answer: StreamCollector = attrs.field(factory=StreamCollector, init=False)
    has_shown: bool = attrs.field(default=False, init=False)

    def send_nowait(self, burst: Burst) -> bool:
        """See `BurstSender`."""
        if not self.target.send_nowait(burst):
            return False
        self._fold(burst)
        return True

    def has_room(self) -> bool:
        """See `BurstSender`."""
        return self.target.has_room()

    async def send(self, burst: Burst) -> None:
        """See `BurstSender`."""
        self._fold(burst)
        await self.target.send(burst)

    def leave(self, burst: Burst) -> None:
        """See `BurstSender`."""
        self.target.leave(burst)

    def _fold(self, burst: Burst) -> None:
        self.has_shown = True
        for event in burst:
            self.answer.add(event)


def tell_of_attempt(kind: str, candidate: Candidate, span: telemetry.Span | None, **facts: Any) -> None:
    """Tell telemetry that a member is asked, and after which failure of another one."""
    _tell("engine.attempt", kind, candidate, span, facts)


def tell_of_skipped(kind: str, candidate: Candidate, span: telemetry.Span | None, **facts: Any) -> None:
    """Tell telemetry that a member is not asked: it is down, or refuses the call."""
    _tell("engine.skipped", kind, candidate, span, facts)


def _tell(name: str, kind: str, candidate: Candidate, span: telemetry.Span | None, facts: dict[str, Any]) -> None:
    if not telemetry.handlers:
        return
    call, engine = candidate.call(), candidate.engine
    provider = getattr(engine.adapter, "provider", None)
    model = engine.model if call is None else call.request.model
    telemetry.emit(name, span, group=kind, provider=provider, model=model, **facts)


def failure_of_all(failures: Iterable[tuple[Named, AllmError]]) -> AllmError:
    """The failure of the last member, which tells of those before it."""
    *others, (_, last) = failures
    if not others:
        return last
    error = copy.copy(last)
    told = "; ".join(f"{member.name}: {_in_short(failure)}" for member, failure in others)
    error.message = f"{error.message} (before it, {told})"
    error.args = (error.message,)
    error.__cause__ = last.__cause__
    return error


def _in_short(error: AllmError) -> str:
    status = f", status {error.status}" if isinstance(error, AdapterError) and error.status is not None else ""
    return f"{error.reason}{status}"
