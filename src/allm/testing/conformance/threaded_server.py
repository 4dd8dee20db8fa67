"""A server in a thread of its own, which outlives the Trio runs of its clients."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager

import trio

from allm.testing.replies import Reply
from allm.testing.wire_server import WireServer

__all__ = ["serving_elsewhere"]

START_SECONDS = 30.0
"""Longest time to wait for a thread to listen."""


@contextmanager
def serving_elsewhere(reply: Reply) -> Generator[str, None, None]:
    """The base URL of a server that answers every request with `reply`, during this block."""
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
