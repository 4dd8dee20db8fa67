"""The status table, and the session after each operation."""

from __future__ import annotations

import attrs
import pytest
import trio

import allm
from allm import fake
from conversations import BY_HAND, CALL, NOOP, PAY, SCRIPTS, TEXT, engine, in_status, roles, texts

OPERATIONS = {
    "start": allm.session.start,
    "reply": lambda model, session: allm.session.reply(model, session, "hello"),
    "continue_": allm.session.continue_,
    "continue_ with a user message": lambda model, session: allm.session.continue_(model, session, allm.user("hello")),
    "continue_ with a system message": lambda model, session: allm.session.continue_(
        model, session, allm.system("hello")
    ),
    "step": allm.session.step,
    "stream_start": lambda model, session: read(allm.session.stream_start(model, session)),
    "stream_reply": lambda model, session: read(allm.session.stream_reply(model, session, "hello")),
    "stream_continue": lambda model, session: read(allm.session.stream_continue(model, session)),
    "stream_continue with a user message": lambda model, session: read(
        allm.session.stream_continue(model, session, allm.user("hello"))
    ),
    "stream_step": lambda model, session: read(allm.session.stream_step(model, session)),
    "submit_tool_result": lambda model, session: allm.session.submit_tool_result(session, "c1", "x"),
    "submit_tool_results": lambda model, session: allm.session.submit_tool_results(session, {"c1": "x"}),
    "approve": lambda model, session: allm.session.approve(session, "c1"),
    "deny": lambda model, session: allm.session.deny(session, "c1"),
    "append": lambda model, session: allm.session.append(session, allm.user("hello")),
    "append_user": lambda model, session: allm.session.append_user(session, "hello"),
    "clear_error": lambda model, session: allm.session.clear_error(session),
}


async def read(block):
    async with block as events:
        await events.until_done()
    return events.outcome()


BETWEEN_TURNS = {
    "start",
    "reply",
    "continue_",
    "continue_ with a user message",
    "continue_ with a system message",
    "step",
    "stream_start",
    "stream_reply",
    "stream_continue",
    "stream_continue with a user message",
    "stream_step",
    "append",
    "append_user",
}
ALLOWED = {
    "idle": BETWEEN_TURNS,
    "completed": BETWEEN_TURNS,
    "awaiting_user": {
        "reply",
        "continue_ with a user message",
        "stream_reply",
        "stream_continue with a user message",
    },
    "awaiting_tools": {"submit_tool_result", "submit_tool_results", "approve", "deny"},
    "awaiting_tools, approved": {
        "continue_",
        "stream_continue",
        "submit_tool_result",
        "submit_tool_results",
        "deny",
    },
    "error": {"continue_", "stream_continue", "clear_error"},
}
INSTEAD = {
    "idle": "reply(",
    "completed": "reply(",
    "awaiting_user": "reply(",
    "awaiting_tools": "submit_tool_result(",
    "awaiting_tools, approved": "continue_(",
    "error": "continue_(",
}


# What an error calls the operation, where that is not its name.
CALLED = {"submit_tool_results": "submit_tool_result", "append_user": "append"}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", ALLOWED)
async def test_status_table(status, operation):
    """Each operation is allowed as the table says; otherwise nothing runs, and the error says what to call."""
    model = engine(TEXT)
    if status == "awaiting_tools, approved":
        session, _ = await allm.session.start(engine([fake.tool_call("pay", id="c1")]), "go")
        session = allm.session.approve(session, "c1")
    else:
        session = await in_status(status)
    before = allm.to_json(session)

    async def run():
        outcome = OPERATIONS[operation](model, session)
        return outcome if isinstance(outcome, allm.Session) else (await outcome)[0]

    if operation in ALLOWED[status]:
        after = await run()
        allm.validate(after)
        assert allm.from_json(allm.to_json(after)) == after
    else:
        with pytest.raises(allm.SessionError) as caught:
            await run()
        approved_twice = (status, operation) == ("awaiting_tools, approved", "approve")
        assert caught.value.reason == ("already_answered" if approved_twice else "invalid_status")
        assert INSTEAD[status] in caught.value.message
        name = operation.partition(" ")[0].removeprefix("stream_")
        assert approved_twice or caught.value.message.startswith(CALLED.get(name, name))
        assert model.adapter.requests == []
    assert allm.to_json(session) == before


async def test_start_reply_and_the_conversation_between():
    """The id and the thread carry over from turn to turn."""
    model = engine(TEXT, TEXT)
    session, result = await allm.session.start(model, "Hello", id="trip-1")
    assert (session.id, session.status, result.output_text) == ("trip-1", "completed", "done")
    session, result = await allm.session.reply(model, session, "More")
    assert texts(session) == ["Hello", "done", "More", "done"]
    assert model.adapter.requests[-1].messages == session.thread.messages[:-1]
    assert result.thread == session.thread


@pytest.mark.parametrize(
    "given",
    [
        "go",
        allm.user("go"),
        [allm.user("go")],
        allm.Thread([allm.user("go")]),
        allm.Session(thread=allm.Thread([allm.user("go")])),
    ],
    ids=lambda given: type(given).__name__,
)
async def test_start_takes_any_conversation(given):
    """`start` takes a text, messages, a thread or a session."""
    session, _ = await allm.session.start(engine(TEXT), given, id="x")
    assert session == allm.Session(
        id="x", thread=allm.Thread([allm.user("go"), allm.assistant(allm.TextPart("done"))]), status="completed"
    )


@pytest.mark.parametrize("given", [None, 7, ["go"], {"role": "user"}])
async def test_start_refuses_what_is_no_conversation(given):
    """Anything else is rejected before anything is sent."""
    model = engine(TEXT)
    with pytest.raises((allm.SessionError, allm.ValidationError)):
        await allm.session.start(model, given)
    assert model.adapter.requests == []


@pytest.mark.parametrize("session_id", ["", "x" * 256, "a\0b", "a\nb", 7])
async def test_start_refuses_ids_that_no_store_could_keep(session_id):
    """Databases index up to 255 characters, and some reject NUL."""
    with pytest.raises(allm.SessionError) as caught:
        await allm.session.start(engine(TEXT), "go", id=session_id)
    assert caught.value.reason == "invalid_input"


@pytest.mark.parametrize("content", [None, 7, allm.assistant("I"), allm.tool_result("c1", "x")])
async def test_reply_is_what_the_user_says(content):
    """`reply` takes user messages only."""
    with pytest.raises(allm.SessionError) as caught:
        await allm.session.reply(engine(TEXT), await in_status("idle"), content)
    assert caught.value.reason == "invalid_input"


async def test_continue_takes_no_tool_message():
    """Results go through submit_tool_result, which knows the pending calls."""
    with pytest.raises(allm.SessionError) as caught:
        await allm.session.continue_(engine(TEXT), await in_status("idle"), allm.tool_result("c1", "x"))
    assert caught.value.reason == "invalid_input"


async def test_something_else_than_a_session_is_refused():
    """Every operation rejects anything but a Session."""
    with pytest.raises(allm.SessionError, match="reply needs a Session, got str"):
        await allm.session.reply(engine(TEXT), "session", "hello")


@pytest.mark.parametrize("operation", ["reply", "continue_"])
async def test_a_pair_that_was_not_unpacked(operation):
    """What a turn returned, given where its session belongs: the error says what to write."""
    pair = await allm.session.start(engine(TEXT), "hello")
    call = getattr(allm.session, operation)
    with pytest.raises(allm.SessionError, match=rf"{operation} needs a Session, got tuple: .* session, result = await"):
        await call(engine(TEXT), pair, "hello")


async def test_a_session_that_contradicts_itself_is_refused():
    """An inconsistent session is rejected before anything is sent."""
    session = attrs.evolve(await in_status("awaiting_tools"), pending_tool_calls=())
    model = engine(TEXT)
    with pytest.raises(allm.ValidationError) as caught:
        await allm.session.continue_(model, session)
    assert caught.value.reason == "invalid_session"
    assert model.adapter.requests == []


async def test_answer_to_a_question():
    """The question is in the conversation, the reply answers it, and nothing is pending."""
    session = await in_status("awaiting_user")
    assert (session.pending_question, session.pending_tool_call_id) == ("Which city?", "c1")
    assert session.pending_questions[0].hints == {"choices": ["Zug", "Bern"]}
    session, _ = await allm.session.reply(engine(TEXT), session, "Zug")
    assert roles(session) == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert texts(session)[3:] == ["Which city?", "Zug", "done"]
    assert (session.pending_question, session.pending_tool_call_id) == (None, None)
    assert session.pending_questions == ()


async def test_failed_turn_is_run_again_from_where_it_failed():
    """The failed response is kept but not sent; finished steps are not repeated."""
    failing = engine(CALL, SCRIPTS["error"])
    session, _ = await allm.session.start(failing, "go")
    assert (session.status, session.error.reason) == ("error", "invalid_request")
    assert texts(session)[-1] == "half"
    again = engine(TEXT)
    session, _ = await allm.session.continue_(again, session)
    assert roles(session) == ["user", "assistant", "tool", "assistant"]
    assert again.adapter.requests[0].messages == session.thread.messages[:3]
    assert (session.status, session.error, session.resume_at) == ("completed", None, None)


async def test_failed_turn_with_calls_drops_them_too():
    """Calls of a failed response did not run, and the model is asked again."""
    cut = [fake.tool_call("noop", id="c0"), fake.error(allm.AdapterError("no", reason="invalid_request"))]
    session, _ = await allm.session.start(engine(cut), "go")
    assert roles(session) == ["user", "assistant", "tool"]
    session, _ = await allm.session.continue_(engine(TEXT), session)
    assert roles(session) == ["user", "assistant"]


async def test_clear_error_leaves_the_failed_answer():
    """It drops the failed response, for a turn that will never succeed."""
    session = allm.session.clear_error(await in_status("error"))
    assert (session.status, session.error, texts(session)) == ("idle", None, ["go"])
    session, _ = await allm.session.reply(engine(TEXT), session, "else")
    assert texts(session) == ["go", "else", "done"]


async def test_tool_error_halts_and_goes_on_with_the_error_told():
    """With on_tool_error="halt" the model reads the error on continuing."""

    async def broken(arguments):
        raise LookupError("nope")

    tools = [allm.Tool("noop", "N.", handler=broken)]
    session, _ = await allm.session.start(engine(CALL, tools=tools), "go", on_tool_error="halt")
    assert (session.status, session.error.reason) == ("error", "handler_raised")
    assert allm.from_json(allm.to_json(session)) == session
    session, _ = await allm.session.continue_(engine(TEXT), session)
    assert roles(session) == ["user", "assistant", "tool", "assistant"]


async def test_own_halt_completes_the_turn():
    """A handler's halt is in the session until the next turn."""

    async def halt(arguments):
        return allm.Halt("enough", {"x": 1})

    session, result = await allm.session.start(engine(CALL, tools=[allm.Tool("noop", "N.", handler=halt)]), "go")
    assert (session.status, result.halted_reason) == ("completed", "enough")
    assert session.halt == result.halt == allm.HandlerHalted("enough", "c0", '{"x":1}')
    session, _ = await allm.session.reply(engine(TEXT), session, "and?")
    assert session.halt is None


async def test_metadata_of_the_caller_stays():
    """Turns do not change metadata."""
    session = await in_status("awaiting_user", metadata={"user": 7})
    session, _ = await allm.session.reply(engine(TEXT), session, "Zug")
    assert session.metadata == {"user": 7}


async def test_context_and_id_reach_handlers():
    """The call's context wins over the session's, and that over the engine's."""
    seen = []

    async def look(arguments, context):
        seen.append((dict(context.context), context.session_id))

    tools = [allm.Tool("noop", "N.", handler=look)]
    session = allm.Session(id="s", context={"b": 2, "c": 2}, thread=allm.Thread([allm.user("go")]))
    model = engine(CALL, TEXT, CALL, TEXT, tools=tools, context={"a": 1, "b": 1})
    session, _ = await allm.session.start(model, session, context={"c": 3})
    await allm.session.reply(model, session, "more", session_id="other")
    assert seen == [({"a": 1, "b": 2, "c": 3}, "s"), ({"a": 1, "b": 2, "c": 2}, "other")]
    assert session.context == {"b": 2, "c": 2}


async def test_step_by_step():
    """The session is idle while there is more to do, then completed."""
    model = engine(CALL, TEXT)
    session = await in_status("idle")
    session, step = await allm.session.step(model, session)
    assert (session.status, roles(session), step.done) == ("idle", ["user", "assistant", "tool"], False)
    session, step = await allm.session.step(model, session)
    assert (session.status, texts(session)[-1], step.done) == ("completed", "done", True)


@pytest.mark.parametrize("status", ["awaiting_user", "awaiting_tools", "error"])
async def test_a_step_ends_like_a_turn(status):
    """A step and a turn leave the same session, with its question."""
    session, _ = await allm.session.step(engine(SCRIPTS[status]), await in_status("idle"))
    assert session == await in_status(status)


async def test_manual_mode_hands_all_calls_over():
    """All calls are pending, also those of tools with a handler."""
    session, _ = await allm.session.start(engine(CALL), "go", mode="manual")
    assert session.status == "awaiting_tools"
    assert [call.id for call in session.pending_tool_calls] == ["c0"]


@pytest.mark.parametrize(
    ("script", "options", "status"),
    [
        ([*CALL], {"max_turns": 1}, "completed"),
        ([*CALL], {"halt_when": lambda step: True}, "completed"),
        ([fake.text("x"), fake.finish("other")], {}, "completed"),
        ([fake.text("x"), fake.finish("length")], {}, "completed"),
    ],
)
async def test_other_ends_complete_the_turn(script, options, status):
    """The turn is over; reply or continue_ goes on."""
    session, _ = await allm.session.start(engine(script), "go", **options)
    assert session.status == status


async def test_streams_are_what_the_calls_fold():
    """`outcome()` after the last event equals the result of the blocking call."""
    for stream, call, args in [
        (allm.session.stream_start, allm.session.start, ()),
        (allm.session.stream_reply, allm.session.reply, ("hello",)),
        (allm.session.stream_continue, allm.session.continue_, (allm.user("hello"),)),
        (allm.session.stream_step, allm.session.step, ()),
    ]:
        session = await in_status("idle")
        async with stream(engine(CALL, TEXT), session, *args) as events:
            seen = [event async for event in events]
            assert events.outcome()[1] == events.result()
        assert seen
        assert events.outcome() == await call(engine(CALL, TEXT), session, *args)


async def test_stream_shows_text_and_reads_to_the_end():
    """A session stream has `text()` and `until_done()`."""
    async with allm.session.stream_start(engine(TEXT), "go") as events:
        assert [piece async for piece in events.text()] == ["done"]
    async with allm.session.stream_start(engine(TEXT), "go") as events:
        assert (await events.until_done()).output_text == "done"


def test_a_block_is_entered():
    """Iterating over the block itself is an error with the correct code."""
    with pytest.raises(allm.StreamError, match=r"async with allm\.session\.stream_reply"):
        iter(allm.session.stream_start(engine(TEXT), "go").__aiter__())


@pytest.mark.parametrize("events_read", range(12))
async def test_a_turn_cut_short_keeps_what_was_said(events_read):
    """The session has the user's message, the finished steps and the partial response."""
    model = engine(CALL, [fake.text("one "), fake.text("two "), fake.text("three")])
    session = await in_status("completed")
    read = 0
    async with allm.session.stream_reply(model, session, "more") as events:
        async for _ in events:
            read += 1
            if read > events_read:
                break
    session, result = events.outcome()
    allm.validate(session)
    assert texts(session)[:3] == ["go", "done", "more"]
    assert session.status == "idle"
    assert session.thread == result.thread
    assert "one two three".startswith("".join(texts(session)[5:]))
    session, _ = await allm.session.reply(engine(TEXT), session, "and now?")
    assert texts(session)[-2:] == ["and now?", "done"]


async def test_a_turn_cut_short_after_its_last_step_ends_as_the_step_says():
    """Pending calls and questions come from the step."""
    for status in ("awaiting_user", "awaiting_tools", "error", "completed"):
        async with allm.session.stream_start(engine(SCRIPTS[status]), await in_status("idle")) as events:
            async for event in events:
                if isinstance(event, allm.StepCompleted):
                    break
        assert events.outcome()[0] == await in_status(status)


async def test_cancelled_before_the_first_event():
    """The user's message is kept."""
    session = await in_status("completed")
    with trio.CancelScope() as scope:
        async with allm.session.stream_reply(engine(TEXT), session, "more") as events:
            scope.cancel()
            await trio.lowlevel.checkpoint()
    session, result = events.outcome()
    assert (session.status, texts(session)[-1], result.halted_reason) == ("idle", "more", "cancelled")


async def test_append_prepares_a_turn():
    """Messages are added without a model call."""
    session = allm.session.append_user(await in_status("completed"), "more")
    assert texts(session) == ["go", "done", "more"]
    session, _ = await allm.session.continue_(engine(TEXT), session)
    assert texts(session)[-1] == "done"
    for wrong in ("text", allm.tool_result("c1", "x"), allm.assistant(allm.ToolCall("c1", "noop"))):
        with pytest.raises(allm.SessionError) as caught:
            allm.session.append(session, wrong)
        assert caught.value.reason == "invalid_input"


async def test_preflight_failures_leave_the_session():
    """They raise before anything is sent, and the session is unchanged."""
    session = await in_status("completed")
    with pytest.raises(allm.OptionError):
        await allm.session.reply(engine(TEXT), session, "more", temprature=1)
    with pytest.raises(allm.OptionError):
        await allm.session.reply(engine(TEXT), attrs.evolve(session, context={"a": 1}), "more", context=7)
    with pytest.raises(allm.EngineError):
        await allm.session.reply(allm.Engine(), session, "more")


@pytest.mark.parametrize("tools", [[NOOP, BY_HAND], [NOOP, PAY]])
async def test_mixed_batch_waits_for_the_callers_part(tools):
    """Automatic calls have run, the others are pending."""
    script = [fake.tool_call(tools[1].name, id="c1"), fake.tool_call("noop", id="c2")]
    session, _ = await allm.session.start(engine(script, tools=tools), "go")
    assert [call.id for call in session.pending_tool_calls] == ["c1"]
    assert [m.tool_call_id for m in session.thread.messages if m.role == "tool"] == ["c2"]
