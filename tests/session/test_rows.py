"""Sessions as rows: what a save writes, what is refused before the model is asked, and rows that were damaged."""

from __future__ import annotations

import functools
import random

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.data.json.blobs import PIECE
from allm.session import SessionStore
from allm.session.stores import reading, writing
from allm.session.stores.backend import Change
from allm.session.stores.memory import MemoryBackend
from conversations import CALL, TEXT, engine, in_status, texts

MEGABYTE = 1024 * 1024


class Recording:
    """A backend that notes the changes and the journal entries it is given."""

    def __init__(self, backend):
        self.backend, self.changes, self.blobs_written, self.entries = backend, [], [], []

    def __getattr__(self, name):
        return getattr(self.backend, name)

    async def write(self, key, change, /, **options):
        self.changes.append(change)
        self.blobs_written += change.blobs
        return await self.backend.write(key, change, **options)

    async def append(self, key, token, entries, blobs, /, **options):
        self.entries += entries
        self.blobs_written += blobs
        return await self.backend.append(key, token, entries, blobs, **options)


@pytest.fixture
def recording(store):
    return Recording(store._backend)


@pytest.fixture
def recorded(recording):
    """The same store, whose changes are recorded."""
    return SessionStore(recording)


def image(number, size=100_000):
    return allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(number).randbytes(size))  # noqa: S311  (no secret)


async def talk(turn, *contents):
    for content in contents:
        message = content if isinstance(content, allm.Message) else allm.user(content)
        await turn.reply(engine(TEXT), message)


# --- what is written -------------------------------------------------------------------------------------------------


async def test_a_turn_writes_what_is_new(recorded, recording, store_url, other, new_id):
    """Of a session of 200 MB with images: the two messages of the turn, and no blob."""
    count, size = (50, 4 * MEGABYTE) if store_url.startswith("sqlite") else (3, MEGABYTE)
    messages = [
        message for n in range(count) for message in (allm.user("Look", image(n, size)), allm.assistant("Yes."))
    ]
    session = allm.Session(id=new_id, thread=allm.Thread(messages), status="completed")
    await recorded.save(session)
    assert len(recording.blobs_written) == count
    recording.changes.clear()
    async with recorded.turn(new_id) as turn:
        await talk(turn, "one", "two")
    for number, change in enumerate(recording.changes):
        assert (change.kept, len(change.messages)) == (2 * count + 2 * number, 2)
        assert len(change.head) + sum(map(len, change.messages)) < 1000
        assert (change.blobs, change.dropped) == ({}, frozenset())
    # A worker that has the session only as a value writes no more than that either.
    session, version = await recorded.load(new_id)
    await recorded.save(allm.session.append_user(session, "three"), version=version)
    change = recording.changes[-1]
    assert (change.kept, len(change.messages), change.blobs) == (2 * count + 4, 1, {})
    assert await other.load(new_id) == (allm.session.append_user(session, "three"), version + 1)


async def test_the_cost_of_a_turn_does_not_grow(autojump_clock):
    """Three hundred turns with tools: the last one writes as much as the first."""
    recording = Recording(MemoryBackend())
    sizes = []
    async with SessionStore(recording).turn("s") as turn:
        for _ in range(300):
            await turn.reply(engine(CALL, TEXT), "go")
            [change] = recording.changes
            sizes.append(sum(map(len, [change.head, *change.messages, *recording.entries])))
            recording.changes.clear()
            recording.entries.clear()
    assert len(turn.session.thread.messages) == 1200
    assert max(sizes) - min(sizes) < 50  # the numbers in them get longer


async def test_an_image_of_a_turn_with_tools_is_written_once(recorded, recording, other, new_id):
    """With the journal entry; the save refers to it, and so does the next message with the same image."""
    picture = image(1)
    async with recorded.turn(new_id) as turn:
        await turn.reply(engine(CALL, TEXT), allm.user("Look", picture))
        await talk(turn, allm.user("Again", picture), allm.user("Again", allm.Image.from_base64(picture.to_base64())))
    assert len(recording.blobs_written) == 1
    assert (await other.load(new_id))[0] == turn.session


async def test_an_interrupted_turn_has_its_images(recorded, other, new_id):
    """The journal refers to blobs too; discarding it loses nothing of the session."""
    seen = allm.user("Look", image(1))
    async with recorded.turn(new_id) as turn:
        await talk(turn, seen)
        call = allm.Response(message=allm.assistant(allm.ToolCall("c1", "noop", {}, None)), finish_reason="tool_calls")
        await turn._journal.record_response(turn.session.thread.add(allm.user("And", image(2))), call, {})
    async with other.turn(new_id) as turn:
        assert [found.image for message in turn.interrupted.messages for found in message.images] == [
            image(1),
            image(2),
        ]
        await turn.discard()
        await talk(turn, "Go on")
        assert len(turn._stored.blobs) == 1  # that of the discarded turn is gone
    assert (await other.load(new_id))[0].thread.messages[0] == seen


async def test_messages_in_the_middle_can_change(recorded, recording, other, new_id):
    """What comes before the change stays; blobs that are no longer used go, and shared ones stay."""
    start = [allm.user("a", image(1)), allm.user("b", image(2)), allm.user("c", image(1)), allm.user("d")]
    session = allm.Session(id=new_id, thread=allm.Thread(start))
    await recorded.save(session)
    names = recording.changes[0].blobs.keys()

    def without(index, session):
        messages = session.thread.messages
        return attrs.evolve(session, thread=allm.Thread(messages[:index] + messages[index + 1 :]))

    async with recorded.turn(new_id) as turn:
        await turn.save(without(1, turn.session))
        change = recording.changes[-1]
        assert (change.kept, len(change.messages), len(change.blobs), len(change.dropped)) == (1, 2, 0, 1)
        assert await other.load(new_id) == (turn.session, 2)
        await turn.save(without(0, turn.session))
        assert recording.changes[-1].dropped == frozenset()
        await turn.save(without(0, turn.session))
        assert len(recording.changes[-1].dropped) == 1
        assert (await recording.blobs(new_id, names), texts(turn.session)) == ({}, ["d"])
        await turn.save(attrs.evolve(turn.session, thread=allm.Thread()))
    assert (await other.load(new_id))[0].thread.messages == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (allm.TextPart("x"), allm.TextPart("x", made_at="https://host/v1")),
        (allm.TextPart("x", metadata={"a": 1}), allm.TextPart("x", metadata={"a": True})),
        (allm.TextPart("x", metadata={"a": 0.0}), allm.TextPart("x", metadata={"a": -0.0})),
    ],
)
async def test_equal_is_not_the_same(recorded, recording, other, new_id, before, after):
    """A message that differs in what `==` leaves out is written, and one that does not differ is not."""
    first = allm.Session(id=new_id, thread=allm.Thread([allm.assistant(before)]))
    then = allm.Session(id=new_id, thread=allm.Thread([allm.assistant(after)]))
    assert first == then
    await recorded.save(first)
    async with recorded.turn(new_id) as turn:
        await turn.save(then)
        assert len(recording.changes[-1].messages) == 1
        await turn.save(allm.from_json(allm.to_json(then)))
        assert len(recording.changes[-1].messages) == 0
    found = (await other.load(new_id))[0]
    assert allm.to_json(found) == allm.to_json(then)


async def test_deleting_a_session_deletes_its_rows(recorded, recording, new_id):
    """A new session under the same id begins with nothing."""
    await recorded.save(allm.Session(id=new_id, thread=allm.Thread([allm.user("a", image(1))])))
    [name] = recording.changes[0].blobs
    assert await recording.blobs(new_id, [name, "0" * 64]) == {name: image(1).to_bytes()}
    assert await recorded.delete(new_id)
    assert await recording.blobs(new_id, [name]) == {}
    async with recorded.turn(new_id) as turn:
        assert (turn.session, turn._stored.blobs) == (allm.Session(id=new_id), frozenset())


async def test_a_lease_that_saved_nothing_leaves_no_blobs(recorded, recording, new_id):
    """Nor does a turn that is discarded before the first save."""
    async with recorded.turn(new_id) as turn:
        outcome = allm.data.results.ToolOutcome(message=allm.tool_result("c1", "x" * 100_000))
        await turn._append(await turn._encode([outcome]))
        await turn.discard()
    [name] = recording.blobs_written
    assert await recording.blobs(new_id, [name]) == {}


LEAVES = {
    "bytes": image(1).to_bytes(),
    "base64": image(1).to_base64(),
    "text": "Zürich \0\u2028 \U0001f600 half \ud83d and \ude00 " * 5000,
    "text of letters": "x" * 70_001,
    "long text": "ü" * (2 * PIECE),
}


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
async def test_large_texts_and_bytes_come_back(recorded, recording, other, new_id, leaf):
    """Wherever they stand: in a message, in the head, and in data with keys that look like those of a row."""
    metadata = {"x": [leaf], "$blobs": [["0" * 64, 1, "text", ["v"]]], "$type": leaf}
    said = allm.Message("user", [allm.TextPart("a", metadata=metadata)], metadata=metadata)
    session = allm.Session(id=new_id, thread=allm.Thread([said], metadata=metadata), context=metadata)
    await recorded.save(session)
    [change] = recording.changes
    assert len(change.blobs) == 1
    assert max(map(len, [change.head, *change.messages])) < 2000
    assert await other.load(new_id) == (session, 1)


# --- refused before the model is asked --------------------------------------------------------------------------------


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


UNSAVABLE = {"no JSON": object(), "bottomless": nested(300), "far too many": [0] * 1_100_000}
STARTS = {
    "start": lambda turn, model, bad: turn.start(
        model, allm.Session(thread=allm.Thread([allm.user("x")]), context=bad)
    ),
    "reply": lambda turn, model, bad: turn.reply(model, allm.Message("user", "x", metadata=bad)),
    "continue": lambda turn, model, bad: turn.continue_(model, allm.Message("user", "x", metadata=bad)),
}


@pytest.mark.parametrize("value", UNSAVABLE.values(), ids=UNSAVABLE)
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_what_cannot_be_saved_is_refused_before_the_model_is_asked(store, new_id, start, value):
    """Nothing is sent or saved, and the turn can go on."""
    model = engine(TEXT, TEXT)
    async with store.turn(new_id) as turn:
        with pytest.raises(allm.ValidationError):
            await start(turn, model, {"bad": value})
        assert (model.adapter.requests, turn.version) == ([], 0)
        await talk(turn, "again")
    assert texts((await store.load(new_id))[0]) == ["again", "done"]


async def test_a_text_above_the_limit_is_refused_before_the_model_is_asked(store, new_id, monkeypatch):
    """Also where the length in characters is not."""
    monkeypatch.setattr(writing, "MAX_JSON_BYTES", 100_000)
    model = engine(TEXT)
    async with store.turn(new_id) as turn:
        for text in ("x" * 100_001, "ü" * 70_000):
            with pytest.raises(allm.ValidationError, match="longer"):
                await turn.reply(model, text)
    assert model.adapter.requests == []


async def test_a_turn_that_is_cancelled_before_it_begins_can_be_repeated(store, new_id):
    """The lease is not left in the middle of a turn."""
    async with store.turn(new_id) as turn:
        with trio.CancelScope() as scope:
            scope.cancel()
            await turn.reply(engine(TEXT), "x" * 200_000)
        assert (scope.cancelled_caught, turn.version) == (True, 0)
        await talk(turn, "again")


# --- other tasks ------------------------------------------------------------------------------------------------------


async def test_other_tasks_run_while_a_session_is_read_and_saved(nursery):
    """After every 64 KiB of rows, and after every piece of a blob."""
    steps = 0

    async def tick():
        nonlocal steps
        while True:
            await trio.lowlevel.checkpoint()
            steps += 1

    store = SessionStore(MemoryBackend())
    messages = [allm.user("x" * 1000) for _ in range(2000)] + [allm.user("y" * 50 * PIECE)]
    least = 2000 * (1000 + writing.PER_ROW) // writing.STRETCH + 50
    session = allm.Session(id="s", thread=allm.Thread(messages))
    nursery.start_soon(tick)
    for operation in (functools.partial(store.save, session), functools.partial(store.load, "s")):
        before = steps
        await operation()
        assert steps - before >= least
    nursery.cancel_scope.cancel()


async def test_blobs_are_fetched_in_pages(recorded, recording, new_id, monkeypatch):
    """No operation carries all images of a session."""
    monkeypatch.setattr(reading, "PAGE", 250_000)
    asked = []

    async def blobs(key, names):
        asked.append(len(names))
        return await recording.backend.blobs(key, names)

    recording.blobs = blobs
    session = allm.Session(id=new_id, thread=allm.Thread([allm.user("a", image(n)) for n in range(7)]))
    await recorded.save(session)
    assert await recorded.load(new_id) == (session, 1)
    assert asked == [2, 2, 2, 1]


# --- rows that do not fit together ------------------------------------------------------------------------------------


def last_message(change, old, new):
    """The change that replaces the last message, with another text in its row."""
    assert old in change.messages[-1]
    return Change(head=change.head, kept=1, messages=(change.messages[-1].replace(old, new),))


WITH_MESSAGES = allm.to_json(allm.Session(thread=allm.Thread([allm.user("x")])))[:-1] + ',"$messages":2}'
DAMAGE = {
    "a message is gone": lambda saved: Change(head=saved.head, kept=1),
    "a message too many": lambda saved: Change(head=saved.head, kept=2, messages=(allm.to_json(allm.user("x")),)),
    "no message": lambda saved: Change(head=saved.head, kept=1, messages=(allm.to_json(allm.Thread()),)),
    "half a message": lambda saved: Change(head=saved.head, kept=1, messages=(saved.messages[1][:-5],)),
    "a blob is gone": lambda saved: Change(head=saved.head, kept=2, dropped=frozenset(saved.blobs)),
    "messages in the head": lambda saved: Change(head=WITH_MESSAGES, kept=2),
    "a blob without a place": lambda saved: last_message(saved, '["content",1', '["nothing",1'),
    "a blob in the place of a text": lambda saved: last_message(
        saved, '["content",1,"image","source","value"]', '["role"]'
    ),
    "a text that is none": lambda saved: last_message(saved, '"bytes",[', '"text",['),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
async def test_rows_that_do_not_fit_together(recorded, recording, new_id, damage):
    """They are unreadable, not a conversation with a gap."""
    await recorded.save(allm.Session(id=new_id, thread=allm.Thread([allm.user("a"), allm.user("b", image(1))])))
    assert await recording.write(new_id, damage(recording.changes[0]), version=1, token=None)
    with pytest.raises(allm.SessionError) as caught:
        await recorded.load(new_id)
    assert caught.value.reason == "unreadable"
    with pytest.raises(allm.SessionError) as caught:
        async with recorded.turn(new_id):
            pass
    assert caught.value.reason == "unreadable"
    assert await recorded.delete(new_id)


async def test_a_blob_with_other_content(recorded, recording, new_id):
    """Its name is the hash of its content, so damage is noticed."""
    await recorded.save(allm.Session(id=new_id, thread=allm.Thread([allm.user("a", image(1))])))
    [name] = recording.changes[0].blobs
    head = recording.changes[0].head
    assert await recording.write(new_id, Change(head=head, kept=1, dropped=frozenset([name])), version=1, token=None)
    wrong = Change(head=head, kept=1, blobs={name: image(2).to_bytes()})
    assert await recording.write(new_id, wrong, version=2, token=None)
    with pytest.raises(allm.SessionError, match="damaged") as caught:
        await recorded.load(new_id)
    assert caught.value.reason == "unreadable"


async def test_a_blob_that_is_too_long_is_not_fetched(recorded, recording, store_url, new_id, monkeypatch):
    """Only what a row may have is read from a database."""
    await recorded.save(allm.Session(id=new_id, thread=allm.Thread([allm.user("a", image(1))])))
    [name] = recording.changes[0].blobs
    module = store_url.partition(":")[0]
    if module == "memory":
        pytest.skip("is in memory already")
    monkeypatch.setattr(f"allm.session.stores.{'redis' if module == 'redis' else 'sql'}.LONGEST", 1000)
    async with allm.session.open_store(store_url) as opened:
        assert await opened._backend.blobs(new_id, [name]) == {}


# --- two workers ------------------------------------------------------------------------------------------------------


async def test_a_session_that_is_saved_while_it_is_read(recorded, recording, other, new_id):
    """The reader gets the newer one, not half of each."""
    await recorded.save(allm.Session(id=new_id, thread=allm.Thread([allm.user("a", image(1))])))
    newer = allm.Session(id=new_id, thread=allm.Thread([allm.user("b", image(2))]))
    saved = []

    async def blobs(key, names):
        if not saved:
            saved.append(await other.save(newer, version=1))
        return await recording.backend.blobs(key, names)

    recording.blobs = blobs
    assert await recorded.load(new_id) == (newer, 2)


async def test_a_session_that_is_saved_again_and_again(recorded, recording, new_id):
    """Reading it ends, with an error that says why."""
    await recorded.save(allm.Session(id=new_id, thread=allm.Thread([allm.user("a", image(1))])))
    reads = 0

    async def read(key):
        nonlocal reads
        reads += 1
        return attrs.evolve(await recording.backend.read(key), version=reads)

    async def blobs(key, names):
        await trio.lowlevel.checkpoint()
        return {}

    recording.read, recording.blobs = read, blobs
    with pytest.raises(allm.SessionError, match="too often") as caught:
        await recorded.load(new_id)
    assert (caught.value.reason, reads) == ("unavailable", reading.MOST_READS)


async def test_a_session_with_images_in_conflict(recorded, other, new_id):
    """The error has the newer session with everything in it."""
    session = attrs.evolve(await in_status("completed"), id=new_id)
    await recorded.save(session)
    async with other.turn(new_id) as turn:
        await talk(turn, allm.user("Look", image(1)))
    with pytest.raises(allm.SessionConflict) as caught:
        await recorded.save(session, version=1)
    assert caught.value.session == turn.session


async def test_a_streamed_answer_with_an_image_is_saved(recorded, recording, other, new_id):
    """An image from the model is a blob as well."""
    picture = allm.ImagePart(allm.Image.from_base64(image(3).to_base64()))
    async with recorded.turn(new_id) as turn:
        await turn.start(engine(TEXT), [allm.user("draw"), allm.assistant(picture), allm.user("more")])
        async with turn.stream_reply(engine([fake.text("one")]), "again") as events:
            await events.until_done()
    assert [len(change.blobs) for change in recording.changes] == [1, 0]
    assert (await other.load(new_id))[0] == turn.session
