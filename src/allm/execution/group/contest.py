"""`Contest`: who comes first of several that begin one after the other. The others have ended before it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AllmError

__all__ = ["Contest", "Contestant"]


@define(eq=False, slots=False)  # so that it can be a second base
class Contestant:
    """One of them, and its task.

    Attributes:
        failure: How it failed, if it did.
    """

    failure: AllmError | None = attrs.field(default=None, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    ended: trio.Event = attrs.field(factory=trio.Event, init=False)


ContestantT = TypeVar("ContestantT", bound=Contestant)


@define(eq=False)
class Contest(Generic[ContestantT]):
    """Those that have begun.

    Attributes:
        failed: In the order in which they failed.
        raised: What came out of one that is no failure of a provider; it ends the contest.
    """

    begun: list[ContestantT] = attrs.field(factory=list[ContestantT], init=False)
    failed: list[ContestantT] = attrs.field(factory=list[ContestantT], init=False)
    winner: ContestantT | None = attrs.field(default=None, init=False)
    raised: Exception | None = attrs.field(default=None, init=False)
    _stumbled: list[ContestantT] = attrs.field(factory=list[ContestantT], init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def newest_error(self) -> AllmError | None:
        """How the one failed that failed last."""
        return self.failed[-1].failure if self.failed else None

    @property
    def is_over(self) -> bool:
        """Whether nobody else is to begin."""
        return self.winner is not None or self.raised is not None

    async def run(self, one: ContestantT, work: Callable[[], Awaitable[AllmError | None]]) -> None:
        """Run one, in a task of its own; nothing is raised into the nursery.

        Args:
            work: Returns its failure; None once it has won.
        """
        try:
            with one.scope:
                one.failure = await work()
                if one.failure is not None:
                    self.failed.append(one)
        except Exception as error:  # raised by the caller's own functions, or a bug
            self.raised = self.raised or error
            self.end()
        finally:
            one.ended.set()
            self._changed.unpark_all()

    def end(self) -> None:
        """End all of them."""
        for one in self.begun:
            one.scope.cancel()

    def stumble(self, one: ContestantT) -> None:
        """One has failed once, and is about to try again: the next is not to wait for that."""
        if one not in self._stumbled:
            self._stumbled.append(one)
            self._changed.unpark_all()

    async def wait(self, seconds: float) -> None:
        """Wait until the next is to begin: for so long, or until all that have begun are in trouble."""
        with trio.move_on_after(seconds):
            while not self.is_over and not all(one in self.failed or one in self._stumbled for one in self.begun):
                await self._changed.park()

    async def finish(self) -> None:
        """Wait for a winner, or until all have failed."""
        while not self.is_over and len(self.failed) < len(self.begun):
            await self._changed.park()

    async def win(self, one: ContestantT) -> list[ContestantT]:
        """Make one the winner, unless there is one already: the task of a loser ends here.

        Returns:
            The others, whose tasks have ended.
        """
        if self.winner is not None:
            await trio.sleep_forever()  # the winner has cancelled this task
        self.winner = one
        self._changed.unpark_all()
        others = [other for other in self.begun if other is not one]
        for other in others:
            other.scope.cancel()
        for other in others:
            await other.ended.wait()
        return others
