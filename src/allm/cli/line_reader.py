"""Read the lines that a user types or a program pipes in."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, final

import attrs
import click

from allm.cli.terminal import Terminal

__all__ = ["Lines"]

_BYTE_ORDER_MARK = "\ufeff"


@final
@attrs.define(eq=False)
class Lines:
    """Reads lines, with line editing if the input is a terminal.

    A read blocks, and must be made in the main thread even though it runs Trio: while a chat waits for its user, no
    other task has work to do, and only in the main thread do line editing and Ctrl-C work together. An interrupted
    read restores the terminal; a worker thread abandoned in a read could not.
    """

    _terminal: Terminal
    _edits: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        terminal = self._terminal
        whole = self.interactive and terminal.stdout.isatty()
        self._edits = whole and terminal.stdin is sys.stdin and terminal.stdout.stream is sys.stdout
        if self._edits:
            with suppress(ImportError):  # not on every system; `input` then reads plain lines
                import readline  # noqa: F401  # pyright: ignore[reportUnusedImport]  # `input` uses it once loaded

    @property
    def interactive(self) -> bool:
        """Whether the input is a terminal."""
        return self._terminal.stdin.isatty()

    def read(self, prompt: str) -> str | None:
        """The next line that is not blank, stripped of white space; None at the end.

        Args:
            prompt: Shown if the input is a terminal.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            click.UsageError: Piped input is not text.
        """
        self._terminal.stdout.end_line()
        self._terminal.stderr.end_line()
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
            self._terminal.stdout.write("\n")

    def _read(self, prompt: str) -> str | None:
        if self._edits:
            try:
                return input(prompt)
            except EOFError:
                return None
        if self.interactive:
            self._terminal.stderr.write(prompt)
        stdin: Any = self._terminal.stdin
        raw = getattr(stdin, "buffer", None)
        line: str = stdin.readline() if raw is None or self.interactive else raw.readline().decode("utf-8")
        return line or None
