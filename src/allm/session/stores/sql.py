"""Sessions in a SQL database: the same statements for SQLite and PostgreSQL, run in worker threads.

Theory of operation. A session has one row of its own, with its head, the version that counts its writes, and the token
of the turn that holds its lease; its messages, blobs and journal are rows of other tables. Every operation is one
transaction whose first statement changes or locks the session's row, on the condition that the operation is allowed;
of two racing workers, the second finds the condition false, and no other table is changed without that lock. A read
without a lease is a single statement, which sees the tables as of one moment. Times are compared and computed in SQL
only, since the database's clock is the only one that all workers share. If it was set back, a lease looks valid for
longer than it was taken for: whoever is refused because of it shortens it to its own length, counted from now. A live
worker renews it long before that; a dead one keeps others out for that long at most.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar, final

import attrs
import trio

from allm.data.attrs_classes import frozen
from allm.data.errors import SessionError
from allm.http.jumping_clock import in_thread
from allm.session.stores.backend import LONGEST, Change, Record
from allm.session.stores.sql_rows import Connection, Transaction

__all__ = ["BOUND", "Dialect", "SqlBackend"]

T = TypeVar("T")

BOUND = 5.0
"""Seconds that one operation may wait for a lock or for the database to answer."""

_WORDS = {
    "FREE": "(token IS NULL OR expires <= NOW)",
    "NO_JOURNAL": "NOT EXISTS (SELECT 1 FROM allm_journal WHERE allm_journal.id = allm_sessions.id)",
}
"""Shorthands in the statements below."""
_SHORTEN = "UPDATE allm_sessions SET expires = NOW + lease WHERE id = ? AND token IS NOT NULL AND expires > NOW + lease"
"""Cut a lease down to its length, for the case that the clock was set back."""


class _DeadConnectionError(Exception):
    """An idle connection had died, or died before anything took effect."""


@frozen(kw_only=True)
class Dialect:
    """The differences between the databases.

    Attributes:
        connect: Opens a connection in autocommit mode, and creates the tables.
        transaction: Context manager that begins a transaction, then commits it or rolls it back.
        now: SQL expression for the current time in seconds.
        bytewise: The collation that sorts texts by code points.
        mark: The placeholder of a parameter.
        errors: Exceptions that the driver raises.
        failure: Makes the error for one of them.
        alive: Whether a connection can be used again.
        connections: Most connections at once.
    """

    connect: Callable[[], Connection]
    transaction: Callable[[Any], AbstractContextManager[Any]]
    now: str
    bytewise: str
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
        for word, meaning in {
            **_WORDS,
            "NOW": self._dialect.now,
            "BYTEWISE": self._dialect.bytewise,
            "?": self._dialect.mark,
        }.items():
            text = text.replace(word, meaning)
        return text

    async def _run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction, in a worker thread; a cancellation waits for its end."""
        try:
            return await in_thread(lambda: self._in_thread(work), abandon=False, limiter=self._limiter)
        except self._dialect.errors as error:
            raise self._dialect.failure(error) from error

    def _in_thread(self, work: Callable[[Transaction], T]) -> T:
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

    def _on(self, connection: Connection, work: Callable[[Transaction], T], *, idle: bool = False) -> T:
        """Run `work` in a transaction on this connection, and keep it for the next one if it is good.

        Raises:
            _DeadConnectionError: The idle connection was dead, and nothing has taken effect.
        """
        committing = False
        try:
            with self._dialect.transaction(connection):
                result = work(Transaction(connection, self._sql))
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

        def work(transaction: Transaction) -> Record | None:
            record = transaction.record(key)
            return None if record is None or record.head is None else record

        return await self._run(work)

    async def blobs(self, key: str, names: Collection[str], /) -> Mapping[str, bytes]:
        """See `StoreBackend`."""

        def work(transaction: Transaction) -> Mapping[str, bytes]:
            statement = "SELECT body FROM allm_blobs WHERE id = ? AND name = ? AND length(body) < ?"
            found = {name: transaction.one(statement, key, name, LONGEST) for name in names}
            return {name: bytes(row[0]) for name, row in found.items() if row is not None}

        return await self._run(work)

    async def write(self, key: str, change: Change, /, *, version: int, token: str | None) -> bool:
        """See `StoreBackend`."""

        def work(transaction: Transaction) -> bool:
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
            elif token is None:
                transaction.change(_SHORTEN, key)
            return changed

        return await self._run(work)

    async def delete(self, key: str, /, *, version: int | None) -> bool:
        """See `StoreBackend`."""

        def work(transaction: Transaction) -> bool:
            deleted = transaction.change(
                "DELETE FROM allm_sessions WHERE id = ? AND version = COALESCE(CAST(? AS INTEGER), version) AND FREE",
                key,
                version,
            )
            if deleted:
                transaction.clear(key)
            else:
                transaction.change(_SHORTEN, key)
            return deleted

        return await self._run(work)

    async def acquire(
        self, key: str, token: str, seconds: float, /, *, known: tuple[int, str] | None = None
    ) -> Record | None:
        """See `StoreBackend`."""

        def work(transaction: Transaction) -> Record | None:
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
            record = transaction.record(key, known)
            entries = transaction.all(
                "SELECT substr(entry, 1, ?) FROM allm_journal WHERE id = ? ORDER BY seq", LONGEST, key
            )
            assert record is not None  # noqa: S101  (its row was just updated, and is locked)
            return attrs.evolve(record, journal=tuple(entry for (entry,) in entries))

        return await self._run(work)

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """See `StoreBackend`."""
        statement = "UPDATE allm_sessions SET expires = NOW + ?, lease = ? WHERE id = ? AND token = ?"
        return await self._run(lambda transaction: transaction.change(statement, seconds, seconds, key, token))

    async def release(self, key: str, token: str, /) -> None:
        """See `StoreBackend`."""

        def work(transaction: Transaction) -> None:
            held = transaction.change("UPDATE allm_sessions SET token = NULL WHERE id = ? AND token = ?", key, token)
            never_saved = "DELETE FROM allm_sessions WHERE id = ? AND head IS NULL AND NO_JOURNAL"
            if held and transaction.change(never_saved, key):
                transaction.clear(key)

        await self._run(work)

    async def append(
        self,
        key: str,
        token: str,
        entries: Sequence[str],
        blobs: Mapping[str, bytes],
        /,
        *,
        version: int,
        after: int,
    ) -> bool:
        """See `StoreBackend`."""

        def work(transaction: Transaction) -> bool:
            if not transaction.holds(key, token, version):
                return False
            row = transaction.one("SELECT COALESCE(MAX(seq), 0) FROM allm_journal WHERE id = ?", key)
            last = row[0] if row is not None else 0
            if last < after:
                return False
            transaction.insert("allm_journal (id, seq, entry)", key, last + 1, entries[last - after :])
            transaction.add_blobs(key, blobs)
            return True

        return await self._run(work)

    async def forget(self, key: str, token: str, /) -> bool:
        """See `StoreBackend`."""

        def work(transaction: Transaction) -> bool:
            if not transaction.holds(key, token):
                return False
            transaction.change("DELETE FROM allm_journal WHERE id = ?", key)
            return True

        return await self._run(work)

    async def ids(self, prefix: str, limit: int, /, *, after: str | None, descending: bool) -> Sequence[str]:
        """See `StoreBackend`."""
        bound, order = ("<", "DESC") if descending else (">", "ASC")
        further = "" if after is None else f"AND id BYTEWISE {bound} ? "
        statement = (
            f"SELECT id FROM allm_sessions WHERE head IS NOT NULL AND substr(id, 1, ?) = ? {further}"  # noqa: S608  (constants)
            f"ORDER BY id BYTEWISE {order} LIMIT ?"
        )
        values = (len(prefix), prefix, *(() if after is None else (after,)), limit)
        rows = await self._run(lambda transaction: transaction.all(statement, *values))
        return [key for (key,) in rows]

    async def aclose(self) -> None:
        """Close the connections."""
        await in_thread(self._close_idle, abandon=False, limiter=self._limiter)
