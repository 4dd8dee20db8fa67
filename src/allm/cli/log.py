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
from click.core import ParameterSource

import allm
from allm.cli.exit_codes import describe
from allm.cli.folders import made, state_folder
from allm.cli.model_choice import chosen_model
from allm.cli.settings import settings
from allm.cli.terminal import Terminal
from allm.data.atomic_write import write_whole
from allm.session import SessionStore, open_store
from allm.session.stores.backend import StoreBackend
from allm.session.stores.sqlite import sqlite_backend
from allm.session.stores.writing import change_of

__all__ = ["Conversation", "begin", "find_id", "log_file", "log_store", "name_of"]

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
        session: The conversation as it was found; a new one has the instructions of the settings, and no id.
        version: Its version in the log; 0 for a new one.
        logged: Whether it is kept.
        model: The model of the next turn, as `provider:id`.
        base_url: Its server, if it is not the provider's own.
    """

    terminal: Terminal
    logged: bool
    session: allm.Session = attrs.field(factory=allm.Session)
    version: int = 0
    model: str | None = attrs.field(default=None, init=False)
    base_url: str | None = attrs.field(default=None, init=False)
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
            known = settings()
            begun = [] if known.system is None else [allm.system(known.system)]
            session = allm.Session(thread=allm.Thread(begun))
            return cls(terminal=terminal, logged=known.log if log is None else log, session=session)
        async with log_store() as store:
            session, version = await store.load(await find_id(store, name))
        return cls(terminal=terminal, logged=log is not False, session=session, version=version)

    def choose(self, model: str | None, base_url: str | None, *, given: bool) -> None:
        """Choose the model and the server of the next turns, and remember them.

        Args:
            model: From an option, the environment, or None for the default.
            base_url: From an option, or None.
            given: Whether the model is from an option; else that of the conversation counts first.

        Raises:
            click.UsageError: There is no model.
        """
        known = self.session.metadata
        if not given and isinstance(known.get("model"), str):
            self.model, self.base_url = known["model"], base_url or known.get("base_url")
        else:
            self.model, self.base_url = chosen_model(model), base_url

    def end(self) -> None:
        """Begin another one with the next turn."""
        self.session, self.version = allm.Session(), 0

    async def keep(self, session: allm.Session, usage: allm.Usage | None) -> None:
        """Write the conversation as it is after a turn; a failure is shown in one line.

        Args:
            session: The conversation; its id and its metadata do not count.
            usage: What the turn used.
        """
        if not self.logged:
            return
        known = {key: value for key, value in self.session.metadata.items() if key != "base_url"}
        turn: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "model": self.model}
        if usage is not None:
            turn |= {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cost": usage.total_cost}
        metadata = {**known, "model": self.model, "turns": [*known.get("turns", ()), turn]}
        if self.base_url is not None:
            metadata["base_url"] = self.base_url
        self.session = attrs.evolve(session, id=self.session.id, metadata=metadata)
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


def name_of(conversation: str | None, *, last: bool) -> str | None:
    """The conversation that the options of a command name; None for a new one.

    Raises:
        click.UsageError: They name two.
    """
    if last and conversation is not None:
        raise click.UsageError("--continue and --cid cannot be used together.")
    return "last" if last else conversation


def begin(
    context: click.Context,
    terminal: Terminal,
    *,
    name: str | None,
    log: bool | None,
    model: str | None,
    base_url: str | None,
) -> Conversation:
    """The conversation of a command, with its model.

    Raises:
        click.ClickException: There is no such conversation, no model, or the settings cannot be read.
        SessionError: The log cannot be read.
    """
    conversation = trio.run(lambda: Conversation.open(terminal, name=name, log=log))
    given = context.get_parameter_source("model") is ParameterSource.COMMANDLINE
    conversation.choose(model, base_url, given=given)
    return conversation
