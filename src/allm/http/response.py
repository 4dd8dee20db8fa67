"""Request bodies and responses, independent of the HTTP library, and the protocol of whatever sends a request."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Protocol, final

import attrs
import trio

from allm.data.errors import AdapterError
from allm.http.headers import HeaderValue

__all__ = [
    "Body",
    "BodyReader",
    "HttpResponse",
    "OpenResponse",
    "transport_override",
    "whole",
]


@attrs.define(eq=False)
class HttpResponse:
    """A response whose body has not been read yet.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)

    def chunks(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the body for reading as it arrives, one item per network read.

        Raises:
            AdapterError: `stream_truncated` when the connection ends before the body does, `network_error`.
        """
        raise NotImplementedError

    async def read(self, limit: int, *, cut: bool = False) -> bytes:
        """Read the body, decompressed, up to `limit` bytes.

        Args:
            limit: In bytes; the rest is not read.
            cut: If the connection breaks, return what had arrived instead of raising.

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
    """Sends a request and opens its response for the length of a block; it is closed on every way out."""

    def __call__(
        self, method: str, url: str, *, headers: Mapping[str, HeaderValue], content: bytes | Body, client: Any = None
    ) -> AbstractAsyncContextManager[HttpResponse]:
        """Raise `AdapterError` (`network_error`, `timeout`, `invalid_request`) if no response arrives."""
        ...


transport_override: ContextVar[OpenResponse | None] = ContextVar("allm_transport_override", default=None)
"""Replaces the network within one context; `allm.testing` records and replays with it."""

CLOSE_SECONDS = 5.0
"""Longest wait, under a shield, for a request body's generator to close."""


@final
@attrs.frozen(kw_only=True)
class Body:
    """A request body that is too large to hold in memory, such as a file.

    Attributes:
        length: In bytes; sent as Content-Length, and `open` has to yield exactly as many.
        open: Returns the chunks from the beginning each time it is called, because a retry sends the body again. They
            are an iterable or an async iterable; a generator is closed when sending ends early.
    """

    length: int
    open: Callable[[], Iterable[bytes] | AsyncIterable[bytes]] = attrs.field(repr=False)


@final
@attrs.define(eq=False)
class BodyReader:
    """One pass over a body, as an async iterator.

    It is a class because an async generator whose reader is cancelled is left to the garbage collector, which warns
    under Trio.
    """

    _body: bytes | Body
    _sync: Iterator[bytes] | None = attrs.field(default=None, init=False)
    _async: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)
    _size: int = attrs.field(default=0, init=False)  # bytes read so far

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
        # Checked here, because the HTTP library would notice late and raise an error of its own.
        if self._size > length or (ended and self._size < length):
            what = f"the body has {self._size} bytes{'' if ended else ' or more'}, but its length is {length}"
            raise AdapterError(what, reason="invalid_request")

    async def aclose(self) -> None:
        """Close the iterator that `open` returned, if it can be closed."""
        source: Any = self._async or self._sync
        self._async = self._sync = None
        if hasattr(source, "aclose"):
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await source.aclose()
        elif hasattr(source, "close"):
            source.close()


async def whole(body: bytes | Body) -> bytes:
    """Read all of a body into memory."""
    reader = BodyReader(body)
    try:
        pieces = [piece async for piece in reader]
    finally:
        await reader.aclose()  # noqa: ASYNC102  (shielded, with a deadline)
    return b"".join(pieces)
