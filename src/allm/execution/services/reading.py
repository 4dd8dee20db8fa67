"""`Reading`: an answer that is read while it arrives, in the consumer's own task; there is no background task.

When you stop reading, the provider stops sending.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from textwrap import indent
from typing import Any, Generic, TypeVar

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, StreamError
from allm.execution.services.unary import UnaryCall, typed

__all__ = ["Reading"]

ItemT = TypeVar("ItemT")


@define(eq=False)
class Reading(Generic[ItemT]):
    """The items of one answer, one reader, once.

    Attributes:
        noun: What is read, for messages.
        example: Lines of code that show correct use, for the error messages.
        timed: Whether a wait for the next item is a wait for the provider, which `first_event_timeout` bounds.
        complete: Whether the end was read.
    """

    _call: UnaryCall[Any, Any]
    _place: ExitStack  # releases the place at the engine's limiter
    noun: str
    example: str
    timed: bool = True
    complete: bool = attrs.field(default=False, init=False)
    _items: AsyncIterator[ItemT] | None = attrs.field(default=None, init=False)
    _first: ItemT | None = attrs.field(default=None, init=False)
    _interrupted: bool = attrs.field(default=False, init=False)
    _reading: bool = attrs.field(default=False, init=False)

    def begin(self, items: AsyncIterator[ItemT], first: ItemT | None = None) -> None:
        """The answer is there; `first` was read already."""
        self._items, self._first = items, first

    def end(self) -> None:
        """The block is left."""
        self._items = None

    async def next(self) -> ItemT:
        """The next item.

        Raises:
            AdapterError: The provider failed, or a limit passed.
            StopAsyncIteration: There is no more.
            StreamError: Used outside its block, by two tasks at once, or after an item that was not read to its end.
        """
        items = self._readable()
        self._reading = True
        try:
            # Reading an item that the HTTP library has buffered would not checkpoint.
            await trio.lowlevel.checkpoint()
            item, self._first = self._first, None
            if item is None and not self.complete:
                item = await self._next(items)
        finally:
            self._reading = False
        if item is None:
            self.complete = True
            self._place.close()
            raise StopAsyncIteration
        return item

    def _readable(self) -> AsyncIterator[ItemT]:
        if self._items is None:
            raise StreamError(
                f"the block of this {self.noun} has been left, so there is no more of it; read inside it:\n"
                f"{indent(self.example, '    ')}\nresult() still has what arrived",
                reason="closed",
            )
        if self._reading:
            raise StreamError(
                f"the {self.noun} is being read by another task; a stream has one reader: pass what it reads on in a "
                "channel",
                reason="concurrent_iteration",
            )
        if self._interrupted:
            raise StreamError(
                f"reading was cut short by a failure or a cancellation, so the rest of the {self.noun} is lost; "
                "result() has what came before",
                reason="closed",
            )
        return self._items

    async def _next(self, items: AsyncIterator[ItemT]) -> ItemT | None:
        self._interrupted = True  # a cancelled read has lost its place in the body
        if not self.timed:
            item = await anext(items, None)
            self._interrupted = False
            return item
        limit = self._call.execution_options.first_event_timeout
        try:
            with self._call.within_limit(), trio.move_on_after(float("inf") if limit is None else limit):
                item = await anext(items, None)
                self._interrupted = False
                return item
        except AdapterError as error:
            raise typed(error, self._call.error_type) from error.__cause__
        raise self._call.error_type(
            f"no more {self.noun} for {limit} s (first_event_timeout)",
            reason="timeout",
            provider=self._call.adapter.provider,
        )
