"""Sessions in a SQL database: the same statements for SQLite and PostgreSQL, run in worker threads.

Theory of operation. A session has one row of its own, with its head, the version that counts its writes, and the token
of the turn that holds its lease; its messages, blobs and journal are rows of other tables. Every operation is one
transaction whose first statement changes or locks the session's row, on the condition that the operation is allowed;
of two racing workers, the second finds the condition false, and no other table is changed without that lock. A read
without a lease is a single statement, which sees the tables as of one moment. Times are compared and computed in SQL
only, since the database's clock is the only one that all workers share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import itemgetter
from typing import Any, Protocol, TypeVar, final

import attrs
import trio

from allm.data.errors import SessionError
from allm.session.stores.backend import LONGEST, Change, Record

__all__ = ["BOUND", "Connection", "Dialect", "SqlBackend"]

T = TypeVar("T")

BOUND = 5.0
"""Seconds that one operation may wait for a lock or for the database to answer."""

TABLES = (
    """CREATE TABLE IF NOT EXISTS allm_sessions (
        id TEXT PRIMARY KEY, version INTEGER NOT NULL, head TEXT, token TEXT, expires DOUBLE PRECISION
    )""",
    """CREATE TABLE IF NOT EXISTS allm_messages (
        id TEXT NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (id, seq)
    )""",
    """CREATE TABLE IF NOT EXISTS allm_journal (
        id TEXT NOT NULL, seq INTEGER NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (id, seq)
    )""",
    # SQLite knows no BYTEA, and stores bytes as they are in a column of any type.
    """CREATE TABLE IF NOT EXISTS allm_blobs (
        id TEXT NOT NULL, name TEXT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (id, name)
    )""",
)
"""The last one is the last to be made: where it exists, all do."""
_WORDS = {
    "FREE": "(token IS NULL OR expires <= NOW)",
    "NO_JOURNAL": "NOT EXISTS (SELECT 1 FROM allm_journal WHERE allm_journal.id = allm_sessions.id)",
}
"""Shorthands in the statements below."""
_RECORD = """
    SELECT 0, version, substr(head, 1, ?) FROM allm_sessions WHERE id = ?
    UNION ALL SELECT 1, seq, substr(body, 1, ?) FROM allm_messages WHERE id = ?
    UNION ALL SELECT 2, 0, name FROM allm_blobs WHERE id = ?
"""
"""What is stored of a session, but for the journal and the content of blobs. In no order: sorting would copy texts."""
_FETCHED = 500
"""Rows to fetch at a time: a driver holds the interpreter's lock for as long as one fetch takes."""
_INSERTED = 100
"""Rows to insert with one statement; SQLite may be built with a limit of 999 parameters."""


def older_layout(name: str) -> SessionError:
    """The error for a database of an earlier layout, with a whole session in one row."""
    return SessionError(
        f"the {name} store has the layout of an earlier version, which kept each session as one document: read them "
        "with that version, and save them to a new database with this one",
        reason="unreadable",
    )


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
            record = transaction.record(key)
            return None if record is None or record.head is None else record

        return await self._run(work)

    async def blobs(self, key: str, names: Collection[str], /) -> Mapping[str, bytes]:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> Mapping[str, bytes]:
            statement = "SELECT body FROM allm_blobs WHERE id = ? AND name = ? AND length(body) < ?"
            found = {name: transaction.one(statement, key, name, LONGEST) for name in names}
            return {name: bytes(row[0]) for name, row in found.items() if row is not None}

        return await self._run(work)

    async def write(self, key: str, change: Change, /, *, version: int, token: str | None) -> bool:
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
                    "UPDATE allm_sessions SET version = version + 1, head = ?, token = NULL "
                    "WHERE id = ? AND version = ? AND FREE AND NO_JOURNAL",
                    change.head,
                    key,
                    version,
                )
            else:
                changed = transaction.change(
                    "UPDATE allm_sessions SET version = version + 1, head = ? "
                    "WHERE id = ? AND version = ? AND token = ?",
                    change.head,
                    key,
                    version,
                    token,
                )
            if changed:
                transaction.change("DELETE FROM allm_messages WHERE id = ? AND seq >= ?", key, change.kept)
                transaction.insert("allm_messages (id, seq, body)", key, change.kept, change.messages)
                transaction.add_blobs(key, change.blobs)
                for name in change.dropped:
                    transaction.change("DELETE FROM allm_blobs WHERE id = ? AND name = ?", key, name)
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
                transaction.clear(key)
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
            record = transaction.record(key)
            entries = transaction.all(
                "SELECT substr(entry, 1, ?) FROM allm_journal WHERE id = ? ORDER BY seq", LONGEST, key
            )
            assert record is not None  # noqa: S101  (its row was just updated, and is locked)
            return attrs.evolve(record, journal=tuple(entry for (entry,) in entries))

        return await self._run(work)

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """See `StoreBackend`."""
        statement = "UPDATE allm_sessions SET expires = NOW + ? WHERE id = ? AND token = ?"
        return await self._run(lambda transaction: transaction.change(statement, seconds, key, token))

    async def release(self, key: str, token: str, /) -> None:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> None:
            held = transaction.change("UPDATE allm_sessions SET token = NULL WHERE id = ? AND token = ?", key, token)
            never_saved = "DELETE FROM allm_sessions WHERE id = ? AND head IS NULL AND NO_JOURNAL"
            if held and transaction.change(never_saved, key):
                transaction.clear(key)

        await self._run(work)

    async def append(self, key: str, token: str, entries: Sequence[str], blobs: Mapping[str, bytes], /) -> bool:
        """See `StoreBackend`."""

        def work(transaction: _Transaction) -> bool:
            if not transaction.holds(key, token):
                return False
            row = transaction.one("SELECT COALESCE(MAX(seq), 0) FROM allm_journal WHERE id = ?", key)
            last = row[0] if row is not None else 0
            transaction.insert("allm_journal (id, seq, entry)", key, last + 1, entries)
            transaction.add_blobs(key, blobs)
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

    def all(self, statement: str, *parameters: Any) -> list[Any]:
        """Every row."""
        cursor = self._connection.execute(self._sql(statement), parameters)
        return [row for page in iter(lambda: cursor.fetchmany(_FETCHED), []) for row in page]

    def change(self, statement: str, *parameters: Any) -> bool:
        """Run a statement; returns whether it changed a row."""
        return bool(self._connection.execute(self._sql(statement), parameters).rowcount > 0)

    def holds(self, key: str, token: str) -> bool:
        """Lock the row if this turn holds the lease; returns whether it does."""
        return self.change("UPDATE allm_sessions SET token = token WHERE id = ? AND token = ?", key, token)

    def record(self, key: str) -> Record | None:
        """What is stored of a session, without its journal; one statement, so that it is from one moment."""
        rows: dict[int, list[Any]] = {0: [], 1: [], 2: []}
        for kind, *row in self.all(_RECORD, LONGEST, key, LONGEST, key, key):
            rows[kind].append(row)
        if not rows[0]:
            return None
        [(version, head)] = rows[0]
        messages = tuple(body for _, body in sorted(rows[1], key=itemgetter(0)))
        return Record(version=version, head=head, messages=messages, blobs=frozenset(name for _, name in rows[2]))

    def insert(self, table: str, key: str, first: int, texts: Sequence[str]) -> None:
        """Insert texts with consecutive numbers from `first` on."""
        for start in range(0, len(texts), _INSERTED):
            page = texts[start : start + _INSERTED]
            values = ", ".join(["(?, ?, ?)"] * len(page))
            numbered = ((key, first + start + index, text) for index, text in enumerate(page))
            self.change(f"INSERT INTO {table} VALUES {values}", *(value for row in numbered for value in row))  # noqa: S608  (a constant)

    def add_blobs(self, key: str, blobs: Mapping[str, bytes]) -> None:
        """Insert blobs; one that is there already is the same, since its name is its hash."""
        statement = "INSERT INTO allm_blobs (id, name, body) VALUES (?, ?, ?) ON CONFLICT (id, name) DO NOTHING"
        for name, blob in blobs.items():
            self.change(statement, key, name, blob)

    def clear(self, key: str) -> None:
        """Delete what other tables have of a session whose row is deleted."""
        for table in ("allm_messages", "allm_blobs", "allm_journal"):
            self.change(f"DELETE FROM {table} WHERE id = ?", key)  # noqa: S608  (a constant)
