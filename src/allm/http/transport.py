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
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from math import inf
from types import ModuleType
from typing import Any, NamedTuple, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.http.client import LiveResponse, request_of
from allm.http.connecting import Connecting, Interrupted, Network
from allm.http.encodings import ACCEPTED
from allm.http.headers import HeaderValue
from allm.http.keys import Secret
from allm.http.library import check_certificates, core, library, library_of, load, loaded, tls
from allm.http.private_url import PrivateUrl
from allm.http.proxies import PROXY_VARIABLES, own_servers, proxy_for
from allm.http.response import (
    Body,
    BodyReader,
    Chunks,
    HttpResponse,
    is_known,
    mapped,
    transport_override,
    unconnected,
    without_frames,
)

__all__ = [
    "CLEANUP_SECONDS",
    "CONNECT_SECONDS",
    "WRITE_SECONDS",
    "Route",
    "checked_route",
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


class Route(NamedTuple):
    """The way to a server: the proxy, and whether TLS is spoken."""

    proxy: str | None
    is_secure: bool


def _route_of(url: str) -> Route:
    origin = "/".join(url.split("/", 3)[:3])  # a path says nothing of the route, and may have a secret in it
    if origin in own_servers:
        return Route(None, is_secure=False)
    proxy = proxy_for(origin, tuple(value and PrivateUrl(value) for value in map(os.environ.get, PROXY_VARIABLES)))
    return Route(proxy, url[:6].lower() == "https:" or (proxy is not None and proxy.startswith("https:")))


def checked_route(url: str) -> Route:
    """How the environment lets a shared client reach `url`; nothing is sent.

    Raises:
        EngineError: `invalid_environment`: a variable about proxies or certificates, and what would help.
    """
    route = _route_of(url)
    if route.is_secure:
        check_certificates()
    return route


async def warm(url: str) -> None:
    """Load what the first request to `url` needs.

    Raises:
        EngineError: `invalid_environment`.
    """
    await load(secure=_route_of(url).is_secure)


# --- the shared clients ----------------------------------------------------------------------------------------------
# The library's pool looks at each of its connections for every request that begins or ends, so opening many streams
# would cost the square of their number. And where it is told how many idle ones to keep, it closes any idle one as soon
# as it has more connections than that, in use or not. So there are many small pools, and a request goes where a
# connection is idle, if there is one. Pools have no limit of their own, which would lose a place with a request that is
# cancelled while it connects; `Engine(limiter=...)` bounds concurrency instead.


@define(eq=False)
class _Shared:
    """A pool, how many requests use it, and the most that did at once: so many connections it may have."""

    of: _Clients
    pool: Any
    used: int = 0
    most: int = 0
    unused_since: float = inf  # on the Trio clock

    def give_back(self) -> None:
        """The request has ended."""
        self.of.give_back(self)


@define(eq=False)
class _Clients:
    """The shared clients of one route: as many as its requests need.

    Each serves few requests at once, so that what one costs does not grow with their number. A request goes where a
    connection is idle, and among those to the client that was used last. So a server never has more connections than
    there were requests at once, where it is the only one, and clients that are no longer needed stay unused until they
    are closed.
    """

    route: Route
    every: dict[_Shared, None] = attrs.field(factory=dict[_Shared, None])
    idle: dict[_Shared, None] = attrs.field(factory=dict[_Shared, None])  # have a connection that serves nobody
    room: dict[_Shared, None] = attrs.field(factory=dict[_Shared, None])  # have none, and may have another one
    sleep: trio.CancelScope = attrs.field(factory=trio.CancelScope)  # of the task that closes them

    def take(self) -> _Shared:
        """A pool for one request, to be given back."""
        shared = next(reversed(self.idle or self.room), None)
        if shared is None:
            self.every[shared := _Shared(self, _new_pool(self.route))] = None
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
                now = trio.current_time()
                unused = [shared for shared in self.idle if not shared.used]
                # The same sum as for the deadline: a difference may be rounded to another moment than now.
                await self._close([shared for shared in unused if shared.unused_since + IDLE_SECONDS <= now])
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
                await shared.pool.aclose()


_shared: trio.lowlevel.RunVar[dict[Route, _Clients]] = trio.lowlevel.RunVar("allm_http_clients")


async def _clients_for(route: Route) -> _Clients:
    """The shared clients that take this route, with the library loaded."""
    if route.is_secure not in loaded:
        await load(secure=route.is_secure)
    try:
        routes = _shared.get()
    except LookupError:
        _shared.set(routes := {})
    clients = routes.get(route)
    if clients is None:
        clients = routes[route] = _Clients(route)
        trio.lowlevel.spawn_system_task(clients.close_unused, name="allm: close the HTTP clients")
    return clients


def _new_pool(route: Route) -> Any:
    """A pool of what the library makes its connections with, without the library's client around it.

    Cookies, redirects and authentication are not for these connections, and each of the client's layers would cost
    every open stream memory, and every read time.
    """
    http, proxy = library(), route.proxy
    below = core(http.__name__)
    settings = {
        "ssl_context": tls(secure=route.is_secure),
        "max_connections": None,
        # A number to keep would close idle connections whenever the pool has more, busy ones included.
        "max_keepalive_connections": None,
        "keepalive_expiry": IDLE_SECONDS,
        "network_backend": Network(below),
    }
    if proxy is None:
        return below.AsyncConnectionPool(**settings)
    known = http.Proxy(proxy)
    settings |= {"proxy_url": _address(below, known.url), "proxy_auth": known.raw_auth}
    if known.url.scheme.startswith("socks"):
        return below.AsyncSOCKSProxy(**settings)
    return below.AsyncHTTPProxy(**settings)


def _address(below: ModuleType, url: Any) -> Any:
    return below.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


# --- one request -----------------------------------------------------------------------------------------------------


@final
@define(eq=False)
class _SharedResponse(HttpResponse):
    """A response that came over a shared connection. Of what the library said of it, only the body is kept."""

    _body: Any
    _library: ModuleType

    def chunks(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See `HttpResponse`."""
        return Chunks(aiter(self._body), self.headers, self._library)


@define(eq=False)
class _Sending:
    """A request on its way."""

    _request: Any = attrs.field(repr=False)

    async def send(self, http: ModuleType, client: Any, pool: Any) -> Any:
        """Return the response, by the user's client or else a pool; nothing is left of a request without one."""
        connecting, outside = Connecting(self._request.extensions.get("trace")), sys.exception()
        self._request.extensions["trace"] = connecting
        try:
            if client is None:
                return await pool.handle_async_request(self._request)
            return await client.send(self._request, stream=True, follow_redirects=False)
        except Interrupted as stopped:
            ended = stopped.reason
        except BaseException as error:  # noqa: ASYNC103  (raised below where it is not raised here)
            await connecting.ended(error)  # noqa: ASYNC102  (shielded, with a deadline)
            if isinstance(error, Exception) and connecting.failed_with(error) and not is_known(http, error):
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


@final
class send:  # noqa: N801  (an `OpenResponse`: a function whose result is used once, in a `with`)
    """See `OpenResponse`: over the network. An open stream keeps it, so it is no generator, which keeps its frame."""

    __slots__ = ("_answer", "_lent", "_sent")

    def __init__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, HeaderValue],
        content: bytes | Body,
        client: Any = None,
    ) -> None:
        self._sent: Any = (method, url, headers, content, client)
        self._lent: Any = None  # the shared pool
        self._answer: Any = None

    async def __aenter__(self) -> HttpResponse:
        sent, self._sent = self._sent, None
        client = sent[-1]
        if client is None or isinstance(client, Route):
            self._lent = (await _clients_for(client or _route_of(sent[1]))).take()
        try:
            return await self._send(*sent)
        except BaseException:
            await self.__aexit__()  # noqa: ASYNC102  (shielded, with a deadline)
            raise

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._answer is not None:
                with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await self._answer.aclose()
        finally:
            if self._lent is not None:
                self._lent.give_back()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, HeaderValue], content: bytes | Body, client: Any
    ) -> HttpResponse:
        is_ours = self._lent is not None
        http = library() if is_ours else library_of(client)
        reader = BodyReader(content)
        try:
            with mapped(http, reading=False):
                length = len(content) if isinstance(content, bytes) else content.length
                fields = {"accept-encoding": ACCEPTED, **headers, "content-length": str(length)}
                if is_ours:
                    request = _request(http, method, url, fields, reader)
                else:
                    request = request_of(client, http, method, url, fields, content, reader)
                sending, request = _Sending(request), None  # its repr has the URL
                await trio.lowlevel.checkpoint_if_cancelled()  # before there is anything to leave behind
                answer = await sending.send(http, None if is_ours else client, is_ours and self._lent.pool)
                self._answer = answer.stream if is_ours else answer
        finally:
            await reader.aclose()  # noqa: ASYNC102  (shielded, with a deadline)
        if is_ours:
            return _SharedResponse(answer.status, _headers(answer), answer.stream, http)
        return LiveResponse(answer.status_code, dict(answer.headers.items()), answer, http)


def _request(http: ModuleType, method: str, url: str, fields: Mapping[str, HeaderValue], reader: BodyReader) -> Any:
    """A request for a shared connection, with the headers that the library's own client would add."""
    address, usual = _known(http, url)
    request = core(http.__name__).Request(method, address, content=reader, extensions={"timeout": _TIMEOUTS})
    request.headers = [  # given to it, they would be copied, and an open stream keeps them
        (name.encode("ascii"), value.reveal().encode("ascii")) if isinstance(value, Secret) else _line(name, value)
        for name, value in {**usual, **fields}.items()
    ]
    return request


_TIMEOUTS = {"connect": CONNECT_SECONDS, "write": WRITE_SECONDS}


@functools.lru_cache(maxsize=256)
def _known(http: ModuleType, url: str) -> tuple[Any, dict[str, str]]:
    """A URL as it is sent to, and the headers that every request to it has unless it has its own."""
    parsed = http.URL(url)
    host, agent = parsed.netloc.decode("ascii"), f"python-{http.__name__}/{http.__version__}"
    usual = {"host": host, "accept": "*/*", "connection": "keep-alive", "user-agent": agent}
    return _address(core(http.__name__), parsed), usual


@functools.lru_cache(maxsize=256)
def _line(name: str, value: str) -> tuple[bytes, bytes]:
    """A header without a secret, as it is sent."""
    return name.encode("ascii"), value.encode("ascii")


def _headers(response: Any) -> dict[str, str]:
    """The headers of a shared connection's response: one that came several times has all its values."""
    headers: dict[str, str] = {}
    for raw_name, raw in response.headers:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            value = raw.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
