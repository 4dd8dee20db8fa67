"""Closes what a request has opened when it ends between connecting and sending.

The HTTP library hands a new socket from one object to the next there, and a cancel or a failed TLS handshake in between
leaves both the socket and its entry in the pool behind: no request uses them again, and nothing closes them (seen with
httpcore 1.0.9 and httpcore2 2.16.2; encode/httpcore#1093 is one form of it). The library reports each stage to the
`trace` extension of the request, in the task of the request, so a cancel that has arrived can be delivered there, with
the socket in hand and before the pool looks which of its connections have ended.

A connection that has sent its first request is not touched: from then on the library closes it, and other requests may
be using it (HTTP/2).
"""

from __future__ import annotations

import inspect
import ssl
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from math import inf
from types import FrameType, ModuleType
from typing import Any, final

import attrs
import trio

from allm.data.attrs_classes import define

__all__ = ["Connecting", "Interrupted", "Network"]

CLOSE_SECONDS = 5.0
"""Longest wait, under a shield, for a connection to close; closing a socket takes microseconds."""

_STAGES = frozenset({"connect_tcp", "connect_unix_socket", "setup_socks5_connection", "start_tls"})

_SENDS = frozenset({"send_request_headers", "send_connection_init"})

_Trace = Callable[[str, Mapping[str, Any]], Awaitable[None]]


@final
@define(eq=False)
class Network:
    """The network as httpcore takes it, by Trio's own streams.

    httpcore's is the same, but makes a cancel scope and four context managers for every read, which an open stream
    keeps as long as it waits; without a limit on the time there is nothing for them to do.

    Args:
        core: The package, for its exceptions.
    """

    _core: ModuleType

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's)
        local_address: str | None = None,
        socket_options: object = None,  # noqa: ARG002  (none are set)
    ) -> _Stream:
        """Connect to a server, or to a proxy."""
        try:
            with trio.fail_after(inf if timeout is None else timeout):
                return _Stream(await trio.open_tcp_stream(host, port, local_address=local_address), self._core)
        except trio.TooSlowError as error:
            raise self._core.ConnectTimeout(str(error)) from error
        except (OSError, trio.BrokenResourceError) as error:
            raise self._core.ConnectError(str(error)) from error


@final
@define(eq=False)
class _Stream:
    """A connection that `Network` has made. httpcore passes arguments by name."""

    _stream: Any  # a `SocketStream`, or an `SSLStream` around one or two
    _core: ModuleType

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        try:
            if timeout is None:
                return bytes(await self._stream.receive_some(max_bytes))
            with trio.fail_after(timeout):
                return bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError as error:
            raise self._core.ReadTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._core.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if not buffer:
            return
        try:
            with trio.fail_after(inf if timeout is None else timeout):
                await self._stream.send_all(buffer)
        except trio.TooSlowError as error:
            raise self._core.WriteTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._core.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> _Stream:
        secure = trio.SSLStream(self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True)
        try:
            with trio.fail_after(inf if timeout is None else timeout):
                await secure.do_handshake()
        except Exception as error:
            await self.aclose()
            if isinstance(error, trio.TooSlowError):
                raise self._core.ConnectTimeout(str(error)) from error
            if isinstance(error, trio.BrokenResourceError):
                raise self._core.ConnectError(str(error)) from error
            raise
        return _Stream(secure, self._core)

    def get_extra_info(self, name: str) -> Any:
        stream: Any = self._stream
        if name == "ssl_object":  # of which only `selected_alpn_protocol` is asked, and a stream has it too
            return stream if isinstance(stream, trio.SSLStream) else None
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if name == "is_readable":
            return stream.socket.is_readable()
        return stream.socket if name == "socket" else None


class Interrupted(Exception):
    """Stands for a `Cancelled` where the library takes only an `Exception` for the end of a connection.

    Attributes:
        reason: What to raise in its place.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(reason)
        self.reason = reason


@final
@define(eq=False)
class Connecting:
    """The `trace` extension of one request.

    Args:
        then: A trace of the user's, called after this one.
    """

    _then: _Trace | None = None
    _connection: Any = attrs.field(default=None, init=False)  # the entry of the pool
    _stream: Any = attrs.field(default=None, init=False)
    _over: bool = attrs.field(default=False, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)  # of the last stage

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Watch one stage; called by the HTTP library."""
        part, stage, phase = event.split(".")
        if self._over and phase == "started" and (stage in _STAGES or stage in _SENDS):
            raise _Over
        if stage in _STAGES:
            try:
                await self._watch(stage, phase, info)
            except BaseException as error:
                await self._close()  # before the pool learns of it  # noqa: ASYNC102  (shielded, with a deadline)
                if part == "socks" and not isinstance(error, Exception):
                    raise Interrupted(error) from None  # noqa: ASYNC104  (the transport raises the error itself)
                raise
        elif stage in _SENDS and phase == "started" and self._then is None:
            request = info["request"]
            if request.method != b"CONNECT":  # behind which TLS begins
                request.extensions.pop("trace", None)  # there is nothing more to watch, and each stage has its price
        if self._then is not None:
            await self._then(event, info)

    def failed_with(self, error: BaseException) -> bool:
        """Whether connecting failed with this very error: the library passes on those that it does not know."""
        return error is self._failure

    async def ended(self, error: BaseException) -> None:
        """Remove what the request leaves in the pool if it ended before its connection took the first step.

        Such an entry has no socket, and the library marks it as failed only where it then tries to connect. So it is
        asked to, and the attempt refused at once. Then the pool has to look again who waits for the slot, which it did
        before the entry had failed.

        Args:
            error: What the request ended with.
        """
        found = _unused_connection(error)
        if found is None:
            return
        pool, owner, request = found
        self._over = True
        with trio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
            with suppress(Exception):
                await owner.handle_async_request(request)
            await pool._close_connections(pool._assign_requests_to_connections())

    async def _watch(self, stage: str, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "failed":
            self._failure = info["exception"]
            raise info["exception"]
        if phase == "started":
            if stage.startswith("connect"):
                self._connection, self._stream = _connection_above(inspect.currentframe()), None
        else:
            self._stream = info["return_value"]
            if not _speaks_http2(self._stream):  # its connection is usable as soon as it exists, and perhaps awaited
                await trio.lowlevel.checkpoint_if_cancelled()

    async def _close(self) -> None:
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            for opened in (self._connection, self._stream):
                if opened is not None:
                    with suppress(Exception):
                        await opened.aclose()
        self._connection = self._stream = None


class _Over(Exception):
    pass


def _unused_connection(error: BaseException) -> tuple[Any, Any, Any] | None:
    """The pool, the connection that it had given to a request that ended, and the request as it was given to that.

    None if there is none, if it can serve others, or if it has been closed. One that serves another request just now
    refuses a second one.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        waiting: Any = frame.f_locals.get("pool_request")
        owner: Any = getattr(waiting, "connection", None)  # set before the request learns of it
        if owner is not None:
            usable = owner.is_closed() or owner.is_idle() or owner.is_available()
            return None if usable else (frame.f_locals["self"], owner, waiting.request)
    return None


def _speaks_http2(stream: Any) -> bool:
    tls = stream.get_extra_info("ssl_object")
    return tls is not None and tls.selected_alpn_protocol() == "h2"


def _connection_above(frame: FrameType | None) -> Any:
    """The outermost connection of the HTTP library whose method called this one: the library does not pass it on.

    It is needed where a connection is inside another, in a tunnel through a proxy; without it, only sockets are closed.
    """
    found = None
    while frame is not None:
        owner = frame.f_locals.get("self")
        if hasattr(type(owner), "can_handle_request"):
            found = owner
        elif found is not None:
            break
        frame = frame.f_back
    return found
