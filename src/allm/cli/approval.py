"""Ask the user before a tool runs: yes, no with a reason, always, or show me more."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Literal, final

import attrs

import allm
from allm.cli.chat_screen import call_text
from allm.cli.terminal import Terminal
from allm.runtime.tool_calls import FunctionHandler, ToolContext
from allm.session import approve, deny, fingerprint

__all__ = ["Approvals", "Policy", "undecided"]

Policy = Literal["ask", "auto"]
Ask = Callable[[str], Awaitable[str | None]]

QUESTION = "run it? yes, no [reason], always, show: "
HELP = "y: once; n: no, with a reason for the model if you like; a: always in this chat; s: show all; Ctrl-C: stop"
STOPPED = "the user stopped the turn before this call ran"


@final
@attrs.define(eq=False)
class Approvals:
    """Which calls of tools may run. A call that needs the user's word is left pending by the library until it has it.

    Attributes:
        policy: "ask" asks before every call; "auto" only where a tool asks for it itself.
        always: Names of tools that may run without a question, for the rest of the chat.
    """

    policy: Policy
    terminal: Terminal
    always: set[str] = attrs.field(factory=set[str], init=False)
    _gated: tuple[allm.Engine, allm.Engine] | None = attrs.field(default=None, init=False)  # made once for each engine

    def gated(self, engine: allm.Engine) -> allm.Engine:
        """The engine, whose tools run only once they are approved."""
        if self.policy == "auto":
            return engine
        if self._gated is None or self._gated[0] is not engine:
            sets = [tool if isinstance(tool, allm.Toolset) else allm.Toolset([tool]) for tool in engine.tools]
            self._gated = engine, attrs.evolve(engine, tools=[each.approval(self._waits) for each in sets])
        return self._gated[1]

    def _waits(self, _tool: allm.Tool, call: allm.ToolCall) -> bool:
        return call.name not in self.always

    @staticmethod
    def can_run(engine: allm.Engine, call: allm.ToolCall) -> bool:
        """Whether a pending call would run once it is approved; otherwise the user has to give its result."""
        tool = _tool(engine, call)
        return any(isinstance(each, allm.Toolset) for each in engine.tools) if tool is None else bool(tool.handler)

    async def decide(self, engine: allm.Engine, session: allm.Session, ask: Ask) -> tuple[allm.Session, bool]:
        """The session with the user's word on its first undecided call; False if the user stops the turn.

        Every call that is still undecided is then denied, so that the conversation can go on.
        """
        call = undecided(session)[0]
        name = call.name
        if name in self.always:
            return approve(session, call.id, shown=fingerprint(call)), True
        self.terminal.line(f"* {call_text(call)}")
        while True:
            try:
                answer = await ask(QUESTION)
            except KeyboardInterrupt:
                answer = None
            if answer is None:
                for waiting in session.pending_tool_calls:
                    session = deny(session, waiting.id, STOPPED)
                return session, False
            word, _, reason = answer.strip().partition(" ")
            match word.lower().rstrip(",.:;"):
                case "y" | "yes":
                    return approve(session, call.id, shown=fingerprint(call)), True
                case "a" | "always":
                    self.always.add(name)
                    return approve(session, call.id, shown=fingerprint(call)), True
                case "n" | "no":
                    return (deny(session, call.id, reason.strip()) if reason.strip() else deny(session, call.id)), True
                case "s" | "show":
                    self._show(engine, call)
                case _:
                    self.terminal.line(HELP, dim=True)

    def _show(self, engine: allm.Engine, call: allm.ToolCall) -> None:
        """Show the call in full, with what the tool says about itself."""
        tool = _tool(engine, call)
        stderr = self.terminal.stderr
        if tool is not None and tool.description:
            stderr.show(f"{call.name}: {tool.description}\n", dim=True)
        stderr.show(f"{_in_full(call)}\n")
        if tool is not None and isinstance(tool.handler, FunctionHandler):
            code = getattr(tool.handler.function, "__code__", None)
            stderr.show(f"in {code.co_filename}:{code.co_firstlineno}\n" if code else "", dim=True)
            self.terminal.line(_dry_look(tool.handler, call), dim=True)


def _dry_look(handler: FunctionHandler, call: allm.ToolCall) -> str:
    """Whether the arguments fit the function, without calling it."""

    async def report(_: object) -> None:
        """Nothing is reported, as nothing runs."""

    try:
        handler.bind(call.arguments or {}, ToolContext(tool_call=call, report=report))
    except allm.ToolError as error:
        return f"the arguments do not fit, so it would fail: {error.message}"
    return "the arguments fit"


def _tool(engine: allm.Engine, call: allm.ToolCall) -> allm.Tool | None:
    """The tool of a call, if it is known by now: a set may be loaded only when a turn needs it."""
    offered = [[each] if isinstance(each, allm.Tool) else each.known() or () for each in engine.tools]
    return next((tool for tools in offered for tool in tools if tool.name == call.name), None)


def undecided(session: allm.Session) -> list[allm.ToolCall]:
    """The calls that wait for the user's word."""
    decided = {approval.tool_call_id for approval in session.approvals}
    return [call for call in session.pending_tool_calls if call.id not in decided]


def _in_full(call: allm.ToolCall) -> str:
    """The arguments as they are, a text of several lines as such."""
    if call.arguments is None:
        return call.raw_arguments or ""
    lines: list[str] = []
    for name, value in call.arguments.items():
        if isinstance(value, str) and "\n" in value:
            lines += [f"{name}:", *[f"    {line}" for line in value.splitlines()]]
        else:
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=False, indent=2, default=str)}")
    return "\n".join(lines) or "(no arguments)"
