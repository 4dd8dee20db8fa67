"""A loopback HTTP server that plays responses of providers, and faults, to a real client over a real socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias, final

import attrs
import trio

from allm.execution.nurseries import start_task
from allm.http.trio_task import outside_trio
from allm.testing._connection import Connection
from allm.testing.recorded import RecordedRequest
from allm.testing.replies import Reply
from allm.testing.wire_formats import Provider
from allm.testing.wire_formats.errors import check_provider

__all__ = ["ReplySource", "ServerStatistics", "WireServer"]

ReplySource: TypeAlias = Reply | Callable[[RecordedRequest], Reply]
"""A reply, or a function that makes one from a request."""


@attrs.frozen(kw_only=True)
class ServerStatistics:
    """Counters of a `WireServer`.

    Attributes:
        connections: Open client connections.
        connections_total: Connections accepted since the start; two requests on one connection count once.
        requests: Requests received.
        requests_in_progress: Requests whose reply has no outcome yet.
        replies_queued: Replies added and not yet used.
        bytes_sent: Body bytes of all replies.
    """

    connections: int
    connections_total: int
    requests: int
    requests_in_progress: int
    replies_queued: int
    bytes_sent: int


@final
@attrs.define(eq=False)
class WireServer:
    """An HTTP/1.1 server on 127.0.0.1 that sends given replies, and records every request.

        async with WireServer() as server:
            server.add(Reply.script("openai", [fake.text("Hello")]))
            adapter = OpenAI(api_key="test", base_url=server.url("openai"))

    Leaving the block for any reason closes every connection before the next statement runs. Pauses in replies use
    `trio.sleep`, so they are virtual time under a `MockClock`; use `allm.testing.loopback_clock`.

    Attributes:
        default: The reply if none is queued. None: a 500 that says so.
        refuse_after: Refuse connections after this many, as `refuse_connections` does.
        requests: Every request with its whole body, in order of arrival.
    """

    default: ReplySource | None = None
    refuse_after: int | None = attrs.field(default=None, kw_only=True)
    requests: list[RecordedRequest] = attrs.field(init=False, factory=list[RecordedRequest])
    _queue: list[tuple[str | None, ReplySource]] = attrs.field(init=False, factory=list[tuple[str | None, ReplySource]])
    _port: int | None = attrs.field(init=False, default=None)
    _connections: int = attrs.field(init=False, default=0)
    _connections_total: int = attrs.field(init=False, default=0)
    _changed: trio.lowlevel.ParkingLot = attrs.field(init=False, factory=trio.lowlevel.ParkingLot)
    _crash: Exception | None = attrs.field(init=False, default=None)
    _accepting: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    _refuses: trio.Event = attrs.field(init=False, factory=trio.Event)
    _context: AbstractAsyncContextManager[None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._context = self._listening()

    @trio.lowlevel.enable_ki_protection  # Ctrl-C between two statements would leave a server that nobody ends
    async def __aenter__(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        await self._context.__aenter__()
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Close the listener and every connection."""
        return await self._context.__aexit__(kind, error, trace)  # noqa: ASYNC102 - closes without waiting for anyone

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:<port>`; after the block a URL that refuses connections.

        Raises:
            RuntimeError: The server was never entered.
        """
        if self._port is None:
            raise RuntimeError("this WireServer is not listening: use it as `async with WireServer() as server:`")
        return f"http://127.0.0.1:{self._port}"

    def url(self, provider: Provider) -> str:
        """The base URL in the vendor's form: OpenAI's ends in `/v1`, the others have no path.

        Raises:
            ValueError: No vendor of this name has a wire format here.
        """
        check_provider(provider)
        return self.base_url + ("/v1" if provider.startswith("openai") else "")

    def add(self, *replies: ReplySource, path: str | None = None) -> None:
        """Queue replies; each is used once, the oldest matching one first.

        Args:
            *replies: Replies, or functions that make one from the recorded request. An exception of such a function
                ends the server and is raised from its `async with` block.
            path: Use the replies only for requests whose path and query contain this.

        Raises:
            TypeError: Something else was given.
        """
        for reply in replies:
            if not isinstance(reply, Reply) and not callable(reply):
                what = f"WireServer.add takes replies, or functions that return one, got {type(reply).__name__}"
                raise TypeError(f"{what}: Reply.script('openai', [fake.text('hi')]) makes one")
        self._queue.extend((path, reply) for reply in replies)

    @property
    def connections(self) -> int:
        """The number of open client connections."""
        return self._connections

    def statistics(self) -> ServerStatistics:
        """The current counters."""
        return ServerStatistics(
            connections=self._connections,
            connections_total=self._connections_total,
            requests=len(self.requests),
            requests_in_progress=sum(request.outcome is None for request in self.requests),
            replies_queued=len(self._queue),
            bytes_sent=sum(request.bytes_sent for request in self.requests),
        )

    async def refuse_connections(self) -> None:
        """Accept no more connections, as a server that has gone; those that are open stay."""
        self._accepting.cancel()
        await self._refuses.wait()

    async def wait_requests(self, count: int) -> RecordedRequest:
        """Wait until at least `count` requests have arrived; returns the newest of these."""
        await self._wait(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def wait_outcomes(self) -> None:
        """Wait until every request has its outcome. A client may see a reply's end before the server records it."""
        await self._wait(lambda: all(request.outcome is not None for request in self.requests))

    async def wait_idle(self) -> None:
        """Wait until no client connection is open; close a client that pools connections first."""
        await self._wait(lambda: self._connections == 0)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._changed.park()

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[None, None]:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._port = listeners[0].socket.getsockname()[1]
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                serve = partial(self._serve, nursery.cancel_scope)
                start_task(nursery, self._accept, serve, listeners, nursery)
                if self.refuse_after is not None and self.refuse_after < 1:
                    await self.refuse_connections()
                try:
                    yield
                finally:
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) != 1:
                raise
            failure = group.exceptions[0]
        if failure := self._crash or failure:
            raise failure

    async def _accept(
        self,
        serve: Callable[[trio.SocketStream], Awaitable[object]],
        listeners: list[trio.SocketListener],
        nursery: trio.Nursery,
    ) -> None:
        with self._accepting:
            await trio.serve_listeners(serve, listeners, handler_nursery=nursery)
        self._refuses.set()

    async def _serve(self, server: trio.CancelScope, stream: trio.SocketStream) -> None:
        number = self._connections_total
        self._connections_total += 1
        self._connections += 1
        if self.refuse_after is not None and self._connections_total >= self.refuse_after:
            await self.refuse_connections()
        try:
            await Connection(stream, number, self._reply_to, self._changed.unpark_all).serve()
        except Exception as error:
            self._crash = error
            server.cancel()
        finally:
            stream.socket.close()
            self._connections -= 1
            self._changed.unpark_all()

    def _reply_to(self, request: RecordedRequest) -> Reply:
        self.requests.append(request)
        self._changed.unpark_all()
        for index, (path, _) in enumerate(self._queue):
            if path is None or path in request.path:
                source: ReplySource | None = self._queue.pop(index)[1]
                break
        else:
            source = self.default
        if source is None:
            message = f"WireServer has no reply queued for {request.method} {request.path}: call server.add(...) first"
            return Reply.json({"error": {"type": "no_reply_queued", "message": message}}, status=500)
        return source if isinstance(source, Reply) else source(request)
