"""The log: conversations that commands keep, as sessions in a SQLite file of their own.

Each conversation has an id that begins with the time of its beginning, so that ids sort by time. What fails here is a
line on standard error: an answer is never lost because it could not be logged.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, final

import attrs
import click
import trio

import allm
from allm.cli.exit_codes import describe
from allm.cli.folders import made, state_folder
from allm.cli.settings import settings
from allm.cli.terminal import Terminal
from allm.data.atomic_write import write_whole
from allm.session import SessionStore, open_store
from allm.session.stores.backend import StoreBackend
from allm.session.stores.sqlite import sqlite_backend
from allm.session.stores.writing import change_of

__all__ = ["Conversation", "find_id", "last_id", "log_file", "log_store"]

_CLOSING = 5.0  # seconds
_TRIES = 3  # an id with the same second and the same random part, or a conversation that somebody else has continued


def log_file() -> Path:
    """The file of the log, which may not exist."""
    return state_folder() / "log.db"


def log_store() -> SessionStore:
    """The conversations in the log, to read or to delete; reading makes no file."""
    return SessionStore(_backend()) if log_file().exists() else open_store("memory://")


def _backend() -> StoreBackend:
    made(log_file().parent)
    return sqlite_backend(str(log_file().resolve()))


def _last_file() -> Path:
    return state_folder() / "last"


async def last_id(store: SessionStore) -> str | None:
    """The conversation that was used last: the one in the file `last`, or else the newest one."""
    with suppress(OSError, UnicodeDecodeError, allm.SessionError):
        name = _last_file().read_text(encoding="utf-8").strip()
        if await store.ids(name, limit=1) == [name]:
            return name
    newest = await store.ids(limit=1, descending=True)
    return newest[0] if newest else None


async def find_id(store: SessionStore, name: str) -> str:
    """The id that `name` stands for: `last`, an id, or the beginning of a single one.

    Raises:
        click.ClickException: There is none, or several begin so.
        SessionError: The store failed.
    """
    if name == "last":
        found = await last_id(store)
        if found is None:
            raise click.ClickException("there is no conversation yet")
        return found
    ids = await store.ids(name, limit=2)
    if not ids:
        raise click.ClickException(f"there is no conversation {name!r}; to list them: allm sessions list")
    if len(ids) > 1 and ids[0] != name:
        raise click.ClickException(f"several conversations begin with {name!r}, such as {ids[0]} and {ids[1]}")
    return ids[0]


@final
@attrs.define(eq=False, kw_only=True)
class Conversation:
    """A conversation that a command begins or continues, and keeps in the log.

    Attributes:
        session: The conversation as it was found; a new one is empty and has no id.
        version: Its version in the log; 0 for a new one.
        logged: Whether it is kept.
    """

    terminal: Terminal
    logged: bool
    session: allm.Session = attrs.field(factory=allm.Session)
    version: int = 0
    _backend: StoreBackend | None = None

    @classmethod
    async def open(cls, terminal: Terminal, *, name: str | None, log: bool | None) -> Self:
        """The conversation to continue, or a new one.

        Args:
            terminal: Where problems are shown.
            name: `last`, an id or the beginning of one; None for a new conversation.
            log: Whether to keep it; None for what the settings say. A conversation that is continued is always kept.

        Raises:
            click.ClickException: There is no such conversation, or the settings cannot be read.
            SessionError: The log cannot be read.
        """
        if name is None:
            return cls(terminal=terminal, logged=settings().log if log is None else log)
        async with log_store() as store:
            session, version = await store.load(await find_id(store, name))
        return cls(terminal=terminal, logged=log is not False, session=session, version=version)

    @property
    def model(self) -> str | None:
        """The model that it was last continued with; None for a new one."""
        model = self.session.metadata.get("model")
        return model if isinstance(model, str) else None

    @property
    def base_url(self) -> str | None:
        """The URL of the server that it was last continued with, if one was given."""
        url = self.session.metadata.get("base_url")
        return url if isinstance(url, str) else None

    async def keep(self, session: allm.Session, *, model: str, base_url: str | None, turn: dict[str, Any]) -> None:
        """Write the conversation as it is now; a failure is shown in one line.

        Args:
            session: The conversation.
            model: What it was continued with, as `provider:id`.
            base_url: The server, if one was given.
            turn: Facts of the newest turn, such as its usage.
        """
        if not self.logged:
            return
        facts: dict[str, Any] = {"model": model, "base_url": base_url}
        turns = [*session.metadata.get("turns", ()), {"at": _now(), "model": model, **turn}]
        metadata = {**session.metadata, **{key: value for key, value in facts.items() if value}, "turns": turns}
        self.session = attrs.evolve(session, metadata=metadata)
        try:
            await self._write()
            write_whole(made(state_folder()) / "last", f"{self.session.id}\n".encode())
        except allm.AllmError as error:
            self.terminal.line(f"Note: the conversation is not in the log: {describe(error)}")
        except OSError as error:
            self.terminal.line(f"Note: the conversation is not in the log: {error}")

    async def _write(self) -> None:
        """Write once, without the store's patience: nobody waits half a minute for a log on a full disk."""
        if self._backend is None:
            self._backend = _backend()
        try:
            for _ in range(_TRIES):
                key = self.session.id or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
                self.session = attrs.evolve(self.session, id=key)
                record = await self._backend.read(key)
                change = await change_of(self.session, record)
                if await self._backend.write(key, change, version=self.version, token=None):
                    self.version += 1
                    return
                # Somebody else has continued it meanwhile; both are kept.
                self.session, self.version = attrs.evolve(self.session, id=None), 0
        finally:
            with trio.move_on_after(_CLOSING, shield=True):
                await self._backend.aclose()
        raise allm.SessionError("others write to it all the time", reason="unavailable")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
