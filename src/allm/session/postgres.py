"""Sessions in PostgreSQL, for workers on several machines (extra `postgres`)."""

from __future__ import annotations

from typing import Any

import psycopg  # pyright: ignore[reportMissingImports]  (where the extra is not installed)

from allm.session.sql import BOUND, TABLES, Dialect, SqlBackend

__all__ = ["postgres_backend"]

_TABLES_LOCK = 0x616C6C6D
"""Key of the advisory lock for making the tables: "allm". CREATE TABLE IF NOT EXISTS alone fails when two race."""


def postgres_backend(url: str) -> SqlBackend:
    """The store in the database at `url`, in tables `allm_sessions` and `allm_journal` of the first schema."""
    return SqlBackend(
        Dialect(
            name="PostgreSQL",
            connect=lambda: _connect(url),
            transaction=lambda connection: connection.transaction(),
            now="extract(epoch from clock_timestamp())",
            mark="%s",
            errors=(psycopg.Error, OSError),
            connections=4,
        )
    )


def _connect(url: str) -> Any:
    milliseconds = int(BOUND * 1000)
    connection = psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=int(BOUND),
        options=f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}",
    )
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_TABLES_LOCK,))
            for table in TABLES:
                connection.execute(table)
    except BaseException:
        connection.close()
        raise
    return connection
