"""The type of a user's own HTTP client."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["HttpClient"]


class HttpClient(Protocol):
    """An `httpx.AsyncClient` or `httpx2.AsyncClient`.

    A protocol, because only one of the two libraries needs to be installed. At run time `check_client` accepts only
    these two classes.
    """

    @property
    def is_closed(self) -> bool:
        """Whether the client has been closed."""
        ...

    def build_request(self, method: str, url: Any, /) -> Any:
        """Build a request with the client's own headers, cookies and base URL."""
        ...

    async def send(self, request: Any, /, *, stream: bool = False, follow_redirects: bool = False) -> Any:
        """Send a request and return its response."""
        ...

    async def aclose(self) -> None:
        """Close the client's connections."""
