"""The tables of a SQL database, and the statements on the rows of a session inside a transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from allm.data.attrs_classes import frozen
from allm.data.errors import SessionError
from allm.session.stores.backend import LONGEST, Record

__all__ = ["TABLES", "Connection", "Transaction", "older_layout"]

TABLES = (
    """CREATE TABLE IF NOT EXISTS allm_sessions (
        id TEXT PRIMARY KEY, version INTEGER NOT NULL, head TEXT, token TEXT, expires DOUBLE PRECISION,
        lease DOUBLE PRECISION
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
_RECORD = """
    SELECT 0, version, substr(head, 1, ?) FROM allm_sessions WHERE id = ?
    UNION ALL SELECT 1, seq, substr(body, 1, ?)
        FROM allm_sessions AS found CROSS JOIN allm_messages AS rows
        WHERE found.id = ? AND rows.id = ? AND (found.version = ? AND found.head = ?) IS NOT TRUE
    UNION ALL SELECT 2, 0, name FROM allm_blobs WHERE id = ?
"""
"""What is stored of a session, but for the journal and the content of blobs. In no order: sorting would copy texts.
The messages of a known version are left out: SQLite joins in the order in which the tables are named, and visits none
of them."""
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


@frozen(eq=False)
class Transaction:
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

    def holds(self, key: str, token: str, version: int | None = None) -> bool:
        """Lock the row if this turn holds the lease, on this version (None: any); returns whether it does."""
        return self.change(
            "UPDATE allm_sessions SET token = token "
            "WHERE id = ? AND token = ? AND version = COALESCE(CAST(? AS INTEGER), version)",
            key,
            token,
            version,
        )

    def record(self, key: str, known: tuple[int, str] | None = None) -> Record | None:
        """What is stored of a session, without its journal; one statement, so that it is from one moment.

        Args:
            key: The session id.
            known: The version and the head of the record whose messages are not needed.
        """
        rows: dict[int, list[Any]] = {0: [], 1: [], 2: []}
        for kind, *row in self.all(_RECORD, LONGEST, key, LONGEST, key, key, *(known or (None, None)), key):
            rows[kind].append(row)
        if not rows[0]:
            return None
        [(version, head)] = rows[0]
        messages = tuple(body for _, body in sorted(rows[1], key=itemgetter(0)))
        return Record(
            version=version,
            head=head,
            messages=None if (version, head) == known else messages,
            blobs=frozenset(name for _, name in rows[2]),
        )

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
