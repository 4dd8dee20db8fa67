"""`allm chat`: an interactive conversation with a model, with tools that run locally."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import final

import attrs
import trio

import allm
from allm.cli.chat_screen import TurnScreen, call_text, short
from allm.cli.conversation import ready_for_next_turn, with_system
from allm.cli.exit_codes import FAILURE, INTERRUPTED, SUCCESS, describe
from allm.cli.interrupts import run_until_interrupted
from allm.cli.line_reader import Lines
from allm.cli.session_storage import StoredSession
from allm.cli.terminal import Terminal
from allm.session import SessionLease, SessionStream, submit_tool_result

__all__ = ["Chat"]

HELP = """\
/help    show this list
/thread  show the conversation so far
/clear   begin a new conversation, with the same instructions
/quit    end the chat, as Ctrl-D does
Ctrl-C stops a response and keeps what has arrived; at the prompt it ends the chat.
"""
_COMMAND = re.compile(r"/[a-z]+")  # matches the whole line only: "/etc/hosts: what is it?" goes to the model

Begin = Callable[[SessionLease], allm.StreamBlock[SessionStream[allm.ChatResult]]]


@final
@attrs.define(eq=False, kw_only=True)
class Chat:
    """Reads lines and runs a turn for each.

    The only state between two turns is the session, so a chat can resume one at any point: also while tool calls wait
    for their results, or in the middle of a turn whose process was killed.
    """

    engine: allm.Engine
    options: allm.CallOptions
    terminal: Terminal
    stored: StoredSession
    system: str | None = None
    _lines: Lines = attrs.field(init=False)
    _showing: tuple[TurnScreen, SessionStream[allm.ChatResult]] | None = attrs.field(default=None, init=False)
    _failed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = Lines(self.terminal)

    def run(self) -> int:
        """Chat until the input ends, and return the exit code.

        If the input is not a terminal, the code tells whether every turn succeeded, and Ctrl-C ends the whole chat.

        Raises:
            AllmError: The conversation cannot be loaded; nothing was sent.
            KeyboardInterrupt: Ctrl-C while the input is not a terminal.
            click.UsageError: The input is not text.
            OSError: The output failed.
        """
        try:
            return trio.run(self._chat)
        except KeyboardInterrupt:
            if self._lines.interactive:
                return SUCCESS
            raise

    async def _chat(self) -> int:
        """Run all turns in one Trio run, so that resources of the tools stay open between turns."""
        typed = self._lines.interactive
        async with self.stored.store:
            with suppress(allm.SessionConflict):  # another process saved it meanwhile, so there is nothing to finish
                if not await self._take(None):
                    return SUCCESS if typed else INTERRUPTED
            self._settle(with_system(self.stored.session, self.system))
            if typed:
                self._greet()
            while (line := self._next_line()) not in {None, "/quit"}:
                if not await self._line(str(line)) and not typed:
                    return INTERRUPTED
        return FAILURE if self._failed and not typed else SUCCESS

    def _greet(self) -> None:
        count = len(self.stored.session.thread.messages)
        resumed = f"; the conversation has {count} messages" if self.stored.version else ""
        self.terminal.line(f"{self.engine.model}: /help lists the commands{resumed}", dim=True)

    def _next_line(self) -> str | None:
        if not self.stored.session.pending_tool_calls:
            return self._lines.read("> ")
        call = self.stored.session.pending_tool_calls[0]
        self.terminal.line(f"* {call_text(call)} is pending: the next line is its result", dim=True)
        return self._lines.read(f"{call.name}> ")

    async def _line(self, line: str) -> bool:
        """Run the command or the turn of a line; False if Ctrl-C stopped it."""
        try:
            session = self.stored.session
            if _COMMAND.fullmatch(line):
                await self._command(line)
                return True
            if not session.pending_tool_calls:
                return await self._take(lambda turn: turn.stream_reply(self.engine, line, **self.options))
            self._settle(submit_tool_result(session, session.pending_tool_calls[0].id, line))
            if self.stored.session.status == "idle":
                return await self._take(lambda turn: turn.stream_continue(self.engine, **self.options))
            await self.stored.save()
        except allm.SessionConflict:
            self._error("another process has continued this conversation; /thread shows it, nothing was sent")
        except allm.AllmError as error:
            self._error(describe(error))
        finally:
            self._settle(self.stored.session)
        return True

    async def _take(self, begin: Begin | None) -> bool:
        """Lease the session, finish an interrupted turn, and run a new one; False if Ctrl-C stopped it.

        Raises:
            AllmError: The store failed, or the call is invalid: then nothing was sent, and the conversation is
                unchanged.
        """
        done = False

        async def work(turn: SessionLease) -> None:
            if turn.interrupted is not None:
                self.terminal.line("finishing a turn that was interrupted", dim=True)
                await self._show(turn.stream_resume(self.engine, **self.options))
            if begin is not None:
                await self._show(begin(turn))

        async def taken() -> None:
            nonlocal done
            await self.stored.turn(work)
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
                self.stored.session = events.outcome()[0]  # the newest state, even if saving fails
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
        self.stored.session = ready_for_next_turn(session)

    def _error(self, text: str) -> None:
        self._failed = True
        self.terminal.line(f"Error: {text}")

    async def _command(self, name: str) -> None:
        session = self.stored.session
        match name:
            case "/help":
                self.terminal.stdout.write(HELP)
            case "/thread":
                for message in session.thread.messages:
                    self._show_message(message)
            case "/clear":
                instructions = [message for message in session.thread.messages if message.role == "system"]
                self.stored.session = allm.Session(id=session.id, thread=allm.Thread(instructions))
                await self.stored.save()
            case _:
                self.terminal.line(f"Unknown command {name}; /help lists the commands")

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
