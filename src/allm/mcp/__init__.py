"""Tools of MCP servers, over the official SDK: with the extra `mcp`.

Example::

    async with allm.mcp.connect(["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv"]) as files:
        result = await allm.chat(engine, "Which of the files is the largest?", tools=[files])
"""

from __future__ import annotations

from allm.mcp.connect import Connect as Connect, connect as connect
from allm.mcp.elicitation import Elicitation as Elicitation, OnElicit as OnElicit
from allm.mcp.listing import may_change as may_change, may_destroy as may_destroy
from allm.mcp.servers import HttpServer as HttpServer, Server as Server, StdioServer as StdioServer

__all__ = [
    "Connect",
    "Elicitation",
    "HttpServer",
    "OnElicit",
    "Server",
    "StdioServer",
    "connect",
    "may_change",
    "may_destroy",
]
