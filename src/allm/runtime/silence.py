"""`Silence`: a limit of what is sent or read piece by piece: of its pauses, not of the time that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, final

import trio

from allm.data.attrs_classes import define

__all__ = ["Limit", "Silence"]

Limit: TypeAlias = Callable[[trio.CancelScope, float], None]
"""Takes the scope of a request, and after how many seconds without a piece it ends."""


@final
@define(eq=False)
class Silence:
    """How long an upload, a download or the reading of a batch may be without a piece."""

    _limited: tuple[trio.CancelScope, float] | None = None

    def limit(self, scope: trio.CancelScope, seconds: float) -> None:
        """Put off the end of the scope to so many seconds from each piece on."""
        self._limited = (scope, seconds)

    def moved(self) -> None:
        """A piece has been sent or read: its limit is counted anew."""
        if self._limited is not None:
            scope, seconds = self._limited
            scope.deadline = trio.current_time() + seconds
