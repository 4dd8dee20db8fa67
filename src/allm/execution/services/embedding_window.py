"""Answers that come in any order and are taken in the order of their requests, a bounded number of them at a time."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs
import trio

__all__ = ["Window"]

AnswerT = TypeVar("AnswerT")


@attrs.define(eq=False)
class Window(Generic[AnswerT]):
    """Numbered places for the answers that are under way or wait to be taken.

    A place is entered before its request is read, and left when its answer is taken: so a consumer that is slow holds
    up the reading. A consumer that wants everything at the end takes nothing before, and would hold it up for good: it
    lets answers out of the window with `let_out`, and they wait outside, where their number has no bound.
    """

    size: int
    _places: trio.Semaphore = attrs.field(init=False)
    _waiting: dict[int, AnswerT] = attrs.field(factory=dict[int, AnswerT], init=False)  # by number
    _next: int = attrs.field(default=0, init=False)
    _outside: int = attrs.field(default=0, init=False)  # how many of those that wait have left the window

    def __attrs_post_init__(self) -> None:
        self._places = trio.Semaphore(self.size)

    async def enter(self) -> None:
        """Wait for a place."""
        await self._places.acquire()

    def put(self, number: int, answer: AnswerT) -> None:
        """Keep an answer until its turn has come."""
        self._waiting[number] = answer

    def take(self) -> AnswerT | None:
        """The next answer in the order of the numbers; None while it is not there."""
        if self._next not in self._waiting:
            return None
        answer = self._waiting.pop(self._next)
        self._next += 1
        if self._outside:
            self._outside -= 1
        else:
            self._places.release()
        return answer

    def let_out(self) -> None:
        """Make room for as many further answers as wait here."""
        while not self.all_out:
            self._outside += 1
            self._places.release()

    @property
    def all_out(self) -> bool:
        """Whether no answer has come since `let_out`."""
        return self._outside == len(self._waiting)

    def waiting(self) -> list[AnswerT]:
        """The answers that were not taken, in the order of their numbers, which may have gaps."""
        return [self._waiting[number] for number in sorted(self._waiting)]
