"""Writes a response on asyncio: its blocks are those of `allm.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from allm.web.line import ClientGone, Line

__all__ = ["serve"]


async def serve(line: Line, until_gone: Callable[[], Awaitable[None]], keep_alive: float | None) -> None:
    """Write the response; until the client is gone, with comments after `keep_alive` seconds of silence."""
    lock, now = asyncio.Lock(), asyncio.get_running_loop().time

    async def beat() -> None:
        wait = keep_alive
        while wait is not None and keep_alive is not None:
            await asyncio.sleep(wait)
            wait = await line.keep_alive(lock, now, keep_alive)
        await asyncio.Event().wait()  # for ever: the task that ends first ends the response

    async def listen() -> None:
        await until_gone()

    tasks = [asyncio.ensure_future(work) for work in (line.write_all(lock, now), listen(), beat())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled():
            with suppress(ClientGone):
                task.result()
