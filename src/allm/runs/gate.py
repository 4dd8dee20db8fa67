"""The limiter of a bulk run: that of its engine, or one that learns what the provider takes; a stop leaves its line."""

from __future__ import annotations

from typing import Any

from allm.data.attrs_classes import define
from allm.runs.attempts import asking_for

__all__ = ["Gate"]


@define(eq=False)
class Gate:
    """Waits at a limiter, and notes of which inputs this is.

    It has no `patience`, as limiters may: the run counts refusals itself.
    """

    limiter: Any

    async def acquire_on_behalf_of(self, borrower: Any, /) -> None:
        """See `allm.Limiter`."""
        item = asking_for.get()
        if item is None:
            await self.limiter.acquire_on_behalf_of(borrower)
            return
        item.in_line = True
        try:
            await self.limiter.acquire_on_behalf_of(borrower)
        finally:
            item.in_line = False

    def release_on_behalf_of(self, borrower: Any, /) -> None:
        """See `allm.Limiter`."""
        self.limiter.release_on_behalf_of(borrower)
