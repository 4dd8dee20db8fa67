"""Requests over the HTTP library, and the clients that they share.

Clients are shared by all calls of a Trio run, so that connections are reused without the user managing anything; system
tasks close them when they are not used any more, and when the run ends. A client that the user passes in is never
closed here, and follows no redirect whatever it is set to: the key would go along. What a request that is cancelled
while it connects would leave in the pool is closed by `Connecting`.

No read timeout is set at this level: bytes are not progress (keep-alive comments would reset it). The execution layer
times parsed events.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from math import inf
from types import ModuleType
from typing import Any, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.http.connecting import Connecting, Interrupted
from allm.http.encodings import ACCEPTED, decoded
from allm.http.headers import HeaderValue
from allm.http.keys import Secret
from allm.http.library import check_certificates, library, library_of, load, loaded, tls
from allm.http.private_url import PrivateUrl
from allm.http.proxies import PROXY_VARIABLES, proxy_for
from allm.http.response import (
    Body,
    BodyReader,
    HttpResponse,
    mapped,
    sent_body,
    transport_override,
    unconnected,
    without_frames,
)

__all__ = [
    "CLEANUP_SECONDS",
    "CONNECT_SECONDS",
    "WRITE_SECONDS",
    "LiveResponse",
    "check_route",
    "open_response",
    "send",
    "warm",
]


CONNECT_SECONDS = 10.0
WRITE_SECONDS = 30.0
CLEANUP_SECONDS = 5.0
"""Longest time a shielded clean-up step may take; closing a socket takes microseconds."""
MOST_CONNECTIONS = 16
"""Most connections of one client: for each request, the library's pool looks at every connection that it has."""
IDLE_SECONDS = 15.0
"""How long an idle connection, and a client that no request uses, are kept. Vendors keep connections for a minute or
more; the library's own 5 seconds are over between two turns of a conversation, or on a busy machine."""

_Route = tuple[str | None, bool]
"""The proxy, and whether TLS is spoken on the way."""


def _route_of(url: str) -> _Route:
    origin = "/".join(url.split("/", 3)[:3])  # a path says nothing of the route, and may have a secret in it
    proxy = proxy_for(origin, tuple(value and PrivateUrl(value) for value in map(os.environ.get, PROXY_VARIABLES)))
    return proxy, any(address is not None and address.startswith("https:") for address in (url.lower(), proxy))


def check_route(url: str) -> None:
    """Look whether the environment lets a shared client reach `url`; nothing is sent.

    Raises:
        EngineError: `invalid_environment`: a variable about proxies or certificates, and what would help.
    """
    if _route_of(url)[-1]:
        check_certificates()


async def warm(url: str) -> None:
    """Load what the first request to `url` needs.

    Raises:
        EngineError: `invalid_environment`.
    """
    await load(secure=_route_of(url)[-1])


# --- the shared clients ----------------------------------------------------------------------------------------------
# The library's pool looks at each of its connections for every request that begins or ends, so opening many streams
# would cost the square of their number. And where it is told how many idle ones to keep, it closes any idle one as soon
# as it has more connections than that, in use or not. So there are many small pools, and a request goes where a
# connection is idle, if there is one. Pools have no limit of their own, which would lose a place with a request that is
# cancelled while it connects; `Engine(limiter=...)` bounds concurrency instead.


@define(eq=False)
class _Shared:
    """A shared client, how many requests use it, and the most that did at once: so many connections it may have."""

    of: _Clients
    client: Any
    used: int = 0
    most: int = 0
    unused_since: float = inf  # on the Trio clock

    def __enter__(self) -> Any:
        return self.client

    def __exit__(self, *_: object) -> None:
        self.of.give_back(self)


@define(eq=False)
class _Clients:
    """The shared clients of one route: as many as its requests need.

    Each serves few requests at once, so that what one costs does not grow with their number. A request goes where a
    connection is idle, and among those to the client that was used last. So a server never has more connections than
    there were requests at once, where it is the only one, and clients that are no longer needed stay unused until they
    are closed.
    """

    route: _Route
    every: dict[_Shared, None] = attrs.field(factory=dict[_Shared, None])
    idle: dict[_Shared, None] = attrs.field(factory=dict[_Shared, None])  # have a connection that serves nobody
    room: dict[_Shared, None] = attrs.field(factory=dict[_Shared, None])  # have none, and may have another one
    sleep: trio.CancelScope = attrs.field(factory=trio.CancelScope)  # of the task that closes them

    def take(self) -> _Shared:
        """A client for one request, which gives it back on leaving a block."""
        shared = next(reversed(self.idle or self.room), None)
        if shared is None:
            self.every[shared := _Shared(self, _new_client(self.route))] = None
        self._count(shared, 1)
        return shared

    def give_back(self, shared: _Shared) -> None:
        """The request has ended."""
        self._count(shared, -1)
        if not shared.used:
            shared.unused_since = trio.current_time()
            if self.sleep.deadline == inf:  # else it wakes up earlier, and looks again
                self.sleep.deadline = shared.unused_since + IDLE_SECONDS

    def _count(self, shared: _Shared, change: int) -> None:
        shared.used += change
        shared.most = max(shared.most, shared.used)
        self.idle.pop(shared, None)
        self.room.pop(shared, None)
        if shared.used < shared.most:
            self.idle[shared] = None
        elif shared.most < MOST_CONNECTIONS:
            self.room[shared] = None

    async def close_unused(self) -> None:
        """Run until no client is left, or the run ends: close each one that was not used for a while."""
        try:
            while self.every:
                with self.sleep:
                    await trio.sleep_forever()
                self.sleep = trio.CancelScope()
                last = trio.current_time() - IDLE_SECONDS
                unused = [shared for shared in self.idle if not shared.used]
                await self._close([shared for shared in unused if shared.unused_since <= last])
                later = [shared.unused_since for shared in self.idle if not shared.used]
                self.sleep.deadline = min(later, default=inf) + IDLE_SECONDS
        finally:
            _shared.get().pop(self.route, None)
            await self._close(list(self.every))  # noqa: ASYNC102  (shielded, with a deadline)

    async def _close(self, unused: list[_Shared]) -> None:
        for shared in unused:
            for places in (self.every, self.idle, self.room):
                places.pop(shared, None)
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            for shared in unused:
                await shared.client.aclose()


_shared: trio.lowlevel.RunVar[dict[_Route, _Clients]] = trio.lowlevel.RunVar("allm_http_clients")


async def _clients_for(url: str) -> _Clients:
    """The shared clients for `url`, with the library loaded."""
    route = _route_of(url)
    if route[-1] not in loaded:
        await load(secure=route[-1])
    try:
        routes = _shared.get()
    except LookupError:
        _shared.set(routes := {})
    clients = routes.get(route)
    if clients is None:
        clients = routes[route] = _Clients(route)
        trio.lowlevel.spawn_system_task(clients.close_unused, name="allm: close the HTTP clients")
    return clients


def _new_client(route: _Route) -> Any:
    proxy, is_secure = route
    http = library()
    # A transport and not a client: cookies, redirects and authentication are not for these connections.
    return http.AsyncHTTPTransport(
        verify=tls(secure=is_secure),
        proxy=None if proxy is None else http.Proxy(proxy),
        trust_env=False,
        # A number to keep would close idle connections whenever the pool has more, busy ones included.
        limits=http.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_SECONDS),
    )


# --- one request -----------------------------------------------------------------------------------------------------


@final
@define(eq=False)
class LiveResponse(HttpResponse):
    """A response of the library's."""

    _response: Any
    _library: ModuleType
    _is_ours: bool = False  # nobody else has seen it

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """See `HttpResponse`."""
        body = None if self._is_ours else self._whole()
        if body is not None:
            yield _Once(body)
            return
        # What the library's own method adds is for responses that others may have read from.
        source = aiter(self._response.stream) if self._is_ours else self._response.aiter_raw()
        try:
            plain = decoded(self.headers, source) if "content-encoding" in self.headers else source
            yield _Chunks(plain, mapped(self._library, reading=True))
        finally:
            await _finish(source)  # noqa: ASYNC102  (in a cancelled scope of its own: it never waits)

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


@define(eq=False)
class _Chunks:
    """A body whose own errors are mapped, and not those of the code that reads it."""

    _source: AsyncIterator[bytes]
    _mapped: mapped

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._source.__anext__()
        except Exception as error:  # the end too, which is not mapped
            failed = [error]
        with self._mapped:  # entered for a failure only: most reads have none
            raise failed.pop()  # not from a variable, which would be a cycle of the frame and its exception


async def _finish(source: AsyncIterator[bytes]) -> None:
    """Let every generator of a body end that was not read to its end.

    Closing the outermost one would leave those inside it to the garbage collector, which warns under Trio. In a
    cancelled scope the next read ends them all, from the inside out.
    """
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        with suppress(Exception):
            async for _ in source:
                pass


@define(eq=False)
class _Sending:
    """A request on its way."""

    _request: Any = attrs.field(repr=False)

    async def send(self, client: Any, shared: Any) -> Any:
        """Return the response, by the user's client or else a shared one; nothing is left of a request without one."""
        connecting, outside = Connecting(self._request.extensions.get("trace")), sys.exception()
        self._request.extensions["trace"] = connecting
        try:
            if client is None:
                return await shared.handle_async_request(self._request)
            return await client.send(self._request, stream=True, follow_redirects=False)
        except Interrupted as stopped:
            ended = stopped.reason
        except BaseException as error:  # noqa: ASYNC103  (raised below where it is not raised here)
            await connecting.ended(error)  # noqa: ASYNC102  (shielded, with a deadline)
            if isinstance(error, Exception) and connecting.failed_with(error):
                raise unconnected(error) from error  # noqa: ASYNC104  (an Exception, never Cancelled)
            if not isinstance(error, trio.Cancelled):
                raise
            ended = error
        without_frames(ended, outside)  # the library's have the bytes that it sends, and with them the key
        raise ended


def open_response(
    method: str, url: str, *, headers: Mapping[str, HeaderValue], content: bytes | Body, client: Any = None
) -> AbstractAsyncContextManager[HttpResponse]:
    """See `OpenResponse`."""
    return (transport_override.get() or send)(method, url, headers=headers, content=content, client=client)


@asynccontextmanager
async def send(
    method: str, url: str, *, headers: Mapping[str, HeaderValue], content: bytes | Body, client: Any = None
) -> AsyncGenerator[HttpResponse]:
    """See `OpenResponse`: over the network."""
    http = library_of(client) if client is not None else None
    lent: Any = nullcontext() if client is not None else (await _clients_for(url)).take()
    with lent as shared:
        http = http or library()
        reader = BodyReader(content)
        try:
            with mapped(http, reading=False):
                length = len(content) if isinstance(content, bytes) else content.length
                fields = {name: value for name, value in headers.items() if isinstance(value, str)}
                fields = {"accept-encoding": ACCEPTED, **fields, "content-length": str(length)}
                if client is None:
                    request = _request(http, method, url, fields)
                else:  # the content is for hooks and transports of the user's; what is sent is a stream of our own
                    known = {"content": content} if isinstance(content, bytes) else {}
                    request = client.build_request(method, url, headers=fields, **known)
                for name, value in headers.items():
                    if isinstance(value, Secret):
                        request.headers[name] = value.reveal()
                request.stream = sent_body(http)(reader)
                sending, request = _Sending(request), None  # its repr has the URL
                await trio.lowlevel.checkpoint_if_cancelled()  # before there is anything to leave behind
                response = await sending.send(client, shared)
                del sending, fields, headers  # or they would be kept as long as the response
        finally:
            await reader.aclose()  # noqa: ASYNC102  (shielded, with a deadline)
        try:
            yield LiveResponse(response.status_code, response.headers, response, http, client is None)
        finally:
            with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                await response.aclose()


def _request(http: ModuleType, method: str, url: str, fields: Mapping[str, str]) -> Any:
    """A request for a shared connection, with the headers that the library's own client would add."""
    parsed, timeout = _url(http, url), {"connect": CONNECT_SECONDS, "write": WRITE_SECONDS}
    usual = {
        "host": parsed.netloc.decode("ascii"),
        "accept": "*/*",
        "connection": "keep-alive",
        "user-agent": f"python-{http.__name__}/{http.__version__}",
    }
    body = http.ByteStream(b"")  # is replaced; with one, the library leaves the headers to us
    return http.Request(method, parsed, headers={**usual, **fields}, stream=body, extensions={"timeout": timeout})


@functools.lru_cache(maxsize=256)
def _url(http: ModuleType, url: str) -> Any:
    return http.URL(url)
