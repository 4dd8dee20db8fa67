"""`EventResponse`: an event stream as the response of any ASGI server, on Trio or on asyncio.

The task of the request opens the block and reads it, so the socket's back-pressure is that of the stream: nothing is
read while a client does not. Beside it, one task waits for the client to go away, which cancels the first, and one
writes comments while the stream is silent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import Any, TypeAlias

import trio

from allm.data.errors import StreamError
from allm.web.frames import Format, header
from allm.web.line import Line, Receive, Scope, Send
from allm.web.pieces import Pieces

__all__ = ["EventResponse", "Source"]

Source: TypeAlias = AbstractAsyncContextManager[Any] | Iterable[Any] | AsyncIterator[Any]
"""A block as `allm.stream` returns, also of `allm.aio` and `allm.blocking`; the stream that it gives; any iterable."""


class EventResponse:
    """An event stream as a response: return it from an endpoint, or `await response(scope, receive, send)`.

    A server that is no ASGI server writes the bytes: `async with response as pieces: async for data in pieces: ...`, or
    `for data in response` with a stream of `allm.blocking`. Each response is used once.

    Attributes:
        status_code: The HTTP status, 200.
        media_type: The content type, such as `text/event-stream`.
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
