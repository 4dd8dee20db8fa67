"""`connect`: a block in which servers are connected, and whose set of tools is theirs."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import EngineError, StreamError
from allm.data.tool import Tool
from allm.data.user_functions import call_back
from allm.mcp.elicitation import OnElicit
from allm.mcp.sdk import load_sdk
from allm.mcp.server_tools import ServerTools
from allm.mcp.servers import Server, as_server
from allm.runtime.tool_loading import Toolset

__all__ = ["Connect", "connect"]


def connect(*servers: Server | str | Sequence[str], on_elicit: OnElicit | None = None) -> Connect:
    """Connect MCP servers; the block gives their tools as a `Toolset`.

        async with allm.mcp.connect(["uvx", "mcp-server-time"]) as clock:
            result = await allm.chat(engine, "What time is it in Oslo?", tools=[clock])

    Args:
        servers: A `StdioServer`, or its command as a list; an `HttpServer`, or its URL.
        on_elicit: Answers the questions that servers ask the user; by default such a call returns an `AskUser`.

    Raises:
        ValidationError: Something in `servers` is no server.
    """
    return Connect(tuple(map(as_server, servers)), on_elicit)


@final
@define(eq=False)
class Connect:
    """What `connect` returns: enter it once, with `async with`. It may be left by any task, and in any order."""

    _servers: tuple[Server, ...] = attrs.field(repr=False)
    _on_elicit: OnElicit | None = attrs.field(repr=False)
    _all: list[ServerTools] = attrs.field(factory=list, init=False, repr=False)
    _toolset: Toolset | None = attrs.field(default=None, init=False, repr=False)

    async def __aenter__(self) -> Toolset:
        """Connect all servers, side by side.

        Raises:
            EngineError: `tools_not_loaded`: a server cannot be connected, or two of their tools have the same name.
            StreamError: `closed`: it was entered before.
            ImportError: The extra is not installed.
        """
        if self._toolset is not None:
            raise StreamError(
                "this block was entered before, and runs once: call allm.mcp.connect again", reason="closed"
            )
        if not trio.lowlevel.in_trio_task():
            raise RuntimeError(
                "allm.mcp.connect(...) is entered on Trio, and this is not a Trio task. In asyncio code: toolset = "
                "await allm.aio.run(block.__aenter__), and in the end await allm.aio.run(block.__aexit__, None, None, "
                "None). In a script: the same with allm.blocking.run. The page docs/mcp.md has an example"
            )

        async def load() -> list[Tool]:
            return await call_back(self._load)

        load.__qualname__ = f"the MCP servers {', '.join(server.name for server in self._servers)}"
        toolset = self._toolset = Toolset(load)
        sdk = await load_sdk()
        self._all += [ServerTools(server, sdk, self._on_elicit, toolset.forget) for server in self._servers]
        for one in self._all:
            one.connection.start()
        try:
            for one in self._all:
                await one.connection.started()
            await toolset.load()
        except BaseException:
            await self._close()  # noqa: ASYNC102, ASYNC120  (shielded, and bounded, itself)
            raise
        return toolset

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections; calls that still wait get an error."""
        await self._close()  # noqa: ASYNC102  (shielded, and bounded, itself)

    async def _close(self) -> None:
        for one in self._all:
            one.connection.close()
        with trio.CancelScope(shield=True):  # each has a few seconds, all at the same time
            for one in self._all:
                await one.connection.closed()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _load(self) -> list[Tool]:
        await trio.lowlevel.checkpoint()
        tools: list[Tool] = []
        owners: dict[str, str] = {}  # by name of a tool
        for one in self._all:
            server = one.connection.server
            own = Toolset(await one.load())
            if server.only is not None:
                own = own.filtered(server.only)
            for tool in own.prefixed(server.prefix).known() or ():
                if (other := owners.get(tool.name)) is not None:
                    raise EngineError(
                        f"the MCP servers {other!r} and {server.name!r} both have a tool {tool.name!r}: give one of "
                        "them a prefix, prefix='...'",
                        reason="tools_not_loaded",
                    )
                owners[tool.name] = server.name
                tools.append(tool)
        return tools
