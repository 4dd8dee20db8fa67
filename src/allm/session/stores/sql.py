"""Sessions in a SQL database: the same statements for SQLite and PostgreSQL, run in worker threads.

Theory of operation. A session is one row: its document, the version that counts its writes, and the token of the turn
that holds its lease. Every operation is one transaction whose first statement changes or locks that row, on the
condition that the operation is allowed; of two racing workers, the second finds the condition false. Times are compared
and computed in SQL only, since the database's clock is the only one that all workers share.
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
        id TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT, token TEXT, expires DOUBLE PRECISION
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
        name: The name in error messages.
        connect: Opens a connection in autocommit mode, and creates the tables.
        transaction: Context manager that begins a transaction, then commits it or rolls it back.
        now: SQL expression for the current time in seconds.
        mark: The placeholder of a parameter.
        errors: Exceptions that the driver raises.
        connections: Most connections at once.
    """

    name: str
    connect: Callable[[], Connection]
    transaction: Callable[[Any], AbstractContextManager[Any]]
    now: str
    mark: str
    errors: tuple[type[Exception], ...]
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
            raise SessionError(f"the {self._dialect.name} store failed: {error}", reason="unavailable") from error

    def _in_thread(self, work: Callable[[_Transaction], T]) -> T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._dialect.connect()
        try:
            with self._dialect.transaction(connection):
                result = work(_Transaction(connection, self._sql))
        except self._dialect.errors:
            connection.close()  # it may be broken; the next operation opens a new one
            raise
        except BaseException:
            self._idle.append(connection)
            raise
        self._idle.append(connection)
        return result

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
            return deleted

        return await self._run(work)

    async def acquire(self, key: str, token: str, seconds: float, /) -> Record | None:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> Record | None:
            transaction.change("INSERT INTO allm_sessions (id, version) VALUES (?, 0) ON CONFLICT (id) DO NOTHING", key)
            taken = transaction.change(
                "UPDATE allm_sessions SET token = ?, expires = NOW + ? WHERE id = ? AND FREE",
                token,
                seconds,
                key,
            )
            if not taken:
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
        statement = "UPDATE allm_sessions SET expires = NOW + ? WHERE id = ? AND token = ?"
        return await self._run(lambda transaction: transaction.change(statement, seconds, key, token))

    async def release(self, key: str, token: str, /) -> None:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> None:
            if transaction.change("UPDATE allm_sessions SET token = NULL WHERE id = ? AND token = ?", key, token):
                transaction.change("DELETE FROM allm_sessions WHERE id = ? AND document IS NULL AND NO_JOURNAL", key)

        await self._run(work)

    async def append(self, key: str, token: str, entries: Sequence[str], /) -> bool:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> bool:
            if not transaction.holds(key, token):
                return False
            row = transaction.one("SELECT COALESCE(MAX(seq), 0) FROM allm_journal WHERE id = ?", key)
            last = row[0] if row is not None else 0
            for seq, entry in enumerate(entries, last + 1):
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

        def close() -> None:
            while self._idle:
                self._idle.pop().close()

        await trio.to_thread.run_sync(close, limiter=self._limiter)


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

    def holds(self, key: str, token: str) -> bool:
        """Lock the row if this turn holds the lease; returns whether it does."""
        return self.change("UPDATE allm_sessions SET token = token WHERE id = ? AND token = ?", key, token)
