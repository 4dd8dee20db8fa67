"""Hosts that are web servers, with an application as the page on environments has it. A browser is an HTTP client."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading

import httpx
import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import allm.web
from hosts import calls
from hosts.calls import Call

SECONDS = 30  # for an answer


class Endpoints:
    """What the application answers with."""

    def __init__(self, loop):
        self.loop = calls.LOOPS[loop]
        self.noted = queue.SimpleQueue()

    async def run(self, operation, url, store):
        """A request that waits for the whole operation."""
        noted = []
        await calls.run(operation, Call(url=url, store=store, loop=self.loop, note=noted.append))
        return JSONResponse(noted)

    def streamed(self, operation, url, store):
        """A request whose answer is the text as it arrives."""
        block = calls.turn if operation == "session" else calls.answer
        return allm.web.text(block(Call(url=url, store=store, loop=self.loop, note=self.noted.put)))


def with_fastapi(endpoints):
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/run/{operation}")
    async def run(operation: str, url: str, store: str):
        return await endpoints.run(operation, url, store)

    @app.get("/streamed/{operation}")
    async def streamed(operation: str, url: str, store: str):
        return endpoints.streamed(operation, url, store)

    return app


def with_starlette(endpoints):
    async def run(request):
        return await endpoints.run(request.path_params["operation"], **request.query_params)

    async def streamed(request):
        return endpoints.streamed(request.path_params["operation"], **request.query_params)

    return Starlette(routes=[Route("/run/{operation}", run), Route("/streamed/{operation}", streamed)])


def served_by_uvicorn(app, listener):
    """Serve in a thread; returns what stops it."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="uvicorn")
    thread.start()

    def stop():
        server.should_exit = True
        thread.join()

    return stop


def served_by_hypercorn(app, listener):
    from hypercorn.config import Config
    from hypercorn.trio import serve

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 1
    started = queue.SimpleQueue()

    async def main():
        over = trio.Event()
        started.put((trio.lowlevel.current_trio_token(), over))
        await serve(app, config, shutdown_trigger=over.wait)

    thread = threading.Thread(target=trio.run, args=(main,), name="hypercorn")
    thread.start()
    token, over = started.get(timeout=SECONDS)

    def stop():
        token.run_sync_soon(over.set)
        thread.join()

    return stop


class Uvicorn:
    """FastAPI on uvicorn, in a thread of this process."""

    title = "FastAPI on uvicorn"
    calls = "`allm.aio`"
    cancelled_by = "the reader goes away"
    limited_by = "`asyncio.timeout`"
    loop = "asyncio"
    application = staticmethod(with_fastapi)
    serve = staticmethod(served_by_uvicorn)

    def __init__(self):
        self._endpoints = Endpoints(self.loop)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._stop = self.serve(self.application(self._endpoints), self._listener)

    def close(self):
        self._stop()
        self._listener.close()

    def run(self, operation, url, store):
        query = {"url": url, "store": store}
        if operation == "stream":
            assert httpx.get(f"{self._url}/streamed/stream", params=query, timeout=SECONDS).text == "Hello there."
            return [self._endpoints.noted.get(timeout=SECONDS)]
        return httpx.get(f"{self._url}/run/{operation}", params=query, timeout=SECONDS).raise_for_status().json()

    def cut(self, operation, url, store):
        query = {"url": url, "store": store}
        with httpx.stream("GET", f"{self._url}/streamed/{operation}", params=query, timeout=SECONDS) as response:
            assert next(response.iter_text()) == "Half"
        return [self._endpoints.noted.get(timeout=SECONDS)]


class Hypercorn(Uvicorn):
    """FastAPI on Hypercorn, whose workers run on Trio."""

    title = "FastAPI on hypercorn-trio"
    calls = "`allm`"
    cancelled_by = "the reader goes away"
    limited_by = "`move_on_after`"
    loop = "trio"
    serve = staticmethod(served_by_hypercorn)


class StarletteOnUvicorn(Uvicorn):
    """Starlette on uvicorn."""

    title = "Starlette on uvicorn"
    application = staticmethod(with_starlette)


class StarletteOnHypercorn(Hypercorn):
    """Starlette on Hypercorn, whose workers run on Trio."""

    title = "Starlette on hypercorn-trio"
    application = staticmethod(with_starlette)
