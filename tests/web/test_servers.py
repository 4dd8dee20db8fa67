"""Real servers on loopback: Hypercorn on Trio and uvicorn, under FastAPI, Starlette, Quart and none."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
import trio

import allm
import allm.aio
import allm.web
from allm import fake
from allm.providers import Fake

hypercorn = pytest.importorskip("hypercorn")
pytest.importorskip("fastapi")
GET = b"GET /stream HTTP/1.1\r\nhost: localhost\r\nlast-event-id: 1\r\nconnection: close\r\n\r\n"


class Calls:
    """Counts the calls that run.

    Attributes:
        ended: Set when one has ended.
    """

    def __init__(self, event):
        self.begun = 0
        self.ended = event

    def engine(self, *items):
        return allm.Engine(adapter=Fake(script=[*items]))

    @contextlib.asynccontextmanager
    async def counted(self, block):
        """The block of a stream, which tells when it is left."""
        async with block as events:
            self.begun += 1
            try:
                yield events
            finally:
                self.ended.set()


def fastapi_app(block):
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/stream")
    async def stream():
        return allm.web.sse(block())

    return app


def starlette_app(block):
    from starlette.applications import Starlette
    from starlette.routing import Route

    async def stream(request):
        return allm.web.sse(block())

    return Starlette(routes=[Route("/stream", stream)])


def plain_app(block):
    async def app(scope, receive, send):
        assert scope["type"] == "http"  # what a server does with an application without a lifespan is its own
        await allm.web.sse(block())(scope, receive, send)

    return app


def quart_app(block):
    from quart import Response
    from quart_trio import QuartTrio

    app = QuartTrio(__name__)

    @app.get("/stream")
    async def stream():
        reply = allm.web.sse(block())
        return Response(reply, headers=reply.headers)

    return app


async def asked(port, until):
    """The response up to a text, and then nothing more is read."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(GET)
        received = b""
        while until not in received:
            data = await stream.receive_some()
            if not data:
                break
            received += data
    return received


@contextlib.asynccontextmanager
async def hypercorn_on_trio(app):
    """The port of a server."""
    from hypercorn.config import Config
    from hypercorn.trio import serve

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = config.accesslog = None
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(
            lambda task_status: serve(app, config, shutdown_trigger=over.wait, task_status=task_status)
        )
        yield int(address.rpartition(":")[2])
        over.set()


SCRIPT = [fake.text("Hello "), fake.delay(0.01), fake.text("web.")]
ENDLESS = [fake.text("Goodbye."), fake.delay(3600), fake.text("Never.")]


@pytest.mark.parametrize("make", [fastapi_app, starlette_app, plain_app, quart_app])
@pytest.mark.filterwarnings("default")
async def test_under_hypercorn_on_trio(make):
    """The response arrives whole; a client that goes away ends its call."""
    calls = Calls(trio.Event())
    script = SCRIPT
    app = make(lambda: calls.counted(allm.stream(calls.engine(*script), "Hi")))
    async with hypercorn_on_trio(app) as port:
        received = await asked(port, b"\r\n0\r\n\r\n")
        assert b"200" in received.split(b"\r\n")[0]
        assert b"text/event-stream" in received
        assert b'"delta":"Hello "' in received
        assert b'{"type":"End"}' in received
        calls.ended, script = trio.Event(), ENDLESS
        await asked(port, b"Goodbye.")
        await calls.ended.wait()
    assert calls.begun == 2


@pytest.mark.parametrize("make", [fastapi_app, starlette_app, plain_app])
@pytest.mark.filterwarnings("default")
def test_under_uvicorn(make):
    """The same on asyncio, with blocks of `allm.aio`."""
    uvicorn = pytest.importorskip("uvicorn")
    calls = Calls(asyncio.Event())
    script = SCRIPT
    app = make(lambda: calls.counted(allm.aio.stream(calls.engine(*script), "Hi")))

    async def main():
        nonlocal script
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()  # so that a client need not wait for the server
            port = listening.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
            serving = asyncio.ensure_future(server.serve([listening]))
            received = await ask(port, b"\r\n0\r\n\r\n")
            assert b"200" in received.split(b"\r\n")[0]
            assert b'"delta":"Hello "' in received
            assert b'{"type":"End"}' in received
            calls.ended, script = asyncio.Event(), ENDLESS
            await ask(port, b"Goodbye.")
            await calls.ended.wait()
            server.should_exit = True
            await serving

    async def ask(port, until):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        received = b""
        while until not in received:
            data = await reader.read(4096)
            if not data:
                break
            received += data
        writer.close()
        await writer.wait_closed()
        return received

    asyncio.run(main())
    assert calls.begun == 2
