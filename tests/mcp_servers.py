"""The servers that the tests connect to: real processes, over stdio and over HTTP on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

import allm

HERE = Path(__file__).parent / "mcp"
TIMEOUT = 50.0  # a hang becomes a failure


def stdio(**options) -> allm.mcp.StdioServer:
    """The server that is made with the SDK."""
    return allm.mcp.StdioServer(sys.executable, [HERE / "sdk_server.py"], **options)


def raw(fault="none", *more, **options) -> allm.mcp.StdioServer:
    """The one without a library."""
    return allm.mcp.StdioServer(sys.executable, [HERE / "raw_server.py", fault, *more], **{"name": "raw", **options})


@attrs.define
class HttpProcess:
    """The server that is made with the SDK, over HTTP."""

    port: int = 0
    process: trio.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def start(self) -> None:
        """Start it, or start it again on the same port."""
        self.process = await trio.lowlevel.open_process(
            [sys.executable, HERE / "sdk_server.py", "http"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PORT": str(self.port)},
        )
        self.port = int((await self.process.stdout.receive_some(100)).decode())

    async def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            await self.process.stdout.aclose()
            self.process = None


@asynccontextmanager
async def http_process() -> AsyncGenerator[HttpProcess]:
    """Run the server over HTTP."""
    server = HttpProcess()
    try:
        await server.start()
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await server.kill()


@asynccontextmanager
async def connected(*servers, **options) -> AsyncGenerator[dict[str, allm.Tool]]:
    """The tools of the servers by name, as the set has them now."""
    with trio.fail_after(TIMEOUT):
        async with allm.mcp.connect(*servers, **options) as toolset:
            yield {tool.name: tool for tool in toolset.known()}
