"""The commands of a chat, which begin with a slash."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Awaitable, Callable
from typing import final

import attrs
import click
import trio

import allm
from allm.cli.chat_export import copy, save
from allm.cli.chat_files import Attached
from allm.cli.chat_screen import call_text, short
from allm.cli.chat_turns import Turns
from allm.cli.conversation import emptied, with_system, without_last_turn
from allm.cli.terminal import Terminal
from allm.cli.usage_note import usage_line

__all__ = ["ChatCommands", "command_in", "names_of_commands"]

KEYS = """\
Enter sends. Alt-Enter, a backslash at the end of a line, or three quotes around it all: more lines.
Ctrl-C: clear the line, or stop a response and keep what has arrived. Ctrl-D: end the chat.
Ctrl-R: search what was entered before. Tab: complete. Ctrl-X Ctrl-E: open an editor.
A line that begins with a space or with // is never a command.
"""
_NARROWEST = 20  # columns
_WORD = re.compile(r"/[a-z]+")


def command_in(line: str, *, whole: bool) -> tuple[str, str] | None:
    """The command in a line, and what follows it; None if the line is for the model.

    Args:
        line: What was entered.
        whole: Whether the line has to be a command and nothing else, as in lines that a program wrote: there
            "/etc/hosts: what is it?" or "/file is a command" goes to the model.
    """
    word, _, rest = line.partition(" ")
    if not _WORD.fullmatch(word) or "\n" in line or (whole and rest):
        return None
    return word, rest.strip()


def names_of_commands() -> list[str]:
    """The commands, as they are typed."""
    return sorted(COMMANDS)


@final
@attrs.define(eq=False, kw_only=True)
class ChatCommands:
    """Runs the commands of one chat.

    Attributes:
        engine_of: Makes the engine of `/model`, without tools.
        typed: Whether a person enters the lines.
        leaving: Whether the chat is to end.
        draft: The text that the next prompt begins with.
        in_editor: Whether it is written in an editor first.
    """

    terminal: Terminal
    turns: Turns
    attached: Attached
    engine_of: Callable[[str], allm.Engine] | None = None
    typed: bool = True
    leaving: bool = attrs.field(default=False, init=False)
    draft: str = attrs.field(default="", init=False)
    in_editor: bool = attrs.field(default=False, init=False)

    async def run(self, name: str, argument: str) -> bool:
        """Run a command; False if Ctrl-C stopped a turn that it began.

        Raises:
            AllmError: As `Turns.take`.
        """
        command = COMMANDS.get(name)
        if command is None:
            self._unknown(name)
        elif argument and not command.argument:
            self._note(f"{name} takes no argument; /help lists the commands")
        else:
            try:
                return await command.run(self, argument) is not False
            except click.ClickException as error:
                self._note(f"Error: {error.message}")
        return True

    def _unknown(self, name: str) -> None:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else "/help lists the commands"
        send = f" (/{name} sends it to the model)" if self.typed else ""
        self._note(f"Unknown command {name}: {hint}{send}")

    def _note(self, text: str) -> None:
        self.terminal.line(text)

    async def help(self, _: str) -> None:
        """List the commands."""
        width = max(self.terminal.stdout.size[0] - 1, _NARROWEST)
        indent = 24 if width > 3 * _NARROWEST else 2
        for name, command in COMMANDS.items():
            usage = f"{name} {command.argument}".rstrip()
            self.terminal.stdout.write(_folded(command.text, width, f"{usage:<{indent - 1}} ", indent))
        for line in KEYS.splitlines():
            self.terminal.stdout.write(_folded(line, width, "", 2))

    async def quit(self, _: str) -> None:
        """End the chat."""
        self.leaving = True

    async def model(self, argument: str) -> None:
        """Show the model, or go on with another one."""
        if argument:
            self._switch(argument)
        engine = self.turns.engine
        self._note(f"the model is {_name(engine)}")

    def _switch(self, model: str) -> None:
        if self.engine_of is None:
            raise click.ClickException("this chat has one model only")
        self.turns.engine = self.engine_of(model).with_tools(*self.turns.engine.tools)

    async def system(self, argument: str) -> None:
        """Show the instructions, or replace them."""
        session = self.turns.stored.session
        if argument:
            self.turns.settle(with_system(session, "" if argument == "-" else argument))
            await self.turns.save()
            self._note("the model has new instructions" if argument != "-" else "the model has no instructions")
            return
        texts = [message.text for message in session.thread.messages if message.role == "system"]
        self.terminal.stdout.show("\n".join(texts) or "(no instructions: /system TEXT gives them)")
        self.terminal.stdout.end_line()

    async def file(self, argument: str) -> None:
        """Attach a file to the next message."""
        if argument == "-":
            self.attached.clear()
        elif argument:
            read = Attached(self.terminal)  # of its own, as Ctrl-C leaves a slow server to its thread
            await trio.to_thread.run_sync(read.add, argument, abandon_on_cancel=True)
            self.attached.join(read)
        names = ", ".join(self.attached.names)
        self._note(f"with the next message: {names} (/file - removes them)" if names else "no files are attached")

    async def edit(self, argument: str) -> None:
        """Write the next message in an editor."""
        self.draft, self.in_editor = argument, True

    async def retry(self, argument: str) -> bool | None:
        """Take back the last turn and ask again; an answer that came before is lost only to one that came now."""
        before = self.turns.stored.session
        found = without_last_turn(before)
        if found is None:
            raise click.ClickException("there is no message to send again")
        if argument:
            self._switch(argument)
        self.turns.stored.session, message = found
        without = self.turns.stored.session.thread.messages
        arrived = done = False
        try:
            done = await self.turns.reply(message)
            arrived = len(self.turns.stored.session.thread.messages) > len(without) + 1
        finally:
            if not arrived and len(before.thread.messages) > len(without) + 1:
                self.turns.stored.session = before
                self._note("the earlier answer is kept")
        if not arrived:
            await self.turns.save()
        return done

    async def undo(self, _: str) -> None:
        """Take back the last turn."""
        found = without_last_turn(self.turns.stored.session)
        if found is None:
            raise click.ClickException("there is nothing to take back")
        self.turns.stored.session, message = found
        await self.turns.save()
        self._note(f"taken back: {short(message.text)}")

    async def save(self, argument: str) -> None:
        """Save the conversation in a file."""
        if not argument:
            raise click.ClickException("/save needs the name of a file: JSON if it ends in .json, else Markdown")
        self._note(await trio.to_thread.run_sync(save, self.turns.stored.session, argument))

    async def copy(self, _: str) -> None:
        """Copy the last answer."""
        texts = [m.text for m in self.turns.stored.session.thread.messages if m.role == "assistant" and m.text]
        if not texts:
            raise click.ClickException("there is no answer to copy")
        self._note(await trio.to_thread.run_sync(copy, texts[-1], self.terminal))

    async def usage(self, _: str) -> None:
        """Show the tokens and what they cost."""
        self._note(usage_line(self.turns.usage))

    async def thread(self, _: str) -> None:
        """Show the conversation."""
        for message in self.turns.stored.session.thread.messages:
            self._show_message(message)

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

    async def clear(self, _: str) -> None:
        """Begin a new conversation."""
        self.turns.stored.session = emptied(self.turns.stored.session)
        if self.turns.log is not None:
            self.turns.log.end()
        await self.turns.stored.save()


@attrs.frozen
class Command:
    """One command: what it takes, what it does, and the method that does it."""

    argument: str
    text: str
    run: Callable[[ChatCommands, str], Awaitable[bool | None]]


COMMANDS = {
    "/help": Command("", "show this list", ChatCommands.help),
    "/model": Command("[PROVIDER:ID]", "show the model, or go on with another one", ChatCommands.model),
    "/system": Command("[TEXT|-]", "show the instructions, or replace or remove them", ChatCommands.system),
    "/file": Command("[PATH|URL|-]", "attach a file to the next message, or remove them all", ChatCommands.file),
    "/edit": Command("[TEXT]", "write the next message in your editor", ChatCommands.edit),
    "/retry": Command("[PROVIDER:ID]", "ask the last question again, also another model", ChatCommands.retry),
    "/undo": Command("", "take back the last question and its answer", ChatCommands.undo),
    "/save": Command("[--force] FILE", "save the conversation, as JSON if it ends in .json", ChatCommands.save),
    "/copy": Command("", "copy the last answer to the clipboard", ChatCommands.copy),
    "/usage": Command("", "show the tokens of this chat, and their cost", ChatCommands.usage),
    "/thread": Command("", "show the conversation so far", ChatCommands.thread),
    "/clear": Command("", "begin a new conversation, with the same instructions", ChatCommands.clear),
    "/quit": Command("", "end the chat, as Ctrl-D and /exit do", ChatCommands.quit),
    "/exit": Command("", "end the chat", ChatCommands.quit),
}


def _folded(text: str, width: int, first: str, indent: int) -> str:
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * indent) + "\n"


def _name(engine: allm.Engine) -> str:
    provider = getattr(engine.adapter, "provider", None)
    return f"{provider}:{engine.model}" if provider else str(engine.model)
