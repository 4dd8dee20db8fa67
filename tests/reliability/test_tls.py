"""Clients of the user's own, over TLS and HTTP/2."""

from __future__ import annotations

import ssl

import attrs
import pytest
import trio

import allm
from allm.testing import Cut, Reply, WireServer, loopback_clock
from calls import CHATS, OVER_HTTP
from leftovers import client_library, library_tasks, pooled
from secure_server import SecureServer

STREAMS = [call for call in CHATS if call.name.endswith("stream")]
AT_ONCE = 20


@pytest.fixture
def clock():
    return loopback_clock()


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
async def test_calls_over_tls(http2, clock, nursery, record_property):
    """Every kind of call works over TLS, with HTTP/1.1 and HTTP/2, many at once, and leaves the connections usable."""
    async with WireServer() as plain:
        secure = SecureServer(plain)
        await nursery.start(secure.serve)
        library = client_library()
        async with library.AsyncClient(verify=secure.trusting, http2=http2, timeout=None) as client:
            calls = [call for call in OVER_HTTP if len(call.replies) == 1]
            for call in calls:
                plain.default = call.replies[-1]
                result = await call.ask(call.engine(secure.url, client))
                assert getattr(result, "error", None) is None
                record_property("kinds of call", 1)
            for call in STREAMS:
                plain.default = call.pieces()[-1]
                async with trio.open_nursery() as many:
                    for _ in range(AT_ONCE):
                        many.start_soon(call.ask, call.engine(secure.url, client))
                record_property("streams at once", f"{AT_ONCE}")
            assert library_tasks() == []
            assert set(secure.protocols) == {"h2" if http2 else "http/1.1"}
            assert all(connection.is_idle() for connection in pooled(client))
        assert secure.connections <= len(secure.protocols)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
async def test_tls_that_is_not_trusted(http2, clock, nursery, record_property):
    """A certificate that the client does not trust and a connection that just ends are errors of the library's own."""
    async with WireServer(STREAMS[0].replies[-1]) as plain:
        secure = SecureServer(plain)
        await nursery.start(secure.serve)
        library = client_library()
        strangers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody
        for context, fault in ((strangers, None), (secure.trusting, Cut(99))):
            plain.default = attrs.evolve(STREAMS[0].replies[-1], fault=fault)
            async with library.AsyncClient(verify=context, http2=http2, timeout=None) as client:
                for call in STREAMS[:1]:
                    response = await call.ask(call.engine(secure.url, client))
                    assert isinstance(response.error, allm.AdapterError)
                    record_property("failures", 1)
    assert isinstance(plain.default, Reply)
    nursery.cancel_scope.cancel()
