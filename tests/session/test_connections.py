"""Opening a store: its URL, its missing extra, and connections that fail."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import types
from pathlib import Path

import attrs
import pytest

import allm
from allm.session import open_store
from allm.session.stores import sqlite
from conversations import TEXT, engine, in_status


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


async def used(path, texts=("x",)):
    """A file with sessions, closed again."""
    async with open_store(f"sqlite:///{path}") as store:
        for number, text in enumerate(texts):
            await store.save(allm.Session(id=f"s{number}", metadata={"text": text}))


async def failing(operation, *words):
    """The error of an operation, which has to say these words."""
    with pytest.raises(allm.SessionError) as caught:
        await operation
    assert caught.value.reason == "unavailable"
    assert not caught.value.retryable
    for word in words:
        assert word in caught.value.message
    return caught.value


async def test_a_damaged_page(tmp_path):
    """The error says so, and what to do; sessions on other pages can still be read."""
    path = tmp_path / "x.db"
    await used(path, ["x" * 20_000, "y" * 20_000])
    data = bytearray(path.read_bytes())
    at = data.index(b"y" * 4000)
    page = at - at % 4096  # only the second session uses it
    data[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    async with open_store(f"sqlite:///{path}") as store:
        assert (await store.load("s0"))[1] == 1
        await failing(store.load("s1"), "damaged", "backup", str(path))


async def test_a_damaged_table(tmp_path):
    """Nothing can be saved; the error says why and carries the session."""
    path = tmp_path / "x.db"
    await used(path)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    session = allm.Session(id="s0", metadata={"text": "y"})
    async with open_store(f"sqlite:///{path}") as store:
        assert (await failing(store.save(session, version=1), "damaged")).session == session


def move(path, to):
    """Move a database with its log."""
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{path}{suffix}").exists():
            Path(f"{path}{suffix}").rename(f"{to}{suffix}")


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_a_file_that_goes_away_under_an_open_store(tmp_path, how):
    """Nothing is "saved" into a file without a name; once it is back, the store works again."""
    path, away = tmp_path / "x.db", tmp_path / "away.db"
    await used(path)
    async with open_store(f"sqlite:///{path}") as store:
        async with store.turn("s0") as turn:
            move(path, away)
            if how == "replaced":
                await used(path)
            error = await failing(turn.reply(engine(TEXT), "go"), how, str(path))
            assert [message.text for message in error.session.thread.messages] == ["go", "done"]
            await failing(store.load("s0"), how)
            move(away, path)
            await turn.save(error.session)
        assert await store.load("s0") == (error.session, 2)
        move(path, away)
        await failing(store.load("s0"), "deleted")
    await used(path)
    async with open_store(f"sqlite:///{path}") as store:
        assert (await store.load("s0"))[1] == 1


async def test_a_file_that_goes_away_during_a_transaction(tmp_path):
    """The operation fails, since what was committed went with the file."""
    path = tmp_path / "x.db"
    connection = sqlite._connect(str(path))
    with pytest.raises(allm.SessionError, match="deleted"), sqlite._transaction(connection):
        path.unlink()
    connection.close()


@pytest.fixture
def restricted():
    """A folder, and a function that gives up the rights to change anything in it; root cannot be kept from writing."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        folder.chmod(0o755)

        def restrict(mode):
            for path in folder.iterdir():
                path.chmod(mode)
            folder.chmod(0o555)
            if user == 0:
                os.seteuid(65534)

        yield folder, restrict
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the permissions of POSIX")
@pytest.mark.parametrize("mode", [0o444, 0o644])
@pytest.mark.parametrize("log", [False, True])
async def test_a_read_only_file(restricted, mode, log):
    """Sessions can be loaded, with and without a log beside it; a write says that the file is read-only."""
    folder, restrict = restricted
    path = folder / "x.db"
    await used(path)
    held = sqlite._connect(str(path))
    if log:
        held.execute("UPDATE allm_sessions SET version = 7")  # is in the log until the last connection closes
    else:
        held.close()
    assert (folder / "x.db-wal").exists() == log
    restrict(mode)
    async with open_store(f"sqlite:///{path}") as store:
        for _ in range(2):
            session, version = await store.load("s0")
            assert version == (7 if log else 1)
            await failing(store.save(session, version=version), "read-only", "writable")
        with pytest.raises(allm.SessionError, match="read-only"):
            async with store.turn("s0"):
                pass
    async with open_store(f"sqlite:///{folder}/new.db") as store:
        await failing(store.load("s0"), "could not be opened")
    held.close()


@pytest.mark.parametrize("operation", ["load", "save", "turn"])
async def test_a_locked_file(tmp_path, monkeypatch, operation):
    """The error says how long it waited and what to do; the session is not lost; the store works afterwards."""
    monkeypatch.setattr(sqlite, "BOUND", 0.05)
    monkeypatch.setattr("allm.session.stores.saving.PATIENCE", 0.2)
    path = tmp_path / "x.db"
    await used(path)
    async with open_store(f"sqlite:///{path}") as store, store.turn("s0", lease=1000) as turn:
        session = allm.session.append_user(turn.session, "go")
        await store.save(allm.Session(id="other"))
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        operations = {
            "load": lambda: store.load("s0"),
            "save": lambda: store.save(attrs.evolve(session, id="other"), version=1),
            "turn": lambda: turn.save(session),
        }
        with pytest.raises(allm.SessionError, match=r"was locked by another program for 0\.05 s") as caught:
            await operations[operation]()
        assert (caught.value.reason, caught.value.retryable) == ("unavailable", True)
        assert (caught.value.session is None) == (operation == "load")
        blocker.execute("ROLLBACK")
        blocker.close()
        await operations[operation]()


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
