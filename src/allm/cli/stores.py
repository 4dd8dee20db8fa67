"""Where `allm chat` stores its session: a file, a database, or memory only."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from allm.cli.json_file import JsonFileBackend
from allm.cli.session_storage import StoredSession
from allm.cli.terminal import Terminal
from allm.data.session import is_session_id
from allm.session import SessionStore, open_store

__all__ = ["NAME", "is_json", "open_stored_session", "store_at"]

NAME = "chat"
"""The conversation of a database without `--id`, and the only one of a JSON file."""
_SQLITE = b"SQLite format 3\0"  # the magic number: https://www.sqlite.org/fileformat.html


def open_stored_session(place: str | None, name: str | None, terminal: Terminal) -> StoredSession:
    """The session `name` in the file or at the URL `place`; without `place`, one in memory.

    Raises:
        click.UsageError: The place or the name is invalid.
    """
    if name is not None and place is None:
        raise click.UsageError("--id names a conversation in a file or database: give --session too.")
    if place is not None and name is not None and is_json(place):
        raise click.UsageError(f"{place} stores a single conversation; --id is for a database.")
    name = NAME if name is None else name
    if not is_session_id(name):
        raise click.BadParameter("expected 1 to 255 printable characters", param_hint="'--id'")
    return StoredSession(store_at(place or "memory://"), name, terminal)


def store_at(place: str) -> SessionStore:
    """The store in a file or at a URL.

    Raises:
        click.BadParameter: The place is invalid.
    """
    try:
        if is_json(place):
            return SessionStore(JsonFileBackend(_in_folder(Path(place))))
        return open_store(place if "://" in place else _url(_in_folder(Path(place))))
    except (ValueError, ImportError) as error:
        raise click.BadParameter(str(error), param_hint="'--session'") from error


def is_json(place: str) -> bool:
    """Whether the place is a JSON file."""
    return "://" not in place and place.lower().endswith(".json")


def _in_folder(path: Path) -> Path:
    """The path with symbolic links resolved, so that a link is kept when its target is replaced."""
    path = path.resolve()
    if not path.parent.is_dir():
        raise click.BadParameter(f"the folder {path.parent} does not exist", param_hint="'--session'")
    return path


def _url(path: Path) -> str:
    try:
        with path.open("rb") as file:
            begins = file.read(len(_SQLITE))
    except FileNotFoundError:
        begins = b""
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="'--session'") from error
    if begins not in {b"", _SQLITE}:
        reason = "it is not an SQLite file, and its name does not end in .json"
        raise click.BadParameter(f"{path} has no conversations: {reason}", param_hint="'--session'")
    return f"sqlite:///{quote(str(path))}"
