"""`Pieces`: the bytes of a response, read from the stream of its block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, final

import attrs

from allm.data.attrs_classes import define
from allm.web.frames import Format, Frames

__all__ = ["Pieces"]

MOST_BYTES = 1 << 16
"""Bytes that are collected from events that are there before they are written; a single event may have more."""


@final
@define(eq=False)
class Pieces:
    """The bytes of a response, read in the task that has entered it."""

    _source: Any
    _format: Format
    _seen: str
    _frames: Frames = attrs.field(init=False)
    _stream: Any = attrs.field(default=None, init=False)
    _block: AbstractAsyncContextManager[Any] | None = attrs.field(default=None, init=False)
    _events: Any = attrs.field(default=None, init=False)
    _has_more: Callable[[], bool] = attrs.field(default=bool, init=False)
    _has_ended: bool = attrs.field(default=False, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> Pieces:
        if not hasattr(self._source, "__aenter__"):
            if hasattr(self._source, "__enter__"):
                what = "a stream of allm.blocking would stop the whole event loop; give one of allm, or of allm.aio"
                raise TypeError(what)
            self._read(self._source)
            return self
        self._block = self._source
        stream = await self._source.__aenter__()
        try:
            self._read(stream)
        except TypeError as error:
            await self._source.__aexit__(TypeError, error, error.__traceback__)  # noqa: ASYNC120  (the block shields itself)
            raise
        return self

    def _read(self, stream: Any) -> None:
        self._begin(stream)
        # Of a burst, all that is there is written at once.
        self._has_more = getattr(getattr(stream, "_events", stream), "_has_more", bool)
        self._events = aiter(stream) if hasattr(stream, "__aiter__") else _Listed(iter(stream))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if self._block is None:
            return None
        return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (the block shields itself)

    def _begin(self, stream: Any) -> None:
        turn = getattr(stream, "turn", None)
        is_hosted = isinstance(turn, str)  # and tells the number of the event that was read last
        self._stream = stream if is_hosted else None
        self._frames = Frames(self._format, self._seen, turn if is_hosted else None)

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        if self._has_ended:
            if self._failure is not None:
                raise self._failure
            raise StopAsyncIteration
        found: list[bytes] = []
        size = 0
        try:
            while not found or (size < MOST_BYTES and self._has_more()):
                event = await anext(self._events)
                data = self._frames.feed(event if self._stream is None else (self._stream.number, event))
                if data:
                    found.append(data)
                    size += len(data)
        except StopAsyncIteration:
            found.append(self._ended(None))
        except Exception as error:
            found.append(self._ended(error))
        if self._has_ended and not any(found):
            return await self.__anext__()
        return b"".join(found)

    @property
    def is_told(self) -> bool:
        """Whether the client has been told of what the stream has raised, so that its response is whole."""
        return self._has_ended and self._format.is_sse

    def of(self, events: Iterable[Any]) -> Iterator[bytes]:
        """The same, of events that are read without waiting on an event loop."""
        self._begin(None)
        try:
            for event in events:
                if data := self._frames.feed(event):
                    yield data
        except Exception as error:
            yield self._ended(error)
            raise
        if data := self._ended(None):
            yield data
        if self._failure is not None:
            raise self._failure

    def _ended(self, error: Exception | None) -> bytes:
        self._has_ended, self._failure = True, error
        try:
            return self._frames.end(error)
        except Exception as failure:
            self._failure = failure
            return b""


@final
@define(eq=False)
class _Listed:
    """Events that are there already, such as those of an earlier answer."""

    _events: Iterator[Any]

    async def __anext__(self) -> Any:
        for event in self._events:
            return event
        raise StopAsyncIteration
