"""A server, and a client that sees the raw bytes."""

from __future__ import annotations

import functools
import re
import ssl

import attrs
import httpx
import pytest
import trio

from allm.testing import WireServer, loopback_clock


@pytest.fixture
def clock():
    """Virtual time, for every test that uses this fixture."""
    return loopback_clock()


@pytest.fixture
def found_soon(monkeypatch):
    """Report what a test leaves behind on purpose after a moment, and not only when a second has passed."""
    for module in ("leaks", "leak_check"):
        monkeypatch.setattr(f"allm.testing.{module}.SETTLING", (*[0.0] * 50, *[0.001] * 50))


@pytest.fixture
async def server():
    """A running server."""
    async with WireServer() as server:
        yield server


@pytest.fixture
def http_client():
    """Makes HTTP clients without TLS settings, since loading the certificates takes 0.1 s each."""
    return functools.partial(httpx.AsyncClient, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=10_000)


@attrs.define
class RawClient:
    """One connection without an HTTP library."""

    stream: trio.SocketStream
    received: bytes = b""

    @classmethod
    async def connect(cls, server, path="/v1/chat/completions", body=b"{}"):
        """Connect and send one POST."""
        port = int(server.base_url.rpartition(":")[2])
        client = cls(await trio.open_tcp_stream("127.0.0.1", port))
        await client.post(path, body)
        return client

    async def post(self, path="/", body=b"{}"):
        """Send a request on this connection."""
        head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
        await self.stream.send_all(head.encode() + body)

    async def read(self):
        """Read once; False at the end of file."""
        data = await self.stream.receive_some(65536)
        self.received += data
        return bool(data)

    async def read_until(self, ending):
        """Read until `ending` has arrived."""
        while ending not in self.received:
            assert await self.read(), f"the connection ended before {ending!r}: {self.received!r}"

    async def read_all(self):
        """Read to the end of file."""
        while await self.read():
            pass
        return self.received

    @property
    def body(self):
        """Everything after the head, without the framing of complete chunks."""
        head, _, rest = self.received.partition(b"\r\n\r\n")
        if b"chunked" not in head:
            return rest
        body = b""
        while match := re.match(rb"([0-9a-f]+)\r\n", rest):
            size = int(match[1], 16)
            body += rest[match.end() : match.end() + size]
            rest = rest[match.end() + size + 2 :]
        return body


@pytest.fixture
async def connect(server):
    """Open raw connections to the server, closed after the test."""
    clients = []

    async def connect(*args, **kwargs):
        clients.append(await RawClient.connect(server, *args, **kwargs))
        return clients[-1]

    yield connect
    for client in clients:
        await trio.aclose_forcefully(client.stream)
