"""Sessions in a SQLite file, for any number of processes on one machine."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager

from allm.session.stores.sql import BOUND, TABLES, Dialect, SqlBackend, older_layout

__all__ = ["sqlite_backend"]

_ERRORS = (sqlite3.Error, OSError)


def sqlite_backend(path: str) -> SqlBackend:
    """A backend for the file `path`, which is created, readable by its owner only, if it does not exist."""
    return SqlBackend(
        Dialect(
            name="SQLite",
            connect=lambda: _connect(path),
            transaction=_transaction,
            now="((julianday('now') - 2440587.5) * 86400.0)",  # unixepoch('subsec') needs SQLite 3.42
            mark="?",
            errors=_ERRORS,
            connections=1,  # SQLite allows one writer at a time
        )
    )


def _connect(path: str) -> sqlite3.Connection:
    if path != ":memory:":
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    # The store uses a connection in one thread at a time, but not always in the same one.
    connection = sqlite3.connect(path, timeout=BOUND, isolation_level=None, check_same_thread=False)
    connection.text_factory = _text
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")  # acknowledged writes survive a power cut
        if any(column[1] == "document" for column in connection.execute("PRAGMA table_info(allm_sessions)")):
            raise older_layout("SQLite")  # noqa: TRY301  (the connection is closed below)
        for table in TABLES:
            connection.execute(table)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(stored: bytes) -> str:
    """Decode a text leniently; a damaged one is later rejected as invalid JSON."""
    return stored.decode("utf-8", "backslashreplace")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log. While another process does so, SQLite fails with "locked" without waiting."""
    deadline = time.monotonic() + BOUND
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
