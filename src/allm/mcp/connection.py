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
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn

import attrs
import trio

from allm._version import __version__
from allm.data.attrs_classes import define
from allm.data.errors import EngineError, ToolError
from allm.data.tool_control import AskUser, exception_text
from allm.data.user_functions import call_user
from allm.execution.stream.block import nursery_boundary
from allm.mcp.calling import Call, current_call
from allm.mcp.elicitation import Elicitation, OnElicit, as_elicitation, as_question, take_answers
from allm.mcp.http import SESSION_LOST, http_transport
from allm.mcp.listing import list_tools
from allm.mcp.results import error_text, result_value
from allm.mcp.screen import screened
from allm.mcp.sdk import Sdk
from allm.mcp.servers import HttpServer, Server
from allm.mcp.stdio import Tail, stdio_transport

__all__ = ["Connection"]

logger = logging.getLogger("allm.mcp")

_PAUSES = (0.0, 0.25, 1.0)
"""Seconds before each attempt to connect again, in the call that needs it: a server that is restarted is away briefly."""

_AWAY = 10.0
"""Seconds in which calls fail at once after these attempts, instead of trying again one by one."""

_CLOSE_TIMEOUT = 3.0
"""Seconds that a server has to end a session when asked, before it is no longer waited for."""

_GRACE = 1.0
"""Seconds in which the owner of a connection learns how it ended."""


@define(eq=False)
class _Attempt:
    """An attempt to connect, which those who need the server wait for."""

    over: trio.Event = attrs.field(factory=trio.Event)
    error: str | None = attrs.field(default=None, init=False)


@define(eq=False)
class _Live:
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
        tools: The SDK's tools as they were listed last; None before.
        asking: The names of tools that have asked the user something.
        is_stale: The list has to be asked for anew.
        done: The owner has ended.
    """

    server: Server
    sdk: Sdk
    on_elicit: OnElicit | None
    changed: Callable[[], None]
    tools: list[Any] | None = attrs.field(default=None, init=False)
    asking: frozenset[str] = attrs.field(default=frozenset(), init=False)
    is_stale: bool = attrs.field(default=False, init=False)
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)
    _live: _Live | None = attrs.field(default=None, init=False)
    _attempt: _Attempt | None = attrs.field(default=None, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _away: tuple[float, str] = attrs.field(default=(-float("inf"), ""), init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _connecting: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _calls: dict[Any, Call] = attrs.field(factory=dict, init=False)
    _one_by_one: trio.Lock | None = attrs.field(default=None, init=False)

    # --- for everybody ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the owner, which connects at once."""
        self._attempt = _Attempt()
        self._wake.set()
        name = f"allm mcp {self.server.name}"
        trio.lowlevel.spawn_system_task(self._own, name=name, context=contextvars.copy_context())

    async def started(self) -> None:
        """Wait until it is open.

        Raises:
            EngineError: `tools_not_loaded`: it cannot be reached, or does not speak the protocol.
        """
        attempt = self._attempt
        if attempt is not None:
            await attempt.over.wait()
            if attempt.error is not None:
                raise EngineError(f"the MCP server {self.server.name!r} {attempt.error}", reason="tools_not_loaded")

    def close(self) -> None:
        """Have the owner end; `done` is set then."""
        self._is_closed = True
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

    async def list(self) -> list[Any]:
        """The server's tools; those that were known last if it is away."""
        if self.tools is None or self.is_stale:
            try:
                live = await self._open()
                self.is_stale = False
                self.tools = await list_tools(live.client, self.server.name)
            except Exception as error:
                if self.tools is None:
                    raise
                logger.warning("MCP server %r: %s; its tools stay as they were", self.server.name, error)
        return self.tools

    async def call(self, name: str, arguments: dict[str, Any], context: Any) -> Any:
        """Call a tool, and return what its handler returns.

        Raises:
            ToolError: The server answered with an error, or was lost.
        """
        own, answers = take_answers(arguments, self._schema_of(name))
        live, call = await self._called(name, own, answers, context)
        if _is_refused(call.error) and not self._is_closed:
            # The server did not take the call, as it has no such session: the protocol has a client begin a new one.
            live.end("has forgotten the session")
            live, call = await self._called(name, own, answers, context)
        if call.error is not None:
            self._fail(live, name, call.error)
        if call.asked is not None:
            return self._asked(call, call.asked)
        if call.result is None:
            with trio.move_on_after(_GRACE):  # the owner may still be learning how it ended
                await live.over.wait()
            self._fail_lost(live, name)
        if call.result.is_error:
            raise ToolError(error_text(call.result), reason="handler_raised", tool_name=context.tool_call.name)
        return result_value(call.result)

    async def _called(
        self, name: str, arguments: dict[str, Any], answers: list[Any], context: Any
    ) -> tuple[_Live, Call]:
        call = Call(name, arguments, list(answers))
        if self._one_by_one is not None:
            async with self._one_by_one:
                return await self._watched(call, context), call
        return await self._watched(call, context), call

    async def _watched(self, call: Call, context: Any) -> _Live:
        live = await self._open()
        live.nursery.start_soon(call.run, live.client, self.sdk, name=f"allm mcp call {call.name}")
        self._calls[call.token] = call
        try:
            async for report in call.progress:
                await context.emit(report)
        finally:
            del self._calls[call.token]
            call.scope.cancel()
            call.progress.close()
        return live

    async def _open(self) -> _Live:
        """The open connection, which is made anew if it was lost.

        Raises:
            ToolError: It cannot be.
        """
        name = self.server.name
        while True:
            if self._is_closed:
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
            if attempt.error is not None and not self._is_closed:
                raise ToolError(f"the MCP server {name!r} {attempt.error}", reason="handler_raised")

    def _schema_of(self, name: str) -> dict[str, Any]:
        found = next((tool.input_schema for tool in self.tools or () if tool.name == name), None)
        return dict(found or {})

    # --- how a call ends --------------------------------------------------------------------------------------------

    def _asked(self, call: Call, asked: Elicitation) -> AskUser:
        if call.name not in self.asking:
            self.asking |= {call.name}
            self.changed()
        return as_question(asked)

    def _fail(self, live: _Live, name: str, error: Exception) -> NoReturn:
        types = self.sdk.types
        if isinstance(error, ToolError):
            raise error
        if not isinstance(error, self.sdk.Error):
            what = f"the answer of the MCP server {self.server.name!r} cannot be used: {exception_text(error)}"
            raise ToolError(what, reason="handler_raised") from error
        code = getattr(error, "code", None)
        if live.lost is not None or (code == types.CONNECTION_CLOSED and not isinstance(self.server, HttpServer)):
            self._fail_lost(live, name)
        reason = "invalid_arguments" if code == types.INVALID_PARAMS else "handler_raised"
        what = f"the MCP server {self.server.name!r} answered with an error: {exception_text(error)}"
        raise ToolError(what, reason=reason) from error

    def _fail_lost(self, live: _Live, name: str) -> NoReturn:
        what = f"the MCP server {self.server.name!r} {live.lost or 'closed the connection'} during the call"
        then = "" if self._is_closed else (
            f"; whether {name} did its work is not known, so check before you call it again: the next call connects again"
        )
        raise ToolError(what + _last_words(live.tail) + then, reason="handler_raised")

    # --- the owner --------------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        """The task that owns the connection; it raises nothing, since a system task ends the Trio run with it."""
        try:
            with self._scope:
                tries: tuple[float, ...] = _PAUSES[:1]
                while True:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    if self._is_closed:
                        break
                    if (attempt := self._attempt) is not None:
                        await self._serve(attempt, tries)
                        tries = _PAUSES
        finally:
            self._is_closed = True
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
            if self._is_closed:
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
        live, limit = _Live(), self.server.connect_timeout
        raised: Exception | None = None
        with trio.CancelScope(deadline=trio.current_time() + limit) as self._connecting:
            try:
                async with self._client(live) as live.client:
                    tools = await list_tools(live.client, self.server.name)
                    self._connecting.deadline = float("inf")
                    async with nursery_boundary() as live.nursery:
                        self._opened(live, tools, attempt)
                        if _announces(live.client):
                            live.nursery.start_soon(self._listen, live, name="allm mcp tools changed")
                        await live.over.wait()
                        live.nursery.cancel_scope.cancel()
            except Exception as error:
                raised = error
        how = live.lost or (f"failed: {_leaf_text(raised)}" if raised is not None else None)
        if how is None:
            how = f"was not ready after {limit:g} s (connect_timeout)"
        live.end(how)
        return how if attempt.over.is_set() else f"could not be connected: it {how}{_last_words(live.tail)}"

    def _opened(self, live: _Live, tools: list[Any], attempt: _Attempt) -> None:
        known, self.tools = self.tools, tools
        self._live, self._attempt, self._away = live, None, (-float("inf"), "")
        self.is_stale = False
        if known is not None and known != tools:
            self.changed()
        attempt.over.set()

    def _client(self, live: _Live) -> Any:
        def version() -> str | None:
            session = live.client and live.client.session
            return session.protocol_version if session else None

        streams: AbstractAsyncContextManager[Any]
        if isinstance(self.server, HttpServer):
            streams = http_transport(self.server, self.sdk)
        else:
            streams = stdio_transport(self.server, self.sdk, live.tail, live.end)
        return self.sdk.client.Client(
            screened(streams, self.server.name, self.sdk, version, self._report),
            client_info=self.sdk.types.Implementation(name="allm", version=__version__),
            message_handler=self._heard,
            elicitation_callback=self._elicit,
            cache=None,  # the set has its own, which `tools/list_changed` empties
        )

    # --- what the server says by itself -----------------------------------------------------------------------------

    def _report(self, params: dict[str, Any]) -> None:
        call = self._calls.get(str(params.get("progressToken")))
        if call is not None:
            call.report(params)

    async def _heard(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(message, self.sdk.types.ToolListChangedNotification):
            self._tools_changed()

    async def _listen(self, live: _Live) -> None:
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

    async def _elicit(self, _context: Any, params: Any) -> Any:
        """Answer a question of the server; never raises, as the SDK would log it and answer with its text."""
        asked = as_elicitation(params, self.server.name)
        call = current_call.get() or (next(iter(self._calls.values())) if len(self._calls) == 1 else None)
        try:
            if self.on_elicit is not None:
                content = await call_user(self.on_elicit, asked)
                return self._answer("decline" if content is None else "accept", content, asked)
            await trio.lowlevel.checkpoint()
            if current_call.get() is None:
                # Before 2026-07-28 nothing says which call a question belongs to, unless there is only one.
                self._one_by_one = self._one_by_one or trio.Lock()
            answer = call.ask(asked) if call is not None else None
            if isinstance(answer, dict) and answer.get("action") in {"accept", "decline"}:
                return self._answer(answer["action"], answer.get("content"), asked)
        except Exception as error:  # of the user's function, or an answer that is no form
            if call is None:
                logger.exception("the question of MCP server %r could not be answered", self.server.name)
            else:
                what = f"the question {asked.message!r} could not be answered: {exception_text(error)}"
                call.fail(ToolError(what, reason="handler_raised"))
        return self._answer("cancel", None, asked)

    def _answer(self, action: str, content: Any, asked: Elicitation) -> Any:
        given = dict(content or {}) if action == "accept" and asked.url is None else None
        return self.sdk.types.ElicitResult(action=action, content=given)


def _is_refused(error: Exception | None) -> bool:
    data = getattr(error, "data", None)
    return isinstance(data, dict) and data.get("allm") == SESSION_LOST


def _announces(client: Any) -> bool:
    """Whether a server of 2026-07-28, which is asked to, says when its tools change."""
    tools = client.server_capabilities.tools
    return bool(client.protocol_version >= "2026" and tools is not None and tools.list_changed)


def _last_words(tail: Tail) -> str:
    text = str(tail)
    return f"; its standard error ends with:\n{text}\n" if text else ""


def _leaf_text(error: Exception) -> str:
    """What was raised inside the task groups of the SDK."""
    while isinstance(error, ExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return exception_text(error) if type(error) is not OSError else f"{error.strerror or error}"
