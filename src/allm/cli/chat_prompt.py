"""The prompt of a chat: what the user enters, and when Ctrl-C leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, final

import attrs

from allm.cli.chat_commands import names_of_commands
from allm.cli.line_reader import Lines, display_of
from allm.cli.terminal import Terminal

__all__ = ["Prompt", "text_of"]

LEAVE = "Ctrl-C again or Ctrl-D ends the chat; /help lists the commands"


class Reader(Protocol):
    """Reads what the user enters."""

    cleared: bool

    async def read(
        self, prompt: str, *, default: str = "", in_editor: bool = False, remember: bool = True
    ) -> str | None: ...


@final
@attrs.define(eq=False)
class Prompt:
    """Reads lines, with the editor at a terminal that has what it needs.

    Attributes:
        history: The file of the lines that were entered; None keeps none.
    """

    _terminal: Terminal
    history: Path | None = None
    _reader: Reader = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = _reader(self._terminal, self.history)

    async def read(self, prompt: str, *, draft: str = "", in_editor: bool = False) -> str | None:
        """The next line; None at the end. Ctrl-C says how to leave, and the second one in a row leaves.

        Args:
            prompt: Shown in front of it.
            draft: What it begins with.
            in_editor: Whether it is written in the user's editor.

        Raises:
            KeyboardInterrupt: Ctrl-C where the input is not a terminal.
        """
        warned = False
        while True:
            try:
                line = await self._reader.read(prompt, default=draft, in_editor=in_editor)
            except KeyboardInterrupt:
                if not self._terminal.stdin.isatty():
                    raise
                if warned and not self._reader.cleared:
                    return None
                warned, draft, in_editor = True, "", False
                self._terminal.line(LEAVE, dim=True)
                continue
            if line is None or line.strip():
                return line

    async def ask(self, question: str) -> str | None:
        """The answer to a question, which is not kept; None for Ctrl-D.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        return await self._reader.read(question, remember=False)


def _reader(terminal: Terminal, history: Path | None) -> Reader:
    """The editor's library is loaded here, and so only for a chat at a terminal."""
    display = display_of(terminal)
    if display is None:
        return Lines(terminal)
    from allm.cli.line_completion import Completion
    from allm.cli.line_editor import LineEditor
    from allm.cli.line_history import history_of
    from allm.cli.models_list import known_models

    completion = Completion(names_of_commands(), known_models)
    return LineEditor(terminal=terminal, display=display, completer=completion, history=history_of(history))


def text_of(line: str, *, typed: bool) -> str:
    """The message in a line that is no command."""
    text = line.strip("\n").rstrip()
    if "\n" not in text:
        text = text.strip()
    return text[1:] if typed and text.startswith("//") else text
