"""`ServerTools`: the calls of one server's tools, from the arguments of a model to what it reads of the result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import trio

from allm.data.attrs_classes import define
from allm.data.errors import ToolError
from allm.data.remedies import ToolReason
from allm.data.tool import Tool
from allm.data.tool_control import AskUser, exception_text
from allm.data.user_functions import call_back, call_user
from allm.execution.nurseries import start_task
from allm.mcp.calling import Call, current_call
from allm.mcp.connection import Connection, Live
from allm.mcp.elicitation import Elicitation, OnElicit, as_elicitation, as_question, take_answers
from allm.mcp.http import SESSION_LOST
from allm.mcp.listing import as_tools
from allm.mcp.results import error_text, result_value
from allm.mcp.sdk import Sdk
from allm.mcp.servers import HttpServer, Server
from allm.runtime.tool_calls import ToolContext

__all__ = ["ServerTools"]

logger: logging.Logger = logging.getLogger("allm.mcp")

_GRACE = 1.0
"""Seconds in which the owner of a connection learns how it ended."""


@define(eq=False, init=False)
class ServerTools:
    """The tools of a server, and their calls.

    Attributes:
        connection: To the server.
    """

    connection: Connection
    _name: str
    _changed: Callable[[], None]
    _on_elicit: OnElicit | None
    _asking: frozenset[str]
    _calls: dict[Any, Call]
    _one_by_one: trio.Lock | None

    def __init__(self, server: Server, sdk: Sdk, on_elicit: OnElicit | None, changed: Callable[[], None]) -> None:
        """Nothing is connected yet: `connection.start` does that.

        Args:
            changed: Called when the tools may have changed.
        """
        self.connection = Connection(server, sdk, changed, self.elicit, self.report)
        self._name, self._changed, self._on_elicit = server.name, changed, on_elicit
        self._asking, self._calls, self._one_by_one = frozenset(), {}, None

    async def load(self) -> list[Tool]:
        """The server's tools, under its own names as far as providers take them.

        Raises:
            Exception: The server is away, and they are not known yet.
        """
        return await as_tools(
            await self.connection.listed(), self._name, self._handle, self.connection.sdk, self._asking
        )

    async def _handle(self, name: str, arguments: dict[str, Any], context: ToolContext) -> Any:
        """The handler of each tool. A program without Trio calls it elsewhere, and it goes back to Trio."""
        return await call_back(self._call, name, arguments, context)

    async def _call(self, name: str, arguments: dict[str, Any], context: Any) -> Any:
        """Call a tool, and return what its handler returns.

        Raises:
            ToolError: The server answered with an error, or was lost.
        """
        own, answers = take_answers(arguments, self._schema_of(name))
        live, call = await self._called(name, own, answers, context)
        if _is_refused(call.error) and not self.connection.is_closed:
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
    ) -> tuple[Live, Call]:
        call = Call(name, arguments, list(answers))
        if self._one_by_one is not None:
            async with self._one_by_one:
                return await self._watched(call, context), call
        return await self._watched(call, context), call

    async def _watched(self, call: Call, context: Any) -> Live:
        live = await self.connection.open()
        start_task(live.nursery, call.run, live.client, self.connection.sdk, name=f"allm mcp call {call.name}")
        self._calls[call.token] = call
        try:
            async for report in call.progress:
                await context.emit(report)
        finally:
            del self._calls[call.token]
            call.scope.cancel()
            call.progress.close()
        return live

    def _schema_of(self, name: str) -> dict[str, Any]:
        found = next((tool.input_schema for tool in self.connection.tools or () if tool.name == name), None)
        return dict(found or {})

    # --- how a call ends --------------------------------------------------------------------------------------------

    def _asked(self, call: Call, asked: Elicitation) -> AskUser:
        if call.name not in self._asking:
            self._asking |= {call.name}
            self._changed()
        return as_question(asked)

    def _fail(self, live: Live, name: str, error: Exception) -> NoReturn:
        types = self.connection.sdk.types
        if isinstance(error, ToolError):
            raise error
        if not isinstance(error, self.connection.sdk.Error):
            what = f"the answer of the MCP server {self._name!r} cannot be used: {exception_text(error)}"
            raise ToolError(what, reason="handler_raised") from error
        code = getattr(error, "code", None)
        if live.lost is not None or (
            code == types.CONNECTION_CLOSED and not isinstance(self.connection.server, HttpServer)
        ):
            self._fail_lost(live, name)
        reason: ToolReason = "invalid_arguments" if code == types.INVALID_PARAMS else "handler_raised"
        what = f"the MCP server {self._name!r} answered with an error: {exception_text(error)}"
        raise ToolError(what, reason=reason) from error

    def _fail_lost(self, live: Live, name: str) -> NoReturn:
        what = f"the MCP server {self._name!r} {live.lost or 'closed the connection'} during the call"
        then = f"; whether {name} did its work is not known, so check first; the next call connects again"
        then = "" if self.connection.is_closed else then
        raise ToolError(what + then, reason="handler_raised")

    # --- what the server asks and reports ----------------------------------------------------------------------------

    def report(self, params: dict[str, Any]) -> None:
        """Hand a report of progress to its call."""
        call = self._calls.get(str(params.get("progressToken")))
        if call is not None:
            call.report(params)

    async def elicit(self, _context: Any, params: Any) -> Any:
        """Answer a question of the server; never raises, as the SDK would log it and answer with its text."""
        asked = as_elicitation(params, self._name)
        call = current_call.get() or (next(iter(self._calls.values())) if len(self._calls) == 1 else None)
        try:
            if self._on_elicit is not None:
                content = await call_user(self._on_elicit, asked)
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
                logger.exception("the question of MCP server %r could not be answered", self._name)
            else:
                what = f"the question {asked.message!r} could not be answered: {exception_text(error)}"
                call.fail(ToolError(what, reason="handler_raised"))
        return self._answer("cancel", None, asked)

    def _answer(self, action: str, content: Any, asked: Elicitation) -> Any:
        given = dict(content or {}) if action == "accept" and asked.url is None else None
        return self.connection.sdk.types.ElicitResult(action=action, content=given)


def _is_refused(error: Exception | None) -> bool:
    data = getattr(error, "data", None)
    return isinstance(data, dict) and data.get("allm") == SESSION_LOST
