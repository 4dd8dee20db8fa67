"""The input and output of commands: any three text streams, in tests as well as on a real terminal."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO, final

import attrs

__all__ = ["Output", "Terminal", "visible"]

# Control characters in a model's text could move the cursor or rename the window; a terminal gets visible symbols.
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def visible(text: str) -> str:
    """Untrusted text without control characters."""
    return text.translate(_PICTURES)


@final
@attrs.define(eq=False)
class Output:
    """One output stream, with enough of the file protocol for rich.

    Attributes:
        taken: Characters that `show` has accepted. Exact even if Ctrl-C strikes between two statements.
    """

    stream: TextIO
    taken: int = attrs.field(default=0, init=False)
    _line_open: bool = attrs.field(default=False, init=False)
    _can_wait: bool = attrs.field(default=sys.platform != "win32", init=False)

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return self.stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self.stream.isatty()

    @property
    def styled(self) -> bool:
        """Whether to write escape codes (https://no-color.org)."""
        return self.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")

    @property
    def line_open(self) -> bool:
        """Whether the current line has text."""
        return self._line_open

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal as it is now; a stream without a size has 80 and 24."""
        columns, rows = 0, 0
        with suppress(OSError, ValueError):
            columns, rows = os.get_terminal_size(self.fileno())
        told = os.environ.get("COLUMNS", "")
        return columns or (int(told) if told.isdecimal() and int(told) else 80), rows or 24

    def fileno(self) -> int:
        """The file descriptor.

        Raises:
            OSError: The stream has none.
        """
        return self.stream.fileno()

    def flush(self) -> None:
        """Do nothing, since `write` flushes."""

    def write(self, text: str) -> int:
        """Write text of the command itself; a character that the encoding lacks becomes `?`.

        Raises:
            BrokenPipeError, OSError: The reader has closed the pipe, or the disk is full.
        """
        if text:
            self._line_open = not text.endswith("\n")
            self._put(text)
        return len(text)

    def control(self, codes: str) -> None:
        """Write escape codes that show nothing and do not move the cursor."""
        self._put(codes)

    def show(self, text: str, *, dim: bool = False) -> None:
        """Write untrusted text, such as a model's: unchanged, but without control characters on a terminal.

        Raises:
            BrokenPipeError, OSError: As for `write`.
        """
        if not text:
            return
        shown = visible(text) if self.isatty() else text
        self._line_open = not shown.endswith("\n")
        if dim and self.styled:
            shown = f"\x1b[2m{shown}\x1b[22m"
        # Counted first: an interrupt can strike after a call, but not between this assignment and the next call.
        self.taken += len(text)
        self._put(shown)

    def end_line(self) -> None:
        """Begin a new line unless the current one is empty."""
        if self._line_open:
            self.write("\n")

    async def ready(self) -> None:
        """Wait until the reader is ready, so that a pager or Ctrl-S blocks this task only and not all of Trio."""
        import trio  # not for --help

        if self._can_wait:
            try:
                await trio.lowlevel.wait_writable(self.fileno())
            except OSError:  # a file on disk, which is always ready, or a stream without a descriptor
                self._can_wait = False

    def close_quietly(self) -> None:
        """Redirect to the null device after a broken pipe, as Python would report an error when it flushes at exit."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())

    def _put(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            self.stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        self.stream.flush()


@final
@attrs.frozen(eq=False)
class Terminal:
    """Standard input, output and error of a command."""

    stdin: TextIO
    stdout: Output = attrs.field(converter=Output)
    stderr: Output = attrs.field(converter=Output)

    @classmethod
    def of_process(cls) -> Terminal:
        """The streams of this process; a closed one (`>&-`) is replaced by an empty one."""
        return cls(sys.stdin or io.StringIO(), sys.stdout or io.StringIO(), sys.stderr or io.StringIO())

    def line(self, text: str, *, dim: bool = False) -> None:
        """Write one line to standard error, after ending an open line on the screen."""
        self.stdout.end_line()
        self.stderr.end_line()
        self.stderr.show(" ".join(text.split()), dim=dim)
        self.stderr.write("\n")
