"""A bounded window of responses, which arrive in any order and are taken in the order of their requests."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs
import trio

from allm.data.attrs_classes import define

__all__ = ["Window"]

ItemT = TypeVar("ItemT")


@define(eq=False)
class Window(Generic[ItemT]):
    """Numbered places for responses that are in flight or wait to be taken.

    A place is acquired before the inputs of a request are read, and released when its response is taken, so a slow
    consumer stops the reading. A consumer that takes everything at the end would stop it for good: it releases the
    places of waiting responses with `release_waiting`, and their number is then unbounded.
    """

    size: int
    _places: trio.Semaphore = attrs.field(init=False)
    _waiting: dict[int, ItemT] = attrs.field(factory=dict[int, ItemT], init=False)  # by number
    _next: int = attrs.field(default=0, init=False)
    _released: int = attrs.field(default=0, init=False)  # how many waiting items have given up their place

    def __attrs_post_init__(self) -> None:
        self._places = trio.Semaphore(self.size)

    async def enter(self) -> None:
        """Wait for a place in the window."""
        await self._places.acquire()

    def put(self, number: int, item: ItemT) -> None:
        """Store an item until it is its turn."""
        self._waiting[number] = item

    def take(self) -> ItemT | None:
        """Take the next item in the order of the numbers; None if it has not arrived."""
        if self._next not in self._waiting:
            return None
        item = self._waiting.pop(self._next)
        self._next += 1
        if self._released:
            self._released -= 1
        else:
            self._places.release()
        return item

    def release_waiting(self) -> None:
        """Release the places of all waiting items, so that further ones can enter."""
        while not self.all_released:
            self._released += 1
            self._places.release()

    @property
    def all_released(self) -> bool:
        """Whether every waiting item has released its place: nothing arrived since `release_waiting`."""
        return self._released == len(self._waiting)

    def waiting(self) -> list[ItemT]:
        """The items that were not taken, in the order of their numbers, which may have gaps."""
        return [self._waiting[number] for number in sorted(self._waiting)]
