"""Opening a store: its URL, its missing extra, and connections that fail."""

from __future__ import annotations

import sqlite3
import sys
import types

import pytest

import allm
from allm.session import open_store
from allm.session.stores import sqlite
from conversations import in_status


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_store_whose_extra_is_not_installed(name, monkeypatch):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, f"allm.session.stores.{name}", None)
    scheme = {"postgres": "postgresql"}.get(name, name)
    with pytest.raises(ImportError, match=rf"pip install 'allm-trio\[{name}\]'"):
        open_store(f"{scheme}://localhost/0")


@pytest.mark.parametrize("url", ["sqlite://host/x.db", "sqlite://", "sqlite:///", "file:///x.db", "", None])
def test_a_url_of_no_store(url):
    """An unknown scheme is rejected with the known ones."""
    with pytest.raises(ValueError, match="expected"):
        open_store(url)


async def test_sqlite_in_memory():
    """SQLite in memory works without a file."""
    async with open_store("sqlite:///:memory:") as store:
        session = allm.Session(id="a", thread=(await in_status("completed")).thread, status="completed")
        assert await store.save(session) == 1
        assert await store.load("a") == (session, 1)


class Locked:
    """A connection to a file that another process is switching to a write-ahead log."""

    def __init__(self, times):
        self.times = times

    def execute(self, _statement):
        self.times -= 1
        if self.times >= 0:
            raise sqlite3.OperationalError("database is locked")
        return self

    def fetchone(self):
        pass


def test_a_file_that_is_being_switched(monkeypatch):
    """The wait for it has a limit."""
    monkeypatch.setattr(sqlite.time, "sleep", lambda _: None)
    connection = Locked(3)
    sqlite._write_ahead(connection)
    assert connection.times == -1
    monkeypatch.setattr(sqlite, "BOUND", -1)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite._write_ahead(Locked(3))


def test_a_file_that_is_no_database(tmp_path):
    """The connection is closed; otherwise a warning would fail the test."""
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        sqlite._connect(str(path))


def test_a_transaction_that_the_database_has_ended(tmp_path):
    """The original failure is raised, and there is no rollback."""
    connection = sqlite._connect(str(tmp_path / "x.db"))
    with pytest.raises(ValueError, match="mine"), sqlite._transaction(connection):
        connection.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise ValueError("mine")
    with pytest.raises(ValueError, match="mine"), sqlite._transaction(connection):
        raise ValueError("mine")
    with sqlite._transaction(connection):
        pass
    assert not connection.in_transaction
    connection.close()


def test_a_postgresql_server_that_fails_at_the_start(monkeypatch):
    """The connection is closed, whatever failed."""
    psycopg = pytest.importorskip("psycopg")
    postgres = pytest.importorskip("allm.session.stores.postgres")
    closed = []

    def fail(_statement):
        raise psycopg.OperationalError("no")

    connection = types.SimpleNamespace(wait=print, execute=fail, close=lambda: closed.append(True))
    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: connection)
    with pytest.raises(psycopg.OperationalError):
        postgres._connect("postgresql://localhost")
    assert closed == [True]
