"""A journal in PostgreSQL, which any number of workers of a run share (extra `postgres`)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg  # pyright: ignore[reportMissingImports]  (where the extra is not installed)

from allm.runs.journal import journal_error
from allm.runs.sql import TABLES, SqlJournal

__all__ = ["PostgresJournal"]

T = TypeVar("T")

BOUND = 10.0
"""Seconds that one statement may take."""
PATIENCE = 60.0
"""Seconds for a server to come back: answers that were paid for wait to be saved."""
_TABLES_LOCK = 0x616C6C6E
"""Key of the advisory lock for creating the tables. CREATE TABLE IF NOT EXISTS alone fails when two race."""


class PostgresJournal(SqlJournal):
    """A `Journal` in the database at `url`, in tables of the first schema whose names begin with `allm_bulk_`."""

    def __init__(self, url: str, run: str) -> None:
        """Connect.

        Raises:
            BulkError: `journal`: the server cannot be used.
        """
        super().__init__(run)
        self._url = url
        self._connection: Any = None
        try:
            self._connection = self._connect()
            self._make_tables()
            self._begin()
        except (psycopg.Error, OSError) as error:
            self.close()
            raise journal_error(f"the journal in PostgreSQL cannot be used: {error}") from error
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Any:
        connection: Any = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=round(BOUND),
            client_encoding="utf8",
            prepare_threshold=None,  # a connection pooler may run each transaction in another server process
        )
        # `statement_timeout` is enforced by the server, so it does not help if the server hangs.
        connection.wait = functools.partial(connection.wait, timeout=BOUND)
        connection.execute(f"SET statement_timeout = {round(BOUND * 1000)}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {round(BOUND * 1000)}")
        return connection

    def _make_tables(self) -> None:
        """Create the tables if they are missing; a role that may not create tables can still use existing ones."""
        if self._connection.execute("SELECT to_regclass('allm_bulk_batches')").fetchone()[0] is not None:
            return
        with self._connection.transaction():
            self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_TABLES_LOCK,))
            for table in TABLES:
                self._connection.execute(table)

    def _sql(self, text: str) -> str:
        return text.replace("?", "%s")

    def _transact(self, work: Callable[[Any], T]) -> T:
        """See `SqlJournal`. A server that is away is waited for: every operation may be repeated."""
        deadline = time.monotonic() + PATIENCE
        pause = 0.1
        while True:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                with self._connection.transaction(), self._connection.cursor() as cursor:
                    return work(cursor)
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
                self.close()
                if time.monotonic() + pause > deadline:
                    what = f"the journal in PostgreSQL has failed for {PATIENCE:g} s: {error}"
                    raise journal_error(what) from error
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
            except psycopg.Error as error:
                raise journal_error(f"the journal in PostgreSQL failed: {error}") from error

    def close(self) -> None:
        """See `Journal`."""
        if self._connection is not None:
            with suppress(psycopg.Error, OSError):
                self._connection.close()
        self._connection = None
