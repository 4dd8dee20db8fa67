"""A journal in a SQLite file, for one run at a time."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from allm.data.bulk import BulkError
from allm.runs.journal import journal_error
from allm.runs.sql import COLUMNS, TABLES, SqlJournal

__all__ = ["KeysSeen", "SqliteJournal"]

T = TypeVar("T")

BOUND = 5.0
"""Seconds to wait for a lock on the file, such as that of a backup."""
SYNC = 1.0
"""Seconds between two transactions that survive a power cut, with all before them. All survive the end of the process;
waiting for the disk each time would be half of what a fast run costs."""


class SqliteJournal(SqlJournal):
    """A `Journal` in the file `path`, which is created, readable by its owner only; "" is a temporary one."""

    def __init__(self, path: str, run: str, *, reads_only: bool = False) -> None:
        """Open the file.

        Args:
            path: The file.
            run: The name of the run.
            reads_only: To look at the rows, also while a run writes them.

        Raises:
            BulkError: `journal`: another run has the file, or it is damaged, or no journal.
        """
        super().__init__(run)
        self._path = str(Path(path).absolute()) if path else ""  # the program may change its folder
        self._synced = -SYNC
        self._lock: sqlite3.Connection | None = None
        self._connection: sqlite3.Connection | None = None
        try:
            self._open(reads_only=reads_only)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise self._failure(error) from error
        except BaseException:
            self.close()
            raise

    def _open(self, *, reads_only: bool) -> None:
        if self._path and not reads_only:
            self._take_lock()
        if self._path and not (reads_only and Path(self._path).exists()):
            os.close(os.open(self._path, os.O_RDWR | (0 if reads_only else os.O_CREAT), 0o600))
        # One thread at a time uses it, and not always the same one.
        connection = sqlite3.connect(self._path, timeout=BOUND, isolation_level=None, check_same_thread=False)
        self._connection = connection
        if not self._path:
            connection.execute("PRAGMA journal_mode = OFF")
        elif not reads_only:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise journal_error(f"the journal {self._path} is damaged ({found}){_RESTORE}")
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(allm_bulk_items)")]
        if columns and tuple(columns) != COLUMNS:
            raise journal_error(f"the journal {self._path} has another layout, of another release: use another file")
        if reads_only:
            if not columns:
                raise journal_error(f"{self._path} is no journal of a bulk run")
            return
        for table in TABLES:
            connection.execute(table)
        self._begin()

    def _take_lock(self) -> None:
        # A file of its own: a lock in the journal would keep readers out. It is the operating system's, so it ends with
        # the process, however that ends. The file stays: to remove it would let two runs lock two files of one name.
        self._lock = sqlite3.connect(f"{self._path}-lock", timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
            what = (
                f"another run is using the journal {self._path}: wait for its end, or stop it; several workers on one "
                "run need a journal in PostgreSQL"
            )
            raise journal_error(what) from error

    def _sql(self, text: str) -> str:
        return text

    def _transact(self, work: Callable[[Any], T]) -> T:
        connection = self._connection
        if connection is None:
            raise journal_error(f"the journal {self._path} is closed")
        try:
            cursor = connection.cursor()
            self._set_durability(cursor)
            cursor.execute("BEGIN")
            try:
                result = work(cursor)
                cursor.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._failure(error) from error
        return result

    def _set_durability(self, cursor: sqlite3.Cursor) -> None:
        now = time.monotonic()
        full = now - self._synced >= SYNC
        if full:
            self._synced = now
        cursor.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    def _failure(self, error: Exception) -> BulkError:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        why = _FAILURES.get(kind, f"cannot be used ({error})")
        return journal_error(f"the journal {self._path} {why}")

    def close(self) -> None:
        """See `Journal`."""
        for connection in (self._connection, self._lock):
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()
        self._connection = self._lock = None


_RESTORE = (
    ", and nothing was sent: restore a backup, or recover what can be read with `sqlite3 FILE .recover`, or begin anew "
    "with another file"
)
_FAILURES = {
    sqlite3.SQLITE_CORRUPT: f"is damaged{_RESTORE}",
    sqlite3.SQLITE_NOTADB: f"is no SQLite database, or is damaged at its beginning{_RESTORE}",
    sqlite3.SQLITE_FULL: "could not grow, since the disk is full: free some space and run again",
    sqlite3.SQLITE_BUSY: f"was locked by another program for {BOUND:g} s, such as a backup: run again",
    sqlite3.SQLITE_READONLY: "is read-only for this process: make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "could not be opened: check that it and its folder exist and can be written",
}


class KeysSeen:
    """The keys of a run so far, on disk: there may be ten million of them."""

    def __init__(self) -> None:
        """Open a temporary database, which the operating system removes with the process."""
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, keys: list[str]) -> str | None:
        """Add the keys; return one that is there twice, if there is one."""
        cursor = self._connection.cursor()
        cursor.execute("BEGIN")
        try:
            for key in keys:
                cursor.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,))
                if not cursor.rowcount:
                    return key
        finally:
            cursor.execute("COMMIT")
        return None

    def close(self) -> None:
        """Remove the database."""
        self._connection.close()
