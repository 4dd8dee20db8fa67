"""`race`: a hedge asks one more member each time that nothing has come for a while; the first content wins.

Each member runs in a task of its own and sends through a gate. Whoever comes to its gate first with something to show
is the winner: it cancels the others and waits until their tasks have ended, and with them their connections. Only then
its first burst goes through the gate, with what the others are known to have used.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AllmError
from allm.data.events import Failed, MessageStarted, UsageReported
from allm.data.response import Usage
from allm.execution.failures import log_member
from allm.execution.group.contest import Contest, Contestant
from allm.execution.group.members import Candidate, PreparedMembers
from allm.execution.group.run import MovesOn, failure_of_all, run_member, tell_of_attempt, tell_of_skipped
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.stream.attempt import Held
from allm.execution.stream.event_stream import Burst, BurstSender, StreamContext
from allm.runtime import telemetry

__all__ = ["race"]


async def race(
    members: PreparedMembers,
    context: StreamContext,
    send: BurstSender,
    held: Held,
    span: telemetry.Span | None,
    moves_on: MovesOn,
) -> Failed | None:
    """Let the members race; arguments and result are those of `run_attempts`."""
    kind, after = members.group.kind, members.group.after
    contest = _Race(send, held)
    waiting = list(members.candidates)
    try:
        async with nursery_boundary() as nursery:
            while waiting and not contest.is_over:
                candidate = waiting.pop(0)
                if not candidate.is_ready():
                    tell_of_skipped(kind, candidate, span, reason="refused", error=candidate.refusal)
                    continue
                runner = _Runner(contest, candidate)
                contest.begun.append(runner)
                number = len(contest.begun)
                tell_of_attempt(kind, candidate, span, attempt=number, error=contest.newest_error())
                work = functools.partial(runner.answer, context, span, moves_on)
                start_task(nursery, contest.run, runner, work, name=f"allm {kind} {number}")
                if waiting:
                    await contest.wait(after)
    except trio.Cancelled:
        contest.settle()
        raise
    if contest.raised is not None:
        raise contest.raised
    contest.settle()
    if contest.winner is not None:
        return None
    failures = [(one.candidate, one.failure) for one in contest.failed if one.failure is not None]
    return Failed(failure_of_all(failures))


@define(eq=False)
class _Race(Contest["_Runner"]):
    """The members that have begun.

    Attributes:
        send, held: Of the group's call.
    """

    send: BurstSender
    held: Held

    def abandon(self, runners: Iterable[_Runner]) -> None:
        """Add what these have used to what was abandoned before."""
        used = [usage for runner in runners if (usage := runner.usage()) is not None]
        if used:
            self.held.abandoned = functools.reduce(operator.add, used, self.held.abandoned or Usage())

    def settle(self) -> None:
        """All have ended: give the group's call what was not shown, and what was used."""
        shown = self.winner or (self.failed[-1] if self.failed else next(iter(self.begun), None))
        if shown is None:
            return
        if shown.held.first_event is not None:
            self.held.first_event = shown.held.first_event
        if shown.is_open:
            return
        self.abandon(runner for runner in self.begun if runner is not shown)
        if shown.held.abandoned is not None:
            self.held.abandoned = (self.held.abandoned or Usage()) + shown.held.abandoned
        self.held.events = [*shown.held.events, *shown.waiting]


@define(eq=False)
class _Runner(BurstSender, Contestant):
    """One member, and its gate.

    Attributes:
        held: What its attempts hold back.
        waiting: What is at the gate.
        is_open: It has won, and the others have ended.
    """

    race: _Race
    candidate: Candidate
    held: Held = attrs.field(factory=Held, init=False)
    waiting: Burst = attrs.field(default=(), init=False)
    is_open: bool = attrs.field(default=False, init=False)

    async def answer(self, context: StreamContext, span: telemetry.Span | None, moves_on: MovesOn) -> AllmError | None:
        """Make its attempts; returns how they failed."""

        def goes_on(error: AllmError) -> bool:
            self.race.stumble(self)
            return moves_on(error)

        failure = await run_member(self.candidate, context, self, self.held, span, goes_on)
        if failure is None:
            return None
        log_member(self.candidate.name, failure.error, span)
        return failure.error

    def send_nowait(self, burst: Burst) -> bool:
        """See `BurstSender`."""
        return self.is_open and self.race.send.send_nowait(burst)

    def has_room(self) -> bool:
        """See `BurstSender`."""
        return self.is_open and self.race.send.has_room()

    async def send(self, burst: Burst) -> None:
        """Deliver one burst; the first one only if it wins, and when the others have ended."""
        if not self.is_open:
            self.waiting = burst
            self.race.abandon(await self.race.win(self))
            self.race.held.first_content = trio.current_time()
            self.race.held.events = list(burst)
            self.waiting, self.is_open = (), True
            burst = self.race.held.take()
        await self.race.send.send(burst)

    def leave(self, burst: Burst) -> None:
        """See `BurstSender`."""
        if self.is_open:
            self.race.send.leave(burst)
        else:
            self.waiting += burst

    def usage(self) -> Usage | None:
        """What is known of its usage, over all its attempts."""
        events = (*self.held.events, *self.waiting)
        reports = [event.usage for event in events if isinstance(event, UsageReported)]
        used = [functools.reduce(Usage.merge, reports)] if reports else []
        begun = [event.abandoned_usage for event in events if isinstance(event, MessageStarted)]
        used += [abandoned for abandoned in (*begun, self.held.abandoned) if abandoned is not None]
        return functools.reduce(operator.add, used) if used else None
