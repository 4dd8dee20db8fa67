"""Give a model the tools of an MCP server, here one that this file is itself when it is started with `serve`.

pip install '.[mcp]'
python examples/mcp_tools.py
"""

from __future__ import annotations

import sys

import demo
import trio

import allm
from allm import fake


def serve() -> None:
    """The server: a program on standard input and output."""
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("library")

    @server.tool()
    def find_book(title: str) -> str:
        """Find a book."""
        return f"{title} is on shelf 7"

    server.run()


def look(asked: demo.Asked) -> list[object] | str:
    """The demo model looks the book up."""
    return asked.results[0] + "." if asked.results else [fake.tool_call("library_find_book", {"title": "Emma"})]


async def main() -> None:
    """Ask for a book."""
    server = allm.mcp.StdioServer(sys.executable, [__file__, "serve"], prefix="library_")
    async with demo.engine(look) as engine, allm.mcp.connect(server) as library:
        print(library)
        print(allm.unwrap(await allm.chat(engine, "Where is Emma?", tools=[library])))


if __name__ == "__main__":
    if "serve" in sys.argv:
        serve()
    else:
        trio.run(main)
