"""`allm chat`: turn after turn with a model, whose tools run here."""

from __future__ import annotations

import re
from typing import final

import attrs
import trio

import allm
from allm.cli.chat_screen import TurnScreen, call_text, short
from allm.cli.conversation import waiting_call, with_result
from allm.cli.interrupts import run_until_interrupted
from allm.cli.lines import Lines
from allm.cli.outcome import FAILURE, INTERRUPTED, SUCCESS, describe
from allm.cli.session_file import SessionFile
from allm.cli.terminal import Terminal

__all__ = ["Chat"]

HELP = """\
/help    this list
/thread  the conversation so far
/clear   begin a new one, with the same instructions
/quit    end, as Ctrl-D does
Ctrl-C stops an answer and keeps what had arrived; at the prompt it ends the chat.
"""
_COMMAND = re.compile(r"/[a-z]+")  # nothing else on the line: "/etc/hosts: what is it?" goes to the model


@final
@attrs.define(eq=False, kw_only=True)
class Chat:
    """Reads lines and has them answered.

    All there is between two turns is `thread`: a chat that resumes one goes on where it was left, also among tool calls
    that wait for their results.
    """

    engine: allm.Engine
    options: allm.CallOptions
    terminal: Terminal
    thread: allm.Thread
    file: SessionFile | None = None
    _lines: Lines = attrs.field(init=False)
    _events: allm.EventStream[allm.ChatResult] | None = attrs.field(default=None, init=False)
    _failed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = Lines(self.terminal)

    def run(self) -> int:
        """Chat until the input ends, and return the exit code.

        Where nobody types, the code tells whether every turn succeeded, and Ctrl-C ends the chat, not only a turn.

        Raises:
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
        if typed:
            self._greet()
        while (line := self._next_line()) not in {None, "/quit"}:
            if line is None or _COMMAND.fullmatch(line):
                self._command(str(line))
                continue
            call = waiting_call(self.thread)
            thread = self.thread.add(allm.user(line)) if call is None else with_result(self.thread, call, line)
            if call is not None:
                self._keep(thread)
            if waiting_call(thread) is None and not await self._turn(thread) and not typed:
                return INTERRUPTED
        return FAILURE if self._failed and not typed else SUCCESS

    def _greet(self) -> None:
        count = len(self.thread.messages)
        resumed = f"; the conversation has {count} messages" if self.file and count else ""
        self.terminal.line(f"{self.engine.model}: /help lists the commands{resumed}", dim=True)

    def _next_line(self) -> str | None:
        call = waiting_call(self.thread)
        if call is None:
            return self._lines.read("> ")
        self.terminal.line(f"* {call_text(call)} waits: the next line is its result", dim=True)
        return self._lines.read(f"{call.name}> ")

    async def _turn(self, thread: allm.Thread) -> bool:
        """Have the conversation answered; False if Ctrl-C stopped that."""
        self._events = None
        try:
            block = allm.stream(self.engine, thread, **self.options)
        except allm.AllmError as error:  # nothing was sent: the line is not part of the conversation
            self._error(describe(error))
            return True
        screen = TurnScreen(self.terminal)

        async def show() -> None:
            async with block as self._events:
                async for event in self._events:
                    await screen.event(event)

        try:
            await run_until_interrupted(show)
        finally:
            result = self._result(thread)
            self._keep(result.thread)
        self._failed |= result.halted_reason == "error"
        screen.ended(result)
        return result.halted_reason != "cancelled"

    def _result(self, thread: allm.Thread) -> allm.ChatResult:
        if self._events is None:
            return allm.ChatResult(thread=thread, halted_reason="cancelled")
        return self._events.result()

    def _keep(self, thread: allm.Thread) -> None:
        self.thread = thread
        if self.file is not None:
            try:
                self.file.save(thread)
            except OSError as error:
                self._error(f"cannot save the conversation: {error}")

    def _error(self, text: str) -> None:
        self._failed = True
        self.terminal.line(f"Error: {text}")

    def _command(self, name: str) -> None:
        match name:
            case "/help":
                self.terminal.stdout.write(HELP)
            case "/thread":
                for message in self.thread.messages:
                    self._show_message(message)
            case "/clear":
                instructions = [message for message in self.thread.messages if message.role == "system"]
                self._keep(allm.Thread(instructions))
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
