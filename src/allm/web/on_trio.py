"""Writes a response on Trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from allm.execution.nurseries import background_task
from allm.web.line import ClientGone, Line

__all__ = ["serve"]


async def serve(line: Line, until_gone: Callable[[], Awaitable[None]], keep_alive: float | None) -> None:
    """Write the response; until the client is gone, with comments after `keep_alive` seconds of silence."""
    lock = trio.Lock()

    async def listen() -> None:
        await until_gone()
        scope.cancel()

    async def beat() -> None:
        wait = keep_alive
        while wait is not None and keep_alive is not None:
            await trio.sleep(wait)
            wait = await line.keep_alive(lock, trio.current_time, keep_alive)

    with suppress(ClientGone), trio.CancelScope() as scope:
        async with background_task(listen, "allm web reader"), background_task(beat, "allm web keep-alive"):
            await line.write_all(lock, trio.current_time)
