"""Sessions in a SQLite file, for any number of processes on one machine."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from allm.data.errors import SessionError
from allm.session.stores.sql import BOUND, Dialect, SqlBackend
from allm.session.stores.sql_rows import TABLES, older_layout

__all__ = ["sqlite_backend"]

_ERRORS = (sqlite3.Error, OSError)
_PERSISTED = ("-wal", "-journal")
"""Files beside the database with writes that are not in it yet."""


class _File(sqlite3.Connection):
    """A connection to a file.

    Attributes:
        path: The file; None for a database in memory.
        identity: Device and inode of the file when it was opened.
        read_only: Whether this process must not write to the file. It may become writable, or be written to by others
            without our noticing, so such a connection is used once.
    """

    path: str | None = None
    identity: tuple[int, int] | None = None
    read_only: bool = False


def sqlite_backend(path: str) -> SqlBackend:
    """A backend for the file `path`, which is created, readable by its owner only, if it does not exist."""
    if path != ":memory:":
        path = str(Path(path).absolute())  # the program may change its folder while the store is open
    return SqlBackend(
        Dialect(
            connect=lambda: _connect(path),
            transaction=_transaction,
            now="((julianday('now') - 2440587.5) * 86400.0)",  # unixepoch('subsec') needs SQLite 3.42
            bytewise="COLLATE BINARY",
            mark="?",
            errors=_ERRORS,
            failure=lambda error: _failure(path, error),
            alive=lambda connection: not connection.read_only,
            connections=1,  # SQLite allows one writer at a time
        )
    )


def _connect(path: str) -> _File:
    if path == ":memory:":
        return _prepared(_open(path))
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        if error.errno not in _NOT_WRITABLE or not Path(path).exists():
            raise
        return _connect_read_only(path)
    connection = _open(path)
    connection.path, connection.identity = path, _identity(path)
    try:
        return _prepared(connection)
    except sqlite3.OperationalError as error:
        if _kind(error) not in _NO_LOG:
            raise
        return _connect_read_only(path)  # the file is writable, but its folder is not


def _open(name: str) -> _File:
    # The store uses a connection in one thread at a time, but not always in the same one.
    connection = sqlite3.connect(
        name, timeout=BOUND, isolation_level=None, check_same_thread=False, uri=name.startswith("file:"), factory=_File
    )
    connection.text_factory = _text
    return connection


def _prepared(connection: _File) -> _File:
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = FULL")  # acknowledged writes survive a power cut
        _check_layout(connection)
        for table in TABLES:
            connection.execute(table)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_read_only(path: str) -> _File:
    # SQLite cannot open a file with a write-ahead log where it may not create that log, unless it is told that nobody
    # writes to the file. That is so if there is no log: whoever writes creates one.
    alone = not any(Path(path + suffix).exists() for suffix in _PERSISTED)
    connection = _open(f"file:{quote(path)}?mode=ro{'&immutable=1' if alone else ''}")
    connection.path, connection.identity, connection.read_only = path, _identity(path), True
    try:
        _check_layout(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_layout(connection: _File) -> None:
    if any(column[1] == "document" for column in connection.execute("PRAGMA table_info(allm_sessions)")):
        raise older_layout("SQLite")


def _identity(path: str) -> tuple[int, int] | None:
    """Which file a path names; None if there is none."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _text(stored: bytes) -> str:
    """Decode a text leniently; a damaged one is later rejected as invalid JSON."""
    return stored.decode("utf-8", "backslashreplace")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log. While another process does so, SQLite fails with "locked" without waiting."""
    deadline = time.monotonic() + BOUND
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if time.monotonic() > deadline or _kind(error) in _NO_LOG:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def _transaction(connection: _File) -> Generator[None]:
    _check_file(connection)
    connection.execute("BEGIN" if connection.read_only else "BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    _check_file(connection)  # again, since a file that was deleted meanwhile took the transaction with it


def _check_file(connection: _File) -> None:
    """Reject a connection to a file that is no longer at its path: SQLite would go on writing to a file without a name.

    Raises:
        SessionError: `unavailable`. It is raised until the store is closed, since other turns began in the old file.
    """
    if connection.path is None:
        return
    found = _identity(connection.path)
    if found == connection.identity:
        return
    what = "deleted" if found is None else "replaced by another file"
    raise SessionError(
        f"the SQLite file {connection.path} was {what} while the store had it open, so nothing can be read from it or "
        "saved to it: put the file back, or open a new store, which starts with what is at the path then",
        reason="unavailable",
        retryable=False,
    )


def _failure(path: str, error: Exception) -> SessionError:
    """The error of the store for an error of SQLite or of the file system."""
    kind = sqlite3.SQLITE_CANTOPEN if isinstance(error, OSError) else _kind(error)
    what = _FAILURES.get(kind, "cannot be used").format(seconds=BOUND)
    return SessionError(f"the SQLite file {path} {what} ({error})", reason="unavailable", retryable=kind in _LOCKED)


def _kind(error: Exception) -> int:
    """The kind of an error of SQLite: the low byte of its code, whose other bytes are the circumstances."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LOG = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = (
    "is damaged, and nothing more is written to it: restore a backup, or recover what can be read with "
    "`sqlite3 FILE .recover`"
)
_FAILURES = {
    **dict.fromkeys(
        _LOCKED,
        "was locked by another program for {seconds:g} s, such as a backup or an open transaction: end that program, "
        "or try again",
    ),
    sqlite3.SQLITE_READONLY: "is read-only for this process: its sessions can be loaded; to save them, make the file "
    "and its folder writable",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: "is no SQLite database, or is damaged at its beginning: check the path, or restore a backup",
    sqlite3.SQLITE_FULL: "could not grow, since the disk is full: free some space and try again",
    sqlite3.SQLITE_CANTOPEN: "could not be opened: check that it and its folder exist and can be read and written",
}
