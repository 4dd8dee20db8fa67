"""A TCP proxy on loopback, in front of a database, that can block one direction or drop every connection."""

from __future__ import annotations

import contextlib
import functools
from urllib.parse import urlsplit

import trio


class Proxy:
    """Forwards bytes to a server and back.

    Attributes:
        blocked: The direction that is silent, "asking" or "answering"; None for neither.
        left: How many more pieces pass until the connections are dropped; None for any number.
        refusing: How many of the next connections are closed at once, as while a server restarts.
        dropped: How often they were dropped.
        muted: Connections that are silent in both directions, as when a firewall has forgotten them.
    """

    def __init__(self, url):
        self.parts = urlsplit(url)
        self.blocked = self.left = None
        self.refusing = self.dropped = 0
        self.connections, self.muted = set(), set()

    async def serve(self, task_status=trio.TASK_STATUS_IGNORED):
        async with trio.open_nursery() as nursery:
            listen = functools.partial(trio.serve_tcp, self.handle, 0, host="127.0.0.1")
            listeners = await nursery.start(listen)
            port = listeners[0].socket.getsockname()[1]
            user = f"{self.parts.username}@" if self.parts.username else ""
            task_status.started(self.parts._replace(netloc=f"{user}127.0.0.1:{port}").geturl())

    def drop(self):
        """Close every connection, also the idle ones."""
        self.dropped += 1
        for scope in self.connections:
            scope.cancel()

    def mute(self):
        """Silence the connections that there are; new ones work."""
        self.muted |= self.connections

    async def handle(self, stream):
        async def copy(source, sink, way):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for data in source:
                    if self.left is not None:
                        self.left -= 1
                        if self.left < 0:  # this piece is lost: a request, or the reply to one that was carried out
                            self.left = None
                            self.drop()
                            return
                    if self.blocked != way and nursery.cancel_scope not in self.muted:
                        await sink.send_all(data)
            nursery.cancel_scope.cancel()

        if self.refusing:
            self.refusing -= 1
            await stream.aclose()
            return
        async with (
            await trio.open_tcp_stream(self.parts.hostname, self.parts.port) as server,
            trio.open_nursery() as nursery,
        ):
            self.connections.add(nursery.cancel_scope)
            nursery.start_soon(copy, stream, server, "asking")
            nursery.start_soon(copy, server, stream, "answering")
        self.connections.discard(nursery.cancel_scope)
