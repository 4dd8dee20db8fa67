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


# --- databases of the earlier layout, with a whole session in one row ------------------------------------------------

OLD_TABLE = "CREATE TABLE allm_sessions (id TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT)"


async def refused(store):
    """Expect every operation to be refused, with what to do."""
    for operation in (
        lambda: store.load("s"),
        lambda: store.save(allm.Session(id="s")),
        lambda: store.turn("s").__aenter__(),
    ):
        with pytest.raises(allm.SessionError, match=r"earlier version.*save them to a new database") as caught:
            await operation()
        assert caught.value.reason == "unreadable"


async def test_an_older_layout_in_sqlite(tmp_path):
    """It is refused, and the file stays as it is."""
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute(OLD_TABLE)
    async with open_store(f"sqlite:///{tmp_path}/old.db") as store:
        await refused(store)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    assert tables == [("allm_sessions",)]


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
async def test_an_older_layout_in_postgresql(store_url, new_id):
    """It is refused, and no table is made."""
    import psycopg

    schema = new_id.replace("-", "_")
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"SET search_path = {schema}")
        connection.execute(OLD_TABLE)
        async with open_store(f"{store_url}?options=-csearch_path%3D{schema}") as store:
            await refused(store)
        assert connection.execute("SELECT to_regclass('allm_blobs')").fetchone() == (None,)
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.parametrize("store_url", ["redis"], indirect=True)
async def test_an_older_layout_in_redis(store_url, store):
    """It is refused, but can be deleted."""
    client = store._backend._client
    client.hset("allm:session:{s}", mapping={"version": 1, "document": "{}"})
    await refused(store)
    assert await store.delete("s")
    await store.save(allm.Session(id="s"))
    assert await store.delete("s")
