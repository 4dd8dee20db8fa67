"""`events.send_user`: a message of the user joins a running turn, exactly once, whatever becomes of the turn."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake
from allm.session import StreamReducer

CALLS = [fake.tool_call("work", id="c1")]
DONE = [fake.text("Done."), fake.delay(1)]


@allm.tool
async def work() -> str:
    """Work."""
    await trio.sleep(5)
    return "worked"


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts), **{"tools": [work], **fields})


def texts(thread):
    return [message.text for message in thread.messages]


async def send_at(block, kind, *contents):
    """Read a stream, and send at the first event of a type."""
    async with block as events:
        async for event in events:
            if contents and isinstance(event, kind):
                for content in contents:
                    events.send_user(content)
                contents = ()
    return events


async def test_it_joins_after_the_results_of_the_step(autojump_clock):
    """In the next model call, in order; the stream shows it, and so does a fold elsewhere."""
    given = engine(CALLS, DONE)
    seen = []
    async with allm.stream(given, "go") as events, trio.open_nursery() as nursery:

        async def another_task():
            events.send_user("hurry")
            events.send_user(allm.user("please"))
            await trio.lowlevel.checkpoint()

        async for event in events:
            seen.append(event)
            if isinstance(event, allm.ToolExecutionStarted):
                nursery.start_soon(another_task)
    expected = ["go", "", "worked", "hurry", "please", "Done."]
    assert texts(events.result().thread) == expected
    assert texts(given.adapter.requests[1]) == expected[:-1]
    reducer = StreamReducer(allm.Session(thread=allm.Thread([allm.user("go")])))
    for event in seen[:-1]:
        reducer.add(event)
    assert texts(reducer.outcome()[0].thread) == expected


async def test_a_model_that_had_finished_goes_on(autojump_clock):
    """With one more step."""
    given = engine(DONE, [fake.text("And more.")])
    events = await send_at(allm.stream(given, "go"), allm.TextDelta, "more")
    result = events.result()
    assert texts(result.thread) == ["go", "Done.", "more", "And more."]
    assert (result.halted_reason, len(result.steps)) == ("completed", 2)


async def test_max_turns_keeps_it_for_the_next_turn(autojump_clock):
    """It is the last message, and the session can be continued."""
    given = engine(DONE, [fake.text("And more.")])
    events = await send_at(allm.session.stream_start(given, "go", max_turns=1), allm.TextDelta, "more")
    session, result = events.outcome()
    assert result.halted_reason == "max_turns"
    assert texts(session.thread) == ["go", "Done.", "more"]
    session, _ = await allm.session.continue_(given, session)
    assert texts(session.thread) == ["go", "Done.", "more", "And more."]


async def test_never_between_a_call_and_its_result(autojump_clock):
    """Calls that are left to the caller get their results, and the message is sent with them."""
    given = engine([*CALLS, fake.delay(1)], DONE, tools=[allm.Tool("work", "Work.", manual=True)])
    events = await send_at(allm.session.stream_start(given, "go"), allm.ToolCallCompleted, "hurry")
    session, result = events.outcome()
    assert result.halted_reason == "manual_tool_calls"
    session = allm.session.submit_tool_result(session, "c1", "by hand")
    session, result = await allm.session.continue_(given, session)
    assert texts(session.thread) == ["go", "hurry", "", "by hand", "Done."]


async def test_a_question_stays_the_last_message(autojump_clock):
    """What the user said before it was asked is before it."""

    @allm.tool
    async def ask() -> allm.AskUser:
        """Ask."""
        await trio.sleep(1)
        return allm.AskUser("Which?")

    given = engine([fake.tool_call("ask", id="c1")], DONE, tools=[ask])
    block = allm.session.stream_start(given, "go")
    events = await send_at(block, allm.ToolExecutionStarted, "hurry")
    session, _ = events.outcome()
    assert session.pending_question == "Which?"
    assert texts(session.thread)[-2:] == ["hurry", "Which?"]
    session, _ = await allm.session.reply(given, session, "This one")
    assert texts(session.thread)[-4:] == ["hurry", "Which?", "This one", "Done."]


async def test_a_turn_that_fails_keeps_it(autojump_clock):
    """At the provider, and at the limit of the whole turn."""
    broken = allm.AdapterError("gone", reason="network_error")
    given = engine([fake.text("Hal"), fake.delay(1), fake.error(broken)], retry=None)
    events = await send_at(allm.stream(given, "go"), allm.TextDelta, "more")
    assert events.result().halted_reason == "error"
    assert texts(events.result().thread) == ["go", "Hal", "more"]


async def test_a_limit_of_the_turn_keeps_it(autojump_clock):
    """In the result that the turn ends with."""
    given = engine(CALLS, DONE)
    events = await send_at(allm.stream(given, "go", request_timeout=2), allm.ToolExecutionStarted, "more")
    result = events.result()
    assert result.halted_reason == "error"
    assert texts(result.thread)[-1] == "more"
    assert texts(result.thread).count("more") == 1


async def test_after_the_turn_it_is_refused(autojump_clock):
    """Clearly, in the block and after it; before the first event it is taken."""
    given = engine(CALLS, DONE)
    async with allm.stream(given, "go") as events:
        events.send_user("early")
        async for event in events:
            if isinstance(event, allm.ChatCompleted):
                with pytest.raises(allm.StreamError, match="send this one with the next turn") as caught:
                    events.send_user("late")
                assert caught.value.reason == "closed"
    with pytest.raises(allm.StreamError, match="the turn has ended"):
        events.send_user("late")
    assert texts(events.result().thread) == ["go", "", "worked", "early", "Done."]

    async with allm.stream(engine(DONE), "go") as left:
        pass
    with pytest.raises(allm.StreamError, match="the turn has ended"):
        left.send_user("late")
    async with allm.stream_generate(engine(DONE), "go") as single:
        with pytest.raises(allm.StreamError, match="belongs to a turn"):
            single.send_user("hi")


@pytest.mark.parametrize("content", [None, 7, allm.assistant("x"), allm.system("x"), [allm.user("x")]])
async def test_only_messages_of_the_user(autojump_clock, content):
    """Anything else is refused at once, and the turn goes on."""
    async with allm.stream(engine(DONE), "go") as events:
        with pytest.raises(allm.ValidationError, match="text or a message of the user"):
            events.send_user(content)
        assert texts((await events.until_done()).thread) == ["go", "Done."]


async def test_halt_when_sees_nothing_new_and_two_passes_have_it(autojump_clock):
    """A message that comes in the first pass is answered in it."""
    given = engine([fake.text("so"), fake.delay(1)], [fake.text("then")], [fake.text("{}")])
    options = {"response_format": allm.json_schema("x", {"type": "object"}), "structured_finalize": True}
    events = await send_at(
        allm.stream(given, "go", structured_finalize_nudge="Now.", **options), allm.TextDelta, "more"
    )
    assert texts(events.result().thread) == ["go", "so", "more", "then", "Now.", "{}"]


async def test_a_failing_before_step_loses_no_message(autojump_clock):
    """Neither if it raises, nor if what it returns is refused."""
    given = engine(CALLS, DONE)
    block = allm.stream(given, "go", before_step=lambda step: 7 if step.index else None)
    events = await send_at(block, allm.ToolExecutionStarted, "more")
    assert events.result().halted_reason == "error"
    assert texts(events.result().thread) == ["go", "", "worked", "more"]

    def raises(step):
        if step.index:
            raise ZeroDivisionError

    async with allm.stream(engine(CALLS, DONE), "go", before_step=raises) as events:
        with pytest.raises(ZeroDivisionError):
            async for event in events:
                if isinstance(event, allm.ToolExecutionStarted):
                    events.send_user("more")
    assert texts(events.result().thread) == ["go", "", "worked", "more"]


async def cut_short(events_read, cancelled, *, stored):
    """A turn that is left, or cancelled, after that many events; returns its conversation and what was sent into it."""
    given = engine(CALLS, [fake.text("Do"), fake.delay(1), fake.text("ne.")], [fake.text("More."), fake.delay(1)])
    sent = []
    async with allm.session.open_store("memory://") as store:
        async with store.turn("a") as lease:
            block = lease.stream_start(given, "go") if stored else allm.stream(given, "go")
            with trio.CancelScope() as scope:
                async with block as events:
                    count = 0
                    async for event in events:
                        if isinstance(event, (allm.ToolExecutionStarted, allm.StepCompleted)) and len(sent) < 3:
                            with suppress(allm.StreamError):
                                events.send_user(f"more {len(sent)}")
                                sent.append(f"more {len(sent)}")
                        count += 1
                        if count == events_read:
                            if not cancelled:
                                break
                            scope.cancel()
                            await trio.lowlevel.checkpoint()
        thread = (await store.load("a"))[0].thread if stored else events.result().thread
    return thread, sent, count < events_read


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_turn_that_is_cut_short_has_it_exactly_once(autojump_clock, stored, cancelled):
    """Wherever it is left or cancelled, in its result, and in the session that a store keeps."""
    for events_read in range(1, 100):
        thread, sent, whole = await cut_short(events_read, cancelled, stored=stored)
        allm.validate(thread)
        assert [text for text in texts(thread) if text.startswith("more")] == sent, (events_read, texts(thread))
        if whole:
            assert len(sent) == 3
            break
    else:
        pytest.fail("the turn never ended")
