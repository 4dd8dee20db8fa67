"""`EventResponse`: an event stream as the response of any ASGI server, on Trio or on asyncio.

The task of the request opens the block and reads it, so the socket's back-pressure is that of the stream: nothing is
read while a client does not. Beside it, one task waits for the client to go away, which cancels the first, and one
writes comments while the stream is silent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Any, TypeAlias, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import StreamError
from allm.web.frames import KEEP_ALIVE, Format, Frames, header

__all__ = ["EventResponse", "Receive", "Scope", "Send", "Source"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Source: TypeAlias = AbstractAsyncContextManager[Any] | Iterable[Any] | AsyncIterator[Any]
"""A block as `allm.stream` returns, also of `allm.aio` and `allm.blocking`; the stream that it gives; any iterable."""

MOST_BYTES = 1 << 16
"""Bytes that are collected from events that are there before they are written; a single event may have more."""


class EventResponse:
    """An event stream as a response: return it from an endpoint, or `await response(scope, receive, send)`.

    A server that is no ASGI server writes the bytes: `async with response as pieces: async for data in pieces: ...`, or
    `for data in response` with a stream of `allm.blocking`. Each response is used once.

    Attributes:
        status_code: 200.
        media_type: The content type.
    """

    status_code: int = 200

    def __init__(
        self,
        events: Source,
        new_format: Callable[[], Format],
        *,
        keep_alive: float | None = 15,
        headers: Mapping[str, str] | None = None,
        last_event_id: str | None = None,
    ) -> None:
        """Wrap an event stream; nothing runs yet.

        Args:
            events: Its block, such as `host.attach(id)`, or anything to iterate over that gives events, or
                `(number, event)` pairs.
            new_format: Makes the format.
            keep_alive: Seconds of silence after which a comment is written; None for never.
            headers: Further headers; they win over the usual ones.
            last_event_id: What the client has seen; None takes the header of the request.
        """
        if keep_alive is not None and not keep_alive > 0:
            raise ValueError(f"keep_alive is {keep_alive!r}; expected seconds above 0, or None for never")
        kinds = ("__aenter__", "__aiter__", "__iter__")
        if isinstance(events, (str, bytes, Mapping)) or not any(hasattr(events, kind) for kind in kinds):
            raise TypeError(f"events is {type(events).__name__}; expected a block, such as allm.stream(...), or events")
        self._events: Any = events
        self._format = new_format()
        self._keep_alive = keep_alive if self._format.is_sse else None
        self._seen = last_event_id
        self._pieces: Pieces | None = None
        self._used = False
        self.media_type: str = self._format.media_type
        usual = {"content-type": self.media_type, "cache-control": "no-cache", "x-accel-buffering": "no"}
        given = {name.lower(): value for name, value in (headers or {}).items()}
        self._all_headers: dict[str, str] = {**usual, **self._format.headers, **given}

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""
        return self._all_headers

    def _raw_headers(self) -> list[tuple[bytes, bytes]]:
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._all_headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the response, as an ASGI application. It ends early if the client goes away.

        Raises:
            Exception: Raised by the stream; the client has been told before.
        """
        seen = header(scope.get("headers", ()), "last-event-id") if self._seen is None else self._seen
        line = Line(self._open(seen), send, self.status_code, self._raw_headers())

        async def until_gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        if trio.lowlevel.in_trio_task():
            from allm.web.on_trio import serve
        else:
            from allm.web.on_asyncio import serve
        await serve(line, until_gone, self._keep_alive)

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._pieces = self._open(self._seen or "")
        return await self._pieces.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._pieces is not None  # noqa: S101  (it was entered)
        return await self._pieces.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (the block shields itself)

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._open(self._seen or "")
        with self._events if hasattr(self._events, "__enter__") else nullcontext(self._events) as events:
            yield from pieces.of(events)

    def _open(self, seen: str) -> Pieces:
        if self._used:
            what = "this response was written before; make another one with a new block for each request"
            raise StreamError(what, reason="closed")
        self._used = True
        return Pieces(self._events, self._format, seen)


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


class ClientGone(Exception):
    """The client has closed the connection."""


@final
@define(eq=False)
class Line:
    """What is written to one client."""

    pieces: Pieces
    _send: Send
    _status: int
    _headers: list[tuple[bytes, bytes]]
    _written_at: float = attrs.field(default=0.0, init=False)
    _is_open: bool = attrs.field(default=False, init=False)

    async def write_all(self, lock: Any, now: Callable[[], float]) -> None:
        """Write the whole response.

        Args:
            lock: One of the event loop.
            now: Its clock, in seconds.
        """
        failure: Exception | None = None
        async with self.pieces as pieces:
            async with lock:
                start = {"type": "http.response.start", "status": self._status, "headers": self._headers}
                await self._to_client(start)
                self._written_at, self._is_open = now(), True
            try:
                async for data in pieces:
                    async with lock:
                        await self._to_client({"type": "http.response.body", "body": data, "more_body": True})
                        self._written_at = now()
            except Exception as error:
                if not pieces.is_told:
                    raise
                failure = error
            finally:
                self._is_open = False
        await self._end()
        if failure is not None:  # the client has been told; the server logs it
            raise failure

    async def keep_alive(self, lock: Any, now: Callable[[], float], every: float) -> float:
        """Write a comment if nothing was written for `every` seconds; returns when to call it again, in seconds."""
        if not self._is_open or lock.locked():  # a client that does not read needs no comments
            return every
        if (left := self._written_at + every - now()) > 0:
            return left
        async with lock:
            if self._is_open:
                await self._to_client({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
                self._written_at = now()
        return every

    async def _end(self) -> None:
        await self._to_client({"type": "http.response.body", "body": b"", "more_body": False})

    async def _to_client(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError as error:  # ASGI 2.4: the client is gone
            raise ClientGone from error
