"""`Line`: what an ASGI server is told of one response, by the task that writes it and the one that keeps it alive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, final

import attrs

from allm.data.attrs_classes import define
from allm.web.frames import KEEP_ALIVE
from allm.web.pieces import Pieces

__all__ = ["ClientGone", "Line", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


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
