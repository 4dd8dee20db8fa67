"""HTTP, in one place: the only module that knows the HTTP library.

httpx2 is used when it is installed, else httpx (same API). What a request that is cancelled while it connects would
leave in the pool is closed by `Connecting`. The pool is unbounded; `Engine(limiter=...)` bounds concurrency instead.
Clients are shared by all calls of a Trio run, one for each proxy, so that connections are reused without the user
managing anything; a system task closes them when the run ends. A client that the user passes in is never closed here,
and follows no redirect whatever it is set to: the key would go along.

No read timeout is set at this level: bytes are not progress (keep-alive comments would reset it). The execution layer
times parsed events.
"""

from __future__ import annotations

import functools
import importlib
import os
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, final
from urllib.parse import urlsplit, urlunsplit

import attrs
import trio

from allm.data.errors import EngineError
from allm.http.connecting import Connecting, Interrupted
from allm.http.encodings import ACCEPTED, decoded
from allm.http.headers import HeaderValue
from allm.http.keys import Secret
from allm.http.private_url import PrivateUrl
from allm.http.proxies import PROXY_VARIABLES, proxy_for
from allm.http.response import (
    Body,
    BodyReader,
    HttpResponse,
    mapped,
    transport_override,
    unconnected,
    without_frames,
)

__all__ = [
    "CLEANUP_SECONDS",
    "check_client",
    "check_route",
    "multipart",
    "open_at",
    "open_response",
    "send",
]

CONNECT_SECONDS = 10.0
WRITE_SECONDS = 30.0
CLEANUP_SECONDS = 5.0
"""Longest time a shielded clean-up step may take; closing a socket takes microseconds."""
LIBRARIES = ("httpx2", "httpx")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")

_Route = tuple[str | None, bool]
"""The proxy, and whether TLS is spoken on the way."""

_shared: trio.lowlevel.RunVar[dict[_Route, Any]] = trio.lowlevel.RunVar("allm_http_clients")


@functools.cache
def _library() -> ModuleType:
    for name in LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("allm needs httpx or httpx2: pip install httpx")


def _library_of(client: Any) -> ModuleType:
    for name in LIBRARIES:
        module = sys.modules.get(name)
        if module is not None and isinstance(client, module.AsyncClient):
            return module
    raise EngineError(
        f"http_client is {type(client).__name__}; expected httpx.AsyncClient or httpx2.AsyncClient",
        reason="invalid_engine",
    )


def check_client(client: Any) -> None:
    """Refuse anything that is not an async client of a known library.

    Raises:
        EngineError: `invalid_engine`.
    """
    _library_of(client)


@functools.cache
def _tls_context() -> Any:
    """The TLS settings of every shared client: reading the certificates takes 0.2 s, for each client otherwise.

    Raises:
        EngineError: `invalid_environment`: the variable that says where certificates are.
    """
    name = next((name for name in _CERTIFICATES if os.environ.get(name)), None)
    if name is None:
        return _library().create_ssl_context()
    place = os.environ[name]
    try:
        if name == _CERTIFICATES[1] and not any(Path(folder).is_dir() for folder in place.split(os.pathsep)):
            raise FileNotFoundError(2, "there is no such folder")  # of which OpenSSL says nothing
        return _library().create_ssl_context()
    except OSError as error:  # those of TLS are too
        what = (
            f"{name} is {place!r}, where no certificates can be read ({error.strerror or error}): correct it, or unset "
            "it so that the usual certificates are used"
        )
        raise EngineError(what, reason="invalid_environment") from error


def _route_of(url: str) -> _Route:
    origin = "/".join(url.split("/", 3)[:3])  # a path says nothing of the route, and may have a secret in it
    proxy = proxy_for(origin, tuple(value and PrivateUrl(value) for value in map(os.environ.get, PROXY_VARIABLES)))
    return proxy, any(address is not None and address.startswith("https:") for address in (url.lower(), proxy))


def check_route(url: str) -> None:
    """Look whether the environment lets a shared client reach `url`; nothing is sent.

    Raises:
        EngineError: `invalid_environment`: a variable about proxies or certificates, and what would help.
    """
    _, is_secure = _route_of(url)
    if is_secure and any(map(os.environ.get, _CERTIFICATES)):
        _tls_context()


def _shared_client(url: str) -> Any:
    """The client for `url`."""
    try:
        clients = _shared.get()
    except LookupError:
        _shared.set(clients := {})
        trio.lowlevel.spawn_system_task(_close_at_the_end, clients, name="allm: close the HTTP clients")
    proxy, is_secure = route = _route_of(url)
    client = clients.get(route)
    if client is None or client.is_closed:
        library = _library()
        client = clients[route] = library.AsyncClient(
            # Without TLS no certificates are read; the context that stands for them would trust nobody.
            verify=_tls_context() if is_secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            proxy=proxy,
            trust_env=False,  # it would read the proxies once, and stumble over what is not needed
            timeout=library.Timeout(connect=CONNECT_SECONDS, write=WRITE_SECONDS, read=None, pool=None),
            limits=library.Limits(max_connections=None, max_keepalive_connections=20),
        )
    return client


async def _close_at_the_end(clients: dict[_Route, Any]) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            for client in clients.values():
                await client.aclose()


def multipart(
    fields: Mapping[str, str | list[str]], files: Iterable[tuple[str, tuple[str, bytes, str]]]
) -> tuple[str, bytes]:
    """A form with files, as `(content type, body)`.

    Args:
        files: `(field, (file name, content, MIME type))`; a field may come more than once.
    """
    request = _library().Request("POST", "http://localhost", data=dict(fields), files=list(files))
    body: bytes = request.read()
    return request.headers["content-type"], body


@final
@attrs.define(eq=False)
class _LiveResponse(HttpResponse):
    _response: Any
    _library: ModuleType

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """See `HttpResponse`."""
        body = self._whole()
        if body is not None:
            yield _Once(body)
            return
        source = self._response.aiter_raw()
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


@attrs.define(eq=False)
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


@attrs.define(eq=False)
class _Chunks:
    """A body whose own errors are mapped, and not those of the code that reads it."""

    _source: AsyncIterator[bytes]
    _mapped: mapped

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._source.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:
            failed: Exception = error
        try:
            with self._mapped:  # entered for a failure only: most reads have none
                raise failed
        finally:
            del failed  # breaks the reference cycle between the frame and its exception


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


@functools.cache
def _stream_type(library: ModuleType) -> Any:
    """A request body as the library takes it, made of a `BodyReader`."""

    class Stream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, reader: BodyReader) -> None:
            self._reader = reader

        def __aiter__(self) -> BodyReader:
            return aiter(self._reader)

    return Stream


@attrs.define(eq=False)
class _Sending:
    """A request on its way."""

    _request: Any = attrs.field(repr=False)

    async def send(self, client: Any) -> Any:
        """Return the response; nothing is left of a request that has none."""
        connecting, outside = Connecting(self._request.extensions.get("trace")), sys.exception()
        self._request.extensions["trace"] = connecting
        try:
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
    if client is None:
        client, library = _shared_client(url), _library()
    else:
        library = _library_of(client)
    length = len(content) if isinstance(content, bytes) else content.length
    reader = BodyReader(content)
    try:
        with mapped(library, reading=False):
            known = {"content": content} if isinstance(content, bytes) else {}  # for hooks and transports of the user's
            fields = {name: value for name, value in headers.items() if isinstance(value, str)}
            fields = {"accept-encoding": ACCEPTED, **fields, "content-length": str(length)}
            request = client.build_request(method, url, headers=fields, **known)
            for name, value in headers.items():
                if isinstance(value, Secret):
                    request.headers[name] = value.reveal()
            request.stream = _stream_type(library)(reader)
            sending, request = _Sending(request), None  # its repr has the URL
            await trio.lowlevel.checkpoint_if_cancelled()  # before there is anything to leave behind
            response = await sending.send(client)
    finally:
        await reader.aclose()  # noqa: ASYNC102  (shielded, with a deadline)
    try:
        yield _LiveResponse(response.status_code, response.headers, response, library)
    finally:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            await response.aclose()


@asynccontextmanager
async def open_at(url: str, address: str, headers: Mapping[str, str]) -> AsyncGenerator[HttpResponse]:
    """GET `url` from the machine at `address`: its name is not looked up again, no proxy is asked, nothing is followed.

    The connection is its own, since one that is kept for an address would serve every name that has this address.

    Raises:
        AdapterError: As `open_response`.
    """
    library, parts = _library(), urlsplit(url)
    host = f"[{address}]" if ":" in address else address
    target = urlunsplit(
        (parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path or "/", parts.query, "")
    )
    timeout = library.Timeout(connect=CONNECT_SECONDS, write=WRITE_SECONDS, read=None, pool=None)
    request = library.Request(
        "GET",
        target,
        headers={**headers, "host": parts.netloc, "accept-encoding": "identity", "connection": "close"},
        # The certificate has to be for the name.
        extensions={"sni_hostname": parts.hostname, "timeout": timeout.as_dict(), "trace": Connecting()},
    )
    with mapped(library, reading=False):
        # A client would read proxies from the environment, and make a request of a redirect.
        async with library.AsyncHTTPTransport(verify=_tls_context(), trust_env=False) as connection:
            response = await connection.handle_async_request(request)
            try:
                yield _LiveResponse(response.status_code, response.headers, response, library)
            finally:
                with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                    await response.aclose()
