"""Where `allm chat` keeps its conversation: a file, a database, or nowhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from allm.cli.json_file import JsonFileBackend
from allm.cli.session_storage import Kept
from allm.cli.terminal import Terminal
from allm.data.session import is_session_id
from allm.session import SessionStore, open_store

__all__ = ["kept_of"]

_NAME = "chat"
_SQLITE = b"SQLite format 3\0"  # how each such file begins: https://www.sqlite.org/fileformat.html


def kept_of(place: str | None, name: str | None, terminal: Terminal) -> Kept:
    """The conversation of that name in a file or at a URL; without a place, one that ends with the process.

    Raises:
        click.UsageError: There cannot be one.
    """
    if name is not None and place is None:
        raise click.UsageError("--id names a conversation in a file or database: give --session too.")
    if place is not None and name is not None and _is_json(place):
        raise click.UsageError(f"{place} holds one conversation; --id is for a database.")
    name = _NAME if name is None else name
    if not is_session_id(name):
        raise click.BadParameter("expected 1 to 255 printable characters", param_hint="'--id'")
    return Kept(_store(place or "memory://"), name, terminal)


def _store(place: str) -> SessionStore:
    try:
        if _is_json(place):
            return SessionStore(JsonFileBackend(_in_folder(Path(place))))
        return open_store(place if "://" in place else _url(_in_folder(Path(place))))
    except (ValueError, ImportError) as error:
        raise click.BadParameter(str(error), param_hint="'--session'") from error


def _is_json(place: str) -> bool:
    return "://" not in place and place.lower().endswith(".json")


def _in_folder(path: Path) -> Path:
    """The path, or what a link there points to: the link stays."""
    path = path.resolve()
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint="'--session'")
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
        reason = "it is no SQLite file, and its name does not end in .json"
        raise click.BadParameter(f"{path} holds no conversations: {reason}", param_hint="'--session'")
    return f"sqlite:///{quote(str(path))}"
