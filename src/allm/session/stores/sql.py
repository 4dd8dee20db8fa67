"""Sessions in a SQL database: the same statements for SQLite and PostgreSQL, run in worker threads.

Theory of operation. A session is one row: its document, the version that counts its writes, and the token of the turn
that holds its lease. Every operation is one transaction whose first statement changes or locks that row, on the
condition that the operation is allowed; of two racing workers, the second finds the condition false. Times are compared
and computed in SQL only, since the database's clock is the only one that all workers share. If it was set back, a
lease looks valid for longer than it was taken for: whoever is refused because of it shortens it to its own length,
counted from now. A live worker renews it long before that; a dead one keeps others out for that long at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, final

import attrs
import trio

from allm.data.errors import SessionError
from allm.session.stores.backend import LONGEST, Record

__all__ = ["BOUND", "Connection", "Dialect", "SqlBackend"]

T = TypeVar("T")

BOUND = 5.0
"""Seconds that one operation may wait for a lock or for the database to answer."""

TABLES = (
    """CREATE TABLE IF NOT EXISTS allm_sessions (
        id TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT, token TEXT, expires DOUBLE PRECISION,
        lease DOUBLE PRECISION
    )""",
    """CREATE TABLE IF NOT EXISTS allm_journal (
        id TEXT NOT NULL, seq INTEGER NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (id, seq)
    )""",
)
_WORDS = {
    "FREE": "(token IS NULL OR expires <= NOW)",
    "NO_JOURNAL": "NOT EXISTS (SELECT 1 FROM allm_journal WHERE allm_journal.id = allm_sessions.id)",
}
"""Shorthands in the statements below."""
_SHORTEN = "UPDATE allm_sessions SET expires = NOW + lease WHERE id = ? AND token IS NOT NULL AND expires > NOW + lease"
"""Cut a lease down to its length, for the case that the clock was set back."""


class _DeadConnectionError(Exception):
    """An idle connection had died, or died before anything took effect."""


class Connection(Protocol):
    """The part of a DB-API connection that is used here."""

    def execute(self, query: Any, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement and return its cursor."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@attrs.frozen(kw_only=True)
class Dialect:
    """The differences between the databases.

    Attributes:
        connect: Opens a connection in autocommit mode, and creates the tables.
        transaction: Context manager that begins a transaction, then commits it or rolls it back.
        now: SQL expression for the current time in seconds.
        mark: The placeholder of a parameter.
        errors: Exceptions that the driver raises.
        failure: Makes the error for one of them.
        alive: Whether a connection can be used again.
        connections: Most connections at once.
    """

    connect: Callable[[], Connection]
    transaction: Callable[[Any], AbstractContextManager[Any]]
    now: str
    mark: str
    errors: tuple[type[Exception], ...]
    failure: Callable[[Exception], SessionError]
    alive: Callable[[Any], bool]
    connections: int


@final
class SqlBackend:
    """A `StoreBackend` over a DB-API driver."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._idle: list[Connection] = []
        self._limiter = trio.CapacityLimiter(dialect.connections)

    def _sql(self, text: str) -> str:
        for word, meaning in {**_WORDS, "NOW": self._dialect.now, "?": self._dialect.mark}.items():
            text = text.replace(word, meaning)
        return text

    async def _run(self, work: Callable[[_Transaction], T]) -> T:
        """Run `work` in one transaction, in a worker thread; a cancellation waits for its end."""
        try:
            return await trio.to_thread.run_sync(self._in_thread, work, limiter=self._limiter)
        except self._dialect.errors as error:
            raise self._dialect.failure(error) from error

    def _in_thread(self, work: Callable[[_Transaction], T]) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._on(self._dialect.connect(), work)
        try:
            return self._on(connection, work, idle=True)
        except _DeadConnectionError:
            # The server was restarted, say, which the other idle connections have not survived either.
            self._close_idle()
        return self._on(self._dialect.connect(), work)

    def _on(self, connection: Connection, work: Callable[[_Transaction], T], *, idle: bool = False) -> T:
        """Run `work` in a transaction on this connection, and keep it for the next one if it is good.

        Raises:
            _DeadConnectionError: The idle connection was dead, and nothing has taken effect.
        """
        committing = False
        try:
            with self._dialect.transaction(connection):
                result = work(_Transaction(connection, self._sql))
                committing = True
        except self._dialect.errors as error:
            dead = not self._dialect.alive(connection)
            connection.close()  # it may be broken; the next operation opens a new one
            if idle and dead and not committing:
                raise _DeadConnectionError from error
            raise
        except BaseException:
            self._keep(connection)
            raise
        self._keep(connection)
        return result

    def _keep(self, connection: Connection) -> None:
        if self._dialect.alive(connection):
            self._idle.append(connection)
        else:
            connection.close()

    def _close_idle(self) -> None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:  # also if another thread took the last one
                return
            connection.close()

    async def read(self, key: str, /) -> Record | None:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> Record | None:
            row = transaction.one(
                "SELECT version, substr(document, 1, ?) FROM allm_sessions WHERE id = ?", LONGEST, key
            )
            return None if row is None or row[1] is None else Record(version=row[0], document=row[1])

        return await self._run(work)

    async def write(self, key: str, document: str, /, *, version: int, token: str | None) -> bool:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> bool:
            if token is None:
                transaction.change(
                    "INSERT INTO allm_sessions (id, version) SELECT ?, 0 WHERE CAST(? AS INTEGER) = 0 "
                    "ON CONFLICT (id) DO NOTHING",
                    key,
                    version,
                )
                changed = transaction.change(
                    "UPDATE allm_sessions SET version = version + 1, document = ?, token = NULL "
                    "WHERE id = ? AND version = ? AND FREE AND NO_JOURNAL",
                    document,
                    key,
                    version,
                )
            else:
                changed = transaction.change(
                    "UPDATE allm_sessions SET version = version + 1, document = ? "
                    "WHERE id = ? AND version = ? AND token = ?",
                    document,
                    key,
                    version,
                    token,
                )
            if changed:
                transaction.change("DELETE FROM allm_journal WHERE id = ?", key)
            elif token is None:
                transaction.change(_SHORTEN, key)
            return changed

        return await self._run(work)

    async def delete(self, key: str, /, *, version: int | None) -> bool:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> bool:
            deleted = transaction.change(
                "DELETE FROM allm_sessions WHERE id = ? AND version = COALESCE(CAST(? AS INTEGER), version) AND FREE",
                key,
                version,
            )
            if deleted:
                transaction.change("DELETE FROM allm_journal WHERE id = ?", key)
            else:
                transaction.change(_SHORTEN, key)
            return deleted

        return await self._run(work)

    async def acquire(self, key: str, token: str, seconds: float, /) -> Record | None:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> Record | None:
            transaction.change("INSERT INTO allm_sessions (id, version) VALUES (?, 0) ON CONFLICT (id) DO NOTHING", key)
            taken = transaction.change(
                "UPDATE allm_sessions SET token = ?, expires = NOW + ?, lease = ? WHERE id = ? AND (FREE OR token = ?)",
                token,
                seconds,
                seconds,
                key,
                token,
            )
            if not taken:
                transaction.change(_SHORTEN, key)
                return None
            row = transaction.one(
                "SELECT version, substr(document, 1, ?) FROM allm_sessions WHERE id = ?", LONGEST, key
            )
            entries = transaction.all(
                "SELECT substr(entry, 1, ?) FROM allm_journal WHERE id = ? ORDER BY seq", LONGEST, key
            )
            assert row is not None  # noqa: S101  (it was just updated, and is locked)
            return Record(version=row[0], document=row[1], journal=tuple(entry for (entry,) in entries))

        return await self._run(work)

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """See `StoreBackend`."""
        statement = "UPDATE allm_sessions SET expires = NOW + ?, lease = ? WHERE id = ? AND token = ?"
        return await self._run(lambda transaction: transaction.change(statement, seconds, seconds, key, token))

    async def release(self, key: str, token: str, /) -> None:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> None:
            if transaction.change("UPDATE allm_sessions SET token = NULL WHERE id = ? AND token = ?", key, token):
                transaction.change("DELETE FROM allm_sessions WHERE id = ? AND document IS NULL AND NO_JOURNAL", key)

        await self._run(work)

    async def append(self, key: str, token: str, entries: Sequence[str], /, *, version: int, after: int) -> bool:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> bool:
            if not transaction.holds(key, token, version):
                return False
            row = transaction.one("SELECT COALESCE(MAX(seq), 0) FROM allm_journal WHERE id = ?", key)
            last = row[0] if row is not None else 0
            if last < after:
                return False
            for seq, entry in enumerate(entries, after + 1):
                if seq > last:
                    transaction.change("INSERT INTO allm_journal (id, seq, entry) VALUES (?, ?, ?)", key, seq, entry)
            return True

        return await self._run(work)

    async def forget(self, key: str, token: str, /) -> bool:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> bool:
            if not transaction.holds(key, token):
                return False
            transaction.change("DELETE FROM allm_journal WHERE id = ?", key)
            return True

        return await self._run(work)

    async def aclose(self) -> None:
        """Close the connections."""
        await trio.to_thread.run_sync(self._close_idle, limiter=self._limiter)


@attrs.frozen(eq=False)
class _Transaction:
    """Statements inside a transaction."""

    _connection: Connection
    _sql: Callable[[str], str]

    def one(self, statement: str, *parameters: Any) -> Any:
        """The first row, or None."""
        return self._connection.execute(self._sql(statement), parameters).fetchone()

    def all(self, statement: str, *parameters: Any) -> Any:
        """Every row."""
        return self._connection.execute(self._sql(statement), parameters).fetchall()

    def change(self, statement: str, *parameters: Any) -> bool:
        """Run a statement; returns whether it changed a row."""
        return bool(self._connection.execute(self._sql(statement), parameters).rowcount > 0)

    def holds(self, key: str, token: str, version: int | None = None) -> bool:
        """Lock the row if this turn holds the lease, on this version (None: any); returns whether it does."""
        return self.change(
            "UPDATE allm_sessions SET token = token "
            "WHERE id = ? AND token = ? AND version = COALESCE(CAST(? AS INTEGER), version)",
            key,
            token,
            version,
        )
