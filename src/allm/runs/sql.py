"""A journal in a SQL database: the same tables and statements for SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from allm.runs.journal import Batch, Row, RunTotals, Status

__all__ = ["COLUMNS", "TABLES", "SqlJournal"]

T = TypeVar("T")

COLUMNS = ("run", "key", "idx", "fingerprint", "status", "attempts", "cost", "value")
_RUNS = """
CREATE TABLE IF NOT EXISTS allm_bulk_runs (run TEXT NOT NULL PRIMARY KEY, created DOUBLE PRECISION NOT NULL,
spent DOUBLE PRECISION NOT NULL, inputs BIGINT, settings TEXT NOT NULL)"""
_ITEMS = """
CREATE TABLE IF NOT EXISTS allm_bulk_items (run TEXT NOT NULL, key TEXT NOT NULL, idx BIGINT NOT NULL,
fingerprint TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, cost DOUBLE PRECISION,
value TEXT NOT NULL, PRIMARY KEY (run, key))"""
_ORDER = "CREATE INDEX IF NOT EXISTS allm_bulk_order ON allm_bulk_items (run, idx, key)"
_BATCHES = """
CREATE TABLE IF NOT EXISTS allm_bulk_batches (run TEXT NOT NULL, name TEXT NOT NULL, provider TEXT NOT NULL,
vendor_id TEXT, submitted DOUBLE PRECISION NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run, name))"""
TABLES = (_RUNS, _ITEMS, _ORDER, _BATCHES)
_FIELDS = ", ".join(f"i.{name}" for name in COLUMNS[1:])
_CHANGES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[2:])
_SAVE = (
    f"INSERT INTO allm_bulk_items AS i ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608
    f"ON CONFLICT (run, key) DO UPDATE SET {_CHANGES} "
    "WHERE i.status <> 'done' OR i.fingerprint <> excluded.fingerprint"
)
_SAVE_BATCH = (
    "INSERT INTO allm_bulk_batches (run, name, provider, vendor_id, submitted, body) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run, name) DO UPDATE SET vendor_id = excluded.vendor_id, submitted = excluded.submitted, "
    "body = excluded.body"
)
_PAGE = 200
"""Rows to read at once; an answer may be large."""


class SqlJournal(ABC):
    """A `Journal` over a DB-API driver."""

    def __init__(self, run: str) -> None:
        self._run = run

    @abstractmethod
    def _transact(self, work: Callable[[Any], T]) -> T:
        """Run `work` with a cursor in one transaction.

        Raises:
            BulkError: The database failed.
        """

    @abstractmethod
    def _sql(self, text: str) -> str:
        """The statement with the placeholders of the driver."""

    @abstractmethod
    def close(self) -> None:
        """See `Journal`."""

    def _all(self, text: str, *values: Any) -> list[Any]:
        def work(cursor: Any) -> list[Any]:
            cursor.execute(self._sql(text), values)
            return list(cursor.fetchall())

        return self._transact(work)

    def _begin(self) -> None:
        """Make the row of the run, if it has none."""
        statement = (
            "INSERT INTO allm_bulk_runs (run, created, spent, settings) VALUES (?, ?, 0, '{}') "
            "ON CONFLICT (run) DO NOTHING"
        )
        self._transact(lambda cursor: cursor.execute(self._sql(statement), (self._run, time.time())))

    def find(self, keys: Sequence[str], /) -> dict[str, Row]:
        """See `Journal`."""
        if not keys:
            return {}
        marks = ", ".join("?" * len(keys))
        found = self._all(
            f"SELECT {_FIELDS} FROM allm_bulk_items i WHERE i.run = ? AND i.key IN ({marks})",  # noqa: S608
            self._run,
            *keys,
        )
        return {row[0]: Row(*row) for row in found}

    def find_same(self, fingerprints: Sequence[str], /) -> dict[str, Row]:
        """See `Journal`."""
        if not fingerprints:
            return {}
        marks = ", ".join("?" * len(fingerprints))
        found = self._all(
            f"SELECT {_FIELDS} FROM allm_bulk_items i "  # noqa: S608
            f"WHERE i.run = ? AND i.status = 'done' AND i.fingerprint IN ({marks})",
            self._run,
            *fingerprints,
        )
        return {row[2]: Row(*row) for row in found}

    def index_fingerprints(self) -> None:
        """Make `find_same` fast."""
        statement = "CREATE INDEX IF NOT EXISTS allm_bulk_same ON allm_bulk_items (run, fingerprint)"
        self._transact(lambda cursor: cursor.execute(statement))

    def save(self, rows: Sequence[Row], spent: float, /) -> float:
        """See `Journal`."""
        return self._transact(lambda cursor: self._save(cursor, rows, spent))

    def _save(self, cursor: Any, rows: Sequence[Row], spent: float) -> float:
        # Sorted, so that two workers that save the same rows wait for each other in the same order.
        values = sorted(
            (self._run, row.key, row.index, row.fingerprint, row.status, row.attempts, row.cost, row.value)
            for row in rows
        )
        cursor.executemany(self._sql(_SAVE), values)
        if spent:
            cursor.execute(self._sql("UPDATE allm_bulk_runs SET spent = spent + ? WHERE run = ?"), (spent, self._run))
        cursor.execute(self._sql("SELECT spent FROM allm_bulk_runs WHERE run = ?"), (self._run,))
        return float(cursor.fetchone()[0])

    def note(self, *, inputs: int | None = None, settings: dict[str, Any] | None = None) -> None:
        """See `Journal`."""

        def work(cursor: Any) -> None:
            if inputs is not None:
                cursor.execute(self._sql("UPDATE allm_bulk_runs SET inputs = ? WHERE run = ?"), (inputs, self._run))
            if settings is not None:
                text = json.dumps(settings)
                cursor.execute(self._sql("UPDATE allm_bulk_runs SET settings = ? WHERE run = ?"), (text, self._run))

        self._transact(work)

    def totals(self) -> RunTotals:
        """See `Journal`."""

        def work(cursor: Any) -> RunTotals:
            cursor.execute(self._sql("SELECT spent, inputs, settings FROM allm_bulk_runs WHERE run = ?"), (self._run,))
            head = cursor.fetchone()
            cursor.execute(
                self._sql("SELECT status, count(*) FROM allm_bulk_items WHERE run = ? GROUP BY status"), (self._run,)
            )
            counts = dict(cursor.fetchall())
            if head is None:
                return RunTotals(**counts)
            return RunTotals(**counts, spent=head[0], inputs=head[1], settings=json.loads(head[2]))

        return self._transact(work)

    def rows(self, status: Status | None = None) -> Iterator[Row]:
        """See `Journal`."""
        further: str = ""
        last: tuple[Any, ...] = ()
        only = "" if status is None else f"AND i.status = '{status}' "
        while True:
            found = self._all(
                f"SELECT {_FIELDS} FROM allm_bulk_items i WHERE i.run = ? {only}{further}"  # noqa: S608
                f"ORDER BY i.idx, i.key LIMIT {_PAGE}",
                self._run,
                *last,
            )
            yield from itertools.starmap(Row, found)
            if len(found) < _PAGE:
                return
            further, last = "AND (i.idx, i.key) > (?, ?) ", (found[-1][1], found[-1][0])

    def save_batch(self, batch: Batch, /) -> None:
        """See `Journal`."""
        body = json.dumps({"items": batch.items, "details": batch.details})
        values = (self._run, batch.name, batch.provider, batch.vendor_id, batch.submitted, body)
        self._transact(lambda cursor: cursor.execute(self._sql(_SAVE_BATCH), values))

    def batches(self) -> tuple[Batch, ...]:
        """See `Journal`."""
        found = self._all(
            "SELECT name, provider, vendor_id, submitted, body FROM allm_bulk_batches WHERE run = ? "
            "ORDER BY submitted, name",
            self._run,
        )
        return tuple(_batch(*row) for row in found)

    def close_batch(self, name: str, rows: Sequence[Row], spent: float, /) -> float:
        """See `Journal`."""

        def work(cursor: Any) -> float:
            cursor.execute(self._sql("DELETE FROM allm_bulk_batches WHERE run = ? AND name = ?"), (self._run, name))
            return self._save(cursor, rows, spent)

        return self._transact(work)


def _batch(name: str, provider: str, vendor_id: str | None, submitted: float, body: str) -> Batch:
    read = json.loads(body)
    items = tuple((key, index, fingerprint) for key, index, fingerprint in read["items"])
    return Batch(
        name=name,
        provider=provider,
        vendor_id=vendor_id,
        submitted=submitted,
        items=items,
        details=read["details"],
    )
