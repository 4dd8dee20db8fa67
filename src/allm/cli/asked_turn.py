"""A turn whose tools run once the user has said so, at the terminal, wherever the input comes from."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO, final

import attrs
import click

import allm
from allm import session as sessions
from allm.cli.approval import Approvals, undecided
from allm.cli.terminal import Terminal
from allm.session import SessionStream

__all__ = ["AskedTurn", "keyboard_of"]

_KEYBOARD = "CONIN$" if sys.platform == "win32" else "/dev/tty"
_MODEL_CALLS = 8  # as `max_turns` has it by default

Show = Callable[[SessionStream[allm.ChatResult]], Awaitable[None]]


def keyboard_of(terminal: Terminal) -> AbstractContextManager[TextIO]:
    """Where the user types: standard input, or the terminal of the process if something else is piped in.

    Raises:
        click.UsageError: There is no terminal.
    """
    if terminal.stdin.isatty():
        return nullcontext(terminal.stdin)
    try:
        return open(_KEYBOARD, encoding="utf-8", errors="replace")  # noqa: PTH123  (the caller closes it)
    except OSError:
        raise click.UsageError("--approve ask needs a terminal to ask at.") from None


@final
@attrs.define(eq=False, kw_only=True)
class AskedTurn:
    """Runs a turn, in as many parts as there are questions.

    Attributes:
        show: Shows the events of each part.
        stopped: The user has stopped the turn; no call that waited has run.
    """

    engine: allm.Engine
    messages: tuple[allm.Message, ...]
    options: allm.CallOptions
    terminal: Terminal
    keyboard: TextIO
    show: Show
    stopped: bool = attrs.field(default=False, init=False)

    async def run(self) -> allm.ChatResult:
        """The result of all parts."""
        approvals = Approvals("ask", self.terminal)
        most = self.options.get("max_turns", _MODEL_CALLS)
        steps: list[allm.StepResult] = []
        usage = allm.Usage()
        block: Any = sessions.stream_start(approvals.gated(self.engine), self.messages, **self.options)
        while True:
            async with block as events:
                await self.show(events)
            session, result = events.outcome()
            steps += result.steps
            usage += result.usage
            left = most - len(steps)
            asks = result.halted_reason == "manual_tool_calls" and not result.pending_hosted_calls
            waits = asks and left > 0
            if waits:
                session = await self._decided(approvals, session)
            if not waits or self.stopped or undecided(session):
                reason = "max_turns" if asks and left <= 0 else result.halted_reason
                return attrs.evolve(result, steps=tuple(steps), usage=usage, halted_reason=reason)
            options: allm.CallOptions = {**self.options, "max_turns": left}
            block = sessions.stream_continue(approvals.gated(self.engine), session, **options)

    async def _decided(self, approvals: Approvals, session: allm.Session) -> allm.Session:
        """The session with the user's word on each call; a call that no word can run is left as it is."""
        while (waiting := undecided(session)) and not self.stopped:
            if not all(approvals.can_run(self.engine, call) for call in waiting):
                break
            session, goes_on = await approvals.decide(self.engine, session, self._ask)
            self.stopped = not goes_on
        return session

    async def _ask(self, question: str) -> str | None:
        """The next line from the terminal; None at its end."""
        self.terminal.stdout.end_line()
        self.terminal.stderr.end_line()
        self.terminal.stderr.write(question)
        return self.keyboard.readline() or None  # blocks: no other task has work to do
