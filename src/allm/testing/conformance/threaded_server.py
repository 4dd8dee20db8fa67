"""A server in its own thread, which outlives the Trio runs of its clients."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager

import trio

from allm.testing.replies import Reply
from allm.testing.wire_server import WireServer

__all__ = ["threaded_server"]

START_SECONDS = 30.0
"""Longest wait for the server to start."""


@contextmanager
def threaded_server(reply: Reply) -> Generator[str, None, None]:
    """Run a server that sends `reply` for every request during this block; yields its base URL."""
    started: queue.Queue[tuple[str, trio.lowlevel.TrioToken, trio.CancelScope]] = queue.Queue()

    async def serve() -> None:
        async with WireServer(reply) as server:
            with trio.CancelScope() as scope:
                started.put((server.base_url, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve,), name="conformance server")
    thread.start()
    base_url, token, scope = started.get(timeout=START_SECONDS)
    try:
        yield base_url
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()
