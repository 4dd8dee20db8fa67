"""Turns that outlive their readers: `allm.session.host`."""

from __future__ import annotations

import contextvars
import gc
import math
import weakref
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.session import host, hosted_turns, open_store
from allm.session.stores.backend import conflict
from allm.session.stores.memory import MemoryBackend
from allm.testing import cancel_everywhere, no_leaks
from conversations import ASK, BY_HAND, CALL, NOOP, PAY, TEXT, engine, texts

LETTERS = "abcdefgh"
SLOW = [part for letter in LETTERS for part in (fake.text(letter), fake.delay(1.0))]
"""An answer of eight pieces, one each second."""


class Fails:
    """A backend whose operations can be made to fail."""

    def __init__(self, backend, **failing):
        self.backend, self.failing = backend, failing

    def __getattr__(self, name):
        return self.failing.get(name) or getattr(self.backend, name)


async def unavailable(*args, **options):
    raise allm.SessionError("away", reason="unavailable")


@pytest.fixture
async def hosted():
    """A host over a store in memory."""
    async with open_store("memory://") as store, host(store) as opened:
        opened.store = store
        yield opened


async def read(opened, key, **where):
    """All events with their numbers, and the outcome."""
    async with opened.attach(key, **where) as events:
        found = [pair async for pair in events.numbered()]
        return found, events.outcome()


def said(found):
    return "".join(event.delta for _, event in found if isinstance(event, allm.TextDelta))


async def test_a_turn_runs_without_a_reader(store, new_id):
    """In every store: it begins, runs to its end and is saved; what it did can be read afterwards."""
    async with host(store) as opened:
        turn = await opened.reply(new_id, engine(CALL, TEXT), "Hello")
        await opened.until_idle()
        assert opened.running(new_id) is None
        saved, version = await store.load(new_id)
        assert (texts(saved), version) == (["Hello", "", "ok", "done"], 1)
        found, (session, result) = await read(opened, new_id, turn=turn)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert isinstance(found[-1][1], allm.ChatCompleted)
    assert (session, result.output_text) == (saved, "done")


async def test_two_readers_at_different_places(autojump_clock, hosted):
    """Both get every event behind theirs, with the same numbers, in their own time."""
    await hosted.reply("s", engine(SLOW), "go")
    everything, parts = [], {}

    async def slow():
        async with hosted.attach("s") as events:
            async for event in events:
                everything.append((events.number, event))
                await trio.sleep(5)

    async def quick(after):
        parts[after] = (await read(hosted, "s", after=after))[0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow)
        await trio.sleep(2.5)
        for after in (0, 2, 4):
            nursery.start_soon(quick, after)
    assert said(everything) == LETTERS
    for after, part in parts.items():
        assert part == everything[after:]
    assert (await hosted.store.load("s"))[1] == 1


async def test_a_slow_reader_does_not_hold_the_turn_up(autojump_clock, hosted):
    """The turn takes as long as its model, and has been saved while a reader is at its first event."""
    began = trio.current_time()
    await hosted.reply("s", engine(SLOW), "go")
    async with hosted.attach("s") as events:
        await anext(events)
        await hosted.until_idle()
        assert trio.current_time() == began + 8.0
        assert (await hosted.store.load("s"))[0].status == "completed"
        rest = [event async for event in events]
    assert "".join(event.delta for event in rest if isinstance(event, allm.TextDelta)) == LETTERS


async def test_a_reload_in_the_middle_of_an_answer(autojump_clock, hosted):
    """Leaving the block cancels nothing, and reading on behind the number gives exactly the rest."""
    turn = await hosted.reply("s", engine(SLOW), "go")
    first = []
    async with hosted.attach("s") as events:
        assert events.turn == turn == hosted.running("s")
        assert texts(events.session) == ["go"]
        async for event in events:
            first.append((events.number, event))
            if len(first) == 4:
                break
    await trio.sleep(2)
    rest, (session, _) = await read(hosted, "s", after=4, turn=turn)
    assert [number for number, _ in first + rest] == list(range(1, len(first + rest) + 1))
    assert said(first + rest) == LETTERS
    assert texts(session) == ["go", LETTERS]
    reducer = allm.session.StreamReducer(events.session)
    for _, event in first + rest:
        reducer.add(event)
    assert reducer.outcome()[0] == session


async def test_a_reload_at_every_event(autojump_clock, hosted):
    """Wherever a reader leaves, in a turn with tools and several steps, another one gets exactly the rest."""

    async def act(arguments, context):
        await context.emit("half")
        await trio.sleep(1)
        return "acted"

    calls = [fake.text("I look."), fake.tool_call("act", id="a"), fake.tool_call("act", id="b")]
    tools = [allm.Tool("act", "Acts.", handler=act)]

    async def begin():
        await hosted.reply("s", engine(calls, SLOW, tools=tools), "go", max_concurrency=1)

    await begin()
    everything, _ = await read(hosted, "s")
    kinds = [type(event) for _, event in everything]
    assert kinds.count(allm.ToolProgress) == 2
    for left in range(len(kinds) + 1):
        await begin()
        async with hosted.attach("s") as events:
            first = [await anext(events) for _ in range(left)]
            assert events.number == left
        rest, (session, _) = await read(hosted, "s", after=left)
        assert [*map(type, first), *(type(event) for _, event in rest)] == kinds
        assert [number for number, _ in rest] == list(range(left + 1, len(kinds) + 1))
        assert session == (await hosted.store.load("s"))[0]


async def test_a_snapshot_instead_of_all_events(autojump_clock, hosted):
    """`after=None` gives the outcome of this moment, and the events that it lacks: none twice, none missing."""
    await hosted.reply("s", engine(SLOW), "go")
    await trio.sleep(2.5)
    async with hosted.attach("s", after=None) as events:
        session, result = events.outcome()
        assert (result.output_text, result.halted_reason, texts(session)) == ("abc", "cancelled", ["go", "abc"])
        number = events.number
        rest = [event async for event in events]
    assert result.output_text + said(enumerate(rest)) == LETTERS
    assert events.number == number + len(rest)


async def test_a_reader_that_comes_late(autojump_clock, hosted):
    """The end and what is before it can be read for a while; then the turn is over, and the store has what it left."""
    turn = await hosted.reply("s", engine(TEXT), "go")
    await hosted.until_idle()
    found, _ = await read(hosted, "s", turn=turn)
    assert (await read(hosted, "s", after=len(found)))[0] == []
    await trio.sleep(59)
    assert (await read(hosted, "s", after=2))[0] == found[2:]
    await trio.sleep(2)
    with pytest.raises(allm.SessionError, match=r"read the session with store.load") as caught:
        await read(hosted, "s")
    assert caught.value.reason == "not_found"
    assert texts((await hosted.store.load("s"))[0]) == ["go", "done"]


async def test_events_of_another_turn_are_not_mixed_up(autojump_clock, hosted):
    """A number belongs to a turn: with the turn's id, a reader of an older turn is told that it is over."""
    first = await hosted.reply("s", engine(TEXT), "one")
    await hosted.until_idle()
    second = await hosted.reply("s", engine(SLOW), "two")
    with pytest.raises(allm.SessionError) as caught:
        await read(hosted, "s", after=1, turn=first)
    assert caught.value.reason == "not_found"
    with pytest.raises(allm.SessionError, match="has had") as caught:
        await read(hosted, "s", after=99, turn=second)
    assert caught.value.reason == "invalid_input"
    assert not await hosted.cancel("s", turn=first)
    assert said((await read(hosted, "s", turn=second))[0]) == LETTERS


async def test_a_reader_of_a_turn_goes_on_while_the_next_one_begins(autojump_clock, hosted):
    """It still gets the rest of its own."""
    await hosted.reply("s", engine(TEXT), "one")
    async with hosted.attach("s") as events:
        await anext(events)
        await hosted.until_idle()
        await hosted.reply("s", engine(SLOW), "two")
        rest = [event async for event in events]
    assert rest[-1].result.output_text == "done"


@pytest.mark.parametrize("after", [-1, True, 1.5, "3"])
async def test_places_that_are_none(autojump_clock, hosted, after):
    """They come from the network, so they are refused with a sentence."""
    await hosted.reply("s", engine(TEXT), "one")
    with pytest.raises(allm.SessionError, match="expected the number of an event") as caught:
        await read(hosted, "s", after=after)
    assert caught.value.reason == "invalid_input"


async def test_cancelled_by_one_reader_and_seen_by_both(autojump_clock, hosted):
    """The answer so far is saved before `cancel` returns; both readers come to the same end."""
    await hosted.reply("s", engine(SLOW), "go")
    outcomes = []

    async def reader():
        outcomes.append(await read(hosted, "s"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        nursery.start_soon(reader)
        await trio.sleep(2.5)
        assert await hosted.cancel("s")
        saved, _ = await hosted.store.load("s")
        assert (texts(saved), saved.status) == (["go", "abc"], "idle")
    assert not await hosted.cancel("s")
    (one, (session, result)), other = outcomes
    assert (one, (session, result)) == other
    assert (said(one), session, result.halted_reason) == ("abc", saved, "cancelled")
    await hosted.reply("s", engine(TEXT), "go on")
    await hosted.until_idle()
    assert texts((await hosted.store.load("s"))[0]) == ["go", "abc", "go on", "done"]


async def test_results_of_tools_that_ended_before_the_cancel(autojump_clock, hosted):
    """The session that readers get is the one in the store, also with what no event has shown."""

    async def act(arguments):
        await trio.sleep(arguments["n"])
        return f"slept {arguments['n']}"

    calls = [fake.tool_call("act", {"n": 1}, id="c1"), fake.tool_call("act", {"n": 100}, id="c2")]
    await hosted.reply("s", engine(calls, tools=[allm.Tool("act", "Sleeps.", handler=act)]), "go")
    await trio.sleep(5)
    await hosted.cancel("s")
    _, (session, _) = await read(hosted, "s")
    assert session == (await hosted.store.load("s"))[0]
    assert "slept 1" in texts(session)


async def test_two_turns_of_a_session_at_once(autojump_clock, hosted):
    """The second is refused while the first runs, and waits while that is being saved."""
    await hosted.reply("s", engine(SLOW), "one")
    with pytest.raises(allm.SessionError, match=r"is running: read it with host.attach") as caught:
        await hosted.reply("s", engine(TEXT), "two")
    assert caught.value.reason == "invalid_status"
    with pytest.raises(allm.SessionError, match="is running"):
        await hosted.change("s", allm.session.append_user, "more")
    await hosted.reply("another", engine(TEXT), "two")
    async with hosted.attach("s") as events:
        async for event in events:
            if isinstance(event, allm.ChatCompleted):
                await hosted.reply("s", engine(TEXT), "three")
    await hosted.until_idle()
    assert texts((await hosted.store.load("s"))[0]) == ["one", LETTERS, "three", "done"]


async def test_what_was_refused_has_not_begun(autojump_clock, hosted):
    """A turn that the session's status or the options do not allow raises, and leaves the session free."""
    await hosted.start("s", engine(TEXT), "one")
    await hosted.until_idle()
    with pytest.raises(allm.SessionError, match="already exists"):
        await hosted.start("s", engine(TEXT), "again")
    with pytest.raises(allm.SessionConflict):
        await hosted.reply("s", engine(TEXT), "seen long ago", version=0)
    with pytest.raises(allm.ValidationError):
        await hosted.reply("s", engine(TEXT), allm.user(""), max_turns=0)
    with pytest.raises(TypeError):
        await hosted.reply("s", engine(TEXT), "two", no_such_option=1)
    assert hosted.running("s") is None
    await hosted.reply("s", engine(TEXT), "two", version=1)
    await hosted.until_idle()
    assert texts((await hosted.store.load("s"))[0]) == ["one", "done", "two", "done"]


async def test_questions_are_answered_by_a_reply(autojump_clock, hosted):
    """The question is in the session that the turn has left."""
    await hosted.reply("s", engine([fake.tool_call("ask", id="c1")], tools=[ASK]), "go")
    _, (session, _) = await read(hosted, "s")
    assert (session.status, session.pending_question) == ("awaiting_user", "Which city?")
    await hosted.reply("s", engine(TEXT), "Zug")
    _, (session, _) = await read(hosted, "s")
    assert texts(session)[-2:] == ["Zug", "done"]


async def test_calls_are_approved_and_answered_between_turns(autojump_clock, hosted):
    """By anybody, in any order, also at the same moment; then the session goes on."""
    calls = [fake.tool_call("pay", id=f"p{n}") for n in range(3)] + [fake.tool_call("by_hand", {"n": 1}, id="b")]
    model = engine(calls, TEXT, tools=[PAY, BY_HAND])
    await hosted.reply("s", model, "go")
    await hosted.until_idle()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hosted.change, "s", allm.session.approve, "p0")
        nursery.start_soon(hosted.change, "s", allm.session.deny, "p1", "no")
        nursery.start_soon(hosted.change, "s", allm.session.submit_tool_result, "b", {"n": 2})
    session = await hosted.change("s", allm.session.approve, "p2")
    assert len(session.approvals) == 2
    with pytest.raises(allm.SessionError) as caught:
        await hosted.change("s", allm.session.approve, "p2")
    assert caught.value.reason == "already_answered"
    await hosted.continue_("s", model)
    _, (session, _) = await read(hosted, "s")
    first, denied, *others = texts(session)[-5:]
    assert (first, others) == ("ok", ["ok", '{"n":2}', "done"])
    assert "denied" in denied


async def test_waiting_for_the_next_turn(autojump_clock, hosted):
    """Of this session: none is missed, however short it was, and none is given twice."""
    seen = []

    async def follow():
        turn = hosted.last_turn("s")
        while True:
            turn = await hosted.next_turn("s", after=turn)
            seen.append((turn, said((await read(hosted, "s", turn=turn))[0])))

    first = await hosted.reply("s", engine(TEXT), "one")
    await hosted.until_idle()
    assert await hosted.next_turn("s") == first == hosted.last_turn("s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.sleep(1)
        assert seen == []
        await hosted.reply("another", engine(TEXT), "two")
        second = await hosted.reply("s", engine(TEXT), "two")
        await trio.sleep(1)
        third = await hosted.reply("s", engine(SLOW), "three")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert seen == [(second, "done"), (third, LETTERS)]
    assert hosted.last_turn("none") is None
    assert hosted._turns._waiting == {}


async def test_nobody_waits_for_a_turn_of_a_host_that_is_closed(autojump_clock):
    """A reader outside the block learns that there will be none."""

    async def follow():
        with pytest.raises(allm.SessionError, match="block has been left"):
            await opened.next_turn("s")

    async with open_store("memory://") as store, trio.open_nursery() as nursery, host(store) as opened:
        nursery.start_soon(follow)
        await trio.sleep(1)


async def test_a_message_joins_the_turn(autojump_clock, hosted):
    """`send_user` of any reader reaches the turn itself, and a reader that has left closes nothing."""
    await hosted.reply("s", engine([fake.text("a"), fake.delay(2)], TEXT), "go")
    async with hosted.attach("s") as gone:
        await anext(gone)
    with pytest.raises(allm.StreamError, match="block has been left"):
        await anext(gone)
    async with hosted.attach("s") as events:
        events.send_user("and this")
        await events.until_done()
    assert texts((await hosted.store.load("s"))[0]) == ["go", "a", "and this", "done"]


async def test_another_task_leaves_the_block_of_a_reader(autojump_clock, hosted):
    """The task that reads learns it, and does not wait for ever; the turn goes on."""
    await hosted.reply("s", engine(SLOW), "go")

    async def reader():
        await anext(events)  # at the start of the message
        await anext(events)
        with pytest.raises(allm.StreamError, match="block has been left") as caught:
            await anext(events)
        assert caught.value.reason == "closed"

    async with trio.open_nursery() as nursery, hosted.attach("s") as events:
        nursery.start_soon(reader)
        await trio.sleep(0.5)
    assert said((await read(hosted, "s"))[0]) == LETTERS


async def test_readers_have_text_and_output(autojump_clock, hosted):
    """What works on the events of a stream works on those of a turn that runs on its own."""
    await hosted.reply(
        "s", engine([fake.text("[1,"), fake.delay(1), fake.text(" 2]")]), "go", response_format=list[int]
    )
    async with hosted.attach("s") as one, hosted.attach("s") as two:
        assert "".join([piece async for piece in one.text()]) == "[1, 2]"
        assert [item async for item in two.elements()] == [1, 2]
        assert two.result().parsed() == [1, 2]


async def test_the_failure_of_a_call_is_an_event(autojump_clock, hosted):
    """As in any stream; the session waits for another try."""
    await hosted.reply(
        "s", engine([fake.text("half"), fake.error(allm.AdapterError("no", reason="invalid_request"))]), "go"
    )
    found, (session, result) = await read(hosted, "s")
    assert any(isinstance(event, allm.Failed) for _, event in found)
    assert (session.status, result.halted_reason) == ("error", "error")
    async with hosted.attach("s") as events:
        with pytest.raises(allm.AdapterError, match="no"):
            [piece async for piece in events.text()]
    await hosted.continue_("s", engine(TEXT))
    await hosted.until_idle()
    assert texts((await hosted.store.load("s"))[0]) == ["go", "done"]


async def test_an_exception_of_the_users_function_reaches_every_reader(autojump_clock, hosted, caplog):
    """Behind the events, and each time with the same traceback; the turn is saved, and the host goes on."""

    def halt_when(step):
        raise KeyError("mine")

    await hosted.reply("s", engine(CALL, TEXT), "go", halt_when=halt_when)
    depths = []
    for _ in range(3):
        with pytest.raises(KeyError, match="mine") as caught:
            await read(hosted, "s")
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1
    assert "a turn of session 's' failed" in caplog.text
    assert texts((await hosted.store.load("s"))[0]) == ["go", "", "ok"]
    await hosted.reply("s", engine(TEXT), "again")
    assert said((await read(hosted, "s"))[0]) == "done"


async def test_a_store_that_fails(autojump_clock, caplog):
    """Readers get the events, then the error with the session that could not be saved."""
    store = allm.session.SessionStore(Fails(MemoryBackend(), write=unavailable))
    async with host(store) as opened:
        await opened.reply("s", engine(TEXT), "go")
        for _ in range(2):
            async with opened.attach("s") as events:
                with pytest.raises(allm.SessionError) as caught:
                    async for _event in events:
                        pass
            assert caught.value.reason == "unavailable"
            assert texts(caught.value.session) == texts(events.outcome()[0]) == ["go", "done"]
    assert "a turn of session 's' failed" in caplog.text
    with pytest.raises(allm.SessionError):
        await allm.session.SessionStore(store._backend.backend).load("s")


@pytest.mark.parametrize("way", ["sync", "async", "failing", "slow"])
async def test_what_could_not_be_saved_is_handed_over(autojump_clock, caplog, way):
    """Also where nobody reads, and where the block is left in the middle of the turn; that takes a bounded time."""
    kept = []

    def keep(error):
        kept.append(texts(error.session))
        if way == "failing":
            raise RuntimeError("no room")

    async def keep_later(error):
        await trio.sleep(1 if way == "async" else math.inf)
        keep(error)

    store = allm.session.SessionStore(Fails(MemoryBackend(), write=unavailable))
    async with host(store, on_unsaved=keep if way in {"sync", "failing"} else keep_later) as opened:
        await opened.reply("a", engine(TEXT), "go")
        await opened.until_idle()
        await opened.reply("b", engine(SLOW), "go")
        await trio.sleep(2.5)
        begun = trio.current_time()
    assert trio.current_time() - begun < 60
    assert kept == ([] if way == "slow" else [["go", "done"], ["go", "abc"]])
    assert ("on_unsaved failed" in caplog.text) == (way == "failing")


async def test_a_store_that_is_away_at_the_beginning(autojump_clock):
    """Nothing has begun: the caller gets the error."""
    async with host(allm.session.SessionStore(Fails(MemoryBackend(), acquire=unavailable))) as opened:
        with pytest.raises(allm.SessionError) as caught:
            await opened.reply("s", engine(TEXT), "go")
        assert caught.value.reason == "unavailable"
        assert opened.running("s") is None


async def test_the_block_is_left_in_the_middle_of_turns(autojump_clock):
    """They are cancelled and saved before the next statement runs, and nothing begins any more."""
    async with open_store("memory://") as store:
        async with host(store) as opened, trio.open_nursery() as nursery:
            for key in ("one", "two"):
                await opened.reply(key, engine(SLOW), "go")
            nursery.start_soon(read, opened, "one")
            await trio.sleep(2.5)
            nursery.cancel_scope.cancel()
        for key in ("one", "two"):
            session, _ = await store.load(key)
            assert (texts(session), session.status) == (["go", "abc"], "idle")
        with pytest.raises(allm.SessionError, match="block has been left"):
            await opened.reply("one", engine(TEXT), "go")


async def test_the_block_is_left_while_a_turn_waits_for_another_worker(autojump_clock):
    """What wanted to begin it is told, and nobody waits for the lease."""
    memory = MemoryBackend()
    store, elsewhere = allm.session.SessionStore(memory), allm.session.SessionStore(memory)

    async def begin():
        with pytest.raises(allm.SessionError, match="cancelled before it began"):
            await opened.reply("s", engine(TEXT), "go")

    async with elsewhere.turn("s"), trio.open_nursery() as nursery:
        async with host(store) as opened:
            nursery.start_soon(begin)
            await trio.sleep(1)
            assert opened.running("s") is None
        async with host(store) as opened:
            nursery.start_soon(begin)
            await trio.sleep(1)
            assert await opened.cancel("s")
            with trio.move_on_after(1) as scope:
                await opened.reply("s", engine(TEXT), "go")
            assert scope.cancelled_caught
    async with host(store) as opened:
        await opened.reply("s", engine(TEXT), "go")
        assert said((await read(opened, "s"))[0]) == "done"


async def test_a_turn_has_the_callers_context_and_not_its_scopes(autojump_clock, hosted):
    """Context variables cross; a deadline of the caller does not reach the turn once it has begun."""
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    async def act(arguments):
        await trio.sleep(10)
        seen.append(variable.get())
        return "ok"

    variable.set("the caller's")
    model = engine([fake.tool_call("act", id="c")], TEXT, tools=[allm.Tool("act", "A.", handler=act)])
    with trio.move_on_after(1):
        await hosted.reply("s", model, "go")
        await trio.sleep_forever()
    await hosted.until_idle()
    assert seen == ["the caller's"]


async def test_the_session_of_a_killed_worker_is_taken_by_the_next(autojump_clock):
    """Its tools are not run again; until it is resumed, nothing else is possible."""
    memory = MemoryBackend()
    ran = []

    async def act(arguments):
        ran.append("act")
        return "acted"

    model = engine([fake.tool_call("act", id="c0")], SLOW, tools=[allm.Tool("act", "A.", handler=act)])

    async def killed(*args, **options):
        raise RuntimeError("killed")

    dying = allm.session.SessionStore(Fails(memory, write=killed, release=killed))
    with pytest.raises(RuntimeError, match="killed"):
        async with dying.turn("s") as turn, turn.stream_reply(model, "go") as events:
            async for event in events:
                if isinstance(event, allm.StepCompleted):
                    break
    async with host(allm.session.SessionStore(memory)) as opened:
        with pytest.raises(allm.SessionError) as caught:
            await opened.reply("s", engine(TEXT), "more")
        assert caught.value.reason == "interrupted"
        await opened.resume("s", engine(TEXT, tools=[NOOP]))
        _, (session, _) = await read(opened, "s")
    assert (texts(session), ran) == (["go", "", "acted", "done"], ["act"])


async def test_a_lease_that_is_lost(autojump_clock):
    """Readers learn that another worker has the session; the host goes on."""
    memory = MemoryBackend()
    async with host(allm.session.SessionStore(memory), lease=3.0) as opened:
        await opened.reply("s", engine(SLOW), "go")
        await trio.sleep(0.5)
        memory._rows["s"].token = "thief"
        with pytest.raises(allm.SessionError) as caught:
            await read(opened, "s")
        assert caught.value.reason == "lease_lost"
        await opened.reply("t", engine(TEXT), "go")
        assert said((await read(opened, "t"))[0]) == "done"


async def test_changes_are_repeated_over_newer_sessions(autojump_clock):
    """Another worker that saves meanwhile takes nothing away; a conflict of the function is the caller's."""
    memory = MemoryBackend()
    store, elsewhere = allm.session.SessionStore(memory), allm.session.SessionStore(memory)
    await store.save(allm.Session(id="s"))
    async with host(store) as opened, trio.open_nursery() as nursery:
        async with elsewhere.turn("s") as turn:
            nursery.start_soon(opened.change, "s", allm.session.append_user, "mine")
            await trio.sleep(1)
            await turn.save(allm.session.append_user(turn.session, "theirs"))

        def refuse(session):
            raise conflict("s", session, 7)

        with pytest.raises(allm.SessionConflict):
            await opened.change("s", refuse)
    assert texts((await store.load("s"))[0]) == ["theirs", "mine"]


async def test_what_is_kept_is_bounded(autojump_clock, hosted, monkeypatch):
    """The turns that ended first go first; a turn that ended is freed when the next of its session begins."""
    monkeypatch.setattr(hosted_turns, "MOST_KEPT", 2)
    for key in "abc":
        await hosted.reply(key, engine(TEXT), "go")
        await hosted.until_idle()
    with pytest.raises(allm.SessionError):
        await read(hosted, "a")
    old = weakref.ref(hosted._turns._ended["c"])
    assert said((await read(hosted, "c"))[0]) == "done"
    await hosted.reply("c", engine(TEXT), "go")
    gc.collect()
    assert old() is None
    await hosted.until_idle()
    assert list(hosted._turns._ended) == ["b", "c"]
    monkeypatch.setattr(hosted_turns, "MOST_EVENTS", 3)
    await hosted.reply("d", engine(TEXT), "go")
    await hosted.until_idle()
    assert list(hosted._turns._ended) == ["d"]
    await trio.sleep(100)
    assert hosted.last_turn("d") is None
    assert hosted._turns._events == 0


async def test_pictures_that_are_kept_are_bounded(hosted, monkeypatch):
    """A visitor may send large ones in many sessions, and each turn that is kept holds its conversation."""
    monkeypatch.setattr(hosted_turns, "MOST_BYTES", 2_500)
    picture = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(992))
    for key in "abcd":
        await hosted.reply(key, engine(TEXT), allm.user("See", picture))
        await hosted.until_idle()
    assert list(hosted._turns._ended) == ["c", "d"]
    text = allm.Document.from_text("x" * 3_000)
    await hosted.reply("e", engine(TEXT), allm.user("Read", text))
    await hosted.until_idle()
    assert list(hosted._turns._ended) == ["e"]
    assert said((await read(hosted, "e"))[0]) == "done"


async def test_readers_cost_no_copies(autojump_clock, hosted):
    """All of them get the same event objects."""
    await hosted.reply("s", engine(SLOW), "go")
    await hosted.until_idle()
    one, two = [(await read(hosted, "s"))[0] for _ in range(2)]
    assert all(mine is theirs for (_, mine), (_, theirs) in zip(one, two, strict=True))


async def test_a_reader_far_behind_lets_others_run(autojump_clock, hosted):
    """It takes a number of events between two checkpoints, and few steps for each."""
    await hosted.reply("s", engine([fake.text(letter) for letter in "x" * 5000]), "go")
    await hosted.until_idle()
    steps = 0

    class Counts(trio.abc.Instrument):
        def before_task_step(self, task):
            nonlocal steps
            steps += 1

    trio.lowlevel.add_instrument(counts := Counts())
    found, _ = await read(hosted, "s")
    trio.lowlevel.remove_instrument(counts)
    assert len(found) > 5000
    assert 10 < steps < 100


@pytest.mark.parametrize("wrong", [None, "memory://", 3])
async def test_it_needs_a_store(wrong):
    """Anything else is refused with a sentence."""
    with pytest.raises(allm.SessionError, match="takes a store of sessions"):
        async with host(wrong):
            pass


def test_it_needs_trio():
    """Elsewhere, each call says what to write instead."""
    entered = host(open_store("memory://"))
    with pytest.raises(RuntimeError, match=r"allm\.aio"):
        entered.__aenter__().send(None)
    calls = (lambda opened: opened.until_idle(), lambda opened: opened.change("s", len))
    for call in calls:
        with pytest.raises(RuntimeError, match=r"allm\.aio"):
            call(allm.session.SessionHost(open_store("memory://"), None, None, 1.0)).send(None)


@pytest.mark.parametrize("seconds", [0, -1, math.inf, "60", None])
@pytest.mark.parametrize("name", ["lease", "keep"])
async def test_times_that_are_none(name, seconds):
    """They are refused with a sentence."""
    async with open_store("memory://") as store:
        with pytest.raises(ValueError, match=f"{name} is"):
            async with host(store, **{name: seconds}):
                pass


async def test_cancelled_at_every_point(autojump_clock):
    """Whoever begins, reads, cancels or changes may be cancelled: nothing is left, and the session is valid."""

    async def work(store):
        async with host(store) as opened:
            await opened.reply("s", engine([fake.text("a"), fake.text("b"), fake.tool_call("pay", id="p")]), "go")
            async with opened.attach("s") as events:
                async for _event in events:
                    pass
            await opened.change("s", allm.session.approve, "p")
            await opened.continue_("s", engine(TEXT))
            async with opened.attach("s", after=None) as events:
                await anext(events)
            await opened.cancel("s")
        return (await store.load("s"))[0]

    async def check(trial):
        async with store.turn("s") as turn:
            allm.validate(turn.session)
            return turn.session

    store = None

    @asynccontextmanager
    async def around():
        nonlocal store
        async with open_store("memory://") as store:
            yield store

    report = await cancel_everywhere(work, around=around, check=check)
    assert report.trials > 50


async def test_nothing_is_left(autojump_clock):
    """No task and no channel of a host, its turns and its readers."""
    async with no_leaks(), open_store("memory://") as store, host(store) as opened:
        for key in "abc":
            await opened.reply(key, engine(SLOW), "go")
        async with opened.attach("a") as events:
            await anext(events)
        await opened.cancel("b")


def test_attrs_of_a_reader_can_be_evolved():
    """The other event loops read it through a stream of their own."""
    assert {field.name for field in attrs.fields(allm.session.HostedStream)} == {"_events", "_session", "_turn"}
