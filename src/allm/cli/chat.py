"""`allm chat`: an interactive conversation with a model, with tools that run locally."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import final

import attrs
import trio

import allm
from allm.cli.approval import Approvals, Policy
from allm.cli.chat_commands import ChatCommands, command_in
from allm.cli.chat_files import Attached
from allm.cli.chat_prompt import Prompt, text_of
from allm.cli.chat_screen import call_text
from allm.cli.chat_turns import Turns
from allm.cli.conversation import with_system
from allm.cli.exit_codes import FAILURE, INTERRUPTED, SUCCESS, describe
from allm.cli.interrupts import keys_kept, run_until_interrupted
from allm.cli.line_reader import display_of
from allm.cli.log import Conversation
from allm.cli.session_storage import StoredSession
from allm.cli.terminal import Terminal
from allm.session import submit_tool_result

__all__ = ["Chat"]

_WORDS = frozenset({"exit", "quit"})  # what people type who come from another program


@final
@attrs.define(eq=False, kw_only=True)
class Chat:
    """Reads lines and runs a turn for each.

    The only state between two turns is the session, so a chat can resume one at any point: also while tool calls wait
    for their results or for approval, or in the middle of a turn whose process was killed.

    Attributes:
        engine_of: Makes the engine of `/model`, without tools.
        approve: Which calls of tools wait for the user's word.
        system: Instructions that replace those of the conversation.
        instructions: Those of a new conversation.
        history: The file of the lines that were entered; None keeps none.
        log: Where the conversation is kept beside its store, and the one to continue; None for nowhere.
        plain: Show answers as they arrive, not rendered.
        reasoning: Show the model's reasoning.
    """

    engine: allm.Engine
    options: allm.CallOptions
    terminal: Terminal
    stored: StoredSession
    system: str | None = None
    instructions: str | None = None
    engine_of: Callable[[str], allm.Engine] | None = None
    approve: Policy = "auto"
    history: Path | None = None
    log: Conversation | None = None
    plain: bool = False
    reasoning: bool = False
    turns: Turns = attrs.field(init=False)
    _commands: ChatCommands = attrs.field(init=False)
    _attached: Attached = attrs.field(init=False)
    _prompt: Prompt = attrs.field(init=False)
    _typed: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._typed = self.terminal.stdin.isatty()
        self.turns = Turns(
            engine=self.engine,
            options=self.options,
            terminal=self.terminal,
            stored=self.stored,
            approvals=Approvals(self.approve, self.terminal),
            log=self.log,
            plain=self.plain,
            reasoning=self.reasoning,
            display=display_of(self.terminal),
        )
        self._attached = Attached(self.terminal)
        self._commands = ChatCommands(
            terminal=self.terminal,
            turns=self.turns,
            attached=self._attached,
            engine_of=self.engine_of,
            typed=self._typed,
        )
        self._prompt = Prompt(self.terminal, self.history)

    def run(self) -> int:
        """Chat until the input ends, and return the exit code.

        If the input is not a terminal, the code tells whether every turn succeeded, and Ctrl-C ends the whole chat.

        Raises:
            AllmError: The conversation cannot be loaded; nothing was sent.
            KeyboardInterrupt: Ctrl-C while the input is not a terminal.
            click.UsageError: The input is not text.
            OSError: The output failed.
        """
        edits = self._typed and self.turns.display is not None
        try:
            with keys_kept(self.terminal.stdin if edits else None):
                return trio.run(self._chat)
        except KeyboardInterrupt:
            if self._typed:
                return SUCCESS
            raise

    async def _chat(self) -> int:
        """Run all turns in one Trio run, so that resources of the tools stay open between turns."""
        async with self.stored.store:
            with suppress(allm.SessionConflict):  # another process saved it meanwhile, so there is nothing to finish
                if not await self.turns.take(None):
                    return SUCCESS if self._typed else INTERRUPTED
            session = self.stored.session
            if self.log is not None:
                session = attrs.evolve(self.log.session, id=self.stored.id)
            elif not self.stored.version:
                session = with_system(session, self.instructions)
            self.turns.settle(with_system(session, self.system))
            if self._typed:
                self._greet()
            while not self._commands.leaving:
                if not await self._next_or_interrupted() and not self._typed:
                    return INTERRUPTED
        return FAILURE if self.turns.failed and not self._typed else SUCCESS

    def _greet(self) -> None:
        count = len(self.stored.session.thread.messages)
        continued = self.stored.version or (self.log is not None and self.log.version)
        resumed = f"; the conversation has {count} messages" if continued else ""
        self.terminal.line(f"{self.engine.model}: /help lists the commands{resumed}", dim=True)

    async def _next_or_interrupted(self) -> bool:
        try:
            return await self._next()
        except KeyboardInterrupt:  # between a turn and a prompt: there is nothing to stop
            if not self._typed:
                raise
            self.terminal.line("interrupted")
            return False

    async def _next(self) -> bool:
        """Read a line, or the user's word on a call, and do what it says; False if Ctrl-C stopped it."""
        session = self.stored.session
        decided = {approval.tool_call_id for approval in session.approvals}
        waiting = next((call for call in session.pending_tool_calls if call.id not in decided), None)
        try:
            if waiting is None and session.pending_tool_calls:
                return await self._go_on()
            if waiting is not None and self._typed and self.turns.approvals.can_run(self.turns.engine, waiting):
                return await self._decide()
            line = await self._read(waiting)
            if line is None:
                self._commands.leaving = True
                return True
            return await self._line(line, waiting)
        except allm.SessionConflict:
            self._error("another process has continued this conversation; /thread shows it, nothing was sent")
        except allm.AllmError as error:
            self._error(describe(error))
        finally:
            self.turns.settle(self.stored.session)
        return True

    async def _read(self, waiting: allm.ToolCall | None) -> str | None:
        prompt = "> "
        if waiting is not None:
            prompt = f"{waiting.name}> "
            self.terminal.line(f"* {call_text(waiting)} is pending: the next line is its result", dim=True)
        draft, in_editor = self._commands.draft, self._commands.in_editor
        self._commands.draft, self._commands.in_editor = "", False
        return await self._prompt.read(prompt, draft=draft, in_editor=in_editor)

    async def _line(self, line: str, waiting: allm.ToolCall | None) -> bool:
        """Run the command or the turn of a line; False if Ctrl-C stopped it."""
        command = command_in(line, whole=not self._typed)
        if command is not None:
            return await self._command(*command)
        text = text_of(line, typed=self._typed)
        if waiting is not None:
            self.turns.settle(submit_tool_result(self.stored.session, waiting.id, text))
            return await self._answered()
        if self._typed and line.strip() in _WORDS and not line.startswith(" "):
            self._commands.leaving = True
            return True
        done = await self.turns.reply(self._attached.message(text))
        self._attached.clear()
        return done

    async def _command(self, name: str, argument: str) -> bool:
        done = None

        async def work() -> None:
            nonlocal done
            done = await self._commands.run(name, argument)

        await run_until_interrupted(work)
        if done is None:
            self.terminal.line("interrupted")
        return bool(done)

    async def _decide(self) -> bool:
        """Ask for the user's word on a call."""
        approvals = self.turns.approvals
        session, goes_on = await approvals.decide(self.turns.engine, self.stored.session, self._prompt.ask)
        self.turns.settle(session)
        if goes_on:
            return await self._answered()
        await self.turns.save()
        self.terminal.line("the turn was stopped; no call that waited has run")
        return True

    async def _answered(self) -> bool:
        """Go on once no call waits for anything."""
        if self.stored.session.status == "idle":
            return await self._go_on()
        await self.stored.save()
        return True

    async def _go_on(self) -> bool:
        try:
            return await self.turns.go_on()
        except allm.AllmError:
            # Nothing has run: each call is asked about again, and can be refused.
            self.stored.session = attrs.evolve(self.stored.session, approvals=())
            raise

    def _error(self, text: str) -> None:
        self.turns.failed = True
        self.terminal.line(f"Error: {text}")
