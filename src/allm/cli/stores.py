"""Where `allm chat` keeps its conversation: a file, a database, or nowhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from allm.cli.kept import Kept
from allm.cli.terminal import Terminal
from allm.data.validate import is_session_id
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
    name = _NAME if name is None else name
    if not is_session_id(name):
        raise click.BadParameter("expected 1 to 255 printable characters", param_hint="'--id'")
    return Kept(_store(place or "memory://"), name, terminal)


def _store(place: str) -> SessionStore:
    url = place if "://" in place else _url(Path(place))
    try:
        return open_store(url)
    except (ValueError, ImportError) as error:
        raise click.BadParameter(str(error), param_hint="'--session'") from error


def _url(path: Path) -> str:
    path = path.resolve()
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param_hint="'--session'")
    try:
        with path.open("rb") as file:
            begins = file.read(len(_SQLITE))
    except FileNotFoundError:
        begins = b""
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="'--session'") from error
    if begins not in {b"", _SQLITE}:
        raise click.BadParameter(f"{path} holds no conversations: it is no SQLite file", param_hint="'--session'")
    return f"sqlite:///{quote(str(path))}"
