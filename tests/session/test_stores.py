"""Every store: saved sessions can be loaded, newer ones are not lost, and one worker at a time has a turn."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import types

import attrs
import pytest
import trio

import allm
from allm.data.results import ToolOutcome
from allm.data.session import AnswerEntry
from allm.session import open_store
from allm.session.stores import backend as backends, saving
from allm.session.stores.backend import Change
from conversations import TEXT, engine, in_status


async def named(new_id, status="completed", **fields):
    return attrs.evolve(await in_status(status, **fields), id=new_id)


@pytest.mark.parametrize("status", ["idle", "completed", "awaiting_user", "awaiting_tools", "error"])
async def test_what_is_saved_is_loaded(store, other, new_id, status):
    """By this worker and another, with every status, byte for byte."""
    session = await named(new_id, status, metadata={"text": "Zürich \0 \u2028 half \ud83d"})
    assert await store.save(session) == 1
    assert await store.load(new_id) == (session, 1)
    assert await other.load(new_id) == (session, 1)


async def test_versions_count_up(store, new_id):
    """Each save increments the version."""
    session = await named(new_id)
    for version in range(3):
        assert await store.save(session, version=version) == version + 1
        session = allm.session.append_user(session, str(version))
    assert (await store.load(new_id))[1] == 3


async def test_a_lost_update_is_a_conflict(store, other, new_id):
    """The second of two writers gets the newer session, and nothing is overwritten."""
    session = await named(new_id)
    await store.save(session)
    mine, version = await store.load(new_id)
    theirs, _ = await other.load(new_id)
    newer = allm.session.append_user(theirs, "theirs")
    await other.save(newer, version=version)
    with pytest.raises(allm.SessionConflict) as caught:
        await store.save(allm.session.append_user(mine, "mine"), version=version)
    assert (caught.value.session, caught.value.version, caught.value.reason) == (newer, 2, "conflict")
    assert await store.load(new_id) == (newer, 2)
    with pytest.raises(allm.SessionConflict):
        await store.save(session)  # not there yet, it says


async def test_two_replies_at_once(store, other, new_id):
    """Exactly one wins; the other gets the newer session and can reply again."""
    await store.save(await named(new_id))
    outcomes = []
    started = [await opened.load(new_id) for opened in (store, other)]

    async def reply(opened, text, session, version):
        session, _ = await allm.session.reply(engine(TEXT), session, text)
        try:
            outcomes.append(await opened.save(session, version=version))
        except allm.SessionConflict as conflict:
            outcomes.append(conflict)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reply, store, "one", *started[0])
        nursery.start_soon(reply, other, "two", *started[1])
    [conflict] = [outcome for outcome in outcomes if isinstance(outcome, allm.SessionConflict)]
    assert 2 in outcomes
    assert (conflict.session, conflict.version) == await store.load(new_id)


async def test_the_ids_of_what_is_stored(store, other, new_id):
    """In the order of code points, by pages, from both ends; ids with signs of patterns are only themselves."""
    names = [f"{new_id}/{name}" for name in ("%", "B", "[a]", "_", "a", "a%", "b*", "é", "\uffee", "\U0001f600")]
    for name in reversed(names):
        await store.save(await named(name))
    await store.save(await named(f"{new_id}."))
    prefix = f"{new_id}/"
    assert await other.ids(prefix) == names
    assert await other.ids(prefix, descending=True) == names[::-1]
    assert await store.ids(f"{prefix}a") == names[4:6]
    assert await store.ids(f"{prefix}_") == names[3:4]
    pages = [await store.ids(prefix, limit=4)]
    while pages[-1]:
        pages.append(await store.ids(prefix, limit=4, after=pages[-1][-1]))
    assert pages == [names[:4], names[4:8], names[8:], []]
    assert await store.ids(prefix, limit=4, after=names[4], descending=True) == names[3::-1]
    assert new_id + "." in await store.ids(new_id)


async def test_a_session_has_an_id_in_the_list_from_its_first_save_on(store, new_id):
    """A lease alone is no session, and what was deleted is gone."""
    async with store.turn(new_id):
        assert await store.ids(new_id) == []
    await store.save(await named(new_id))
    assert await store.ids(new_id) == [new_id]
    await store.delete(new_id)
    assert await store.ids(new_id) == []


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3", 2**40])
async def test_limits_that_are_none(store, limit):
    """They are refused with a sentence, before the database is asked."""
    with pytest.raises(allm.SessionError, match="expected a number of ids, at least 1") as caught:
        await store.ids(limit=limit)
    assert caught.value.reason == "invalid_input"


async def test_a_deleted_session_is_gone(store, new_id):
    """`delete` checks the version; a later save is a conflict."""
    session = await named(new_id)
    assert await store.delete(new_id) is False
    await store.save(session)
    with pytest.raises(allm.SessionConflict):
        await store.delete(new_id, version=7)
    assert await store.delete(new_id, version=1) is True
    with pytest.raises(allm.SessionError) as caught:
        await store.load(new_id)
    assert caught.value.reason == "not_found"
    with pytest.raises(allm.SessionConflict) as conflict:
        await store.save(session, version=1)
    assert (conflict.value.session, conflict.value.version) == (None, 0)


async def test_what_cannot_be_saved(store, new_id):
    """No id, an invalid id, an inconsistent session, or a value that cannot be written as JSON."""
    for session in (allm.Session(), 7):
        with pytest.raises(allm.SessionError) as caught:
            await store.save(session)
        assert caught.value.reason == "invalid_input"
    for operation in (store.load, store.delete):
        with pytest.raises(allm.SessionError) as caught:
            await operation("a\nb")
        assert caught.value.reason == "invalid_input"
    for session in (
        allm.Session(id=new_id, status="error"),
        allm.Session(id=new_id, context={"file": open}),
    ):
        with pytest.raises(allm.ValidationError):
            await store.save(session)
    with pytest.raises(allm.SessionError):
        await store.load(new_id)


async def test_saving_goes_on_when_cancelled(store, new_id):
    """The session is saved before the cancellation takes effect."""
    session = await named(new_id)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.save(session)
    assert scope.cancelled_caught
    assert await store.load(new_id) == (session, 1)


UNREADABLE = {
    "later version": '{"v": 2, "type": "Session", "$messages": 0}',
    "truncated": allm.to_json(allm.Session(id="s", context={"user": 7}))[:-9],
    "no JSON": "{",
    "bottomless": "[" * 1_000_000,
    "very many values": "[" + "[]," * 1_100_000 + "1]",
    "another value": allm.to_json(allm.user("go")),
    "contradiction": '{"v":1,"type":"Session","$messages":0,"resume_at":9}',
    "messages that are not there": '{"v":1,"type":"Session","$messages":1}',
    "no number of messages": '{"v":1,"type":"Session"}',
    "a blob that is not there": '{"v":1,"type":"Session","$messages":0,"metadata":{"x":null},"$blobs":'
    f'[["{"0" * 64}",70000,"text",["metadata","x"]]]}}',
    "blobs that are no list": '{"v":1,"type":"Session","$messages":0,"$blobs":7}',
    "a blob without a name": '{"v":1,"type":"Session","$messages":0,"$blobs":[["x",1,"text",["metadata"]]]}',
    "code": '{"v":1,"type":"Session","$messages":0,"metadata":{"x":{"$type":"os.system","command":"false"}}}',
}


@pytest.mark.parametrize("document", UNREADABLE.values(), ids=UNREADABLE)
async def test_documents_that_cannot_be_read(store, new_id, document):
    """A document of a later release, or a damaged one, is unreadable; `delete` removes it."""
    await store._backend.write(new_id, Change(head=document), version=0, token=None)
    with pytest.raises(allm.SessionError) as caught:
        await store.load(new_id)
    assert caught.value.reason == "unreadable"
    with pytest.raises(allm.SessionError) as caught:
        async with store.turn(new_id):
            pass
    assert caught.value.reason == "unreadable"
    assert await store.delete(new_id)


async def test_a_document_that_is_too_long_is_not_fetched(store_url, new_id, monkeypatch):
    """Documents and journal entries are fetched up to the limit only."""
    for module in ("sql", "sql_rows", "redis"):
        with contextlib.suppress(ImportError):  # the extra is not installed
            monkeypatch.setattr(f"allm.session.stores.{module}.LONGEST", 1001)
    monkeypatch.setattr("allm.data.json.document.MAX_JSON_BYTES", 1000)
    text = '{"v":1,"type":"Session"}' + " " * 100_000
    async with open_store(store_url) as store:
        await store._backend.write(new_id, Change(head=text, messages=(text,)), version=0, token=None)
        with pytest.raises(allm.SessionError, match="longer than 1000 bytes") as caught:
            await store.load(new_id)
        assert caught.value.reason == "unreadable"
        if not store_url.startswith("memory"):
            record = await store._backend.read(new_id)
            assert [len(record.head), *map(len, record.messages)] == [1001, 1001]
            await store._backend.acquire(new_id, "A", 60.0)
            await store._backend.append(new_id, "A", [text], {}, version=1, after=0)
            await store._backend.release(new_id, "A")
            record = await store._backend.acquire(new_id, "B", 60.0)
            assert [len(record.head), *map(len, record.journal)] == [1001, 1001]


async def test_bytes_that_are_no_text(store, store_url, new_id, tmp_path):
    """Invalid UTF-8 in the database makes the session unreadable."""
    await store.save(attrs.evolve(await named(new_id), metadata={"x": "damage"}))
    if store_url.startswith("sqlite"):
        with sqlite3.connect(tmp_path / "chat.db") as connection:
            connection.execute(
                "UPDATE allm_sessions SET head = CAST(replace(CAST(head AS BLOB), 'damage', x'ff') AS TEXT)"
            )
        connection.close()
    elif store_url.startswith("redis"):
        client = store._backend._client
        key = f"allm:session:{{{new_id}}}"
        client.hset(key, "head", client.hget(key, "head").replace(b"damage", b"\xff"))
    else:
        pytest.skip("keeps texts alone")
    with pytest.raises(allm.SessionError) as caught:
        await store.load(new_id)
    assert caught.value.reason == "unreadable"


async def test_what_could_not_be_read_is_not_saved(store, new_id, monkeypatch):
    """A session too deep or too long to be read is rejected on saving."""
    deep = []
    for _ in range(300):
        deep = [deep]
    monkeypatch.setattr("allm.data.json.document.MAX_JSON_BYTES", 10_000)
    for metadata, tag in (({"x": deep}, "too_deep"), ({"x": "x" * 10_000}, "too_large")):
        session = await named(new_id, metadata=metadata)
        with pytest.raises(allm.ValidationError) as caught:
            await store.save(session)
        assert [found for _, found in caught.value.errors] == [tag]
        async with store.turn(new_id) as turn:
            with pytest.raises(allm.ValidationError):
                await turn.save(session)
    with pytest.raises(allm.SessionError):
        await store.load(new_id)


ANSWER = allm.Response(message=allm.assistant(allm.ToolCall("c1", "noop", {}, None)), finish_reason="tool_calls")
JOURNALS = {
    "no JSON": ["{"],
    "another value": [allm.to_json(allm.user("go"))],
    "a session": [allm.to_json(allm.Session())],
    "a result of nothing": [allm.to_json(ToolOutcome(message=allm.tool_result("c1", "x")))],
    "a result of another call": [
        allm.to_json(AnswerEntry(kept=0, response=ANSWER)),
        allm.to_json(ToolOutcome(message=allm.tool_result("c2", "x"))),
    ],
    "an answer to a longer conversation": [allm.to_json(AnswerEntry(kept=9, response=ANSWER))],
    "messages that cannot be": [
        allm.to_json(AnswerEntry(kept=0, messages=[allm.Message("tool", "x")], response=ANSWER)),
    ],
}


@pytest.mark.parametrize("entries", JOURNALS.values(), ids=JOURNALS)
async def test_journals_that_cannot_be_read(store, new_id, entries):
    """A turn does not start with an unreadable journal."""
    assert await store._backend.acquire(new_id, "dead", 30.0) is not None
    assert await store._backend.append(new_id, "dead", entries, {}, version=0, after=0)
    await store._backend.release(new_id, "dead")
    with pytest.raises(allm.SessionError) as caught:
        async with store.turn(new_id):
            pass
    assert caught.value.reason == "unreadable"
    assert await store.delete(new_id)


@pytest.mark.parametrize("version", [-1, 2**63, 1.5, "1", True])
async def test_what_is_no_version_is_refused(store, new_id, version):
    """An invalid version is an error, not a conflict or an overflow."""

    async def enter():
        async with store.turn(new_id, version=version):
            pass

    for operation in (
        lambda: store.save(allm.Session(id=new_id), version=version),
        lambda: store.delete(new_id, version=version),
        enter,
    ):
        with pytest.raises(allm.SessionError) as caught:
            await operation()
        assert caught.value.reason == "invalid_input"


# --- leases ------------------------------------------------------------------------------------------------------


async def test_a_lease_keeps_others_out(store, other, new_id):
    """While it is held, others cannot save, delete or take the session."""
    one, two = store._backend, other._backend
    assert await one.acquire(new_id, "A", 60.0) == backends.Record(version=0, head=None)
    assert await two.acquire(new_id, "B", 60.0) is None
    assert not await two.write(new_id, Change(head="{}"), version=0, token="B")
    assert not await two.write(new_id, Change(head="{}"), version=0, token=None)
    assert not await two.append(new_id, "B", ["x"], {}, version=0, after=0)
    assert not await two.forget(new_id, "B")
    assert not await two.renew(new_id, "B", 60.0)
    await two.release(new_id, "B")
    assert await one.write(new_id, Change(head="{}"), version=0, token="A")
    assert not await two.delete(new_id, version=None)
    assert await one.append(new_id, "A", ["x", "y"], {}, version=1, after=0)
    await one.release(new_id, "A")
    taken = await two.acquire(new_id, "B", 60.0)
    assert taken == backends.Record(version=1, head="{}", journal=("x", "y"))
    assert await two.append(new_id, "B", ["z"], {}, version=1, after=2)
    assert not await one.write(new_id, Change(head="{}"), version=1, token="A")
    assert await two.forget(new_id, "B")
    await two.release(new_id, "B")
    assert (await one.acquire(new_id, "A", 60.0)).journal == ()


async def test_a_lease_runs_out(store, other, new_id):
    """Its turn can still save until another worker takes the session."""
    one, two = store._backend, other._backend
    await one.acquire(new_id, "A", -1.0)
    assert await one.append(new_id, "A", ["x"], {}, version=0, after=0)
    assert (await two.acquire(new_id, "B", 60.0)).journal == ("x",)
    assert not await one.renew(new_id, "A", 60.0)
    assert not await one.append(new_id, "A", ["y"], {}, version=0, after=1)
    assert not await one.write(new_id, Change(head="{}"), version=0, token="A")
    await one.release(new_id, "A")
    assert await one.acquire(new_id, "C", 60.0) is None


async def test_a_lease_can_be_taken_again_by_its_turn(store, other, new_id):
    """As after a reply that was lost."""
    await store._backend.acquire(new_id, "A", 60.0)
    assert await store._backend.acquire(new_id, "A", 60.0) == backends.Record(version=0, head=None)
    assert await other._backend.acquire(new_id, "B", 60.0) is None


async def test_entries_have_places(store, new_id):
    """Entries that are there already are not added again, whenever the call arrives that adds them."""
    backend = store._backend
    await backend.acquire(new_id, "A", 60.0)
    assert await backend.append(new_id, "A", ["x", "y"], {}, version=0, after=0)
    assert await backend.append(new_id, "A", ["x", "y"], {}, version=0, after=0)
    assert await backend.append(new_id, "A", ["y", "z"], {}, version=0, after=1)
    assert await backend.append(new_id, "A", ["x"], {}, version=0, after=0)
    assert not await backend.append(new_id, "A", ["later"], {}, version=0, after=7)
    assert (await backend.acquire(new_id, "A", 60.0)).journal == ("x", "y", "z")
    assert await backend.write(new_id, Change(head="{}"), version=0, token="A")
    assert not await backend.append(new_id, "A", ["x"], {}, version=0, after=0)
    assert (await backend.acquire(new_id, "A", 60.0)).journal == ()


@pytest.fixture
def set_clock(store, other, store_url, monkeypatch):
    """Sets the database's clock, in seconds."""
    scripts = {}

    def set_to(seconds):
        for backend in (store._backend, other._backend):
            if store_url.startswith("memory"):
                ticking = types.SimpleNamespace(current_time=lambda: seconds, lowlevel=trio.lowlevel)
                monkeypatch.setattr("allm.session.stores.memory.trio", ticking)
            elif store_url.startswith("redis"):
                for name, script in backend._scripts.items():
                    text = scripts.setdefault(name, script.script)
                    assert "redis.call('TIME')" in text
                    text = text.replace("redis.call('TIME')", f"{{{int(seconds)}, {int(seconds % 1 * 1e6)}}}")
                    backend._scripts[name] = backend._client.register_script(text)
            else:
                backend._dialect = attrs.evolve(backend._dialect, now=str(float(seconds)))

    return set_to


@pytest.mark.parametrize("refused", ["acquire", "save", "delete"])
async def test_a_clock_that_jumps_back_keeps_nobody_out(store, other, new_id, set_clock, refused):
    """A dead worker's lease ends at the latest its own length after the first look at it."""
    set_clock(1_000_000)
    await store.save(await named(new_id))
    await store._backend.acquire(new_id, "dead", 30.0)
    set_clock(1_000_000 - 7200)

    async def attempt():
        if refused == "acquire":
            return await other._backend.acquire(new_id, "B", 30.0) is not None
        if refused == "save":
            return await other._backend.write(new_id, Change(head="{}"), version=1, token=None)
        return await other._backend.delete(new_id, version=None)

    for later in (0, 10, 29):
        set_clock(1_000_000 - 7200 + later)
        assert not await attempt()
    set_clock(1_000_000 - 7200 + 30.1)
    assert await attempt()


async def test_a_clock_that_jumps_back_takes_no_lease_from_a_living_worker(store, other, new_id, set_clock):
    """It renews its lease before that ends, by either clock."""
    set_clock(1_000_000)
    await store._backend.acquire(new_id, "living", 30.0)
    for jump in (0, 15, 7200):
        for seconds in (0, 10, 20, 30, 40):
            set_clock(1_000_000 - jump + seconds)
            assert await other._backend.acquire(new_id, "B", 30.0) is None
            assert seconds == 0 or await store._backend.renew(new_id, "living", 30.0)


async def test_an_expired_lease_does_not_keep_a_save_out(store, other, new_id):
    """The turn that held it can no longer save."""
    await store._backend.acquire(new_id, "A", -1.0)
    assert await other.save(await named(new_id)) == 1
    assert not await store._backend.write(new_id, Change(head="{}"), version=1, token="A")


async def test_a_plain_save_does_not_drop_a_journal(store, other, new_id):
    """Recorded tool results wait for the next turn; the session can still be deleted."""
    session = await named(new_id)
    await store.save(session)
    await store._backend.acquire(new_id, "dead", -1.0)
    await store._backend.append(new_id, "dead", ["x"], {}, version=1, after=0)
    for opened in (store, other):
        with pytest.raises(allm.SessionConflict, match="interrupted") as caught:
            await opened.save(session, version=1)
        assert (caught.value.session, caught.value.version) == (session, 1)
    assert (await store._backend.acquire(new_id, "B", 60.0)).journal == ("x",)
    await store._backend.release(new_id, "B")
    assert await store.delete(new_id)


@pytest.mark.parametrize("lease", [0, -1, float("inf"), float("nan"), None, "1"])
async def test_a_lease_takes_time(store, new_id, lease):
    """Waiting for a lease can be limited."""
    with pytest.raises(ValueError, match="lease"):
        async with store.turn(new_id, lease=lease):
            pass


async def test_a_lease_alone_leaves_nothing(store, new_id):
    """A lease on a session that is never saved does not create one."""
    async with store.turn(new_id) as turn:
        assert (turn.session, turn.version, turn.interrupted) == (allm.Session(id=new_id), 0, None)
    with pytest.raises(allm.SessionError):
        await store.load(new_id)
    assert not await store.delete(new_id)


async def test_operations_of_one_store_at_once(store, new_id):
    """Tasks can share a store."""
    sessions = [await named(f"{new_id}-{n}") for n in range(20)]
    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(store.save, session)
    for session in sessions:
        assert await store.load(session.id) == (session, 1)


async def test_a_closed_store_opens_again(store_url, new_id):
    """After `aclose` the store can be used again."""
    opened = open_store(store_url)
    await opened.save(await named(new_id))
    await opened.aclose()
    assert (await opened.load(new_id))[1] == 1
    await opened.aclose()


# --- SQLite and URLs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["chat.db", "mysql://host/x", "sqlite://", "sqlite:///", "sqlite://host/chat.db", "", "sqlite:"]
)
def test_urls_that_name_no_store(url):
    """The error lists the known schemes."""
    with pytest.raises(ValueError, match="expected"):
        open_store(url)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda session: (session, None), r"save needs a Session, got tuple: .* session, result = await"),
        (lambda session: attrs.evolve(session, id=None), r"has no id, which save needs: start\(engine, text, id="),
    ],
)
async def test_what_has_no_place_in_a_store(wrong, told):
    """The error says what to write."""
    with pytest.raises(allm.SessionError, match=told) as caught:
        await open_store("memory://").save(wrong(await named("a")))
    assert caught.value.reason == "invalid_input"


async def test_a_session_that_exists_is_saved_with_its_version():
    """The error for a forgotten one blames nobody else, and has the session that is there."""
    store = open_store("memory://")
    session = await named("a")
    await store.save(session)
    with pytest.raises(
        allm.SessionConflict, match=r"exists already, with version 1: .* pass the version= that"
    ) as caught:
        await store.save(session)
    assert (caught.value.session, caught.value.version) == (session, 1)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("chat.db", "has no scheme; .*, as in 'sqlite:///chat.db'"),
        ("memory", "has no scheme; .*, as in 'memory://'"),
        ("sqlite", "has no scheme; .*, as in 'sqlite:///chat.db'"),
        ("postgers://user:pw@host/x", "no store has the scheme 'postgers'; did you mean 'postgres'"),
        ("//user:pw@host/x", "has no scheme"),
    ],
)
def test_a_url_that_is_nearly_right(url, told):
    """The error shows the right one, and never a password."""
    with pytest.raises(ValueError, match=told) as caught:
        open_store(url)
    assert "pw" not in str(caught.value)


async def test_relative_and_absolute_files(tmp_path, monkeypatch):
    """Three and four slashes, percent-encoding, and a file readable by its owner only."""
    monkeypatch.chdir(tmp_path)
    for url, path in [
        ("sqlite:///chat.db", tmp_path / "chat.db"),
        (f"sqlite:///{tmp_path}/other%20chat.db", tmp_path / "other chat.db"),
    ]:
        async with open_store(url) as store:
            await store.save(await named("s"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


async def test_a_file_that_cannot_be_used(tmp_path):
    """A missing folder or another kind of file is an error of the store."""
    (tmp_path / "text.db").write_text("This is no database, however long one looks at it. " * 50)
    for url in (f"sqlite:///{tmp_path}/missing/chat.db", f"sqlite:///{tmp_path}/text.db"):
        async with open_store(url) as store:
            with pytest.raises(allm.SessionError) as caught:
                await store.save(await named("s"))
            assert caught.value.reason == "unavailable"


async def test_a_locked_file(tmp_path, monkeypatch):
    """Waiting for a lock has a limit, and the store works afterwards."""
    monkeypatch.setattr("allm.session.stores.sqlite.BOUND", 0.05)
    monkeypatch.setattr(saving, "PATIENCE", 0.05)
    session = await named("s")
    async with open_store(f"sqlite:///{tmp_path}/chat.db") as store:
        await store.save(session)
        with sqlite3.connect(tmp_path / "chat.db") as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(allm.SessionError, match="locked") as caught:
                await store.save(session, version=1)
            assert caught.value.reason == "unavailable"
            blocker.rollback()
        blocker.close()
        assert await store.save(session, version=1) == 2


async def test_a_failing_operation_changes_nothing(tmp_path):
    """Its transaction is rolled back, and the connection can still be used."""
    async with open_store(f"sqlite:///{tmp_path}/chat.db") as store:
        await store._backend.acquire("s", "A", 60.0)
        with pytest.raises(KeyError):
            await store._backend.append("s", "A", ["x"], _Failing(), version=0, after=0)
        await store._backend.release("s", "A")
        assert (await store._backend.acquire("s", "B", 60.0)).journal == ()


class _Failing(dict):
    def items(self):
        raise KeyError


async def test_a_database_that_does_not_answer(autojump_clock):
    """Saving has a time limit, also under a cancellation."""

    class Stuck:
        async def read(self, key):
            return None

        async def write(self, *args, **options):
            await trio.sleep_forever()

    store = allm.session.SessionStore(Stuck())
    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(allm.SessionError) as caught:
            await store.save(allm.Session(id="s"))
    assert caught.value.reason == "unavailable"
    assert trio.current_time() >= saving.SHIELD
