"""A server made with the SDK: over stdio, or over HTTP on the port that it prints."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import anyio
import uvicorn
from mcp.server.mcpserver import Context, Elicit, Image, MCPServer, Resolve
from mcp_types import AudioContent, ToolAnnotations
from pydantic import BaseModel

server = MCPServer("kind")
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def steps(count: int, ctx: Context) -> str:
    """Report progress."""
    for index in range(count):
        await ctx.report_progress(index + 1, count, f"step {index + 1}")
    return "all steps"


def mark(marker, text):
    with Path(marker).open("a") as file:
        file.write(f"{text}\n")


@server.tool()
async def wait(marker: str) -> str:
    """Wait for ever; the marker is written when the call begins, and when it is cancelled."""
    mark(marker, "begun")
    try:
        await anyio.sleep_forever()
    finally:
        mark(marker, "cancelled")
    return "never"


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("no such customer")


@server.tool()
def picture() -> Image:
    """Draw."""
    return Image(data=PIXEL, format="png")


@server.tool()
def sound() -> list[AudioContent]:
    """Play."""
    return [AudioContent(data="AAAA", mime_type="audio/wav")]


@server.tool()
def huge(size: int) -> str:
    """Say much."""
    return "x" * size


@server.tool()
def die(status: int) -> str:
    """End the process in the middle of a call."""
    print("fatal: out of cheese", file=sys.stderr, flush=True)
    os._exit(status)


class Size(BaseModel):
    """The form of a question."""

    size: str


def size_of(what: str) -> Elicit[Size]:
    return Elicit(f"Which size of {what}?", Size)


def second_size_of(what: str) -> Elicit[Size]:
    return Elicit(f"And which size for the second {what}?", Size)


@server.tool()
async def order(
    what: str, size: Annotated[Size, Resolve(size_of)], second: Annotated[Size, Resolve(second_size_of)]
) -> str:
    """Order two things, and ask for their sizes."""
    return f"{what}: {size.size} and {second.size}"


@server.tool()
async def grow(ctx: Context) -> str:
    """Add a tool."""
    server.add_tool(lambda: "new", name="grown", description="New.")
    await ctx.notify_tools_changed()
    return "grown"


@server.tool()
def pid() -> int:
    """The process."""
    return os.getpid()


def main() -> None:
    if "http" not in sys.argv:
        server.run()
        return
    listening = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(server.streamable_http_app(), log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
