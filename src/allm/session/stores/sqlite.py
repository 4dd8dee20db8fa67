"""Sessions in a SQLite file: the embedded default, for any number of processes on one machine."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager

from allm.session.stores.sql import BOUND, TABLES, Dialect, SqlBackend

__all__ = ["sqlite_backend"]

_ERRORS = (sqlite3.Error, OSError)


def sqlite_backend(path: str) -> SqlBackend:
    """The store in the file `path`, which is made for its owner alone if it is not there."""
    return SqlBackend(
        Dialect(
            name="SQLite",
            connect=lambda: _connect(path),
            transaction=_transaction,
            now="((julianday('now') - 2440587.5) * 86400.0)",  # unixepoch('subsec') needs SQLite 3.42
            mark="?",
            errors=_ERRORS,
            connections=1,  # one writer at a time is all that a file takes
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
        connection.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut as well
        for table in TABLES:
            connection.execute(table)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(stored: bytes) -> str:
    """A damaged text is read too, as one that is no JSON any more."""
    return stored.decode("utf-8", "backslashreplace")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; a file that another process is switching says "locked" at once, without waiting."""
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
