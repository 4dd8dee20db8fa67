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
from allm.data.events import Failed, MessageStarted, UsageReported
from allm.data.response import Usage
from allm.execution.failures import log_member
from allm.execution.group.members import Candidate, PreparedMembers
from allm.execution.group.run import MovesOn, failure_of_all, run_member, tell_of_attempt, tell_of_skipped
from allm.execution.stream.attempt import Held
from allm.execution.stream.block import nursery_boundary
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
    running = _Race(send, held)
    waiting = list(members.candidates)
    try:
        async with nursery_boundary() as nursery:
            while waiting and running.winner is None:
                candidate = waiting.pop(0)
                if not candidate.is_ready():
                    tell_of_skipped(kind, candidate, span, reason="refused", error=candidate.refusal)
                    continue
                runner = running.add(candidate)
                tell_of_attempt(kind, candidate, span, attempt=len(running.runners), error=running.newest_error())
                work = functools.partial(run_member, candidate, context, runner, runner.held, span, moves_on)
                nursery.start_soon(runner.run, work, nursery, span, name=f"allm {kind} {len(running.runners)}")
                await running.wait(after if waiting else float("inf"))
    except trio.Cancelled:
        running.settle()
        raise
    if running.raised is not None:
        raise running.raised
    running.settle()
    if running.winner is not None:
        return None
    return failure_of_all((runner.candidate, runner.failure) for runner in running.failed if runner.failure is not None)


@define(eq=False)
class _Race:
    """The members that have begun.

    Attributes:
        send, held: Of the group's call.
        failed: In the order in which they failed.
        raised: What came out of a member's call that is no failure of a provider.
        changed: Wakes whoever waits for any of this.
    """

    send: BurstSender
    held: Held
    runners: list[_Runner] = attrs.field(factory=list["_Runner"], init=False)
    failed: list[_Runner] = attrs.field(factory=list["_Runner"], init=False)
    winner: _Runner | None = attrs.field(default=None, init=False)
    raised: Exception | None = attrs.field(default=None, init=False)
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def add(self, candidate: Candidate) -> _Runner:
        runner = _Runner(self, candidate)
        self.runners.append(runner)
        return runner

    def newest_error(self) -> Exception | None:
        failure = self.failed[-1].failure if self.failed else None
        return None if failure is None else failure.error

    async def wait(self, seconds: float) -> None:
        """Wait for a winner, for the failure of all that have begun, or for so long."""
        with trio.move_on_after(seconds):
            while self.winner is None and len(self.failed) < len(self.runners):
                await self.changed.park()

    def used_by(self, runners: Iterable[_Runner]) -> Usage | None:
        """What these are known to have used."""
        used = [usage for runner in runners if (usage := runner.usage()) is not None]
        return functools.reduce(operator.add, used) if used else None

    def abandon(self, runners: Iterable[_Runner]) -> None:
        """Add what these have used to what was abandoned before."""
        if (used := self.used_by(runners)) is not None:
            self.held.abandoned = used if self.held.abandoned is None else self.held.abandoned + used

    def settle(self) -> None:
        """All have ended: give the group's call what was not shown, and what was used."""
        shown = self.winner or (self.failed[-1] if self.failed else next(iter(self.runners), None))
        if shown is None:
            return
        if shown.held.first_event is not None:
            self.held.first_event = shown.held.first_event
        if shown.is_open:
            return
        self.abandon(runner for runner in self.runners if runner is not shown)
        if shown.held.abandoned is not None:
            known = self.held.abandoned
            self.held.abandoned = shown.held.abandoned if known is None else known + shown.held.abandoned
        self.held.events = [*shown.held.events, *shown.waiting]


@define(eq=False)
class _Runner(BurstSender):
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
    failure: Failed | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self, work: object, nursery: trio.Nursery, span: telemetry.Span | None) -> None:
        """Run the member; nothing is raised into the nursery."""
        try:
            with self._scope:
                self.failure = await work()  # type: ignore[operator]
        except Exception as error:  # raised by the caller's own functions, or a bug
            self.race.raised = self.race.raised or error
            nursery.cancel_scope.cancel()
        finally:
            if self.failure is not None:
                self.race.failed.append(self)
                log_member(self.candidate.name, self.failure.error, span)
            self._ended.set()
            self.race.changed.unpark_all()

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
            burst = await self._win(burst)
        await self.race.send.send(burst)

    def leave(self, burst: Burst) -> None:
        """See `BurstSender`."""
        if self.is_open:
            self.race.send.leave(burst)
        else:
            self.waiting += burst

    async def _win(self, burst: Burst) -> Burst:
        race = self.race
        if race.winner is not None:
            await trio.sleep_forever()  # the winner has cancelled this task
        race.winner = self
        race.changed.unpark_all()
        others = [runner for runner in race.runners if runner is not self]
        for runner in others:
            runner._scope.cancel()
        for runner in others:
            await runner._ended.wait()
        race.abandon(others)
        race.held.first_content = trio.current_time()
        race.held.events = list(burst)
        self.waiting, self.is_open = (), True
        return race.held.take()

    def usage(self) -> Usage | None:
        """What is known of its usage, over all its attempts."""
        events = (*self.held.events, *self.waiting)
        reports = [event.usage for event in events if isinstance(event, UsageReported)]
        used = [functools.reduce(Usage.merge, reports)] if reports else []
        begun = [event.abandoned_usage for event in events if isinstance(event, MessageStarted)]
        used += [abandoned for abandoned in begun if abandoned is not None]
        used += [self.held.abandoned] if self.held.abandoned is not None else []
        return functools.reduce(operator.add, used) if used else None
