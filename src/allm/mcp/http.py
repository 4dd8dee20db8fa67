"""The transport of a server over HTTP ("streamable HTTP"): messages in the bodies of requests and of their answers.

It is sent over the library's own connections, as every other request: with its proxies and certificates, and so that
nothing is left of a request that is cancelled. What goes wrong with a request is the answer to that request, in words
that say what it was; the SDK's own transport ends all calls then, and has no limit for an answer in JSON.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http and the version 2026-07-28 of
the same page:

- Each message is a POST. Its answer is one message in JSON, or a stream of events, of which one is the answer.
- Up to 2025-11-25 there may be a session, named by the header `Mcp-Session-Id`. 404 to a request with it means that the
  session is over, and that the client has to begin another. A GET opens a stream for what the server says by itself. A
  stream that ends early is taken up again by a GET with `Last-Event-ID`. DELETE ends the session.
- From 2026-07-28 on there is no session, and a request is cancelled by closing its stream.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError
from allm.execution.nurseries import nursery_boundary, start_task
from allm.http.response import HttpResponse
from allm.mcp.endpoint import SESSION, UNAUTHORIZED, VERSION, Endpoint
from allm.mcp.events import EventReader
from allm.mcp.sdk import Sdk
from allm.mcp.servers import HttpServer
from allm.mcp.stdio import MAX_MESSAGE_BYTES

__all__ = ["SESSION_LOST", "http_transport"]

logger: logging.Logger = logging.getLogger("allm.mcp")

SESSION_LOST = "session lost"
"""Marks the error of a request that the server has not taken, as it does not know the session."""

_NOTICE_TIMEOUT = 30.0
"""Seconds that a server may take to accept a message that has no answer."""

_DELETE_TIMEOUT = 2.0
"""Seconds that a server may take to end a session."""

_ATTEMPTS = 2
"""Attempts to take up a stream again that bring no event, one after the other; as in the SDK."""

_LEAST_PAUSE, _LEAST_SILENCE = 0.05, 1.0
"""Seconds before the stream of an answer, and that of what a server says by itself, is opened again, at the least: a
server may wish for none, and close each at once."""

_EXCERPT = 2000
"""Bytes of the body of a refused request that are read for its error."""

_OK, _REDIRECT, _NOT_FOUND = 200, 300, 404


@asynccontextmanager
async def http_transport(server: HttpServer, sdk: Sdk) -> AsyncGenerator[tuple[Any, Any]]:
    """Talk to the server while the block runs; gives the streams that the SDK reads and writes."""
    to_sdk, from_server = sdk.anyio.create_memory_object_stream(0)
    to_server, from_sdk = sdk.anyio.create_memory_object_stream(math.inf)  # as in `stdio_transport`
    session = _Session(server, sdk, to_sdk, Endpoint(server))
    try:
        async with nursery_boundary() as session.nursery:
            start_task(session.nursery, session.run, from_sdk, name="allm mcp http")
            try:
                yield from_server, to_server
            finally:
                session.nursery.cancel_scope.cancel()
    finally:
        for stream in (to_sdk, from_server, to_server, from_sdk):
            stream.close()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _DELETE_TIMEOUT):
            await session.endpoint.end()


@define(eq=False)
class _Post:
    """A request that waits for its answer."""

    is_modern: bool
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)


@define(eq=False)
class _Session:
    """What is known of the server, and the requests on their way."""

    server: HttpServer
    sdk: Sdk
    to_sdk: Any
    endpoint: Endpoint
    nursery: trio.Nursery = attrs.field(init=False)
    _posts: dict[Any, _Post] = attrs.field(factory=dict, init=False)

    async def run(self, from_sdk: Any) -> None:
        """Send what the SDK writes; each request waits for its answer in a task of its own."""
        types = self.sdk.types
        async for item in from_sdk:
            message, headers = item.message, dict(getattr(item.metadata, "headers", None) or {})
            method = getattr(message, "method", None)
            self.endpoint.version = None if method == "initialize" else headers.get(VERSION, self.endpoint.version)
            if isinstance(message, types.JSONRPCRequest):
                post = self._posts[message.id] = _Post(self.endpoint.version in self.sdk.modern_versions)
                start_task(self.nursery, self._request, message, headers, post, name=f"allm mcp {method}")
            elif method == "notifications/cancelled":
                self._cancel(message, headers)
            elif method == "notifications/initialized":
                await self._notice(message, headers)  # before the requests that follow it
                start_task(self.nursery, self._hear, name="allm mcp events")
            else:
                start_task(self.nursery, self._notice, message, headers, name="allm mcp notice")

    def _cancel(self, message: Any, headers: dict[str, str]) -> None:
        post = self._posts.get((message.params or {}).get("requestId"))
        if post is not None and post.is_modern:
            post.scope.cancel()
        elif self.endpoint.version not in self.sdk.modern_versions:
            start_task(self.nursery, self._notice, message, headers, name="allm mcp cancel")

    async def _notice(self, message: Any, headers: dict[str, str]) -> None:
        """Send a message that has no answer."""
        with trio.move_on_after(_NOTICE_TIMEOUT):
            try:
                async with self.endpoint.open("POST", headers, _body(message)) as response:
                    if response.status >= _REDIRECT:
                        logger.debug("MCP server %r answered %s to a notice", self.server.name, response.status)
            except AdapterError as error:
                logger.debug("MCP server %r had no notice: %s", self.server.name, error.message)

    async def _request(self, message: Any, headers: dict[str, str], post: _Post) -> None:
        types = self.sdk.types
        try:
            with post.scope:
                try:
                    await self._answered(message, headers)
                except AdapterError as error:
                    name, what = self.server.name, error.message
                    if error.reason == "authentication_failed":
                        what = f"{name} has no token: {what}"
                    elif error.reason != "network_error":  # whose message begins with what this says
                        what = f"{name} cannot be reached: {what}"
                    await self._fail(message.id, what)
        except (self.sdk.anyio.BrokenResourceError, self.sdk.anyio.ClosedResourceError):
            return  # the connection is being closed
        except Exception as error:  # such as what a function for tokens raised
            logger.debug("MCP server %r: the request failed", self.server.name, exc_info=True)
            with suppress(self.sdk.anyio.BrokenResourceError, self.sdk.anyio.ClosedResourceError):
                await self._fail(message.id, f"{type(error).__name__}: {error}", code=types.INTERNAL_ERROR)
        finally:
            if self._posts.get(message.id) is post:
                del self._posts[message.id]

    async def _answered(self, message: Any, headers: dict[str, str]) -> None:
        """Send a request, and pass its answer on."""
        async with self.endpoint.open("POST", headers, _body(message)) as response:
            kind = response.headers.get("content-type", "").lower()
            if response.status >= _REDIRECT:
                await self._refused(message.id, response)
                return
            if message.method == "initialize":
                self.endpoint.session = response.headers.get(SESSION)
            if kind.startswith("text/event-stream"):
                reader = EventReader(MAX_MESSAGE_BYTES)
                if await self._read(response, reader, message.id):
                    return
            elif kind.startswith("application/json"):
                body = await response.read(MAX_MESSAGE_BYTES + 1)
                too_long = len(body) > MAX_MESSAGE_BYTES
                await self._pass_on(b"" if too_long else body, f"more than {MAX_MESSAGE_BYTES:,}", message.id)
                return
            else:
                what = f"it answered HTTP {response.status} with {kind or 'no content type'}; expected JSON or events"
                await self._fail(message.id, what)
                return
        await self._resume(reader, message.id)

    async def _resume(self, reader: EventReader, request: Any) -> None:
        """Take up a stream again that ended before the answer came."""
        failed = 0
        while reader.last_id is not None and failed < _ATTEMPTS:
            await trio.sleep(max(reader.retry, _LEAST_PAUSE))
            reader.restart()
            seen = reader.last_id
            try:
                async with self.endpoint.open("GET", {"last-event-id": seen}) as response:
                    if response.status == _OK and await self._read(response, reader, request):
                        return
            except AdapterError:
                logger.debug("MCP server %r: a stream cannot be taken up", self.server.name, exc_info=True)
            failed = 0 if reader.last_id != seen else failed + 1
        await self._fail(request, "the connection was lost before the answer came")

    async def _hear(self) -> None:
        """Read what the server says by itself, in a session."""
        reader, failed = EventReader(MAX_MESSAGE_BYTES), 0
        while self.endpoint.session is not None and failed < _ATTEMPTS:
            failed += 1
            with suppress(AdapterError):
                resumed = {} if reader.last_id is None else {"last-event-id": reader.last_id}
                async with self.endpoint.open("GET", resumed) as response:
                    if response.status != _OK:
                        return  # 405: it says nothing by itself
                    failed = 0
                    await self._read(response, reader, None)
            await trio.sleep(max(reader.retry, _LEAST_SILENCE))
            reader.restart()

    async def _read(self, response: HttpResponse, reader: EventReader, request: Any) -> bool:
        """Pass on the messages in a stream of events; whether the answer to the request was among them."""
        with suppress(AdapterError):  # the stream is taken up again
            async with response.chunks() as chunks:
                async for chunk in chunks:
                    for event in reader.feed(chunk):
                        if event.size and await self._pass_on(event.data, f"{event.size:,}", request):
                            return True
        return False

    async def _pass_on(self, data: bytes, size: str, request: Any) -> bool:
        """Pass a message on; whether it is the answer to the request."""
        types = self.sdk.types
        if not data:
            if request is not None:
                what = f"it sent {size} bytes in one message, and {MAX_MESSAGE_BYTES:,} are taken; ask for less"
                await self._fail(request, what)
            return request is not None
        try:
            message = types.jsonrpc_message_adapter.validate_json(data, by_name=False)
        except ValueError as error:
            if request is not None:
                await self._fail(request, f"its answer is not a message of the protocol: {str(error).splitlines()[0]}")
            return request is not None
        if isinstance(message, types.JSONRPCError):  # which the model and the log get
            message.error.message = self.endpoint.redacted(message.error.message)
        is_answer = isinstance(message, (types.JSONRPCResponse, types.JSONRPCError)) and request is not None
        if is_answer:
            message.id = request
        await self.to_sdk.send(self.sdk.message.SessionMessage(message))
        return is_answer

    async def _refused(self, request: Any, response: HttpResponse) -> None:
        lost = response.status == _NOT_FOUND and self.endpoint.session is not None
        body = await response.read(_EXCERPT, cut=True)
        error = _own_error(body)
        if error is not None and not lost:
            what = self.endpoint.redacted(str(error["message"]))
            await self._fail(request, what, code=error["code"], data=error.get("data"))
            return
        text = body.decode("utf-8", "replace").strip()
        what = f"HTTP {response.status}{f': {self.endpoint.redacted(text)}' if text else ''}"
        if response.status == UNAUTHORIZED:
            what += " (check auth= and headers= of the HttpServer)"
        elif "location" in response.headers:
            what += f" (it redirects to {_without_query(response.headers['location'])}, which is not followed)"
        await self._fail(request, what, data={"allm": SESSION_LOST} if lost else None)

    async def _fail(self, request: Any, what: str, *, code: int | None = None, data: Any = None) -> None:
        types = self.sdk.types
        error = types.ErrorData(code=types.INTERNAL_ERROR if code is None else code, message=what, data=data)
        answer = types.JSONRPCError(jsonrpc="2.0", id=request, error=error)
        await self.to_sdk.send(self.sdk.message.SessionMessage(answer))


def _body(message: Any) -> bytes:
    body: str = message.model_dump_json(by_alias=True, exclude_unset=True)
    return body.encode()


def _own_error(body: bytes) -> dict[str, Any] | None:
    """The error of the protocol that a refused request was answered with."""
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) and isinstance(error.get("code"), int) and "message" in error else None


def _without_query(url: str) -> str:
    return url.partition("?")[0]
