"""Items as rows of a journal and back, and the task that saves them before anybody sees them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError, BulkItem
from allm.data.errors import AllmError
from allm.data.json.text import dumps_strict
from allm.data.response import Response
from allm.data.results import ChatResult
from allm.runs.journal import Journal, Row, Status, in_turn

__all__ = ["Finished", "Saver", "item_of", "row_of"]


@define(eq=False)
class Finished:
    """An item to be saved and delivered.

    Attributes:
        was_asked: It is no copy of another one.
    """

    item: BulkItem[Any]
    fingerprint: str
    cost: float | None = None
    was_asked: bool = False


def row_of(finished: Finished) -> Row:
    """The row of an item. One that cannot be kept becomes the row of a failure, and so does its item."""
    item = finished.item
    try:
        value = _text(item.response if item.error is None else item.error)
    except (AllmError, TypeError, ValueError, OverflowError) as error:
        what = (
            f"the call returned {type(item.response).__name__}, which a journal cannot keep ({error}); expected a "
            "value of allm, or JSON data"
        )
        refused = BulkError(what, reason="call_failed")
        finished.item = item = attrs.evolve(item, response=None, error=refused)
        value = _text(refused)
    status: Status = "done" if item.error is None else "open" if getattr(item.error, "retryable", False) else "failed"
    return Row(item.key, item.index, finished.fingerprint, status, item.attempts, finished.cost, value)


# The codec is slow to import, and runs without a journal need none.


def _text(value: Any) -> str:
    from allm.data.json.codec import to_json
    from allm.data.json.tags import tag_of

    if tag_of(value) is not None:
        return to_json(value)
    return dumps_strict({"value": value}).decode()


def item_of(row: Row, request: Any, index: int, output_type: Any = None) -> BulkItem[Any]:
    """The item of a row, for the input that it was found for.

    Args:
        output_type: The type of its structured output, which is not saved.
    """
    value = _value(row.value)
    if output_type is not None:
        value = _typed(value, output_type)
    failed = row.status != "done"
    return BulkItem(
        key=row.key,
        index=index,
        request=request,
        response=None if failed else value,
        error=value if failed else None,
        attempts=row.attempts,
        replayed=True,
    )


def _value(text: str) -> Any:
    from allm.data.json.codec import from_json

    if text.startswith('{"value":'):
        return json.loads(text)["value"]
    return from_json(text)


def _typed(value: Any, output_type: Any) -> Any:
    if isinstance(value, Response):
        return attrs.evolve(value, output_type=output_type)
    if isinstance(value, ChatResult) and value.final_response is not None:
        return attrs.evolve(value, final_response=attrs.evolve(value.final_response, output_type=output_type))
    return value


@define(eq=False)
class Saver:
    """Saves what has ended, all that waits in one transaction, and delivers it.

    Attributes:
        deliver: Called with the items that are saved, and what all workers have spent.
        failed: Called with the exception when nothing can be saved any more; `unsaved` has what was finished.
    """

    journal: Journal
    limiter: trio.CapacityLimiter
    deliver: Callable[[Sequence[Finished], float], None]
    failed: Callable[[Exception], None]
    unsaved: list[Finished] = attrs.field(factory=list[Finished], init=False)
    _added: int = attrs.field(default=0, init=False)
    _saved: int = attrs.field(default=0, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _broken: bool = attrs.field(default=False, init=False)
    _lot: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _flushed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def add(self, finished: Finished) -> None:
        """Save an item."""
        self.unsaved.append(finished)
        self._added += 1
        self._lot.unpark_all()

    async def flushed(self) -> bool:
        """Wait until what was added before is in the journal; False if it cannot be saved."""
        await trio.lowlevel.checkpoint()
        wanted = self._added
        while self._saved < wanted and not self._broken:
            await self._flushed.park()
        return self._saved >= wanted

    def close(self) -> None:
        """Save what is left, and end."""
        self._closing = True
        self._lot.unpark_all()

    async def run(self) -> None:
        """Save until `close`."""
        # Shielded: what has ended is saved also when the block is left. The journal bounds its own waits.
        with trio.CancelScope(shield=True):
            while not self._broken:
                while not self.unsaved:
                    if self._closing:
                        return
                    await self._lot.park()
                batch, self.unsaved = self.unsaved, []
                try:
                    spent = await in_turn(self.limiter, functools.partial(self._save, batch))
                except Exception as error:
                    self.unsaved = [*batch, *self.unsaved]
                    self._broken = True
                    self.failed(error)
                else:
                    self._saved += len(batch)
                    self.deliver(batch, spent)
                self._flushed.unpark_all()

    def _save(self, batch: Sequence[Finished]) -> float:
        rows = [row_of(finished) for finished in batch]
        return self.journal.save(rows, sum(finished.cost or 0.0 for finished in batch))
