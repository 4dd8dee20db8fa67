"""`Endpoint`: the address of a server over HTTP, and every request to it, with its token and its session."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urljoin, urlsplit

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError
from allm.http.headers import HeaderValue, secrets_in
from allm.http.keys import KeySource, Secret
from allm.http.response import HttpResponse
from allm.http.transport import open_response
from allm.mcp.servers import HttpServer

__all__ = ["SESSION", "UNAUTHORIZED", "VERSION", "Endpoint"]

UNAUTHORIZED = 401
SESSION, VERSION = "mcp-session-id", "mcp-protocol-version"

_MOVED = frozenset({307, 308})
"""Redirects that keep the method and the body."""

_REDIRECTS = 5


@define(eq=False)
class Endpoint:
    """Where requests go, and what each of them has.

    Attributes:
        session: The session's id; None where there is none.
        version: The version of the protocol, for requests that do not say it themselves.
    """

    server: HttpServer
    session: str | None = attrs.field(default=None, init=False)
    version: str | None = attrs.field(default=None, init=False)
    _url: str = attrs.field(init=False)
    _token: KeySource | Secret | None = attrs.field(init=False)
    _sent: list[Secret] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._url, auth = str.__str__(self.server.url), self.server.auth
        self._token = auth if isinstance(auth, Secret) else KeySource(auth) if callable(auth) else None
        self._sent = secrets_in(self.server.headers)

    def redacted(self, text: str) -> str:
        """A text of the server, without the secrets that it was sent."""
        for secret in self._sent:
            text = secret.redact(text)
        return text

    @asynccontextmanager
    async def open(self, method: str, own: dict[str, str], content: bytes = b"") -> AsyncGenerator[HttpResponse]:
        """The answer to a request: with another token if one was refused, from where the server has moved to."""
        rejected: Secret | None = None
        for _ in range(_REDIRECTS + 1):
            key = await self._key(rejected)
            async with open_response(
                method,
                self._url,
                headers=self._headers(method, own, key),
                content=content,
                client=self.server.http_client,
            ) as response:
                if response.status == UNAUTHORIZED and rejected is None and isinstance(self._token, KeySource):
                    rejected = key
                    continue
                if response.status in _MOVED and self._moved(response.headers.get("location", "")):
                    continue
                yield response
                return
        raise AdapterError(f"it redirects more than {_REDIRECTS} times", reason="network_error")

    async def _key(self, rejected: Secret | None) -> Secret | None:
        key = await self._token.key(rejected) if isinstance(self._token, KeySource) else self._token
        if key is not None and key not in self._sent:
            self._sent.append(key)
        return key

    def _headers(self, method: str, own: dict[str, str], key: Secret | None) -> dict[str, HeaderValue]:
        headers: dict[str, HeaderValue] = {"accept": "text/event-stream"}
        if method == "POST":
            headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        headers |= self.server.headers
        if key is not None:
            headers["authorization"] = Secret(f"Bearer {key.reveal()}")
        if self.session is not None:
            headers[SESSION] = self.session
        if self.version is not None:
            headers[VERSION] = self.version
        return headers | {name.lower(): value for name, value in own.items()}

    def _moved(self, location: str) -> bool:
        """Whether a redirect stays with the server, as where only a slash is missing. A token goes nowhere else."""
        target = urljoin(self._url, location)
        if urlsplit(target)[:2] != urlsplit(self._url)[:2] or target == self._url:
            return False
        self._url = target
        return True

    async def end(self) -> None:
        """End the session on the server, if there is one."""
        if self.session is not None:
            with suppress(AdapterError):
                async with self.open("DELETE", {}):
                    pass
