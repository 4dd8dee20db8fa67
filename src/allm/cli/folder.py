"""The files of a folder that a person means when they name it: not what git ignores, nor hidden files, nor caches."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import final

import attrs

__all__ = ["Skipped", "files_in"]

_MADE = frozenset({"__pycache__", "node_modules"})
_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg")
"""Files that say of their folder that a program made it: https://bford.info/cachedir, and Python's environments."""
_GIT_SECONDS = 20.0


@final
@attrs.define(eq=False)
class Skipped:
    """How many files of a folder were left out, and why; empty if it is all as expected."""

    binary: int = 0
    large: int = 0
    unreadable: int = 0

    def __bool__(self) -> bool:
        return bool(self.binary or self.large or self.unreadable)

    def __str__(self) -> str:
        counts = {
            "not text": self.binary,
            "larger than 1 MB": self.large,
            "not readable": self.unreadable,
        }
        total = sum(counts.values())
        listed = ", ".join(f"{count} {why}" for why, count in counts.items() if count)
        return f"{total} {'file was' if total == 1 else 'files were'} left out ({listed})"

    def in_brackets(self) -> str:
        """The same at the end of a sentence, or nothing."""
        return f" ({self})" if self else ""


def files_in(folder: Path) -> Iterator[Path]:
    """The files in a folder and its folders, in the order of their names.

    Hidden files, links and what git ignores are left out; without git, the folders that Python, npm and caches make.
    """
    listed = _listed_by_git(folder)
    if listed is None:
        yield from _walk(folder)
        return
    for name in sorted(listed, key=lambda name: name.split("/")):
        path = folder / name
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and path.is_file() and not path.is_symlink():
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    """The same order as git's list gives: of a folder's entries, files and folders, by name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir():
            inside = folder / entry.name
            if entry.name not in _MADE and not any((inside / mark).exists() for mark in _MARKS):
                yield from _walk(inside)
        elif entry.is_file():
            yield folder / entry.name


def _listed_by_git(folder: Path) -> list[str] | None:
    """What git knows or would add; None without git, outside a work tree, and for a folder that git ignores itself."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-c", "core.fsmonitor=false", "-C", str(folder)]  # a setting of the folder's that runs a program
    command += ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(  # noqa: S603  (the arguments are ours, but for a folder that the user named)
            command, capture_output=True, check=True, timeout=_GIT_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    names = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return list(dict.fromkeys(filter(None, names))) or None
