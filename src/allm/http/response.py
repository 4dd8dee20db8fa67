"""An HTTP response as the rest of the library reads it, and the function that opens one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Protocol

import attrs

from allm.data.errors import AdapterError
from allm.http.body import Body

__all__ = ["HttpResponse", "OpenResponse", "transport_override"]


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
