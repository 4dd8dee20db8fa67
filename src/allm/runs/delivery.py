"""Items that wait for the consumer: as they finish, or in the order of the inputs."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.bulk import BulkItem

__all__ = ["Delivery"]


@define(eq=False)
class Delivery:
    """The items.

    Attributes:
        ordered: Give them in the order of their indexes.
        following: The index of the next one, in that order.
    """

    ordered: bool
    following: int
    _ready: deque[BulkItem[Any]] = attrs.field(factory=deque[BulkItem[Any]], init=False)
    _waiting: dict[int, BulkItem[Any] | None] = attrs.field(factory=dict[int, "BulkItem[Any] | None"], init=False)

    def put(self, item: BulkItem[Any]) -> None:
        """Add an item."""
        if self.ordered:
            self._waiting[item.index] = item
            self._move()
        else:
            self._ready.append(item)

    def skip(self, index: int) -> None:
        """Nothing is delivered for this input."""
        if self.ordered:
            self._waiting[index] = None
            self._move()

    def close(self) -> None:
        """Nothing more comes: a run that was stopped leaves gaps."""
        for index in sorted(self._waiting):
            if (item := self._waiting[index]) is not None:
                self._ready.append(item)
        self._waiting.clear()

    def _move(self) -> None:
        while self.following in self._waiting:
            item = self._waiting.pop(self.following)
            self.following += 1
            if item is not None:
                self._ready.append(item)

    def take(self) -> BulkItem[Any] | None:
        """The next item; None if there is none yet."""
        return self._ready.popleft() if self._ready else None
