"""What a client of the caller's own looks like to a type checker."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["HttpClient"]


class HttpClient(Protocol):
    """An `httpx.AsyncClient` or `httpx2.AsyncClient`.

    A protocol, since only one of the two libraries needs to be installed. At run time it has to be one of the two:
    `check_client` looks.
    """

    @property
    def is_closed(self) -> bool:
        """Whether it can no longer be used."""
        ...

    def build_request(self, method: str, url: Any, /) -> Any:
        """A request with the client's own headers, cookies and base URL."""
        ...

    async def send(self, request: Any, /, *, stream: bool = False, follow_redirects: bool = False) -> Any:
        """Send it, and give the response."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
