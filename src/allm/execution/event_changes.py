"""Events of an adapter that are changed before anything counts, folds or shows them.

An answer may come as the call of a tool (`answer_tool.py`), and a call as text (`prompted/`). What a caller sees, and
what is stored, is the same whichever way the model was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from allm.data.attrs_classes import frozen
from allm.data.errors import StreamError
from allm.data.events import AdapterEvent, Emit
from allm.runtime.adapters import StreamAdapter

__all__ = ["ChangedEvents", "EventChange", "NewChange"]


class EventChange(Protocol):
    """The state of one attempt."""

    def changed(self, events: Iterable[AdapterEvent]) -> Iterable[AdapterEvent]:
        """What the events become; some may be held back until more have come."""
        ...

    def held(self) -> Iterable[AdapterEvent]:
        """What was held back of an answer that goes no further."""
        ...


NewChange = Callable[[], EventChange]
"""Makes the change of one attempt."""


@frozen
class ChangedEvents:
    """What an adapter prepared, and what makes the change of each attempt."""

    prepared: Any
    new_change: NewChange

    async def stream(self, adapter: StreamAdapter, emit: Emit) -> None:
        """Make the call, and emit its events as they are changed."""
        change = self.new_change()
        waits = False

        async def emit_changed(*events: AdapterEvent) -> None:
            nonlocal waits
            waits = True
            await emit(*change.changed(events))  # nothing is a sign of life as well
            waits = False

        try:
            await adapter.stream(self.prepared, emit_changed)
        except BaseException:
            # Also at a time limit, where nothing can be awaited; a burst that waits for the consumer would come behind.
            now = getattr(emit, "now", None)  # of an `EmitNow`
            if now is not None and not waits and (held := tuple(change.held())):
                with suppress(StreamError):  # the answer was ended, as one that is too large
                    now(list(held))
            raise
        if rest := tuple(change.held()):  # the answer has no end
            await emit(*rest)
