"""Run the turns of a chat: lease the session, show what arrives, and keep what came when a turn is stopped."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from typing import final

import attrs

import allm
from allm.cli.approval import Approvals
from allm.cli.chat_screen import TurnScreen
from allm.cli.conversation import ready_for_next_turn
from allm.cli.interrupts import run_until_interrupted
from allm.cli.log import Conversation
from allm.cli.session_storage import StoredSession
from allm.cli.terminal import Output, Terminal
from allm.session import SessionLease, SessionStream

__all__ = ["Begin", "Turns"]

_MODEL_CALLS = 8  # of one line, as `max_turns` has it by default

Begin = Callable[[SessionLease], allm.StreamBlock[SessionStream[allm.ChatResult]]]


@contextmanager
def pastes_marked(display: Output) -> Generator[None]:
    """Have the terminal mark what is pasted during a turn, so that the next prompt takes it as one text."""
    display.control("\x1b[?2004h")
    try:
        yield
    finally:
        with suppress(OSError):  # it is gone
            display.control("\x1b[?2004l")


@final
@attrs.define(eq=False, kw_only=True)
class Turns:
    """Runs turns over the stored session.

    Attributes:
        engine: The engine of the next turn; `/model` changes it.
        approvals: Which calls of tools need the user's word.
        log: Where the conversation is kept beside its store; None for nowhere.
        plain: Whether text is shown as it arrives, not rendered.
        reasoning: Whether the model's reasoning is shown.
        display: Where lines are edited; None: nowhere.
        failed: Whether any turn has failed.
        usage: The total of all turns.
    """

    engine: allm.Engine
    options: allm.CallOptions
    terminal: Terminal
    stored: StoredSession
    approvals: Approvals
    log: Conversation | None = None
    plain: bool = False
    reasoning: bool = False
    display: Output | None = None
    failed: bool = attrs.field(default=False, init=False)
    usage: allm.Usage = attrs.field(factory=allm.Usage, init=False)
    last: allm.ChatResult | None = attrs.field(default=None, init=False)
    _calls: int = attrs.field(default=0, init=False)  # model calls of this line so far
    _showing: tuple[TurnScreen, SessionStream[allm.ChatResult]] | None = attrs.field(default=None, init=False)

    async def reply(self, content: str | allm.Message) -> bool:
        """Run a turn with a message of the user; False if Ctrl-C stopped it."""
        self._calls = 0
        return await self.take(lambda turn: turn.stream_reply(self._gated, content, **self._options()))

    async def go_on(self) -> bool:
        """Go on after the results or the approvals of calls; False if Ctrl-C stopped it."""
        return await self.take(lambda turn: turn.stream_continue(self._gated, **self._options()))

    async def take(self, begin: Begin | None) -> bool:
        """Lease the session, finish an interrupted turn, and run a new one; False if Ctrl-C stopped it.

        Raises:
            AllmError: The store failed, or the call is invalid: then nothing was sent, and the conversation is
                unchanged.
        """
        done = False

        async def work(turn: SessionLease) -> None:
            if turn.interrupted is not None:
                self.terminal.line("finishing a turn that was interrupted", dim=True)
                await self._show(turn.stream_resume(self._gated, **self._options()))
            if begin is not None:
                await self._show(begin(turn))

        async def taken() -> None:
            nonlocal done
            await self.stored.turn(work)
            done = True

        self.last = None
        with nullcontext() if self.display is None else pastes_marked(self.display):
            await run_until_interrupted(taken)
        if not done:
            self._show_interrupted()
        if self.log is not None and self.last is not None:
            await self.log.keep(ready_for_next_turn(self.stored.session), self.last.usage)
        return done

    def settle(self, session: allm.Session) -> None:
        """Make `session` the conversation, ready for the next message."""
        self.stored.session = ready_for_next_turn(session)

    async def save(self) -> None:
        """Save the conversation as it is now, between two turns."""
        await self.stored.save()
        if self.log is not None and self.log.version:
            await self.log.keep(ready_for_next_turn(self.stored.session), None)

    @property
    def _gated(self) -> allm.Engine:
        return self.approvals.gated(self.engine)

    def _options(self) -> allm.CallOptions:
        """The options, with the model calls that are left: those after an approval belong to the same line."""
        if not self._calls:
            return self.options
        left = self.options.get("max_turns", _MODEL_CALLS) - self._calls
        return {**self.options, "max_turns": max(1, left)}

    async def _show(self, block: allm.StreamBlock[SessionStream[allm.ChatResult]]) -> None:
        screen = TurnScreen(self.terminal, plain=self.plain, reasoning=self.reasoning)
        async with block as events:
            self._showing = screen, events
            try:
                async for event in events:
                    await screen.event(event)
            finally:
                self.stored.session = events.outcome()[0]  # the newest state, even if saving fails
        self._showing = None
        self._ended(screen, events.result())

    def _show_interrupted(self) -> None:
        if self._showing is None:
            self.terminal.line("interrupted")
            return
        screen, events = self._showing
        self._showing = None
        self._ended(screen, events.result())

    def _ended(self, screen: TurnScreen, result: allm.ChatResult) -> None:
        self.last = result
        self.failed |= result.halted_reason == "error"
        self.usage += result.usage
        self._calls += len(result.steps)
        screen.ended(result)
