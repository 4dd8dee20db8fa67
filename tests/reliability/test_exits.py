"""A stream's block may be left in any way, with any client."""

from __future__ import annotations

import contextlib
import ssl

import attrs
import pytest
import trio

import allm
from allm.testing import Reply, Stall, WireServer, loopback_clock
from calls import TEXT, VENDORS, WORDS, in_pieces
from leftovers import client_library, library_tasks, pooled, shared_clients
from secure_server import SecureServer

CLIENTS = ["shared", "own", "own with HTTP/2", "mock transport"]
DEADLINE = 10  # virtual seconds
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the certificates takes 0.1 s for each client


@pytest.fixture
def clock():
    return loopback_clock()


async def read_until_text(events):
    async for event in events:
        if isinstance(event, allm.TextDelta):
            return
    raise AssertionError("no text came")


async def by_the_end(block):
    async with block as events:
        await events.until_done()
    return events


async def by_break(block):
    async with block as events:
        async for event in events:
            if isinstance(event, allm.TextDelta):
                break
    return events


async def by_exception(block):
    with pytest.raises(ZeroDivisionError):
        async with block as events:
            await read_until_text(events)
            raise ZeroDivisionError
    return events


async def by_cancel(block):
    with trio.CancelScope() as scope:
        async with block as events:
            await read_until_text(events)
            scope.cancel()
            await events.until_done()
    assert scope.cancelled_caught
    return events


async def by_deadline(block):
    with trio.move_on_after(DEADLINE) as scope:
        async with block as events:
            await events.until_done()
    assert scope.cancelled_caught
    return events


WAYS = [by_the_end, by_break, by_exception, by_cancel, by_deadline]


@attrs.define(eq=False)
class MockBody:
    """The body of a mocked response; notes that it was closed."""

    reply: Reply
    is_closed: bool = False

    async def __aiter__(self):
        for piece in self.reply.pieces():
            await trio.lowlevel.checkpoint()
            yield piece.data
        if self.reply.fault is not None:
            await trio.sleep_forever()

    async def aclose(self):
        self.is_closed = True
        await trio.lowlevel.checkpoint()


@contextlib.asynccontextmanager
async def place(kind, reply, nursery):
    """A base URL and a client of this kind; the check that nothing is left of a call comes with them."""
    library = client_library()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(WireServer(reply))
        expected = "completed" if reply.fault is None else "client_closed"

        async def check_wire():
            await server.wait_outcomes()
            assert {request.outcome for request in server.requests} == {expected}
            clients = shared_clients() if kind == "shared" else [client]
            connections = [connection for one in clients for connection in pooled(one)]
            assert all(connection.is_idle() for connection in connections)
            while server.connections > len(connections):
                await trio.sleep(0.5)

        async def check_http2():
            # The HTTP library does not reset a stream that is left, so the server cannot tell.
            assert secure.protocols == ["h2"]
            assert all(connection.is_idle() for connection in pooled(client))
            server.default = attrs.evolve(reply, fault=None)
            assert (await client.post(secure.url, content=b"{}", timeout=5)).status_code == 200

        async def check_mock():
            assert all(body.is_closed for body in bodies)
            await trio.lowlevel.checkpoint()

        if kind == "shared":
            yield server.base_url, None, check_wire
        elif kind == "own":
            client = await stack.enter_async_context(library.AsyncClient(verify=NO_TLS, timeout=None))
            yield server.base_url, client, check_wire
        elif kind == "own with HTTP/2":
            secure = SecureServer(server)
            await nursery.start(secure.serve)
            made = library.AsyncClient(verify=secure.trusting, http2=True, timeout=None)
            client = await stack.enter_async_context(made)
            yield secure.url, client, check_http2
        else:
            bodies = []

            def answer(request):
                class Stream(MockBody, library.AsyncByteStream):
                    pass

                bodies.append(Stream(reply))
                return library.Response(reply.status, headers=dict(reply.headers), stream=bodies[-1])

            transport = library.MockTransport(answer)
            client = await stack.enter_async_context(library.AsyncClient(transport=transport, timeout=None))
            yield "http://mocked", client, check_mock


@pytest.mark.sample(24)
@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("way", WAYS)
async def test_every_way_out(way, vendor, kind, clock, nursery, record_property):
    """However a stream's block is left, its tasks have ended, and its connection is closed or can be used again.

    What had arrived is kept.
    """
    whole = in_pieces(Reply.script(vendor, TEXT))
    reply = whole if way is by_the_end else attrs.evolve(whole, fault=Stall(whole.event_ends[-3]))
    exits = 0
    for options in ({}, {"on_event": lambda event: None}, {"stream_timeout": 1000.0, "request_timeout": 5000.0}):
        with trio.fail_after(3600):
            async with place(kind, reply, nursery) as (url, client, check):
                engine = allm.Engine(adapter=VENDORS[vendor](url, client), model="m", retry=None)
                events = await way(allm.stream_generate(engine, "hi", **options))
                assert library_tasks() == []
                await check()
        response = events.result()
        assert response.output_text
        assert WORDS.startswith(response.output_text)
        assert response.error is None
        assert (response.finish_reason == "stop") == (way is by_the_end)
        exits += 1
    record_property("exits", exits)
    nursery.cancel_scope.cancel()
