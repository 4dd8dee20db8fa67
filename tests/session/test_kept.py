"""A store keeps the sessions of its last turns: the next turn reads only what others have changed."""

from __future__ import annotations

import gc
import random
import weakref

import attrs
import pytest

import allm
from allm import fake
from allm.data import message as message_module
from allm.session import SessionStore
from allm.session.stores import reading, store as stores, writing
from allm.session.stores.memory import MemoryBackend
from conversations import CALL, TEXT, engine, texts


@pytest.fixture
def rows(monkeypatch):
    """Counts the rows that are read and those that are encoded."""
    counted = {"read": 0, "encoded": 0}

    def counting(name, function):
        def count(*arguments):
            counted[name] += 1
            return function(*arguments)

        return count

    monkeypatch.setattr(reading, "parse_row", counting("read", reading.parse_row))
    monkeypatch.setattr(writing, "plain_row", counting("encoded", writing.plain_row))

    def since():
        found = dict(counted)
        counted.update(read=0, encoded=0)
        return found

    return since


class Fetching:
    """A backend that notes how many messages come with each lease; None where they were left out."""

    def __init__(self, backend):
        self.backend, self.fetched = backend, []

    def __getattr__(self, name):
        return getattr(self.backend, name)

    async def acquire(self, *arguments, **options):
        record = await self.backend.acquire(*arguments, **options)
        if record is not None:
            self.fetched.append(None if record.messages is None else len(record.messages))
        return record


async def reply(store, key, text="more", *scripts):
    async with store.turn(key) as turn:
        await turn.reply(engine(*(scripts or (TEXT,))), text)
    return turn.session


def of_length(key, messages):
    said = [allm.user("Hello") if n % 2 == 0 else allm.assistant("Good day") for n in range(messages)]
    return allm.Session(id=key, thread=allm.Thread(said), status="completed")


@pytest.mark.parametrize("messages", [30, 3_000])
async def test_a_turn_reads_and_encodes_what_is_new(store, other, new_id, rows, messages):
    """With a lease of its own for each turn, in every database: one row is read, however long the session is."""
    backend = Fetching(store._backend)
    store = SessionStore(backend)
    await store.save(of_length(new_id, messages))
    rows()
    await reply(store, new_id)
    assert rows()["read"] == messages + 1
    for _ in range(3):
        await reply(store, new_id)
        assert rows() == {"read": 1, "encoded": 4}  # the head; two messages, and the head before and after
    session = await reply(store, new_id, "with a tool", CALL, TEXT)
    assert rows() == {"read": 1, "encoded": 8}  # two messages more, and two entries of the journal
    assert backend.fetched == [messages, None, None, None, None]
    assert await other.load(new_id) == (session, 6)


@pytest.mark.parametrize("messages", [30, 3_000])
async def test_a_turn_checks_what_is_new(monkeypatch, messages):
    """What is known of the messages is kept with the session."""
    store = SessionStore(MemoryBackend())
    await store.save(of_length("s", messages))
    await reply(store, "s")
    checked = []
    is_valid = message_module._is_valid
    monkeypatch.setattr(message_module, "_is_valid", lambda message: checked.append(message) or is_valid(message))
    await reply(store, "s")
    assert 0 < len(checked) < 20


async def test_a_new_session_is_kept_from_its_first_turn_on(store, new_id, rows):
    """Nothing but the head is ever read."""
    for _ in range(5):
        await reply(store, new_id)
    assert rows()["read"] == 4


async def test_what_another_worker_saved_is_read(store, other, new_id, rows):
    """Turns of two stores, one after the other; each sees what the other has said."""
    said = []
    for number in range(6):
        text = f"message {number}"
        session = await reply((store, other)[number % 2], new_id, text)
        said += [text, "done"]
        assert texts(session) == said
    rows()
    assert texts(await reply(other, new_id, "again")) == [*said, "again", "done"]
    assert rows()["read"] == 1
    await reply(store, new_id)
    assert rows()["read"] == 1 + len(said) + 2


async def test_a_session_with_the_same_name_and_version(store, other, new_id):
    """It was deleted, and another worker has begun a new one: nothing of the old one is left."""
    await reply(store, new_id, "old")
    await other.delete(new_id)
    await reply(other, new_id, "new")
    async with store.turn(new_id) as turn:
        assert (turn.version, texts(turn.session)) == (1, ["new", "done"])
        await turn.reply(engine(TEXT), "more")
    await store.delete(new_id)
    async with store.turn(new_id) as turn:
        assert (turn.version, texts(turn.session)) == (0, [])
    await other.save(allm.Session(id=new_id, thread=allm.Thread([allm.user("third")])))
    assert texts(await reply(store, new_id)) == ["third", "more", "done"]


async def test_messages_that_were_replaced(store, other, new_id):
    """In the middle, by a turn, and by a save that knows only the value."""
    await reply(store, new_id, "one")
    async with store.turn(new_id) as turn:
        first, *rest = turn.session.thread.messages
        changed = allm.Thread([attrs.evolve(first, content="uno"), *rest])
        await turn.save(attrs.evolve(turn.session, thread=changed))
    assert texts(await reply(store, new_id, "two")) == ["uno", "done", "two", "done"]
    session, version = await other.load(new_id)
    shorter = attrs.evolve(session, thread=allm.Thread(session.thread.messages[:2]))
    await store.save(shorter, version=version)
    session = await reply(store, new_id, "three")
    assert texts(session) == ["uno", "done", "three", "done"]
    assert await other.load(new_id) == (session, version + 2)


async def test_a_killed_turn_of_another_worker_is_found(store, other, new_id, rows):
    """Its journal and its images are read, although the session is still the one that is kept."""

    class Killed(BaseException):
        pass

    async def killed(*arguments, **options):
        raise Killed

    await reply(store, new_id, "one")
    picture = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(100_000))  # noqa: S311  (no secret)
    dying = Fetching(other._backend)
    dying.write = killed
    with pytest.raises(Killed):
        await reply(SessionStore(dying), new_id, allm.user("Look", picture), CALL, TEXT)
    rows()
    async with store.turn(new_id) as turn:
        assert rows()["read"] == 3  # the head, the response, its result
        assert [message.text for message in turn.interrupted.messages] == ["one", "done", "Look", "", "ok"]
        await turn.resume(engine(TEXT))
    assert turn.session.thread.messages[2].images[0].image.to_base64() == picture.to_base64()
    assert await other.load(new_id) == (turn.session, 2)
    await reply(store, new_id)
    assert len((await store._backend.read(new_id)).blobs) == 1


def change_message(session):
    session.thread.messages[0].metadata["x"] = 1


def change_nested(session):
    session.thread.messages[0].metadata["list"].append(2)


def change_arguments(session):
    session.thread.messages[1].tool_calls[0].arguments["deep"]["list"].append(3)


def change_part(session):
    session.thread.messages[1].content[0].metadata["x"] = 1


def change_image(session):
    session.thread.messages[3].images[0].metadata["x"] = 1


def change_provider_part(session):
    session.thread.messages[1].content[1].data["x"] = 1


def change_thread(session):
    session.thread.metadata["nested"]["x"] = 1


def change_session(session):
    session.metadata["nested"]["x"] = 1


def change_context(session):
    session.context["x"] = 1


@pytest.mark.parametrize("read", [True, False], ids=["read", "written"])
@pytest.mark.parametrize(
    "change",
    [
        change_message,
        change_nested,
        change_arguments,
        change_part,
        change_image,
        change_provider_part,
        change_thread,
        change_session,
        change_context,
    ],
)
async def test_a_change_inside_a_value_changes_no_later_turn(store, other, new_id, change, read):
    """A caller has changed a mapping of the session of an earlier turn: the next turn has what is stored."""
    image = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    call = allm.ToolCall("c", "noop", {"deep": {"list": [1]}})
    messages = [
        allm.Message("user", "go", metadata={"list": [1]}),
        allm.Message("assistant", (call, allm.ProviderPart("fake", {"type": "search"}))),
        allm.tool_result("c", "ok"),
        allm.user("Look", image),
    ]
    nested = {"nested": {}}
    session = allm.Session(id=new_id, thread=allm.Thread(messages, metadata=nested), metadata=nested)
    if read:
        await store.save(session)
    async with store.turn(new_id) as turn:
        if not read:
            await turn.save(session)
    before, _ = await other.load(new_id)
    change(turn.session)
    assert turn.session != before
    async with store.turn(new_id) as turn:
        assert turn.session == before
        await turn.reply(engine(TEXT), "more")
    after, version = await other.load(new_id)
    assert (turn.session, turn.version) == (after, version)
    assert after.thread.messages[:4] == before.thread.messages


async def test_what_was_put_into_a_message_need_not_be_comparable(store, new_id):
    """Such as an array of numpy, whose comparison is no truth value."""

    class Array:
        __hash__ = None

        def __eq__(self, other):
            raise ValueError

    session = await reply(store, new_id, allm.Message("user", "go", metadata={"a": 1}))
    session.thread.messages[0].metadata["a"] = Array()
    async with store.turn(new_id) as turn:
        assert turn.session.thread.messages[0].metadata == {"a": 1}


async def test_an_equal_message_in_place_of_another(store, new_id):
    """No row is written for it, and from then on it is the one whose changes are noticed."""
    await reply(store, new_id, allm.Message("user", "go", metadata={"a": 1}))
    async with store.turn(new_id) as turn:
        others = [attrs.evolve(message) for message in turn.session.thread.messages]
        await turn.save(attrs.evolve(turn.session, thread=allm.Thread(others)))
    others[0].metadata["a"] = 3
    async with store.turn(new_id) as turn:
        assert turn.session.thread.messages[0].metadata == {"a": 1}


async def test_a_change_after_the_save_in_the_same_block(store, other, new_id):
    """It is not taken for what was written."""
    async with store.turn(new_id) as turn:
        await turn.reply(engine(TEXT), allm.Message("user", "go", metadata={"a": 1}))
        before, _ = await other.load(new_id)
        turn.session.thread.messages[0].metadata["a"] = 2
        await turn.reply(engine(TEXT), "more")
    async with store.turn(new_id) as turn:
        assert turn.session.thread.messages[:2] == before.thread.messages


async def test_a_loaded_session_is_a_value_of_its_own(store, new_id, rows):
    """What a caller does inside it reaches no turn, not even one that is running."""
    await reply(store, new_id)
    loaded, _ = await store.load(new_id)
    rows()
    async with store.turn(new_id) as turn:
        loaded.thread.messages[0].metadata["x"] = 1
        assert turn.session.thread.messages[0].metadata == {}
    assert rows()["read"] == 1


async def test_a_store_keeps_the_sessions_used_last(store, new_id, rows, monkeypatch):
    """No more than so many; the others are read again, and their memory is free."""
    monkeypatch.setattr(stores, "MOST_KEPT", 2)
    first, second, third = (f"{new_id}-{n}" for n in range(3))
    messages = []
    for key in (first, second, first, third):
        session = await reply(store, key)
        messages.append(weakref.ref(session.thread.messages[0]))
    del session
    gc.collect()
    assert [message() is None for message in messages] == [False, True, False, False]
    rows()
    for key, read in ((first, 1), (third, 1), (second, 3), (first, 7)):
        await reply(store, key)
        assert rows()["read"] == read, key


async def test_a_store_keeps_so_many_bytes(store, new_id, rows, monkeypatch):
    """Of texts and images; what is larger alone is not kept, and pushes nothing out."""
    monkeypatch.setattr(stores, "MOST_BYTES", 100_000)
    first, second, large = (f"{new_id}-{n}" for n in range(3))
    image = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(100_000))  # noqa: S311  (no secret)
    await reply(store, first, "a" * 40_000)
    await reply(store, second, "a" * 40_000)
    await reply(store, large, allm.user("Look", image))
    rows()
    for key, read in ((first, 1), (second, 1), (large, 3), (first, 1)):
        await reply(store, key)
        assert rows()["read"] == read, key
    await reply(store, first, "b" * 40_000)  # the two are too much together
    rows()
    await reply(store, first)
    assert rows()["read"] == 1
    await reply(store, second)
    assert rows()["read"] == 5
    sizes = [kept.size for kept in store._kept._sessions.values()]
    assert (sum(sizes), sum(sizes) <= 100_000) == (store._kept._size, True)
    await store.aclose()
    assert (store._kept._sessions, store._kept._size) == ({}, 0)


async def test_a_session_that_gets_shorter_takes_less(store, new_id):
    """The sizes of messages that are replaced or left out do not count any more."""
    async with store.turn(new_id) as turn:
        await turn.save(attrs.evolve(of_length(new_id, 30), id=new_id))
        await turn.save(of_length(new_id, 3))
    kept = store._kept.find(new_id)
    async with store.turn(new_id) as turn:
        assert turn.session == kept.session == of_length(new_id, 3)
    assert kept.size == sum(message.size for message in kept.messages) == store._kept._size
    assert len(kept.messages) == 3


async def test_a_head_without_a_mark_identifies_nothing(rows):
    """Such a session is read for each turn: a backend may have brought it from elsewhere."""
    backend = Fetching(MemoryBackend())
    store = SessionStore(backend)
    head = '{"v":1,"type":"Session","$messages":1}'
    message = '{"v":1,"type":"Message","role":"user","content":"%s"}'
    for text in ("one", "two"):
        change = allm.session.Change(head=head, messages=(message % text,))
        assert await backend.write("s", change, version=0, token=None)
        async with store.turn("s") as turn:
            assert texts(turn.session) == [text]
        await backend.delete("s", version=None)


async def test_a_backend_may_return_every_message(rows):
    """One that does not look at what is known."""

    class Simple(Fetching):
        async def acquire(self, key, token, seconds, /, *, known=None):
            return await self.backend.acquire(key, token, seconds)

    store = SessionStore(Simple(MemoryBackend()))
    for _ in range(3):
        session = await reply(store, "s")
    assert (await store.load("s"))[0] == session


@pytest.mark.parametrize("seed", range(5))
async def test_turns_of_two_workers_in_any_order(store, other, new_id, seed):
    """Whatever they do, each turn begins with what is stored."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    reader = SessionStore(store._backend)
    for _ in range(30):
        worker = chance.choice([store, other])
        match chance.randrange(6):
            case 0:
                await worker.delete(new_id)
            case 1:
                async with worker.turn(new_id) as turn:
                    said = [message for message in turn.session.thread.messages if message.text not in {"", "ok"}]
                    kept = said[: chance.randrange(1 + len(said))]
                    await turn.save(allm.Session(id=new_id, thread=allm.Thread([*kept, allm.user("cut")])))
            case 2:
                async with worker.turn(new_id) as turn:
                    for message in turn.session.thread.messages:
                        message.metadata["changed"] = True
            case _:
                async with worker.turn(new_id) as turn:
                    if turn.version:
                        assert (turn.session, turn.version) == await reader.load(new_id)
                    script = chance.choice([[TEXT], [CALL, TEXT], [[fake.text("other")]]])
                    await turn.continue_(engine(*script), allm.user(f"text {chance.random()}"))
                assert (turn.session, turn.version) == await reader.load(new_id)
