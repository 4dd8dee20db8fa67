"""Several questions in one response are asked one after the other, before the model is called again."""

from __future__ import annotations

import datetime as dt
import enum

import pytest
import trio

import allm
from allm import fake
from conversations import ASK, BY_HAND, NOOP, PAY, TEXT, engine, in_status, roles, texts


class Kind(enum.Enum):
    SINGLE = "single"


async def ask_when(arguments):
    return allm.AskUser("When?", choices=["today"])


async def halt(arguments):
    return allm.Halt("enough", {"x": 1})


WHEN = allm.Tool("when", "Asks.", handler=ask_when)
HALT = allm.Tool("halt", "Halts.", handler=halt)
TWO = [fake.tool_call("ask", id="c1"), fake.tool_call("noop", id="c2"), fake.tool_call("when", id="c3")]
QUESTIONS = (
    allm.PendingQuestion("Which city?", "c1", hints={"choices": ["Zug", "Bern"]}),
    allm.PendingQuestion("When?", "c3", hints={"choices": ["today"]}),
)
WAITING = "<awaiting user response>"


def asking(*scripts, tools=(ASK, NOOP, WHEN)):
    return engine(TWO, *scripts, tools=tools)


async def two_questions():
    session, _ = await allm.session.start(asking(), "go", id="s")
    return session


async def test_all_questions_stand_in_the_result_and_in_the_session():
    """The first one is asked, the others wait."""
    session, result = await allm.session.start(asking(), "go")
    assert result.halt == allm.UserAsked(QUESTIONS)
    assert result.pending_questions == session.pending_questions == QUESTIONS
    assert (session.status, session.pending_question, session.pending_tool_call_id) == (
        "awaiting_user",
        "Which city?",
        "c1",
    )
    assert texts(session) == ["go", "", WAITING, "ok", WAITING, "Which city?"]


async def test_questions_are_answered_one_after_the_other():
    """The model is not called before the last answer, also with JSON in between."""
    model = asking(TEXT)
    session, _ = await allm.session.start(model, "go")
    session, result = await allm.session.reply(model, allm.from_json(allm.to_json(session)), "Zug")
    assert (session.status, session.pending_questions) == ("awaiting_user", QUESTIONS[1:])
    assert (result.halted_reason, result.halt, result.steps) == ("ask_user", allm.UserAsked(QUESTIONS[1:]), ())
    assert result.thread == session.thread
    assert len(model.adapter.requests) == 1
    session, result = await allm.session.reply(model, allm.from_json(allm.to_json(session)), "today")
    assert (session.status, session.pending_questions, result.output_text) == ("completed", (), "done")
    assert texts(session)[5:] == ["Which city?", "Zug", "When?", "today", "done"]
    assert roles(session)[5:] == ["assistant", "user", "assistant", "user", "assistant"]
    assert model.adapter.requests[1].messages == session.thread.messages[:-1]


async def test_continue_answers_like_reply():
    """`continue_` with a user message answers a question; any other is rejected."""
    session, result = await allm.session.continue_(engine(), await two_questions(), "Zug")
    assert (session.pending_question, result.halted_reason) == ("When?", "ask_user")
    with pytest.raises(allm.SessionError, match="it asks 'When"):
        await allm.session.continue_(engine(), session)


async def test_the_stream_of_a_turn_that_only_asks():
    """It has one event; if left before it, the session still has the question."""
    session = await two_questions()
    async with allm.session.stream_reply(engine(), session, "Zug") as events:
        before = events.outcome()
        seen = [event async for event in events]
    assert [type(event) for event in seen] == [allm.ChatCompleted]
    assert seen[0].result == events.result()
    assert events.outcome() == before
    assert before[0].pending_question == "When?"
    reducer = allm.session.StreamReducer(session)
    reducer.add(seen[0])
    assert reducer.outcome() == before


async def test_what_is_wrong_with_such_a_turn_is_refused():
    """Options and engine are checked as in any turn."""
    session = await two_questions()
    with pytest.raises(allm.OptionError):
        await allm.session.reply(engine(), session, "Zug", temprature=1)
    with pytest.raises(allm.EngineError) as caught:
        await allm.session.reply(allm.Engine(), session, "Zug")
    assert caught.value.reason == "missing_adapter"


async def test_a_step_asks_like_a_turn():
    """A step leaves the same session."""
    session, step = await allm.session.step(asking(), await in_status("idle"))
    assert step.halt == allm.UserAsked(QUESTIONS)
    assert session == (await allm.session.start(asking(), await in_status("idle")))[0]


async def test_questions_wait_for_calls_that_are_left():
    """Pending calls come first, then one question after the other."""
    script = [*TWO, fake.tool_call("by_hand", id="c4")]
    tools = (ASK, NOOP, WHEN, BY_HAND)
    session, result = await allm.session.start(engine(script, tools=tools), "go")
    assert (session.status, session.pending_questions) == ("awaiting_tools", QUESTIONS)
    assert result.halt == allm.UserAsked(QUESTIONS)
    assert [call.id for call in result.manual_tool_calls] == ["c4"]
    session = allm.session.submit_tool_result(session, "c4", "x")
    assert (session.status, session.pending_questions) == ("awaiting_user", QUESTIONS)


async def test_questions_and_halts_wait_until_approved_calls_have_run():
    """Then each halts the turn again."""
    script = [*TWO, fake.tool_call("pay", id="c4")]
    model = engine(script, TEXT, tools=(ASK, NOOP, WHEN, PAY))
    session, _ = await allm.session.start(model, "go")
    session, _ = await allm.session.continue_(model, allm.session.approve(session, "c4"))
    assert (session.status, session.pending_questions) == ("awaiting_user", QUESTIONS)
    script = [fake.tool_call("halt", id="c1"), fake.tool_call("pay", id="c4")]
    model = engine(script, TEXT, tools=(HALT, PAY))
    session, first = await allm.session.start(model, "go")
    assert (session.status, first.halted_reason) == ("awaiting_tools", "enough")
    session, result = await allm.session.continue_(model, allm.session.approve(session, "c4"))
    assert (session.status, result.halted_reason) == ("completed", "enough")
    assert session.halt == result.halt == first.halt == allm.HandlerHalted("enough", "c1", '{"x":1}')
    assert len(model.adapter.requests) == 1


async def test_a_stored_session_asks_one_after_the_other():
    """Each answer is a saved turn, and any worker can run the next one."""
    async with allm.session.open_store("memory://") as store:
        async with store.turn("s") as turn:
            await turn.reply(asking(), "go")
        async with store.turn("s") as turn:
            result = await turn.reply(engine(), "Zug")
            assert (result.halted_reason, turn.version) == ("ask_user", 2)
        async with store.turn("s") as turn:
            assert turn.session.pending_questions == QUESTIONS[1:]
            await turn.reply(engine(TEXT), "today")
        session, _ = await store.load("s")
    assert texts(session)[5:] == ["Which city?", "Zug", "When?", "today", "done"]


async def test_questions_of_a_turn_that_was_cut_short_are_asked(autojump_clock):
    """The journal has questions that nobody has read."""

    async def sleep(arguments):
        await trio.sleep(100)

    tools = (ASK, WHEN, allm.Tool("noop", "Sleeps.", handler=sleep))
    async with allm.session.open_store("memory://") as store, store.turn("s") as turn:
        with trio.move_on_after(1):
            await turn.reply(asking(tools=tools), "go")
        assert (turn.session.status, turn.session.pending_questions) == ("awaiting_user", QUESTIONS)
        assert '"cancelled"' in texts(turn.session)[3]


async def test_rich_hints_of_two_questions_are_stored(store, new_id):
    """In every store: both questions with their hints as JSON, answered one after the other by other workers."""

    async def ask_night(arguments):
        return allm.AskUser("Which night?", nights=[dt.date(2024, 1, 31)], kinds={Kind.SINGLE})

    tools = (allm.Tool("ask", "Asks.", handler=ask_night), NOOP, WHEN)
    async with store.turn(new_id) as turn:
        await turn.reply(asking(tools=tools), "go")
    first = allm.PendingQuestion("Which night?", "c1", hints={"nights": ["2024-01-31"], "kinds": ["single"]})
    session, _ = await store.load(new_id)
    assert (session.status, session.pending_questions) == ("awaiting_user", (first, QUESTIONS[1]))
    assert allm.from_json(allm.to_json(session)) == session
    async with store.turn(new_id) as turn:
        await turn.reply(engine(), "Friday")
    async with store.turn(new_id) as turn:
        assert turn.session.pending_questions == QUESTIONS[1:]
        await turn.reply(engine(TEXT), "today")
        assert (turn.session.status, turn.session.pending_questions) == ("completed", ())


async def test_an_impossible_hint_leaves_the_turn_whole(store, new_id):
    """The call beside it is not cancelled, the other question is asked, and the session is saved."""

    async def ask_badly(arguments):
        return allm.AskUser("Which?", at=object())

    tools = (allm.Tool("ask", "Asks.", handler=ask_badly), NOOP, WHEN)
    async with store.turn(new_id) as turn:
        result = await turn.reply(asking(tools=tools), "go")
    session, _ = await store.load(new_id)
    assert result.pending_questions == session.pending_questions == QUESTIONS[1:]
    assert '"encoding_failed"' in texts(session)[2]
    assert texts(session)[3:] == ["ok", WAITING, "When?"]
