"""`before_step`: what it is told, what it may change, for how long, and what is left of it."""

from __future__ import annotations

import pytest
import trio

import allm
from allm import fake
from allm.data.json.codec import from_json, to_json
from allm.providers import Fake


def named(name):
    return allm.tool(lambda: f"from {name}", name=name, description="A tool.")


A, B = named("a"), named("b")
CALLS_A = [fake.tool_call("a", id="c1")]
DONE = [fake.text("Done.")]


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts), model="m", **fields)


async def test_it_is_asked_before_every_model_call():
    """The first too, with what the call has by its options, and the step before it."""
    seen = []
    given = engine(CALLS_A, DONE, tools=[A], context={"user": "ann"})
    result = await allm.chat(given, "go", before_step=seen.append, context={"n": 1})
    assert result.output_text == "Done."
    first, second = seen
    assert (first.index, first.last, first.model, first.tools) == (0, None, "m", (A,))
    assert first.context == {"user": "ann", "n": 1}
    assert (second.index, second.last) == (1, result.steps[0])
    assert second.thread == result.steps[0].thread


async def test_what_a_call_has_is_for_that_call_only():
    """Tools, model, choice and instructions; the step says what was changed, also as JSON."""

    async def before(step):
        await trio.lowlevel.checkpoint()
        if step.index == 0:
            return allm.StepChanges(tools=[A], model="small", tool_choice="required", instructions="Be quick.")
        return None

    given = engine(CALLS_A, DONE, tools=[B])
    thread = [allm.system("Be kind."), allm.user("go")]
    result = await allm.chat(given, thread, before_step=before)
    first, second = given.adapter.requests
    assert (first.tools, first.model, first.tool_choice) == ((A,), "small", "required")
    assert [message.text for message in first.messages] == ["Be quick.", "go"]
    assert (second.tools, second.model, second.tool_choice) == ((B,), "m", None)
    assert [message.text for message in second.messages[:2]] == ["Be kind.", "go"]
    assert result.steps[0].tool_results[0].text == "from a"
    assert result.thread.messages[0].text == "Be kind."
    assert result.steps[0].changes.model == "small"
    assert result.steps[1].changes == allm.StepChanges()
    again = from_json(to_json(result.steps[0]), allm.StepResult)
    assert [tool.name for tool in again.changes.tools] == ["a"]


async def test_messages_stay():
    """Once each: in the conversation, in later calls, and on the stream; not between a call and its result."""
    given = engine(CALLS_A, DONE, tools=[A])
    async with allm.stream(given, "go", before_step=lambda step: {"messages": f"note {step.index}"}) as events:
        added = [event.messages async for event in events if isinstance(event, allm.MessagesAdded)]
    result = events.result()
    assert [message.text for [message] in added] == ["note 0", "note 1"]
    texts = ["go", "note 0", "", "from a", "note 1", "Done."]
    assert [message.text for message in result.thread.messages] == texts
    assert [message.text for message in given.adapter.requests[1].messages] == texts[:-1]
    allm.validate(result.thread)


async def test_a_shorter_conversation_is_sent_and_the_whole_one_kept():
    """Added messages are in both."""
    given = engine(CALLS_A, DONE, tools=[A])

    def before(step):
        return {"thread": [allm.user("summary")], "messages": [allm.user("next")]} if step.last else None

    result = await allm.chat(given, "go", before_step=before)
    assert [message.text for message in given.adapter.requests[1].messages] == ["summary", "next"]
    assert [message.text for message in result.thread.messages] == ["go", "", "from a", "next", "Done."]


async def test_without_tools_nothing_is_chosen():
    """A choice of the turn's options falls away with the tools."""
    given = engine(DONE, tools=[A])
    await allm.chat(given, "go", tool_choice="a", before_step=lambda _: {"tools": []})
    [request] = given.adapter.requests
    assert (request.tools, request.tool_choice) == ((), None)


WRONG = {
    "another type": (lambda: ["a"], "before_step returned list; expected None"),
    "an unknown name": (lambda: {"tolls": [A]}, "unknown name 'tolls'; did you mean 'tools'"),
    "no tools": (lambda: {"tools": ["a"]}, "expected Tool"),
    "no text": (lambda: {"instructions": 7}, "instructions of type int; expected str"),
    "no model": (lambda: {"model": 7}, "before_step returned option model is 7; expected str"),
    "no message": (lambda: {"messages": [7]}, "expected"),
    "a result": (lambda: {"messages": [allm.tool_result("c9", "x")]}, "adds messages without either"),
    "an unanswered call": (
        lambda: {"thread": [allm.user("a"), allm.assistant(allm.ToolCall("c8", "a", {}))]},
        "have no result",
    ),
    "no choice": (lambda: {"tool_choice": 7}, "tool_choice is 7; expected str, a mapping"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_changes_are_checked(case):
    """Before the first call the error is raised; before a later one it ends the turn, which keeps its steps."""
    make, words = WRONG[case]
    given = engine(CALLS_A, DONE, tools=[A])
    with pytest.raises(allm.AllmError, match=words):
        await allm.chat(given, "go", before_step=lambda _: make())
    assert given.adapter.requests == []
    result = await allm.chat(given, "go", before_step=lambda step: make() if step.index else None)
    assert result.halted_reason == "error"
    assert words in str(result.error) or case == "no message"
    assert len(result.steps) == 1
    assert result.thread == result.steps[0].thread


async def test_its_own_exception_comes_out_as_itself():
    """Also one of the library's own, at any step."""
    for error in (ZeroDivisionError("x"), allm.AdapterError("busy", reason="overloaded")):
        for at in (0, 1):

            def before(step, error=error, at=at):
                if step.index == at:
                    raise error

            with pytest.raises(type(error)) as caught:
                await allm.chat(engine(CALLS_A, DONE, tools=[A]), "go", before_step=before)
            assert caught.value is error


async def test_the_final_call_of_two_passes_has_no_tools():
    """It is asked about too, and knows."""
    given = engine([fake.text("so")], [fake.text('{"x": 1}')], tools=[A])
    finals = []

    def before(step):
        finals.append(step.final)
        return {"tools": [B], "tool_choice": "required", "instructions": "Answer."}

    options = {"response_format": allm.json_schema("x", {"type": "object"}), "structured_finalize": True}
    await allm.chat(given, "go", before_step=before, **options)
    assert finals == [False, True]
    assert given.adapter.requests[0].tools == (B,)
    assert (given.adapter.requests[1].tools, given.adapter.requests[1].tool_choice) == ((), None)
    assert given.adapter.requests[1].messages[0].text == "Answer."


async def test_a_session_keeps_what_was_added():
    """And not what was for the call only."""
    given = engine(DONE)
    session, _ = await allm.session.start(
        given, "go", before_step=lambda _: {"messages": [allm.user("more")], "instructions": "Be quick."}
    )
    assert [message.text for message in session.thread.messages] == ["go", "more", "Done."]


async def test_a_turn_that_is_cut_short_keeps_what_was_added():
    """The message that its last model call was sent."""
    given = engine([fake.text("Do"), fake.delay(5)])
    async with allm.session.stream_start(given, "go", before_step=lambda _: {"messages": "more"}) as events:
        async for _ in events.text():
            break
    session, result = events.outcome()
    assert result.halted_reason == "cancelled"
    assert [message.text for message in session.thread.messages] == ["go", "more", "Do"]


async def test_a_single_step_is_changed_too():
    """By `allm.step` and by that of a session, which keeps the messages."""
    given = engine(CALLS_A, CALLS_A)
    changes = {"tools": [A], "messages": "more", "model": "large"}
    step = await allm.step(given, "go", before_step=lambda _: changes)
    assert [message.text for message in step.thread.messages] == ["go", "more", "", "from a"]
    assert step.changes.model == given.adapter.requests[0].model == "large"
    session, _ = await allm.session.step(
        given, allm.Session(thread=allm.Thread([allm.user("go")])), before_step=lambda _: changes
    )
    assert [message.text for message in session.thread.messages] == ["go", "more", "", "from a"]
    with pytest.raises(allm.OptionError, match="before_step returned int"):
        await allm.step(given, "go", before_step=lambda _: 7)
