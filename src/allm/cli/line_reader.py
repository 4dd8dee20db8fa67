"""Read the lines that a program pipes in, or that a user types at a terminal without escape codes."""

from __future__ import annotations

import os
import sys
from typing import Any, final

import attrs
import click
import trio

from allm.cli.terminal import Output, Terminal

__all__ = ["Lines", "display_of"]

_BYTE_ORDER_MARK = "\ufeff"


def display_of(terminal: Terminal) -> Output | None:
    """The stream on which a user's line can be edited; None if there is none, as in Emacs or in a test.

    Standard output is the second choice, as it has only the model's text: `allm chat | tee log` has a prompt too.
    """
    knows_codes = sys.platform == "win32" or os.environ.get("TERM", "dumb") != "dumb"
    if terminal.stdin is not sys.stdin or not terminal.stdin.isatty() or not knows_codes:
        return None
    return next((output for output in (terminal.stderr, terminal.stdout) if output.isatty()), None)


@final
@attrs.define(eq=False)
class Lines:
    """Reads whole lines, as they come.

    A read blocks, and must be made in the main thread even though it runs Trio: while a chat waits for its input, no
    other task has work to do, and only in the main thread does Ctrl-C end it.

    Attributes:
        cleared: Never: Ctrl-C has discarded what was typed, if anything was, without telling.
    """

    _terminal: Terminal
    cleared: bool = attrs.field(default=False, init=False)

    @property
    def interactive(self) -> bool:
        """Whether the input is a terminal."""
        return self._terminal.stdin.isatty()

    async def read(
        self,
        prompt: str,
        *,
        default: str = "",
        in_editor: bool = False,
        remember: bool = True,  # noqa: ARG002  (nothing is remembered here)
    ) -> str | None:
        """The next line that is not blank, stripped of white space; None at the end.

        Args:
            prompt: Shown if the input is a terminal.
            default: What the editor begins with.
            in_editor: Whether the line is written in an editor, which may save nothing.
            remember: Not used.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            click.UsageError: Piped input is not text.
        """
        await trio.lowlevel.checkpoint()
        self._terminal.stdout.end_line()
        self._terminal.stderr.end_line()
        if in_editor:
            written = (click.edit(default, extension=".md") or "").strip()
            if written:
                return written
        while True:
            try:
                line = self._read(prompt)
            except KeyboardInterrupt:
                self._leave_prompt()
                raise
            except UnicodeDecodeError as error:
                if not self.interactive:
                    raise click.UsageError(f"Standard input is not UTF-8 text ({error.reason}).") from error
                self._terminal.line("Error: that line is not text in the terminal's encoding")
                continue
            if line is None:
                self._leave_prompt()
                return None
            # In the C locale undecodable bytes arrive as lone surrogates, which cannot be sent as JSON.
            line = line.encode("utf-8", "replace").decode().strip().removeprefix(_BYTE_ORDER_MARK)
            if line:
                return line

    def _leave_prompt(self) -> None:
        if self.interactive:
            self._terminal.stderr.write("\n")

    def _read(self, prompt: str) -> str | None:
        if self.interactive:
            self._terminal.stderr.write(prompt)
        stdin: Any = self._terminal.stdin
        raw = getattr(stdin, "buffer", None)
        line: str = stdin.readline() if raw is None or self.interactive else raw.readline().decode("utf-8")
        return line or None
