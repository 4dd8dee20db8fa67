"""The chat loop: its gates, its two passes, its limits, and the conversation it leaves."""

from __future__ import annotations

import attrs
import pytest
import trio

import allm
from allm import fake

CALL = [fake.tool_call("noop", id="c0"), fake.usage(input_tokens=10, output_tokens=1)]
TEXT = [fake.text("done"), fake.usage(input_tokens=20, output_tokens=2)]


async def noop(arguments):
    """Async, since virtual time does not wait for threads."""
    return "ok"


NOOP = allm.Tool("noop", "Does nothing.", handler=noop)
BY_HAND = allm.Tool("by_hand", "Is answered by the caller.", manual=True)


def engine(*scripts, tools=(NOOP,), **fields):
    return allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=tools, **fields)


def roles(thread):
    return [message.role for message in thread.messages]


def sendable(thread):
    """Check that a conversation can be sent again: it is valid, and every call has a result."""
    allm.validate(thread)
    assert allm.from_json(allm.to_json(thread)) == thread
    calls = [call.id for message in thread.messages for call in message.tool_calls]
    results = [message.tool_call_id for message in thread.messages if message.role == "tool"]
    assert sorted(results) == sorted(calls)
    return True


async def test_completed_after_tools():
    """A turn with a tool has two steps, the whole conversation, and the usage of both steps."""
    result = await allm.chat(engine(CALL, TEXT), "go")
    assert result.halted_reason == "completed"
    assert result.output_text == "done"
    assert roles(result.thread) == ["user", "assistant", "tool", "assistant"]
    assert [step.done for step in result.steps] == [False, True]
    assert result.final_response is result.steps[-1].response
    assert (result.usage.input_tokens, result.usage.output_tokens) == (30, 3)
    assert sendable(result.thread)
    assert allm.from_json(allm.to_json(result)) == result


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
async def test_finish_stop_length_content_filter_complete_the_turn(finish):
    """These finish reasons complete the turn."""
    result = await allm.chat(engine([fake.text("x"), fake.finish(finish)]), "go")
    assert result.halted_reason == "completed"
    assert result.final_response.finish_reason == finish


async def test_finish_error_ends_with_error_and_keeps_what_came():
    """A failed response is a step of its own, and its text is kept."""
    error = allm.AdapterError("no", reason="invalid_request")
    result = await allm.chat(engine(CALL, [fake.text("half"), fake.error(error)]), "go")
    assert result.halted_reason == "error"
    assert result.error is error
    assert result.thread.last.text == "half"
    assert sendable(result.thread)


async def test_error_with_calls_answers_them_without_running_them():
    """Calls of a failed response may be truncated, so they get an error result."""
    ran = []
    tool = allm.Tool("noop", "N.", handler=ran.append)
    script = [fake.tool_call("noop"), fake.tool_call_delta("c9", '{"a'), fake.error(allm.AdapterError("no"))]
    result = await allm.chat(engine(script, tools=[tool]), "go")
    assert result.halted_reason == "error"
    assert ran == []
    assert roles(result.thread) == ["user", "assistant", "tool", "tool"]
    assert sendable(result.thread)


async def test_finish_other_ends_incomplete():
    """An unknown finish reason ends the turn as incomplete."""
    result = await allm.chat(engine([fake.text("x"), fake.finish("other")], TEXT), "go")
    assert result.halted_reason == "incomplete"
    assert len(result.steps) == 1


@pytest.mark.parametrize(("finish", "steps"), [("other", 2), ("length", 1), ("content_filter", 1)])
async def test_an_unknown_word_does_not_stop_a_turn_whose_calls_ran(finish, steps):
    """One that is known to mean that the answer was cut does."""
    result = await allm.chat(engine([fake.tool_call("noop"), fake.finish(finish)], TEXT), "go")
    assert len(result.steps) == steps
    assert result.halted_reason == "completed"


async def test_an_unknown_word_after_a_call_that_was_cut_ends_the_turn():
    """Nothing says that the answer was whole."""
    cut = fake.tool_call("noop", raw_arguments='{"a')
    result = await allm.chat(engine([cut, fake.finish("other")], TEXT), "go")
    assert (len(result.steps), result.halted_reason) == (1, "incomplete")


async def test_finish_stop_with_calls_goes_on():
    """Some providers end a forced call with "stop"; the turn goes on all the same."""
    result = await allm.chat(engine([fake.tool_call("noop"), fake.finish("stop")], TEXT), "go")
    assert result.halted_reason == "completed"
    assert len(result.steps) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_halt_when_sees_each_step_that_would_go_on(asynchronous):
    """`halt_when`, sync or async, is called after each step but the final one."""
    asked = []

    def decide(step):
        asked.append(step)
        return len(asked) == 2

    async def decide_later(step):
        await trio.lowlevel.checkpoint()
        return decide(step)

    result = await allm.chat(engine(CALL, CALL, TEXT), "go", halt_when=decide_later if asynchronous else decide)
    assert result.halted_reason == "halt_when"
    assert asked == list(result.steps)
    await allm.chat(engine(TEXT), "go", halt_when=decide)
    assert len(asked) == 2


async def test_halt_when_exceptions_propagate():
    """An exception of `halt_when` is raised to the consumer, and the result so far is kept."""
    error = LookupError("mine")

    def decide(step):
        raise error

    with pytest.raises(LookupError) as caught:
        await allm.chat(engine(CALL, TEXT), "go", halt_when=decide)
    assert caught.value is error
    with pytest.raises(LookupError):
        async with allm.stream(engine(CALL, TEXT), "go", halt_when=decide) as events:
            await events.until_done()
    assert len(events.result().steps) == 1


async def test_max_turns_counts_model_calls_and_runs_the_last_tools():
    """With max_turns=1 the tools of that call still run."""
    result = await allm.chat(engine(CALL, TEXT), "go", max_turns=1)
    assert result.halted_reason == "max_turns"
    assert roles(result.thread) == ["user", "assistant", "tool"]
    result = await allm.chat(engine(*[CALL] * 20), "go")
    assert len(result.steps) == 8


async def test_max_turns_call_over_params_over_defaults():
    """The precedence rule applies to max_turns; the library's default is 8."""
    forever = [CALL] * 20
    with allm.defaults(max_turns=2):
        assert len((await allm.chat(engine(*forever), "go")).steps) == 2
        params = engine(*forever, params={"max_turns": 3})
        assert len((await allm.chat(params, "go")).steps) == 3
        assert len((await allm.chat(params, "go", max_turns=4)).steps) == 4


@pytest.mark.parametrize("turns", [0, -1])
async def test_max_turns_not_positive_is_a_value_error(turns):
    """An invalid max_turns is rejected before anything is sent."""
    with pytest.raises(ValueError, match="max_turns"):
        await allm.chat(engine(TEXT), "go", max_turns=turns)


async def test_mode_manual_runs_nothing_and_surfaces_the_calls():
    """With mode="manual" no tool runs, and all calls are left to the caller."""
    result = await allm.chat(engine(CALL), "go", mode="manual")
    assert result.halted_reason == "manual_tool_calls"
    assert [call.id for call in result.manual_tool_calls] == ["c0"]
    assert roles(result.thread) == ["user", "assistant"]


async def test_mixed_batch_runs_auto_calls_and_surfaces_manual_ones():
    """Automatic results are in the conversation, without placeholders for the rest."""
    script = [fake.tool_call("by_hand", id="m"), fake.tool_call("noop", id="a")]
    result = await allm.chat(engine(script, tools=[NOOP, BY_HAND]), "go")
    assert result.halted_reason == "manual_tool_calls"
    assert [call.id for call in result.manual_tool_calls] == ["m"]
    assert [message.tool_call_id for message in result.thread.messages if message.role == "tool"] == ["a"]


async def test_unanswered_call_is_refused_with_its_id():
    """A call without a result is rejected here, not by the provider with a 400."""
    result = await allm.chat(engine([fake.tool_call("by_hand", id="m7")], tools=[BY_HAND]), "go")
    with pytest.raises(allm.ValidationError, match="m7") as caught:
        await allm.chat(engine(TEXT), result.thread)
    assert caught.value.errors[0][1] == "unanswered_tool_call"
    answered = result.thread.add(allm.tool_result("m7", "42"))
    assert (await allm.chat(engine(TEXT), answered)).output_text == "done"


async def test_first_step_preflight_raises_and_later_ones_fold():
    """An invalid first call raises; a later one ends the turn and keeps its steps."""
    with pytest.raises(allm.AdapterError) as caught:
        await allm.chat(engine(), "go")
    assert caught.value.reason == "no_scripted_response"
    result = await allm.chat(engine(CALL), "go")
    assert result.halted_reason == "error"
    assert result.error.reason == "no_scripted_response"
    assert len(result.steps) == 1
    assert sendable(result.thread)


async def test_chat_completed_once_and_last():
    """`ChatCompleted` is the last event of every turn that ends by itself, for any reason."""
    error = allm.AdapterError("no", reason="invalid_request")
    for scripts in ([TEXT], [CALL, TEXT], [CALL], [[fake.error(error)]]):
        async with allm.stream(engine(*scripts), "go", retry=None) as events:
            seen = [event async for event in events]
        assert [type(event) for event in seen].count(allm.ChatCompleted) == 1
        assert seen[-1].result is events.result()
        assert len([event for event in seen if isinstance(event, allm.StepCompleted)]) == len(events.result().steps)


async def test_consumer_that_leaves_gets_no_chat_completed():
    """After leaving early, `result()` has the partial turn."""
    async with allm.stream(engine(CALL, TEXT), "go") as events:
        async for event in events:
            if isinstance(event, allm.StepCompleted):
                break
    result = events.result()
    assert result.halted_reason == "cancelled"
    assert len(result.steps) == 1
    assert sendable(result.thread)


async def test_on_event_and_filters_look_at_adapter_events_only():
    """Orchestration events pass all filters, and `on_event` never sees them."""
    observed = []
    async with allm.stream(
        engine(CALL, TEXT), "go", on_event=observed.append, emit_text_deltas=False, emit_tool_deltas=False
    ) as events:
        seen = [event async for event in events]
    names = {type(event).__name__ for event in seen}
    assert {"ToolExecutionStarted", "ToolResultEncoded", "StepCompleted", "ChatCompleted"} <= names
    assert not {"TextDelta", "ToolCallDelta"} & names
    assert not {"ToolExecutionStarted", "StepCompleted"} & {type(event).__name__ for event in observed}
    assert events.result().output_text == "done"


async def test_request_timeout_bounds_the_whole_turn(autojump_clock):
    """In a tool or in a model call, the limit ends the turn with a conversation to send again."""

    async def nap(arguments):
        await trio.sleep(100)

    tool = allm.Tool("noop", "N.", handler=nap, timeout=1000)
    async with allm.stream(engine(CALL, TEXT, tools=[tool]), "go", request_timeout=7) as events:
        seen = [event async for event in events]
    assert trio.current_time() == 7
    result = events.result()
    assert (result.halted_reason, result.error.reason) == ("error", "timeout")
    assert isinstance(seen[-1], allm.ChatCompleted)
    assert sendable(result.thread)
    slow = [fake.text("half"), fake.delay(100), fake.text("late")]
    result = await allm.chat(engine(CALL, slow), "go", request_timeout=7)
    assert (result.halted_reason, result.error.reason) == ("error", "timeout")
    assert result.thread.last.text == "half"
    assert sendable(result.thread)


async def test_retries_happen_in_later_steps_too(autojump_clock):
    """Each model call has its own retry budget."""
    busy = [fake.error(allm.AdapterError("busy", reason="overloaded"))]
    result = await allm.chat(engine(CALL, busy, TEXT), "go")
    assert result.halted_reason == "completed"
    assert len(result.steps) == 2


@attrs.frozen
class Answer:
    n: int


async def test_structured_finalize_asks_for_the_format_last_and_without_tools():
    """Two passes have one ChatCompleted and the steps of both."""
    scripts = [CALL, TEXT, [fake.text('{"n": 7}')]]
    asked = engine(*scripts)
    async with allm.stream(asked, "go", response_format=Answer, structured_finalize=True) as events:
        seen = [event async for event in events]
    result = events.result()
    assert result.final_response.parsed() == Answer(7)
    assert result.finalize == allm.FinalizeReport("completed")
    assert len(result.steps) == 3
    assert [type(event) for event in seen].count(allm.ChatCompleted) == 1
    first, second, last = asked.adapter.requests
    assert first.response_format is second.response_format is None
    assert first.tools
    assert last.response_format is not None
    assert last.tools == ()
    assert last.messages[-1].text == "Now provide your final structured response."
    assert sendable(result.thread)


async def test_structured_finalize_nudge_is_configurable():
    """An empty nudge adds no message."""
    asked = engine(TEXT, [fake.text('{"n": 7}')])
    await allm.chat(asked, "go", response_format=Answer, structured_finalize=True, structured_finalize_nudge="")
    assert asked.adapter.requests[-1].messages[-1].role == "assistant"


async def test_structured_finalize_never_loses_the_first_pass():
    """If the final call is invalid, the result is that of the first pass."""
    result = await allm.chat(engine(TEXT), "go", response_format=Answer, structured_finalize=True)
    assert result.output_text == "done"
    assert result.finalize.error.reason == "no_scripted_response"


async def test_structured_finalize_stops_where_the_first_pass_halts():
    """After a question to the user there is no final call."""
    tool = allm.Tool("noop", "N.", handler=lambda arguments: allm.AskUser("?"))
    result = await allm.chat(engine(CALL, TEXT, tools=[tool]), "go", response_format=Answer, structured_finalize=True)
    assert result.halted_reason == "ask_user"
    assert result.finalize == allm.FinalizeReport("ask_user")


async def test_validation_retries_ask_again_with_the_problem():
    """Invalid output is retried as often as allowed, and is then the result."""
    bad, good = [fake.text('{"n": "x"}')], [fake.text('{"n": 7}')]
    asked = engine(bad, good)
    result = await allm.chat(asked, "go", response_format=Answer, validation_retries=1)
    assert result.final_response.parsed() == Answer(7)
    assert "expected an integer" in asked.adapter.requests[1].messages[-1].text
    result = await allm.chat(engine(bad, bad), "go", response_format=Answer, validation_retries=1)
    assert result.output_text == '{"n": "x"}'
    with pytest.raises(allm.ValidationError, match="expected an integer"):
        result.final_response.parsed()


@pytest.mark.parametrize("options", [{"response_format": Answer}, {}], ids=["valid", "no class"])
async def test_validation_retries_ask_only_for_what_is_wrong(options):
    """Valid output, or output without a format, is not retried."""
    asked = engine([fake.text('{"n": 7}')])
    result = await allm.chat(asked, "go", validation_retries=3, **options)
    assert (result.halted_reason, len(asked.adapter.requests)) == ("completed", 1)


async def test_request_timeout_bounds_a_step(autojump_clock):
    """At the limit a step ends with a partial result and an error."""
    result = await allm.step(engine([fake.text("one"), fake.delay(60)]), "go", request_timeout=5)
    assert (result.response.output_text, result.response.error.reason) == ("one", "timeout")


async def test_thread_of_any_kind_goes_in_and_is_not_changed():
    """A text, a message, messages, a thread with metadata and a request are accepted."""
    thread = allm.Thread((allm.user("go"),), metadata={"k": 1})
    for given in ("go", allm.user("go"), [allm.user("go")], allm.Request([allm.user("go")]), thread):
        result = await allm.chat(engine(TEXT), given)
        assert roles(result.thread) == ["user", "assistant"]
    assert result.thread.metadata == {"k": 1}
    assert len(thread.messages) == 1


async def test_step_is_the_fold_of_stream_step():
    """`step` returns the fold of `stream_step`, tools included."""
    async with allm.stream_step(engine(CALL), "go") as events:
        seen = [event async for event in events]
    assert isinstance(seen[-1], allm.StepCompleted)
    step = await allm.step(engine(CALL), "go")
    assert step == events.result()
    assert not step.done
    assert (await allm.step(engine(TEXT), "go")).done


async def test_an_iterator_of_tools_lasts_for_the_whole_turn():
    """Every step has what it gave, and the texts of `stop` too."""
    given = engine(CALL, CALL, TEXT, tools=())
    await allm.chat(given, "go", tools=iter([NOOP]), stop=iter(["x"]))
    assert [(request.tools, request.stop) for request in given.adapter.requests] == [((NOOP,), ("x",))] * 3
