"""Standard input: who reads it, how much of it, and whether a program that has it open is going to write at all.

What is piped in goes beside a prompt, so a command that has its prompt still has to read. But many programs start
others with a pipe or a socket that they never write to nor close: a shell on another machine, a job of a CI, a service.
There a read would wait forever for input that nobody meant to give. So:

- a file or a pipe is read to its end; a terminal and any other device only when it is asked for;
- where nothing has come after `PATIENCE` seconds, and no process beside this one in the session can write to the pipe,
  there is no pipeline: the input is left alone, and a note says so;
- in a pipeline the wait goes on, with a note, as the first line of a long command may be its last.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path
from typing import Any, final

import attrs
import click

from allm.cli.terminal import Terminal

__all__ = ["LARGEST_INPUT", "StandardInput", "size_text"]

LARGEST_INPUT = 20_000_000
"""Most bytes of all texts together: several times what the largest context of a model holds (two million tokens)."""
PATIENCE = 3.0  # seconds; a pipeline's first command has written by then, or is one that takes long
_PROCESSES = Path("/proc")
_CHUNK = 1 << 20


def size_text(count: int) -> str:
    """A number of bytes for people: `20 MB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


@final
@attrs.define(eq=False)
class StandardInput:
    """Standard input, which only one thing can be made of."""

    _terminal: Terminal
    _taken_by: str | None = attrs.field(default=None, init=False)

    def text(self, what: str) -> str:
        """All of it, waited for as long as it takes; at a terminal what is typed up to Ctrl-D.

        Args:
            what: The option that asks for it.

        Raises:
            click.UsageError: It is not UTF-8 text, is too long, or was read already.
        """
        return _decoded(self.data(what))

    def data(self, what: str) -> bytes:
        """The same as bytes."""
        if self._taken_by is not None:
            raise click.UsageError(f"Standard input cannot be read for both {self._taken_by} and {what}.")
        self._taken_by = what
        if self._terminal.stdin.isatty():
            self._terminal.line(f"type {what.removesuffix(' -')}; Ctrl-D at the beginning of a line ends it", dim=True)
        elif (descriptor := self._pipe()) is not None and not _has_come(descriptor):
            self._terminal.line("waiting for standard input", dim=True)
        return self._read()

    def text_or_none(self) -> str | None:
        """The same where nothing else is given: None if it is a terminal, which nobody would be seen to wait for."""
        return None if self._terminal.stdin.isatty() else self.text("the prompt")

    def piped(self) -> str:
        """The text that was piped in beside a prompt; "" if there is none, or it was read for something else.

        Raises:
            click.UsageError: As for `text`.
        """
        try:
            if self._taken_by is not None or self._terminal.stdin.isatty() or not self._may_come():
                return ""
            return _decoded(self._read())
        except (OSError, ValueError):  # opened for writing, closed, or a stand-in that cannot be read
            return ""

    def _may_come(self) -> bool:
        descriptor = self._pipe()
        if descriptor is None:
            return self._is_file()
        if _has_come(descriptor):
            return True
        if not _is_pipeline(descriptor):
            self._terminal.line(
                f"Note: nothing came from standard input in {PATIENCE:g} s, so it is not read; "
                "-f - waits for it, and < /dev/null goes on at once",
                dim=True,
            )
            return False
        self._terminal.line("waiting for standard input; < /dev/null goes on without it", dim=True)
        return True

    def _is_file(self) -> bool:
        """Whether it has an end: a file, or a stream in memory."""
        try:
            return stat.S_ISREG(os.fstat(self._terminal.stdin.fileno()).st_mode)
        except OSError:
            return True

    def _pipe(self) -> int | None:
        """The descriptor of a pipe or a socket, on which something may come later; None for anything else."""
        try:
            descriptor = self._terminal.stdin.fileno()
            kind = os.fstat(descriptor).st_mode
        except OSError:
            return None
        return descriptor if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) else None

    def _read(self) -> bytes:
        stream: Any = getattr(self._terminal.stdin, "buffer", self._terminal.stdin)
        pieces: list[bytes] = []
        size = 0
        while size <= LARGEST_INPUT and (piece := stream.read(_CHUNK)):
            pieces.append(piece.encode("utf-8", "surrogateescape") if isinstance(piece, str) else piece)
            size += len(pieces[-1])
        if size > LARGEST_INPUT:
            raise click.UsageError(
                f"Standard input is longer than {size_text(LARGEST_INPUT)}, more than any model reads: send less, such "
                "as with head -c 100000."
            )
        return b"".join(pieces)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"The prompt on standard input is not UTF-8 text ({error.reason}); an image goes with -a -"
        ) from error


def _has_come(descriptor: int) -> bool:
    """Whether there is something to read, or the end, within `PATIENCE` seconds; Windows cannot say."""
    return sys.platform == "win32" or bool(select.select([descriptor], [], [], PATIENCE)[0])


def _is_pipeline(descriptor: int) -> bool:
    """Whether a process beside this one may write to the pipe: the shell starts those of a pipeline in one session.

    A process that started this one, however far back, does not count: it has had its time. Nor does a socket, which no
    shell makes of `|`. Where processes cannot be looked at, as outside Linux, the pipe counts as one.
    """
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    try:
        pipe, session = os.fstat(descriptor), os.getsid(0)
        others = [int(entry.name) for entry in _PROCESSES.iterdir() if entry.name.isdigit()]
    except OSError:
        return True
    above = _ancestors()
    return any(pid not in above and _session(pid) == session and _may_write(pid, pipe) for pid in others)


def _ancestors() -> set[int]:
    found, pid = set[int](), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = _status(pid)[1]
    return found


def _session(pid: int) -> int:
    return _status(pid)[3]


def _status(pid: int) -> tuple[str, int, int, int]:
    """State, parent, process group and session of a process; zeros if it is gone."""
    try:
        text = (_PROCESSES / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return "", 0, 0, 0
    state, parent, group, session = text.rpartition(")")[2].split()[:4]  # the name before it may hold anything
    return state, int(parent), int(group), int(session)


def _may_write(pid: int, pipe: os.stat_result) -> bool:
    try:
        for link in (_PROCESSES / str(pid) / "fd").iterdir():
            if link.lstat().st_mode & stat.S_IWUSR and os.path.samestat(link.stat(), pipe):
                return True
    except PermissionError:  # another user's, as with sudo
        return True
    except OSError:  # it has ended
        pass
    return False
