"""Sessions in PostgreSQL, for workers on several machines (extra `postgres`)."""

from __future__ import annotations

import functools
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg  # pyright: ignore[reportMissingImports]  (where the extra is not installed)

from allm.data.errors import SessionError
from allm.session.stores.sql import BOUND, Dialect, SqlBackend
from allm.session.stores.sql_rows import TABLES, older_layout

__all__ = ["postgres_backend"]

_TABLES_LOCK = 0x616C6C6D
"""Key of the advisory lock for creating the tables: "allm". CREATE TABLE IF NOT EXISTS alone fails when two race."""


def postgres_backend(url: str) -> SqlBackend:
    """A backend for the database at `url`, in tables of the first schema whose names begin with `allm_`."""
    return SqlBackend(
        Dialect(
            connect=lambda: _connect(url),
            transaction=_transaction,
            now="extract(epoch from clock_timestamp())",
            bytewise='COLLATE "C"',
            mark="%s",
            errors=(psycopg.Error, OSError),
            failure=_failure,
            alive=lambda connection: not connection.closed,
            connections=4,
        )
    )


@contextmanager
def _transaction(connection: Any) -> Generator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(connection.transaction())
        except psycopg.Error:
            connection.close()  # also if it only fell silent: nothing has taken effect, and a new one may do better
            raise
        yield


def _failure(error: Exception) -> SessionError:
    # The server is away, starting, shutting down, full, or too busy; other errors do not pass by themselves.
    retryable = isinstance(error, (psycopg.OperationalError, OSError))
    return SessionError(f"the PostgreSQL store failed: {error}", reason="unavailable", retryable=retryable)


def _connect(url: str) -> Any:
    connection: Any = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=max(2, round(BOUND)),  # libpq's minimum is 2 seconds
        client_encoding="utf8",
        prepare_threshold=None,  # a connection pooler may run each transaction in another server process
    )
    # `statement_timeout` is enforced by the server, so it does not help if the server hangs.
    connection.wait = functools.partial(connection.wait, timeout=BOUND)
    try:
        connection.execute(f"SET statement_timeout = {round(BOUND * 1000)}")
        # A worker that stands still in a transaction holds its locks; others wait for less than BOUND.
        connection.execute(f"SET idle_in_transaction_session_timeout = {round(BOUND * 1000 / 2)}")
        with connection.transaction():
            _make_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: Any) -> None:
    """Create the tables if they are missing; a role that may not create tables can still use existing ones."""
    if connection.execute("SELECT to_regclass('allm_blobs')").fetchone()[0] is None:
        document = "attrelid = to_regclass('allm_sessions') AND attname = 'document' AND NOT attisdropped"
        if connection.execute(f"SELECT 1 FROM pg_attribute WHERE {document}").fetchone() is not None:  # noqa: S608
            raise older_layout("PostgreSQL")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_TABLES_LOCK,))
        for table in TABLES:
            connection.execute(table)
