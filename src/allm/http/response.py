"""What is sent and what comes back, as the rest of the library sees it: bodies, responses, and whoever opens one."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Protocol, final

import attrs
import trio

from allm.data.errors import AdapterError

__all__ = ["Body", "BodyReader", "HttpResponse", "OpenResponse", "transport_override", "whole"]


@attrs.define(eq=False)
class HttpResponse:
    """A response whose body is still to be read.

    Attributes:
        status: HTTP status.
        headers: Lower-case names.
    """

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The body as it arrives, one item per read.

        Raises:
            AdapterError: `stream_truncated` when the connection ends before the body does, `network_error`.
        """
        raise NotImplementedError

    async def read(self, limit: int, *, cut: bool = False) -> bytes:
        """The body, decoded; cut at `limit` bytes.

        Args:
            limit: In bytes.
            cut: What came of a body that breaks off will do.

        Raises:
            AdapterError: As `chunks`, unless `cut`.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async with self.chunks() as chunks:
                async for chunk in chunks:
                    pieces.append(chunk)
                    size += len(chunk)
                    if size >= limit:
                        break
        except AdapterError:
            if not cut:
                raise
        return b"".join(pieces)[:limit]


class OpenResponse(Protocol):
    """Sends a request, and gives its response for the length of a block; it is closed on every way out."""

    def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | Body, client: Any = None
    ) -> AbstractAsyncContextManager[HttpResponse]:
        """Raises `AdapterError` (`network_error`, `timeout`, `invalid_request`) when no response came."""
        ...


transport_override: ContextVar[OpenResponse | None] = ContextVar("allm_transport_override", default=None)
"""What is asked in place of the network, in one context: tests record and replay with it."""


CLOSE_SECONDS = 5.0


@final
@attrs.frozen(kw_only=True)
class Body:
    """A body that is too large to be held in memory, such as a file.

    Attributes:
        length: In bytes; sent as Content-Length, and `open` has to give exactly as many.
        open: Gives the chunks from the first one on, each time it is called: a retry sends the body again. They may be
            an iterator or an async iterator; a generator is closed when sending ends early.
    """

    length: int
    open: Callable[[], Iterable[bytes] | AsyncIterable[bytes]] = attrs.field(repr=False)


@final
@attrs.define(eq=False)
class BodyReader:
    """One pass over a body, as an async iterator that is not a generator.

    An async generator whose reader is cancelled is left to the garbage collector, which warns under Trio.
    """

    _body: bytes | Body
    _sync: Iterator[bytes] | None = attrs.field(default=None, init=False)
    _async: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)
    _size: int = attrs.field(default=0, init=False)  # bytes until now

    def __aiter__(self) -> BodyReader:
        self._size = 0
        chunks = (self._body,) if isinstance(self._body, bytes) else self._body.open()
        if isinstance(chunks, AsyncIterable):
            self._async = aiter(chunks)
        else:
            self._sync = iter(chunks)
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._async, None) if self._async is not None else next(self._sync or iter(()), None)
        self._size += len(chunk or b"")
        if isinstance(self._body, Body):
            self._check(self._body.length, ended=chunk is None)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _check(self, length: int, *, ended: bool) -> None:
        # The HTTP library would send no more than was announced, or wait for the rest, and say so in its own way.
        if self._size > length or (ended and self._size < length):
            what = f"the body has {self._size} bytes{'' if ended else ' or more'}, and its length says {length}"
            raise AdapterError(what, reason="invalid_request")

    async def aclose(self) -> None:
        """Close what `open` gave, if it can be closed."""
        source: Any = self._async or self._sync
        self._async = self._sync = None
        if hasattr(source, "aclose"):
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await source.aclose()
        elif hasattr(source, "close"):
            source.close()


async def whole(body: bytes | Body) -> bytes:
    """All of a body, in memory."""
    reader = BodyReader(body)
    try:
        pieces = [piece async for piece in reader]
    finally:
        await reader.aclose()  # noqa: ASYNC102  (shielded, with a deadline)
    return b"".join(pieces)
