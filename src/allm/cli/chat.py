"""`allm chat`: turn after turn with a model, whose tools run here."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import final

import attrs
import trio

import allm
from allm.cli.chat_screen import TurnScreen, call_text, short
from allm.cli.conversation import going_on, with_system
from allm.cli.exit_codes import FAILURE, INTERRUPTED, SUCCESS, describe
from allm.cli.interrupts import run_until_interrupted
from allm.cli.line_reader import Lines
from allm.cli.session_storage import Kept
from allm.cli.terminal import Terminal
from allm.session import SessionLease, SessionStream, submit_tool_result

__all__ = ["Chat"]

HELP = """\
/help    this list
/thread  the conversation so far
/clear   begin a new one, with the same instructions
/quit    end, as Ctrl-D does
Ctrl-C stops an answer and keeps what had arrived; at the prompt it ends the chat.
"""
_COMMAND = re.compile(r"/[a-z]+")  # nothing else on the line: "/etc/hosts: what is it?" goes to the model

Begin = Callable[[SessionLease], allm.StreamBlock[SessionStream[allm.ChatResult]]]


@final
@attrs.define(eq=False, kw_only=True)
class Chat:
    """Reads lines and has them answered.

    All there is between two turns is the session: a chat that resumes one goes on where it was left, also among tool
    calls that wait for their results, and in the middle of a turn whose process was killed.
    """

    engine: allm.Engine
    options: allm.CallOptions
    terminal: Terminal
    kept: Kept
    system: str | None = None
    _lines: Lines = attrs.field(init=False)
    _showing: tuple[TurnScreen, SessionStream[allm.ChatResult]] | None = attrs.field(default=None, init=False)
    _failed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = Lines(self.terminal)

    def run(self) -> int:
        """Chat until the input ends, and return the exit code.

        Where nobody types, the code tells whether every turn succeeded, and Ctrl-C ends the chat, not only a turn.

        Raises:
            AllmError: The conversation cannot be had; nothing has been sent.
            KeyboardInterrupt: Ctrl-C while waiting for input that nobody types.
            click.UsageError: Input that is not text.
            OSError: From the output.
        """
        try:
            return trio.run(self._chat)
        except KeyboardInterrupt:
            if self._lines.interactive:
                return SUCCESS
            raise

    async def _chat(self) -> int:
        """One Trio run for all turns, so that what the tools keep open stays open."""
        typed = self._lines.interactive
        async with self.kept.store:
            with suppress(allm.SessionConflict):  # it was saved while we waited: then there is nothing to finish
                if not await self._take(None):
                    return SUCCESS if typed else INTERRUPTED
            self._settle(with_system(self.kept.session, self.system))
            if typed:
                self._greet()
            while (line := self._next_line()) not in {None, "/quit"}:
                if not await self._line(str(line)) and not typed:
                    return INTERRUPTED
        return FAILURE if self._failed and not typed else SUCCESS

    def _greet(self) -> None:
        count = len(self.kept.session.thread.messages)
        resumed = f"; the conversation has {count} messages" if self.kept.version else ""
        self.terminal.line(f"{self.engine.model}: /help lists the commands{resumed}", dim=True)

    def _next_line(self) -> str | None:
        if not self.kept.session.pending_tool_calls:
            return self._lines.read("> ")
        call = self.kept.session.pending_tool_calls[0]
        self.terminal.line(f"* {call_text(call)} waits: the next line is its result", dim=True)
        return self._lines.read(f"{call.name}> ")

    async def _line(self, line: str) -> bool:
        """Do what a line asks for; False if Ctrl-C stopped that."""
        try:
            session = self.kept.session
            if _COMMAND.fullmatch(line):
                await self._command(line)
                return True
            if not session.pending_tool_calls:
                return await self._take(lambda turn: turn.stream_reply(self.engine, line, **self.options))
            self._settle(submit_tool_result(session, session.pending_tool_calls[0].id, line))
            if self.kept.session.status == "idle":
                return await self._take(lambda turn: turn.stream_continue(self.engine, **self.options))
            await self.kept.save()
        except allm.SessionConflict:
            self._error("another process has gone on with this conversation; /thread shows it, nothing was sent")
        except allm.AllmError as error:
            self._error(describe(error))
        finally:
            self._settle(self.kept.session)
        return True

    async def _take(self, begin: Begin | None) -> bool:
        """Take the conversation, finish what a killed process has left, and have a turn; False if Ctrl-C stopped that.

        Raises:
            AllmError: From the store; or nothing was sent, and what was to be said is not part of the conversation.
        """
        done = False

        async def work(turn: SessionLease) -> None:
            if turn.interrupted is not None:
                self.terminal.line("going on with a turn that was interrupted", dim=True)
                await self._show(turn.stream_resume(self.engine, **self.options))
            if begin is not None:
                await self._show(begin(turn))

        async def taken() -> None:
            nonlocal done
            await self.kept.turn(work)
            done = True

        await run_until_interrupted(taken)
        if not done:
            self._show_interrupted()
        return done

    async def _show(self, block: allm.StreamBlock[SessionStream[allm.ChatResult]]) -> None:
        screen = TurnScreen(self.terminal)
        async with block as events:
            self._showing = screen, events
            try:
                async for event in events:
                    await screen.event(event)
            finally:
                self.kept.session = events.outcome()[0]  # where saving fails, this is what there is
        self._showing = None
        result = events.result()
        self._failed |= result.halted_reason == "error"
        screen.ended(result)

    def _show_interrupted(self) -> None:
        if self._showing is None:
            self.terminal.line("interrupted")
            return
        screen, events = self._showing
        self._showing = None
        screen.ended(events.result())

    def _settle(self, session: allm.Session) -> None:
        self.kept.session = going_on(session)

    def _error(self, text: str) -> None:
        self._failed = True
        self.terminal.line(f"Error: {text}")

    async def _command(self, name: str) -> None:
        session = self.kept.session
        match name:
            case "/help":
                self.terminal.stdout.write(HELP)
            case "/thread":
                for message in session.thread.messages:
                    self._show_message(message)
            case "/clear":
                instructions = [message for message in session.thread.messages if message.role == "system"]
                self.kept.session = allm.Session(id=session.id, thread=allm.Thread(instructions))
                await self.kept.save()
            case _:
                self.terminal.line(f"There is no command {name}; /help lists them")

    def _show_message(self, message: allm.Message) -> None:
        stdout = self.terminal.stdout
        if message.role == "tool":
            stdout.show(f"tool: {short(message.text)}\n")
            return
        if message.text:
            stdout.show(f"{message.role}: {message.text}")
            stdout.end_line()
        for call in message.tool_calls:
            stdout.show(f"call: {call_text(call)}\n")
