"""Writes a response on asyncio: its blocks are those of `allm.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from allm.web.response import ClientGone, Line

__all__ = ["serve"]


async def serve(line: Line, until_gone: Callable[[], Awaitable[None]], keep_alive: float | None) -> None:
    """Write the response; until the client is gone, with comments after `keep_alive` seconds of silence."""
    lock = asyncio.Lock()

    async def beat() -> None:
        while keep_alive is not None:
            await asyncio.sleep(keep_alive)
            await line.keep_alive(lock)
        await asyncio.Event().wait()

    async def listen() -> None:
        await until_gone()

    tasks = [asyncio.ensure_future(work) for work in (line.write_all(lock), listen(), beat())]
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
