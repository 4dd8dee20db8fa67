"""Turns of a stored session: saved when they end, and finished by another worker if they were interrupted."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import attrs
import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.session.stores.memory import MemoryBackend
from conversations import ASK, BY_HAND, CALL, NOOP, PAY, TEXT, engine, in_status, roles, texts

EMPTY = '{"v":1,"type":"Session","$messages":0}'


class Fails:
    """A backend whose operations can be made to fail."""

    def __init__(self, backend, **failing):
        self.backend, self.failing = backend, failing

    def __getattr__(self, name):
        return self.failing.get(name) or getattr(self.backend, name)


async def test_turns_are_saved_as_they_end(store, other, new_id):
    """When a method returns, another worker sees the session."""
    async with store.turn(new_id) as turn:
        result = await turn.start(engine(TEXT), "Hello")
        assert result.output_text == "done"
        assert await other.load(new_id) == (turn.session, 1)
        await turn.reply(engine(CALL, TEXT), "More")
        assert await other.load(new_id) == (turn.session, 2)
        await turn.continue_(engine(TEXT), allm.user("Go on"))
        await turn.step(engine(TEXT))
        assert turn.version == 4
    session, version = await store.load(new_id)
    assert (session, version) == (turn.session, 4)
    assert texts(session) == ["Hello", "done", "More", "", "ok", "done", "Go on", "done", "done"]


async def test_streams_are_saved_when_their_block_is_left(store, other, new_id):
    """For all four kinds of turn; resume has its own test."""
    async with store.turn(new_id) as turn:
        for number, block in enumerate(
            [
                lambda: turn.stream_start(engine(TEXT), "Hello"),
                lambda: turn.stream_reply(engine(TEXT), "More"),
                lambda: turn.stream_continue(engine(TEXT)),
                lambda: turn.stream_step(engine(TEXT)),
            ],
            1,
        ):
            async with block() as events:
                await events.until_done()
            assert events.outcome()[0] == turn.session
            assert await other.load(new_id) == (turn.session, number)


async def test_a_session_can_be_begun_with_a_reply(store, new_id):
    """A session that does not exist is empty."""
    async with store.turn(new_id) as turn:
        await turn.reply(engine(TEXT), "Hello")
    assert texts((await store.load(new_id))[0]) == ["Hello", "done"]


async def test_start_is_for_new_sessions(store, new_id):
    """`start` does not overwrite an existing session."""
    async with store.turn(new_id) as turn:
        await turn.start(engine(TEXT), allm.Session(context={"a": 1}, thread=allm.Thread([allm.user("Hello")])))
        assert turn.session.context == {"a": 1}
        with pytest.raises(allm.SessionError, match="reply") as caught:
            await turn.start(engine(TEXT), "Hello")
        assert caught.value.reason == "invalid_status"


async def test_answers_and_approvals_are_saved(store, new_id):
    """Results can be given by another worker, days later."""
    script = [fake.tool_call("by_hand", id="c0"), fake.tool_call("pay", id="c1")]
    async with store.turn(new_id) as turn:
        await turn.reply(engine(script), "go")
    async with store.turn(new_id) as turn:
        await turn.save(allm.session.submit_tool_result(turn.session, "c0", 7))
    async with store.turn(new_id) as turn:
        await turn.save(allm.session.approve(turn.session, "c1"))
    async with store.turn(new_id) as turn:
        assert turn.session.status == "awaiting_tools"
        await turn.continue_(engine(TEXT))
        assert texts(turn.session) == ["go", "", "7", "ok", "done"]
        assert turn.session.approvals == ()


async def test_a_turn_that_is_cut_short_is_saved(store, new_id):
    """After a break, an exception or a cancellation, with the partial response."""
    slow = [fake.text("one "), fake.delay(1000), fake.text("two")]
    async with store.turn(new_id) as turn:
        async with turn.stream_reply(engine(slow, TEXT), "first") as events:
            async for _ in events.text():
                break
        assert texts((await store.load(new_id))[0]) == ["first", "one "]
        with pytest.raises(KeyError):
            async with turn.stream_reply(engine(slow, TEXT), "second") as events:
                raise KeyError
        assert texts((await store.load(new_id))[0]) == ["first", "one ", "second"]
    with trio.CancelScope() as scope:
        async with store.turn(new_id) as turn, turn.stream_reply(engine(slow, TEXT), "third") as events:
            async for _ in events.text():
                scope.cancel()
    assert scope.cancelled_caught
    session, version = await store.load(new_id)
    assert texts(session) == ["first", "one ", "second", "third", "one "]
    assert (version, session.status) == (3, "idle")
    async with store.turn(new_id) as turn:  # the lease was given back
        assert turn.session == session


def memory_store():
    return allm.session.SessionStore(MemoryBackend())


async def test_the_result_of_a_tool_is_saved_even_if_nobody_read_it(autojump_clock):
    """A reader that leaves early does not lose tool results."""
    store = memory_store()

    async def act(arguments):
        return "acted"

    async def other_call(arguments):
        await trio.sleep_forever()

    tools = [allm.Tool("act", "Acts.", handler=act), allm.Tool("other", "Waits.", handler=other_call)]
    script = [fake.text("Well."), fake.tool_call("act", id="c0"), fake.tool_call("other", id="c1")]
    async with store.turn("s") as turn:
        async with turn.stream_reply(engine(script, tools=tools), "go") as events:
            async for _ in events:
                await trio.sleep(1)
                break
        assert roles(turn.session) == ["user", "assistant", "tool", "tool"]
        assert texts(turn.session)[1:3] == ["Well.", "acted"]
        assert '"cancelled"' in texts(turn.session)[3]
        assert (turn.session.status, await store.load("s")) == ("idle", (turn.session, 1))


async def test_a_question_is_saved_even_if_nobody_read_it(autojump_clock):
    """Nor does it lose a question to the user."""
    async with memory_store().turn("s") as turn:
        async with turn.stream_reply(engine([fake.tool_call("ask", id="c0")]), "go") as events:
            async for _ in events:
                await trio.sleep(1)
                break
        assert (turn.session.status, turn.session.pending_question) == ("awaiting_user", "Which city?")


async def test_a_reader_that_got_further_knows_more(store, new_id):
    """Events read after the tool calls are kept as read."""
    async with store.turn(new_id) as turn:
        async with turn.stream_reply(engine(CALL, [fake.text("par"), fake.text("tial")]), "go") as events:
            async for event in events:
                if isinstance(event, allm.TextDelta):
                    break
        assert texts(turn.session) == ["go", "", "ok", "par"]
        async with turn.stream_step(engine(CALL)) as events:
            await events.until_done()
        assert texts(turn.session)[-2:] == ["", "ok"]
        async with turn.stream_step(engine([fake.text("x"), *CALL])) as events:
            async for _ in events:
                break
        assert turn.session.status == "idle"


async def test_one_operation_at_a_time(store, new_id):
    """And none after the block; each error says what to do."""
    async with store.turn(new_id) as turn:
        block = turn.stream_reply(engine(TEXT), "one")
        also = turn.stream_reply(engine(TEXT), "two")
        async with block:
            with pytest.raises(allm.SessionError) as caught:
                await turn.reply(engine(TEXT), "three")
            assert caught.value.reason == "invalid_status"
            with pytest.raises(allm.SessionError):
                await also.__aenter__()
        with pytest.raises(allm.StreamError):
            await block.__aenter__()
        with pytest.raises(allm.SessionError) as caught:
            await turn.save(allm.Session(id="other"))
        assert caught.value.reason == "invalid_input"
        with pytest.raises(allm.SessionError) as caught:
            await turn.resume(engine(TEXT))
        assert caught.value.reason == "invalid_status"
        await turn.reply(engine(TEXT), "four")
    with pytest.raises(allm.SessionError) as caught:
        await turn.reply(engine(TEXT), "five")
    assert caught.value.reason == "lease_lost"


async def test_preflight_failures_save_nothing(store, new_id):
    """The turn can go on as before."""
    async with store.turn(new_id) as turn:
        with pytest.raises(allm.OptionError):
            await turn.reply(engine(TEXT), "go", temprature=1)
        assert turn.version == 0
        await turn.reply(engine(TEXT), "go")


# --- two workers -------------------------------------------------------------------------------------------------


def noticing(store):
    """The same store, and an event that is set once it has found the lease taken and knows the version."""
    waiting = trio.Event()

    async def read(key):
        record = await store._backend.read(key)
        waiting.set()
        return record

    return waiting, allm.session.SessionStore(Fails(store._backend, read=read))


async def test_who_waited_gets_the_newer_session(store, other, new_id):
    """A worker that waited for another gets a conflict if that one saved."""
    waiting, other = noticing(other)

    async with trio.open_nursery() as nursery:

        async def second():
            with pytest.raises(allm.SessionConflict) as caught:
                async with other.turn(new_id):
                    raise AssertionError
            assert texts(caught.value.session) == ["one", "done"]
            assert caught.value.version == 1
            async with other.turn(new_id, version=caught.value.version) as turn:
                await turn.reply(engine(TEXT), "two")

        async with store.turn(new_id) as turn:
            nursery.start_soon(second)
            await waiting.wait()
            await turn.reply(engine(TEXT), "one")
    assert texts((await store.load(new_id))[0]) == ["one", "done", "two", "done"]


async def test_who_waited_for_nothing_new_goes_on(store, other, new_id):
    """If the other worker saved nothing, there is no conflict."""
    waiting, other = noticing(other)

    async def second():
        async with other.turn(new_id) as turn:
            await turn.reply(engine(TEXT), "two")

    async with trio.open_nursery() as nursery, store.turn(new_id):
        nursery.start_soon(second)
        await waiting.wait()
    assert texts((await store.load(new_id))[0]) == ["two", "done"]


async def test_a_version_that_is_not_the_one_seen(store, new_id):
    """It is rejected at once, and the lease is given back."""
    async with store.turn(new_id) as turn:
        await turn.reply(engine(TEXT), "one")
    for version in (0, 2):
        with pytest.raises(allm.SessionConflict) as caught:
            async with store.turn(new_id, version=version):
                raise AssertionError
        assert caught.value.version == 1
    async with store.turn(new_id, version=1):
        pass


async def test_a_plain_save_respects_a_turn(store, other, new_id):
    """`save` does not overwrite a running turn."""
    async with store.turn(new_id) as turn:
        await turn.reply(engine(TEXT), "one")
        with pytest.raises(allm.SessionConflict, match="running") as caught:
            await other.save(turn.session, version=1)
        assert caught.value.session == turn.session
        with pytest.raises(allm.SessionConflict):
            await other.delete(new_id)


async def test_a_turn_renews_its_lease(autojump_clock):
    """However long the turn takes."""
    store = memory_store()
    slow = [fake.delay(1000), fake.text("done")]
    async with store.turn("s", lease=3.0) as turn:
        await turn.reply(engine(slow, slow), "one", first_event_timeout=None)
        assert await store._backend.acquire("s", "thief", 1.0) is None
    assert trio.current_time() >= 1000


async def nothing(*args, **options):
    await trio.lowlevel.checkpoint()
    return False


async def unavailable(*args, **options):
    await trio.lowlevel.checkpoint()
    raise allm.SessionError("gone", reason="unavailable")


async def test_a_lost_lease_ends_the_turn(autojump_clock):
    """At once, with its own error, and nothing more is saved."""
    memory = MemoryBackend()
    store = allm.session.SessionStore(Fails(memory))
    with pytest.raises(allm.SessionError) as caught:
        async with store.turn("s", lease=3.0) as turn:
            memory._rows["s"].token = "thief"
            await turn.reply(engine([fake.text("x"), fake.delay(1000)]), "one")
    assert caught.value.reason == "lease_lost"
    assert trio.current_time() < 10
    assert await memory.read("s") is None


async def test_a_lost_lease_is_found_before_a_result_counts(autojump_clock):
    """A result that cannot be recorded is not sent to the model or saved."""
    memory = MemoryBackend()
    store = allm.session.SessionStore(memory)

    async def act(arguments):
        memory._rows["s"].token = "thief"
        return "acted"

    model = engine(
        [fake.tool_call("act", id="c0"), fake.tool_call("noop", id="c1")],
        TEXT,
        tools=[allm.Tool("act", "A.", handler=act), NOOP],
    )
    with pytest.raises(allm.SessionError) as caught:
        async with store.turn("s") as turn:
            await turn.reply(model, "go")
    assert caught.value.reason == "lease_lost"
    assert len(model.adapter.requests) == 1


async def test_a_database_that_is_away_for_a_moment(autojump_clock, caplog):
    """Renewal is retried while the lease lasts; a failed release lets it expire."""
    store = allm.session.SessionStore(Fails(MemoryBackend(), renew=unavailable, release=unavailable))
    async with store.turn("s", lease=3.0) as turn:
        await trio.sleep(2)
        await turn.reply(engine(TEXT), "one")
    assert "was not renewed" in caplog.text
    assert "was not given back" in caplog.text
    with pytest.raises(allm.SessionError) as caught:
        async with store.turn("s", lease=3.0):
            await trio.sleep_forever()
    assert caught.value.reason == "lease_lost"


async def test_saving_over_someone_who_did_not_ask(autojump_clock):
    """If the database was changed by hand, the turn reports a conflict."""
    memory = MemoryBackend()
    store = allm.session.SessionStore(memory)
    async with store.turn("s") as turn:
        memory._rows["s"].version, memory._rows["s"].head = 7, EMPTY
        with pytest.raises(allm.SessionConflict) as caught:
            await turn.reply(engine(TEXT), "one")
        assert caught.value.version == 7


async def test_discarding_without_the_lease(autojump_clock):
    """It is rejected like any other write."""
    store = allm.session.SessionStore(Fails(MemoryBackend(), forget=nothing))
    async with store.turn("s") as turn:
        with pytest.raises(allm.SessionError) as caught:
            await turn.discard()
        assert caught.value.reason == "lease_lost"


# --- turns that were killed ----------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for the death of the process: no database operation happens after it."""


def dies_after(backend, operations):
    """A backend that carries out the given number of writes and then dies."""
    left = operations

    def mortal(name):
        async def run(*args, **options):
            nonlocal left
            if left <= 0:
                raise Killed
            left -= 1
            return await getattr(backend, name)(*args, **options)

        return run

    writes = ("write", "append", "forget", "acquire", "release")
    return Fails(backend, **{name: mortal(name) for name in writes})


def scripted(thread):
    """A model that responds to the conversation alone, as a real one does."""
    steps = [
        [fake.text("Looking."), fake.tool_call("act", {"n": 1}, id="c1"), fake.tool_call("act", {"n": 2}, id="c2")],
        [fake.tool_call("act", {"n": 3}, id="c3")],
        TEXT,
    ]
    answers = [message for message in thread.messages if message.role == "assistant"]
    return steps[len(answers) :]


@pytest.mark.parametrize("operations", range(1, 12))
async def test_a_killed_turn_is_finished_by_the_next_worker(autojump_clock, operations):
    """After any write: the same session, and no recorded tool runs twice."""
    memory = MemoryBackend()
    ran = []

    async def act(arguments):
        ran.append(arguments["n"])
        return f"acted {arguments['n']}"

    tools = [allm.Tool("act", "Acts.", handler=act)]
    first = allm.session.SessionStore(dies_after(memory, operations))
    died = False
    try:
        async with first.turn("s") as turn:
            await turn.reply(engine(*scripted(allm.Thread()), tools=tools), "go", max_concurrency=1)
    except Killed:
        died = True
    assert died == (operations < 8)  # acquire, 2 answers, 3 results, write, release
    await trio.sleep(60)
    written = [text for row in memory._rows.values() for text in row.journal if "ToolOutcome" in text]
    second = allm.session.SessionStore(memory)
    async with second.turn("s") as turn:
        assert (turn.interrupted is not None) == bool(1 < operations < 7)
        if turn.interrupted is not None:
            assert texts_of(turn.interrupted)[0] == "go"
            with pytest.raises(allm.SessionError) as caught:
                await turn.reply(engine(TEXT), "more")
            assert caught.value.reason == "interrupted"
            conversation = turn.interrupted
            result = await turn.resume(engine(*scripted(conversation), tools=tools))
            assert result.output_text == "done"
        elif turn.version == 0:
            await turn.reply(engine(*scripted(allm.Thread()), tools=tools), "go")
        assert turn.interrupted is None
    assert texts(turn.session) == ["go", "Looking.", "acted 1", "acted 2", "", "acted 3", "done"]
    assert (await second.load("s"))[0] == turn.session
    for number in (1, 2, 3):
        once = any(f"acted {number}" in text for text in written) or operations >= 7
        assert 1 <= ran.count(number) <= (1 if once else 2)
    assert memory._rows["s"].journal == []


def texts_of(thread):
    return [message.text for message in thread.messages]


async def killed_turn(script, tools, operations, begin=None, **options):
    """A store in which a turn died after the given number of writes."""
    memory = MemoryBackend()
    if begin is not None:
        await allm.session.SessionStore(memory).save(attrs.evolve(begin, id="s"))
    store = allm.session.SessionStore(dies_after(memory, operations))
    with pytest.raises(Killed):
        async with store.turn("s") as turn:
            if begin is not None and begin.status == "awaiting_tools":
                await turn.continue_(engine(script, tools=tools), **options)
            else:
                await turn.reply(engine(script, tools=tools), "go", **options)
    await trio.sleep(60)
    return allm.session.SessionStore(memory)


@pytest.mark.parametrize("operations", range(1, 14))
async def test_messages_that_joined_a_killed_turn(autojump_clock, operations):
    """After any write: what was recorded is there once, what `before_step` adds is there once, tools included."""
    memory = MemoryBackend()
    asked = []

    @allm.tool
    async def act(n: int) -> str:
        """Act."""
        return f"acted {n}"

    def before(step):
        asked.append(step)
        answers = [message for message in step.thread.messages if message.role == "assistant"]
        return {"messages": f"note {len(answers)}", "tools": [act]}

    store = allm.session.SessionStore(dies_after(memory, operations))
    with suppress(Killed):
        async with (
            store.turn("s") as turn,
            turn.stream_reply(engine(*scripted(allm.Thread())), "go", before_step=before, max_concurrency=1) as events,
        ):
            async for event in events:
                if isinstance(event, allm.ToolExecutionStarted):
                    events.send_user(f"for {event.tool_call.id}")
    await trio.sleep(60)
    row = memory._rows.get("s")
    journal = [text for text in (row.journal if row else ()) if "JoinedEntry" in text]
    second = allm.session.SessionStore(memory)
    async with second.turn("s") as turn:
        if turn.interrupted is not None:
            recorded = texts_of(turn.interrupted)
            await turn.resume(engine(*scripted(turn.interrupted)), before_step=before)
        elif turn.version == 0:
            recorded = []
            await turn.reply(engine(*scripted(allm.Thread())), "go", before_step=before)
        else:
            recorded = texts(turn.session)
    found = texts(turn.session)
    assert found[: len(recorded)] == recorded
    sent = [text for text in recorded if text.startswith("for")]
    assert [text for text in found if not text.startswith("for")] == [
        *("go", "note 0", "Looking.", "acted 1", "acted 2", "note 1", "", "acted 3", "note 2", "done")
    ]
    assert [text for text in found if text.startswith("for")] == sent
    assert all(any(text in entry for text in found) for entry in journal)
    assert (await second.load("s"))[0] == turn.session
    assert asked


async def test_resume_can_be_streamed_and_cut_short(autojump_clock):
    """The remaining calls run; if cut short, finished calls keep their results."""
    script = [fake.tool_call("noop", id="c0"), fake.tool_call("slow", id="c1")]

    async def slow(arguments):
        await trio.sleep(5)
        return "slept"

    tools = [NOOP, allm.Tool("slow", "Sleeps.", handler=slow)]
    store = await killed_turn(script, tools, 3)
    async with store.turn("s") as turn:
        assert texts_of(turn.interrupted) == ["go", "", "ok"]
        async with turn.stream_resume(engine(TEXT, tools=tools)) as events:
            started = [event async for event in events if isinstance(event, allm.ToolExecutionStarted)]
        assert [event.tool_call.id for event in started] == ["c1"]
        assert texts(turn.session) == ["go", "", "ok", "slept", "done"]
    store = await killed_turn(script, tools, 3)
    async with store.turn("s") as turn:
        async with turn.stream_resume(engine(TEXT, tools=tools)):
            pass
        assert texts(turn.session)[:3] == ["go", "", "ok"]
        assert '"cancelled"' in texts(turn.session)[3]


async def test_a_killed_turn_can_be_forgotten(autojump_clock):
    """The session is the old one; effects of the tools are not undone."""
    store = await killed_turn(CALL, [NOOP], 3)
    async with store.turn("s") as turn:
        await turn.discard()
        assert (turn.interrupted, turn.session) == (None, allm.Session(id="s"))
        await turn.reply(engine(TEXT), "again")
    assert texts((await store.load("s"))[0]) == ["again", "done"]


async def test_forgetting_a_turn_uses_up_its_approvals(autojump_clock):
    """A call that may have run does not run again without a new approval."""
    begin, _ = await allm.session.start(engine([fake.tool_call("pay", id="c0"), fake.tool_call("pay", id="c1")]), "go")
    for call_id in ("c0", "c1"):
        begin = allm.session.approve(begin, call_id)
    store = await killed_turn(TEXT, [NOOP, PAY], 3, begin=begin, max_concurrency=1)
    async with store.turn("s") as turn:
        await turn.discard()
        assert turn.interrupted is None
        assert turn.session == attrs.evolve(begin, id="s", approvals=())
        assert await store.load("s") == (turn.session, turn.version)
        with pytest.raises(allm.SessionError) as caught:
            await turn.continue_(engine(TEXT, tools=[NOOP, PAY]))
        assert caught.value.reason == "invalid_status"
    with pytest.raises(allm.SessionError):
        await turn.discard()  # the block is left


async def test_a_result_that_could_not_be_read_ends_the_turn(autojump_clock, monkeypatch):
    """It is not written to the journal, so the session stays readable."""
    monkeypatch.setattr("allm.data.json.document.MAX_JSON_BYTES", 2000)

    async def large(arguments):
        return "x" * 2000

    store = memory_store()
    with pytest.raises(allm.ValidationError, match="longer"):
        async with store.turn("s") as turn:
            await turn.reply(engine(CALL, TEXT, tools=[allm.Tool("noop", "N.", handler=large)]), "go")
    async with store.turn("s") as turn:
        assert turn.interrupted is None
        assert (roles(turn.session), turn.session.status) == (["user", "assistant", "tool"], "idle")


@pytest.mark.parametrize("halting", ["ask", "halt", "broken"])
async def test_a_halt_that_was_written_halts_the_resumed_turn(autojump_clock, halting):
    """A question, a handler's halt and a failure are kept."""

    async def halt(arguments):
        return allm.Halt("enough", "x")

    async def broken(arguments):
        raise LookupError("nope")

    tools = [ASK, NOOP, allm.Tool("halt", "H.", handler=halt), allm.Tool("broken", "B.", handler=broken)]
    script = [fake.tool_call(halting, id="c0"), fake.tool_call("noop", id="c1")]
    store = await killed_turn(script, tools, 3, max_concurrency=1, on_tool_error="halt")
    async with store.turn("s") as turn:
        assert len(turn.interrupted.messages) == 3
        result = await turn.resume(engine(tools=tools), on_tool_error="halt")
        expected = {
            "ask": ("ask_user", "awaiting_user"),
            "halt": ("enough", "completed"),
            "broken": ("tool_error", "error"),
        }
        assert (result.halted_reason, turn.session.status) == expected[halting]
        assert [asked.hints for asked in turn.session.pending_questions] == (
            [{"choices": ["Zug", "Bern"]}] if halting == "ask" else []
        )


async def test_manual_calls_of_a_resumed_turn(autojump_clock):
    """They are left to the caller, as in any turn."""
    script = [fake.tool_call("by_hand", id="c0"), fake.tool_call("noop", id="c1")]
    store = await killed_turn(script, [NOOP, BY_HAND], 2)
    async with store.turn("s") as turn:
        await turn.resume(engine(tools=[NOOP, BY_HAND]))
        assert [call.id for call in turn.session.pending_tool_calls] == ["c0"]


async def test_approvals_of_a_resumed_turn(autojump_clock):
    """Approved calls run once; a later call with the same id needs its own approval."""
    begin, _ = await allm.session.start(
        engine([fake.tool_call("pay", id="c0"), fake.tool_call("pay", id="c1"), fake.tool_call("noop", id="c2")]), "go"
    )
    for call_id in ("c0", "c1"):
        begin = allm.session.approve(begin, call_id)
    store = await killed_turn(TEXT, [NOOP, PAY], 3, begin=begin, max_concurrency=1)
    async with store.turn("s") as turn:
        assert texts_of(turn.interrupted) == ["go", "", "ok", "ok"]
        later = [fake.tool_call("pay", id="c1")]
        await turn.resume(engine(later, tools=[NOOP, PAY]))
        assert texts(turn.session) == ["go", "", "ok", "ok", "ok", ""]
        assert (turn.session.status, turn.session.approvals) == ("awaiting_tools", ())


async def no_tools():
    raise OSError("down")


async def endless(_step=None):
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tools": [allm.Toolset(no_tools)]}, allm.EngineError),
        ({"before_step": no_tools}, TypeError),
        ({"tools": [allm.Toolset(endless)], "request_timeout": 1}, None),
        ({"before_step": endless}, trio.TooSlowError),
    ],
)
async def test_an_approval_is_not_lost_before_its_call_has_begun(options, error, autojump_clock):
    """The session stays as it was, so that the next `continue_` runs the call; what the user sent meanwhile is kept."""
    begin, _ = await allm.session.start(engine([fake.tool_call("pay", id="c0")]), "go")
    begin = attrs.evolve(allm.session.approve(begin, "c0"), id="s")
    async with allm.session.open_store("memory://") as store:
        await store.save(begin)
        async with store.turn("s") as turn:
            with pytest.raises(error) if error else nullcontext(), trio.fail_after(5):
                async with turn.stream_continue(engine(TEXT, tools=[PAY]), **options) as events:
                    events.send_user("hurry")
                    await events.until_done()
            assert turn.interrupted is None
        assert (turn.session.status, turn.session.approvals) == ("awaiting_tools", begin.approvals)
        async with store.turn("s") as turn:
            await turn.continue_(engine(TEXT, tools=[PAY]))
            assert texts(turn.session) == ["go", "hurry", "", "ok", "done"]


async def test_a_second_kill_of_approved_calls(autojump_clock):
    """A response after the approved one has its own manual calls."""
    begin, _ = await allm.session.start(engine([fake.tool_call("pay", id="c0")]), "go")
    begin = allm.session.approve(begin, "c0")
    memory_store = await killed_turn(
        [fake.tool_call("noop", id="c1"), fake.tool_call("pay", id="c0")], [NOOP, PAY], 4, begin=begin
    )
    async with memory_store.turn("s") as turn:
        await turn.resume(engine(tools=[NOOP, PAY]))
        assert [call.id for call in turn.session.pending_tool_calls] == ["c0"]
        assert turn.session.status == "awaiting_tools"


async def test_the_session_stays_old_while_a_turn_runs(store, other, new_id):
    """Readers see the session before the turn or after it, never in between."""
    session = attrs.evolve(await in_status("completed"), id=new_id)
    await store.save(session)
    seen = []
    async with store.turn(new_id) as turn, turn.stream_reply(engine(CALL, CALL, TEXT), "more") as events:
        async for _ in events:
            seen.append((await other.load(new_id))[0])
    assert set(map(allm.to_json, seen)) == {allm.to_json(session)}
    assert (await other.load(new_id))[0] == turn.session != session
