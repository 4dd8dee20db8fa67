"""The transport of a server over HTTP: the SDK's, with a client that bounds answers and tells what went wrong.

The SDK shows the status of a refused request as "Server returned an error response", ends all calls when one cannot be
sent, and reads an answer in JSON whatever its size. The client here turns each of these into an answer to the one
request that it is about, as the protocol has it for a server that answers an error with a status.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management: 404 to a request with the
header `Mcp-Session-Id` means that the session is over, and the client has to begin another.
"""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from allm.data.errors import AllmError
from allm.http.keys import KeySource, Secret
from allm.http.library import load, tls
from allm.mcp.sdk import Sdk, sdk
from allm.mcp.servers import HttpServer
from allm.mcp.stdio import MAX_MESSAGE_BYTES

__all__ = ["SESSION_LOST", "http_transport"]

SESSION_LOST = "session lost"
"""Marks an error of a request that the server has not taken, as there is no such session."""

_SILENCE = 300.0
"""Seconds without a byte after which an answer is no longer waited for, as in the SDK."""

_OTHER = 30.0
"""Seconds for connecting and for each write, as in the SDK."""

_EXCERPT = 2000
"""Bytes of the body of a refused request that are read for its error."""


@asynccontextmanager
async def http_transport(server: HttpServer, sdk: Sdk) -> AsyncGenerator[tuple[Any, Any]]:
    """The streams that the SDK reads and writes."""
    http = sdk.httpx
    secure = server.url.lower().startswith("https:")
    await load(secure=secure)
    client = _client_class()(
        headers={name: value.reveal() if isinstance(value, Secret) else value for name, value in server.headers.items()},
        auth=_auth(server.auth),
        timeout=http.Timeout(_OTHER, read=_SILENCE, pool=None),
        limits=http.Limits(max_connections=None, max_keepalive_connections=8),
        verify=tls(secure=secure),
    )
    async with client:
        streams = sdk.http.streamable_http_client(
            str.__str__(server.url), http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
        )
        async with streams as (read, write):
            yield read, write


def _auth(given: Any) -> Any:
    if isinstance(given, str):
        return _bearer_class()(Secret(given))
    if isinstance(given, Secret) or given is None or isinstance(given, sdk().httpx.Auth):
        return given
    return _bearer_class()(KeySource(given))


@functools.cache
def _bearer_class() -> Any:
    http: Any = sdk().httpx

    class Bearer(http.Auth):  # type: ignore[misc]
        """Sends a token, and asks for another one when it is refused."""

        def __init__(self, source: Secret | KeySource) -> None:
            self._source = source

        async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
            key = await self._key()
            request.headers["authorization"] = f"Bearer {key.reveal()}"
            response = yield request
            if response.status_code == http.codes.UNAUTHORIZED and isinstance(self._source, KeySource):
                key = await self._source.key(rejected=key)
                request.headers["authorization"] = f"Bearer {key.reveal()}"
                yield request

        async def _key(self) -> Secret:
            return self._source if isinstance(self._source, Secret) else await self._source.key()

    return Bearer


@functools.cache
def _client_class() -> Any:
    http: Any = sdk().httpx

    class Client(http.AsyncClient):  # type: ignore[misc]
        """The client of one connection."""

        async def send(self, request: Any, **options: Any) -> Any:
            """Send a request; where it is a message of the protocol, what fails is an answer that says so."""
            if request.method != "POST":
                return await super().send(request, **options)
            try:
                response = await super().send(request, **options)
            except (http.TransportError, AllmError) as error:
                what = f"{request.url.host} cannot be reached: {error or type(error).__name__}"
                # A server that never had the request may be asked again.
                lost = isinstance(error, (http.ConnectError, http.ConnectTimeout))
                return _error_response(request, what, lost=lost and "mcp-session-id" in request.headers)
            if response.status_code >= http.codes.BAD_REQUEST:
                return await _explained(request, response)
            response.stream = _Bounded(response.stream, is_json=_is_json(response))
            return response

    class _Bounded(http.AsyncByteStream):  # type: ignore[misc]
        """A body that is read up to the limit; what goes wrong ends its own request only."""

        def __init__(self, stream: Any, *, is_json: bool) -> None:
            self._stream = stream
            self._left: float = MAX_MESSAGE_BYTES if is_json else float("inf")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._stream:
                    self._left -= len(chunk)
                    if self._left < 0:
                        raise http.StreamError(f"it has more than {MAX_MESSAGE_BYTES:,} bytes; ask for less")
                    yield chunk
            except http.TransportError as error:
                raise http.StreamError(f"the connection was lost: {error or type(error).__name__}") from error

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Client


def _is_json(response: Any) -> bool:
    return str(response.headers.get("content-type", "")).lower().startswith("application/json")


async def _explained(request: Any, response: Any) -> Any:
    """The answer to a request that was refused: the server's own error, or one that has the status and the body."""
    body = bytearray()
    try:
        with trio.move_on_after(_OTHER):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _EXCERPT:
                    break
    except sdk().httpx.TransportError:
        pass
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await response.aclose()
    lost = response.status_code == sdk().httpx.codes.NOT_FOUND and "mcp-session-id" in request.headers
    error = _own_error(bytes(body))
    if error is not None and not lost:
        return _response(request, response.status_code, error)
    text = bytes(body[:_EXCERPT]).decode("utf-8", "replace").strip()
    what = f"HTTP {response.status_code} {response.reason_phrase}".strip() + (f": {text}" if text else "")
    if response.status_code == sdk().httpx.codes.UNAUTHORIZED:
        what += " (check auth= and headers= of the HttpServer)"
    return _error_response(request, what, lost=lost, status=response.status_code)


def _own_error(body: bytes) -> dict[str, Any] | None:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) and {"code", "message"} <= error.keys() else None


def _error_response(request: Any, what: str, *, lost: bool, status: int = 503) -> Any:
    types = sdk().types
    error: dict[str, Any] = {"code": types.INTERNAL_ERROR, "message": what}
    if lost:
        error["data"] = {"allm": SESSION_LOST}
    return _response(request, status, error)


def _response(request: Any, status: int, error: dict[str, Any]) -> Any:
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return sdk().httpx.Response(status, json=body, request=request)
