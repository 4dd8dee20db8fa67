"""`Connection`: one server, and the one task that enters and leaves everything that the SDK opens for it.

The SDK's contexts hold cancel scopes, which have to be left by the task that entered them, in their order. Programs
open and close connections in any task and any order. So a system task of Trio owns each connection from its start to
its end; everybody else wakes it and waits. Its life:

    waiting --(somebody needs the server)--> connecting --> open --(lost)--> waiting
                                                 |
                                                 +--(failed)--> waiting; calls fail at once for a while

`close` ends it anywhere. A server that is lost wakes the calls that wait for it; the next call has it connected again.
"""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import trio

from allm._version import __version__
from allm.data.attrs_classes import define
from allm.data.errors import EngineError, ToolError
from allm.data.tool_control import exception_text
from allm.execution.nurseries import nursery_boundary, start_task
from allm.mcp.http import http_transport
from allm.mcp.listing import list_tools
from allm.mcp.screen import screened
from allm.mcp.sdk import Sdk
from allm.mcp.servers import HttpServer, Server
from allm.mcp.stdio import Tail, stdio_transport

__all__ = ["Connection", "Live"]

logger: logging.Logger = logging.getLogger("allm.mcp")

_PAUSES = (0.0, 0.25, 1.0)
"""Seconds before each attempt to connect again, in the call that needs it: a server that restarts is away briefly."""

_AWAY = 10.0
"""Seconds in which calls fail at once after these attempts, instead of trying again one by one."""

_CLOSE_TIMEOUT = 3.0
"""Seconds that a server has to end a session when asked, before it is no longer waited for."""


@define(eq=False)
class _Attempt:
    """An attempt to connect, which those who need the server wait for."""

    over: trio.Event = attrs.field(factory=trio.Event)
    error: str | None = attrs.field(default=None, init=False)
    last_words: str = attrs.field(default="", init=False)


@define(eq=False)
class Live:
    """A connection that is open, or was.

    Attributes:
        tail: The end of the server's standard error.
        lost: How it ended, as the predicate of a sentence; None while it is open.
        over: Set then.
        nursery: Owns the tasks of calls.
    """

    tail: Tail = attrs.field(factory=Tail)
    lost: str | None = attrs.field(default=None, init=False)
    over: trio.Event = attrs.field(factory=trio.Event, init=False)
    client: Any = attrs.field(default=None, init=False)
    nursery: trio.Nursery = attrs.field(init=False)

    def end(self, how: str) -> None:
        """Note how it ended, the first time."""
        self.lost = self.lost or how
        self.over.set()


@define(eq=False)
class Connection:
    """A server that is connected when it is needed, from `start` to `close`.

    Attributes:
        changed: Called when the server's tools may have changed.
        elicit: Answers a question of the server; the SDK's `elicitation_callback`.
        report: Called with the parameters of each report of progress.
        tools: The SDK's tools as they were listed last; None before.
        is_stale: The list has to be asked for anew.
        is_closed: It was left, and is not connected again.
        done: The owner has ended.
    """

    server: Server
    sdk: Sdk
    changed: Callable[[], None]
    elicit: Callable[..., Awaitable[Any]]
    report: Callable[[dict[str, Any]], None]
    tools: list[Any] | None = attrs.field(default=None, init=False)
    is_stale: bool = attrs.field(default=False, init=False)
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    is_closed: bool = attrs.field(default=False, init=False)
    _run: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)
    _first: _Attempt = attrs.field(factory=_Attempt, init=False)
    _live: Live | None = attrs.field(default=None, init=False)
    _attempt: _Attempt | None = attrs.field(default=None, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _away: tuple[float, str] = attrs.field(default=(-float("inf"), ""), init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _connecting: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    # --- for everybody ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the owner, which connects at once."""
        self._attempt, self._run = self._first, trio.lowlevel.current_trio_token()
        self._wake.set()
        name = f"allm mcp {self.server.name}"
        trio.lowlevel.spawn_system_task(self._own, name=name, context=contextvars.copy_context())

    async def started(self) -> None:
        """Wait until it is open.

        Raises:
            EngineError: `tools_not_loaded`: it cannot be reached, or does not speak the protocol.
        """
        await self._first.over.wait()
        if self._first.error is not None:
            what = f"the MCP server {self.server.name!r} {self._first.error}{self._first.last_words}"
            raise EngineError(what, reason="tools_not_loaded")

    def close(self) -> None:
        """Have the owner end; `done` is set then."""
        self.is_closed = True
        if self._live is not None and self._live.lost is None:
            self._live.end("was closed")
        else:
            self._connecting.cancel()
        self._wake.set()

    async def closed(self) -> None:
        """Wait for the end of the owner."""
        with trio.move_on_after(_CLOSE_TIMEOUT):
            await self.done.wait()
        self._scope.cancel()
        await self.done.wait()

    async def listed(self) -> list[Any]:
        """The server's tools; those that were known last if it is away."""
        if self.tools is None or self.is_stale:
            try:
                live = await self.open()
                self.is_stale = False  # until the server says so again, which may be during the next line
                self.tools = await list_tools(live.client, self.server.name)
            except Exception as error:
                self.is_stale = True
                if self.tools is None:
                    raise
                logger.warning("MCP server %r: %s; its tools stay as they were", self.server.name, error)
        return self.tools

    async def open(self) -> Live:
        """The open connection, which is made anew if it was lost.

        Raises:
            ToolError: It cannot be.
        """
        name = self.server.name
        if self._run is not trio.lowlevel.current_trio_token():
            what = f"the MCP server {name!r} was connected in another Trio run: connect it in this one"
            raise ToolError(what, reason="handler_raised")
        while True:
            if self.is_closed:
                what = f"the MCP server {name!r} was closed: its block, `async with allm.mcp.connect(...)`, was left"
                raise ToolError(what, reason="handler_raised")
            if self._live is not None and self._live.lost is None:
                return self._live
            until, why = self._away
            if trio.current_time() < until:
                what = f"the MCP server {name!r} {why}; it is tried again in {until - trio.current_time():.0f} s"
                raise ToolError(what, reason="handler_raised")
            if self._attempt is None:
                self._attempt = _Attempt()
                self._wake.set()
            attempt = self._attempt
            await attempt.over.wait()
            if attempt.error is not None and not self.is_closed:
                raise ToolError(f"the MCP server {name!r} {attempt.error}", reason="handler_raised")

    # --- the owner --------------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        """The task that owns the connection; it raises nothing, since a system task ends the Trio run with it."""
        try:
            with self._scope:
                tries: tuple[float, ...] = _PAUSES[:1]
                while True:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    if self.is_closed:
                        break
                    if (attempt := self._attempt) is not None:
                        await self._serve(attempt, tries)
                        tries = _PAUSES
        except Exception:
            logger.exception("the connection to MCP server %r ended, which is a fault of allm", self.server.name)
        finally:
            self.is_closed = True
            if self._live is not None:
                self._live.end("was closed")
            if self._attempt is not None:
                self._attempt.error = "was closed"
                self._attempt.over.set()
            self.done.set()

    async def _serve(self, attempt: _Attempt, pauses: tuple[float, ...]) -> None:
        """Connect, and hold the connection until it is lost or closed."""
        why = "was closed"
        for pause in pauses:
            with trio.CancelScope() as self._connecting:
                await trio.sleep(pause)
            if self.is_closed:
                break
            why = await self._hold(attempt)
            if attempt.over.is_set():
                return
        attempt.error = why
        self._attempt = None
        self._away = trio.current_time() + _AWAY, why
        attempt.over.set()

    async def _hold(self, attempt: _Attempt) -> str:
        """Connect once, and hold the connection; returns how it ended, or why there was none."""
        live, limit = Live(), self.server.connect_timeout
        raised: Exception | None = None
        with trio.CancelScope(deadline=trio.current_time() + limit) as self._connecting:
            try:
                async with self._client(live) as live.client:
                    tools = await list_tools(live.client, self.server.name)
                    self._connecting.deadline = float("inf")
                    async with nursery_boundary() as live.nursery:
                        self._opened(live, tools, attempt)
                        if _announces(live.client):
                            start_task(live.nursery, self._listen, live, name="allm mcp tools changed")
                        try:
                            await live.over.wait()
                        finally:
                            live.end("closed the connection")  # the nursery takes no calls from here on
                            live.nursery.cancel_scope.cancel()
            except Exception as error:
                raised = error
        how = live.lost or (f"failed: {_leaf_text(raised)}" if raised is not None else None)
        if how is None:
            how = f"was not ready after {limit:g} s (connect_timeout)"
        live.end(how)
        attempt.last_words = _last_words(live.tail)
        if not attempt.over.is_set():
            return f"could not be connected: it {how}"
        if not self.is_closed:  # for the log only: what the calls get goes to the model, and so to others
            logger.warning("MCP server %r %s%s", self.server.name, how, attempt.last_words)
        return how

    def _opened(self, live: Live, tools: list[Any], attempt: _Attempt) -> None:
        known, self.tools = self.tools, tools
        self._live, self._attempt, self._away = live, None, (-float("inf"), "")
        self.is_stale = False
        if known is not None and known != tools:
            self.changed()
        attempt.over.set()

    def _client(self, live: Live) -> Any:
        def version() -> str | None:
            session = live.client and live.client.session
            return session.protocol_version if session else None

        streams: AbstractAsyncContextManager[Any]
        if isinstance(self.server, HttpServer):
            streams = http_transport(self.server, self.sdk)
        else:
            streams = stdio_transport(self.server, self.sdk, live.tail, live.end)
        return self.sdk.client.Client(
            screened(streams, self.server.name, self.sdk, version, self.report),
            client_info=self.sdk.types.Implementation(name="allm", version=__version__),
            message_handler=self._heard,
            elicitation_callback=self.elicit,
            cache=None,  # the set has its own, which `tools/list_changed` empties
        )

    # --- what the server says by itself -----------------------------------------------------------------------------

    async def _heard(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(message, self.sdk.types.ToolListChangedNotification):
            self._tools_changed()

    async def _listen(self, live: Live) -> None:
        """Ask to be told about changes of the tools, as a server of 2026-07-28 wants it."""
        try:
            async with live.client.listen(tools_list_changed=True) as events:
                async for _ in events:
                    self._tools_changed()
        except Exception as error:
            logger.debug("MCP server %r no longer says when its tools change: %s", self.server.name, error)

    def _tools_changed(self) -> None:
        self.is_stale = True
        self.changed()


def _announces(client: Any) -> bool:
    """Whether a server of 2026-07-28, which is asked to, says when its tools change."""
    tools = client.server_capabilities.tools
    return bool(client.protocol_version >= "2026" and tools is not None and tools.list_changed)


def _last_words(tail: Tail) -> str:
    """The end of a server's standard error, for a message."""
    text = str(tail)
    return f"; its standard error ends with:\n{text}\n" if text else ""


def _leaf_text(error: Exception) -> str:
    """What was raised inside the task groups of the SDK."""
    while isinstance(error, ExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return exception_text(error) if type(error) is not OSError else f"{error.strerror or error}"
