"""Reading the inputs of a bulk run as they are needed, and finding those that the journal has.

Theory of operation. The reader takes inputs while fewer than `most` are in memory, from the moment one is read until
the consumer has taken its item; so a slow consumer stops the reading. Whatever has been read then waits for the
look-up, which takes all that waits at once: under load, one query of the journal is for many inputs, and an input that
comes alone is looked up alone. What was found is delivered, and the rest becomes jobs.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError
from allm.data.user_functions import call_user, items_of_user
from allm.http.transport import CLEANUP_SECONDS
from allm.runs.fingerprint import as_value
from allm.runs.jobs import Job

__all__ = ["Intake", "Window"]

AHEAD = 256
"""Most inputs to read at once."""
LONGEST_KEY = 500
"""Characters of a key; an index of PostgreSQL holds no more than 2,700 bytes."""


@define(eq=False)
class Window:
    """Counts the inputs in memory.

    Attributes:
        most: How many there may be.
        chunk: Reading waits for room for as many, so that a consumer who takes one at a time causes no query for each.
    """

    most: int
    chunk: int
    inside: int = 0
    _lot: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    async def room(self) -> int:
        """Wait for room, and return for how many there is, a chunk at most."""
        await trio.lowlevel.checkpoint()
        while self.inside > self.most - self.chunk:
            await self._lot.park()
        return min(self.chunk, self.most - self.inside)

    def leave(self, count: int = 1) -> None:
        """Inputs are not in memory any more."""
        self.inside -= count
        if self.inside <= self.most - self.chunk:
            self._lot.unpark_all()


@define(eq=False)
class Intake:
    """Reads the inputs.

    Attributes:
        requests: The inputs.
        key: Makes the name of an input from its index and the input; None: its index as text.
        first: The index of the first one.
        window: Bounds how many are in memory.
        look_up: Takes what was read; called with some jobs at a time, in order.
        count: How many were read.
    """

    requests: Iterable[Any] | AsyncIterable[Any]
    key: Callable[[int, Any], Any] | None
    first: int
    window: Window
    look_up: Callable[[list[Job]], Any]
    count: int = attrs.field(default=0, init=False)
    has_ended: bool = attrs.field(default=False, init=False)
    _read: list[tuple[int, Any]] = attrs.field(factory=list[tuple[int, Any]], init=False)
    _reading_ended: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _more: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    def stop(self) -> None:
        """Read no more, and drop what was not looked up."""
        self._scope.cancel()
        self._read.clear()
        self._reading_ended = True
        self._more.unpark_all()

    async def read(self) -> None:
        """Read all inputs.

        Raises:
            Exception: Raised by the iterable.
        """
        try:
            with self._scope:
                if isinstance(self.requests, AsyncIterable):
                    await self._read_async(items_of_user(self.requests))
                else:
                    await self._read_sync(iter(self.requests))
                self.has_ended = True
        finally:
            self._reading_ended = True
            self._more.unpark_all()

    async def _read_sync(self, inputs: Iterator[Any]) -> None:
        while True:
            room = await self.window.room()
            read = 0
            try:
                for value in itertools.islice(inputs, room):
                    self._add(value)
                    read += 1
            finally:
                self._more.unpark_all()
            if read < room:
                return

    async def _read_async(self, inputs: AsyncIterator[Any]) -> None:
        try:
            while True:
                for _ in range(await self.window.room()):
                    try:
                        value = await anext(inputs)
                    except StopAsyncIteration:
                        return
                    self._add(value)
                    self._more.unpark_all()
        finally:
            if (close := getattr(inputs, "aclose", None)) is not None:
                with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await close()

    def _add(self, value: Any) -> None:
        self._read.append((self.first + self.count, as_value(value)))
        self.count += 1
        self.window.inside += 1

    async def pass_on(self) -> None:
        """Look up what was read, until the end."""
        while True:
            while not self._read:
                if self._reading_ended:
                    return
                await self._more.park()
            read, self._read = self._read[:AHEAD], self._read[AHEAD:]
            await self.look_up([await self._job(index, request) for index, request in read])

    async def _job(self, index: int, request: Any) -> Job:
        if self.key is None:
            return Job(index, str(index), request, "")
        key = await call_user(self.key, index, request)
        if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or "\0" in key or not _is_utf8(key):
            raise BulkError(
                f"the key of input {index} is {key!r:.80}; expected a text of 1 to {LONGEST_KEY} characters, without "
                "NUL and lone surrogates",
                reason="invalid_key",
            )
        return Job(index, key, request, "")


def _is_utf8(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
