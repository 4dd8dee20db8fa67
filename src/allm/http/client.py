"""A user's own HTTP client: its type, a request by it, and its response."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from types import ModuleType
from typing import Any, Protocol, final

import trio

from allm.data.attrs_classes import define
from allm.http.headers import HeaderValue
from allm.http.keys import Secret
from allm.http.response import Body, BodyReader, Chunks, HttpResponse, sent_body

__all__ = ["HttpClient", "LiveResponse", "request_of"]


class HttpClient(Protocol):
    """An `httpx.AsyncClient` or `httpx2.AsyncClient`.

    A protocol, because only one of the two libraries needs to be installed. At run time an object of any other class
    is refused with an `EngineError`.
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


def request_of(
    client: Any,
    http: ModuleType,
    method: str,
    url: str,
    fields: Mapping[str, HeaderValue],
    content: bytes | Body,
    reader: BodyReader,
) -> Any:
    """A request by a user's client. The content is for its hooks and transports; what is sent is a stream of ours."""
    known = {"content": content} if isinstance(content, bytes) else {}
    plain = {name: value for name, value in fields.items() if isinstance(value, str)}
    request = client.build_request(method, url, headers=plain, **known)
    for name, value in fields.items():
        if isinstance(value, Secret):
            request.headers[name] = value.reveal()
    request.stream = sent_body(http)(reader)
    return request


@final
@define(eq=False)
class LiveResponse(HttpResponse):
    """A response of the library's."""

    _response: Any
    _library: ModuleType

    def chunks(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See `HttpResponse`."""
        body = self._whole()
        if body is not None:
            return nullcontext(_Once(body))
        return Chunks(self._response.aiter_raw(), self.headers, self._library)

    def _whole(self) -> bytes | None:
        """The body, if somebody has read it: a mock was made with it, or a hook looked at it."""
        try:
            body: bytes = self._response.content
        except self._library.ResponseNotRead:
            return None
        return body


@define(eq=False)
class _Once:
    """A body that is there already, as one chunk."""

    _body: bytes

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        body, self._body = self._body, b""
        if not body:
            raise StopAsyncIteration
        return body
