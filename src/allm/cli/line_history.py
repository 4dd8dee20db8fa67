"""The lines that were entered in earlier chats, in a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import final

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

__all__ = ["history_of"]

LONGEST = 4_000_000  # bytes that are searched: tens of thousands of lines, read in a blink


def history_of(path: Path | None) -> History:
    """The history in the file at `path`; None keeps it in memory, for this chat."""
    return InMemoryHistory() if path is None else PrivateHistory(path)


@final
class PrivateHistory(FileHistory):
    """A history that no other user can read, and without the lines that begin with a space, as in a shell.

    A file that cannot be read or written is left alone: a chat goes on without it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path))

    def load_history_strings(self) -> list[str]:
        """The entries, the newest first."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self._path.stat().st_size - LONGEST))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            return []
        entries: list[str] = []
        entry: list[str] = []
        for line in [*lines, ""]:
            if line.startswith("+"):
                entry.append(line[1:])
            elif entry:
                entries.append("\n".join(entry))
                entry = []
        return entries[::-1]

    def append_string(self, string: str) -> None:
        """Add an entry."""
        if not string.startswith(" "):
            super().append_string(string)

    def store_string(self, string: str) -> None:
        """Write an entry: a line for each of its lines, after a `+`."""
        lines = "".join(f"+{line}\n" for line in string.split("\n"))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(descriptor, "ab") as file:  # noqa: PTH123  (a descriptor)
                file.write(f"\n{lines}".encode("utf-8", "replace"))
        except OSError:
            return
