"""Tool calls: run in parallel, each with its own limit, each ending in exactly one message."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import threading
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.data.types.encode import encode_result


def engine(*calls, tools=(), **fields):
    """An engine whose first response asks for `calls`, given as `(name, arguments)`."""
    script = [fake.tool_call(name, args, id=f"c{index}") for index, (name, args) in enumerate(calls)]
    return allm.Engine(adapter=allm.providers.Fake(scripts=[script]), tools=tools, **fields)


async def run(engine, **options):
    """Run one step; returns its tool messages and all events."""
    async with allm.stream_step(engine, "go", **options) as events:
        seen = [event async for event in events]
    return events.result(), seen


def of(seen, kind):
    return [event for event in seen if isinstance(event, kind)]


def error_of(message):
    assert message.is_error
    return json.loads(message.text)["error"]


def sleeper(name="nap", **fields):
    async def handler(arguments):
        await trio.sleep(arguments.get("seconds", 0))
        return f"slept {arguments.get('seconds', 0)}"

    return allm.Tool(name, "Sleeps.", handler=handler, **fields)


async def test_one_task_per_call_runs_them_in_parallel(autojump_clock):
    """Ten naps of a second take a second."""
    step, _ = await run(engine(*[("nap", {"seconds": 1})] * 10, tools=[sleeper()]))
    assert trio.current_time() == 1
    assert len(step.tool_results) == 10


async def test_calls_start_in_their_order(autojump_clock):
    """With one call at a time, they start in call order."""
    for _ in range(20):
        calls = [("nap", {"seconds": 1})] * 4
        _, seen = await run(engine(*calls, tools=[sleeper()]), max_concurrency=1)
        assert [event.tool_call.id for event in of(seen, allm.ToolExecutionStarted)] == ["c0", "c1", "c2", "c3"]


@pytest.mark.parametrize("at_once", [None, 3])
async def test_calls_start_in_their_order_wherever_they_run(autojump_clock, at_once):
    """In threads and in tasks, however many start together; a thread that has to be waited for holds nobody up."""
    tools = [sleeper("task"), allm.Tool("thread", "T.", handler=lambda arguments: "done")]
    calls = [("thread" if n % 3 else "task", {}) for n in range(20)]
    for _ in range(10):
        _, seen = await run(engine(*calls, tools=tools), max_concurrency=at_once)
        started = [event.tool_call.id for event in of(seen, allm.ToolExecutionStarted)]
        assert started == [f"c{n}" for n in range(20)]


async def test_tasks_are_named_after_the_tools_that_they_run(autojump_clock):
    """Whichever task takes which call."""
    names = []

    def noting(name):
        async def handler(arguments):
            await trio.lowlevel.checkpoint()
            names.append((trio.lowlevel.current_task().name, f"allm tool {name}"))

        return allm.Tool(name, "N.", handler=handler)

    await run(engine(*[("ab"[n % 2], {}) for n in range(20)], tools=[noting("a"), noting("b")]))
    assert len(names) == 20
    assert all(named == expected for named, expected in names)


async def test_max_concurrency_limits_how_many_run(autojump_clock):
    """A queued call's own time limit does not run."""
    step, seen = await run(
        engine(*[("nap", {"seconds": 1})] * 10, tools=[sleeper()]), max_concurrency=3, tool_timeout=2
    )
    assert trio.current_time() == 4
    assert not any(message.is_error for message in step.tool_results)
    assert len(of(seen, allm.ToolExecutionStarted)) == 10


async def test_messages_are_in_call_order_and_events_in_completion_order(autojump_clock):
    """Whichever call ends first."""
    calls = [("nap", {"seconds": seconds}) for seconds in (3, 1, 2)]
    step, seen = await run(engine(*calls, tools=[sleeper()]))
    assert [message.tool_call_id for message in step.tool_results] == ["c0", "c1", "c2"]
    assert [message.text for message in step.thread.messages[-3:]] == ["slept 3", "slept 1", "slept 2"]
    assert [event.tool_call.id for event in of(seen, allm.ToolResultEncoded)] == ["c1", "c2", "c0"]
    assert isinstance(seen[-1], allm.StepCompleted)


async def test_execution_started_when_a_call_really_starts(autojump_clock):
    """With one slot, the start events are spread over time."""
    starts = []
    async with allm.stream_step(
        engine(*[("nap", {"seconds": 1})] * 3, tools=[sleeper()]), "go", max_concurrency=1
    ) as events:
        async for event in events:
            if isinstance(event, allm.ToolExecutionStarted):
                starts.append(trio.current_time())
    assert starts == [0, 1, 2]


async def test_async_handler_is_cancelled_at_its_limit(autojump_clock):
    """Its clean-up runs, and its siblings go on."""
    cleaned = []

    async def handler(arguments):
        try:
            await trio.sleep_forever()
        finally:
            cleaned.append(True)

    tools = [allm.Tool("hang", "Hangs.", handler=handler), sleeper()]
    step, seen = await run(engine(("hang", {}), ("nap", {"seconds": 20}), tools=tools), tool_timeout=30)
    assert trio.current_time() == 30
    assert cleaned == [True]
    assert error_of(step.tool_results[0])["type"] == "timeout"
    assert step.tool_results[1].text == "slept 20"
    [completed] = [event for event in of(seen, allm.ToolExecutionCompleted) if event.error]
    assert not completed.abandoned


async def test_tool_timeout_of_the_tool_wins(autojump_clock):
    """`Tool.timeout` over the call's option over the default of 30 s."""
    calls = [("short", {"seconds": 100}), ("nap", {"seconds": 100})]
    await run(engine(*calls, tools=[sleeper("short", timeout=5), sleeper()]), tool_timeout=50)
    assert trio.current_time() == 50
    before = trio.current_time()
    await run(engine(("nap", {"seconds": 100}), tools=[sleeper()]))
    assert trio.current_time() - before == 30


async def test_sync_handler_runs_in_a_thread_and_is_abandoned_at_its_limit():
    """The turn goes on; the event says that the thread still runs."""
    release = threading.Event()
    names = []

    def handler(arguments):
        names.append(threading.current_thread() is threading.main_thread())
        release.wait(20)

    try:
        step, seen = await run(
            engine(("hang", {}), tools=[allm.Tool("hang", "Hangs.", handler=handler)]), tool_timeout=0.05
        )
    finally:
        release.set()
    assert names == [False]
    assert error_of(step.tool_results[0])["type"] == "timeout"
    assert of(seen, allm.ToolExecutionCompleted)[0].abandoned


async def test_hanging_threads_do_not_starve_later_tools():
    """With more hanging calls than threads, every call ends at its limit."""
    release = threading.Event()
    tools = [
        allm.Tool("hang", "Hangs.", handler=lambda arguments: release.wait(20)),
        allm.Tool("quick", "Is quick.", handler=lambda arguments: "ok"),
    ]
    try:
        with trio.fail_after(15):
            step, _ = await run(engine(*[("hang", {})] * 80, ("quick", {}), tools=tools), tool_timeout=0.1)
    finally:
        release.set()
    assert len(step.tool_results) == 81
    assert step.tool_results[-1].text == "ok" or step.tool_results[-1].is_error


async def test_one_call_failing_never_cancels_its_siblings(autojump_clock):
    """Also if a handler raises a group or cancels itself."""

    async def boom(arguments):
        raise ValueError("boom")

    async def group(arguments):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            raise KeyError("inside")

    tools = [allm.Tool("boom", "Raises.", handler=boom), allm.Tool("group", "Raises.", handler=group), sleeper()]
    step, _ = await run(engine(("boom", {}), ("nap", {"seconds": 3}), ("group", {}), tools=tools))
    assert [message.is_error for message in step.tool_results] == [True, False, True]
    assert error_of(step.tool_results[0]) == {"type": "handler_raised", "message": "boom"}


async def test_unknown_tool_is_fed_back_to_the_model():
    """The model gets the names of the known tools, and the turn goes on."""
    step, _ = await run(engine(("nope", {}), ("nap", {}), tools=[sleeper()]))
    error = error_of(step.tool_results[0])
    assert error["type"] == "unknown_tool"
    assert "nap" in error["message"]
    assert step.tool_results[1].text == "slept 0"


async def test_no_handler_is_fed_back_to_the_model():
    """A tool without a handler gives the model an error."""
    step, _ = await run(engine(("x", {}), tools=[allm.Tool("x", "Nothing.")]))
    assert error_of(step.tool_results[0])["type"] == "no_handler"


@pytest.mark.parametrize("raw", ["{", "[1]", '"text"', "{'a': 1}"])
async def test_invalid_arguments_json_never_reaches_the_handler(raw):
    """The model gets an error for arguments that are not a JSON object."""
    ran = []
    script = [fake.tool_call("x", id="c0", raw_arguments=raw)]
    tool = allm.Tool("x", "X.", handler=ran.append)
    step = await allm.step(allm.Engine(adapter=allm.providers.Fake(script=script), tools=[tool]), "go")
    assert error_of(step.tool_results[0])["type"] == "invalid_arguments"
    assert ran == []


async def test_invalid_arguments_name_the_field_and_what_was_expected():
    """The model can correct them; the handler does not run."""

    @attrs.frozen
    class Place:
        city: str
        zip: int

    class Unit(enum.Enum):
        C = "celsius"

    @allm.tool
    def weather(place: Place, unit: Unit = Unit.C) -> str:
        raise AssertionError("must not run")

    step, _ = await run(engine(("weather", {"place": {"city": 3, "country": "CH"}, "unit": "f"}), tools=[weather]))
    error = error_of(step.tool_results[0])
    assert error["type"] == "invalid_arguments"
    for words in ("place.city: expected a string, got 3", "place", "'zip'", "unknown field 'country'", "'celsius'"):
        assert words in error["message"]


@pytest.mark.parametrize("result", [object(), {"a": object()}, float("nan"), {1, object()}])
async def test_encoding_failed_is_fed_back_to_the_model(result):
    """A result that cannot be written as JSON gives the model an error."""
    step, _ = await run(engine(("x", {}), tools=[allm.Tool("x", "X.", handler=lambda arguments: result)]))
    assert error_of(step.tool_results[0])["type"] == "encoding_failed"


@pytest.mark.parametrize("reason", ["completed", "error", "cancelled", "ask_user", "manual_tool_calls", 7])
async def test_invalid_return_for_a_reserved_halt_reason(reason):
    """A handler cannot use a reserved reason; any other halts the turn."""
    tool = allm.Tool("x", "X.", handler=lambda arguments: allm.Halt(reason))
    step, _ = await run(engine(("x", {}), tools=[tool]))
    assert error_of(step.tool_results[0])["type"] == "invalid_return"


@attrs.frozen
class Forecast:
    day: str
    icon: Path


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("verbatim", "verbatim"),
        ("", ""),
        (None, "null"),
        (7, "7"),
        ([1, "ü"], '[1,"ü"]'),
        ({"a": (1, 2)}, '{"a":[1,2]}'),
        (b"\x00\x01", '"AAE="'),
        (Forecast("Monday", Path("sun.png")), '{"day":"Monday","icon":"sun.png"}'),
    ],
)
async def test_results_str_verbatim_and_anything_else_as_json(result, text):
    """Attrs classes, paths and bytes included."""
    step, _ = await run(engine(("x", {}), tools=[allm.Tool("x", "X.", handler=lambda arguments: result)]))
    assert step.tool_results[0].text == text
    assert not step.tool_results[0].is_error


async def test_on_tool_error_continue_shows_the_model_two_fields():
    """The model sees no repr, traceback or cause."""

    def handler(arguments):
        raise RuntimeError("disk full") from OSError("secret path")

    step, _ = await run(engine(("x", {}), tools=[allm.Tool("x", "X.", handler=handler)]))
    assert json.loads(step.tool_results[0].text) == {"error": {"type": "handler_raised", "message": "disk full"}}


async def test_on_tool_error_halt_ends_with_tool_error():
    """All calls finish, and the error is in the result."""

    def handler(arguments):
        raise RuntimeError("no")

    tools = [allm.Tool("x", "X.", handler=handler), sleeper()]
    result = await allm.chat(engine(("x", {}), ("nap", {}), tools=tools), "go", on_tool_error="halt")
    assert result.halted_reason == "tool_error"
    assert result.error.reason == "handler_raised"
    assert isinstance(result.error.__cause__, RuntimeError)
    assert [message.role for message in result.thread.messages[-2:]] == ["tool", "tool"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_on_tool_error_function_is_called_once_and_may_replace_the_result(asynchronous):
    """The model sees what it returns, sync or async."""
    asked = []

    def decide(call, error):
        asked.append((call.id, error.reason))
        return {"fallback": True}

    async def decide_later(call, error):
        await trio.lowlevel.checkpoint()
        return decide(call, error)

    step, _ = await run(engine(("nope", {})), on_tool_error=decide_later if asynchronous else decide)
    assert asked == [("c0", "unknown_tool")]
    assert step.tool_results[0].text == '{"fallback":true}'
    assert not step.tool_results[0].is_error


async def test_on_tool_error_function_may_halt():
    """Returning "halt" halts the turn."""
    result = await allm.chat(engine(("nope", {})), "go", on_tool_error=lambda call, error: "halt")
    assert result.halted_reason == "tool_error"


async def test_on_tool_error_function_that_raises_halts_with_its_exception():
    """Its exception is the cause of the error."""
    asked = []

    def decide(call, error):
        asked.append(call.id)
        raise LookupError("broken policy")

    result = await allm.chat(engine(("nope", {})), "go", on_tool_error=decide)
    assert result.halted_reason == "tool_error"
    assert isinstance(result.error.__cause__, LookupError)
    assert asked == ["c0"]


@pytest.mark.parametrize("policy", ["stop", 3, None, ["continue"]])
async def test_on_tool_error_of_another_kind_is_a_type_error_before_a_tool_runs(policy):
    """Nothing is sent."""
    asked = engine(("nope", {}))
    with pytest.raises(TypeError, match="on_tool_error"):
        await allm.chat(asked, "go", on_tool_error=policy)
    assert asked.adapter.requests == []


async def test_ask_user_halts_with_question_call_id_and_hints():
    """The question ends the turn's thread, not the step's."""
    tool = allm.Tool("ask", "Asks.", handler=lambda arguments: allm.AskUser("Which one?", choices=["a", "b"]))
    result = await allm.chat(engine(("ask", {}), tools=[tool]), "go")
    assert result.halted_reason == "ask_user"
    assert (result.pending_question, result.pending_tool_call_id) == ("Which one?", "c0")
    asked = allm.PendingQuestion("Which one?", "c0", hints={"choices": ["a", "b"]})
    assert result.halt == result.steps[0].halt == allm.UserAsked([asked])
    assert result.pending_questions == (asked,)
    assert result.steps[0].thread.last.text == "<awaiting user response>"
    assert result.thread.last.text == "Which one?"
    assert result.thread.last.metadata == {"ask_user": True, "tool_call_id": "c0"}


class Color(enum.Enum):
    RED = "r"


@attrs.frozen
class Choice:
    label: str
    on: dt.date


HINTS = [
    (Choice("a", dt.date(2024, 1, 31)), {"label": "a", "on": "2024-01-31"}),
    ([Choice("a", dt.date(2024, 1, 31)), ()], [{"label": "a", "on": "2024-01-31"}, []]),
    (dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC), "2024-01-31T12:00:00+00:00"),
    (Color.RED, "r"),
    (Path("a/b"), "a/b"),
    (b"\xff", "/w=="),
    ({7}, [7]),
    ({1: Decimal("1.50")}, {"1": "1.50"}),
    ("plain", "plain"),
    (None, None),
]


@pytest.mark.parametrize(("hint", "encoded"), HINTS, ids=lambda value: type(value).__name__)
async def test_hints_are_encoded_like_results(hint, encoded):
    """In the result, the events and the step, all of which can be written as JSON and read again."""
    tool = allm.Tool("ask", "Asks.", handler=lambda arguments: allm.AskUser("Which?", choice=hint))
    async with allm.stream(engine(("ask", {}), tools=[tool]), "go") as events:
        seen = [event async for event in events]
    result = events.result()
    assert result.pending_questions == (allm.PendingQuestion("Which?", "c0", hints={"choice": encoded}),)
    [asked], [ended] = of(seen, allm.AskUserRequested), of(seen, allm.ToolExecutionCompleted)
    assert asked.hints == ended.result.hints == {"choice": encoded}
    for value in (result, *seen):
        assert allm.from_json(allm.to_json(value)) == value


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize("hint", [object(), LOOP, float("nan"), [{"a": print}]], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("policy", ["continue", "halt"])
async def test_a_hint_without_a_json_form_fails_that_call(autojump_clock, hint, policy):
    """Like a result; `on_tool_error` decides, and the calls beside it run to their end."""
    tools = [allm.Tool("ask", "Asks.", handler=_asker(hint)), sleeper()]
    step, seen = await run(engine(("ask", {}), ("nap", {"seconds": 1}), tools=tools), on_tool_error=policy)
    error = error_of(step.tool_results[0])
    assert error["type"] == "encoding_failed"
    assert error["message"].startswith("the hint 'choice' of the question has no JSON form: ")
    assert step.tool_results[1].text == "slept 1"
    assert step.halt is None if policy == "continue" else step.halt.error.reason == "encoding_failed"
    assert of(seen, allm.AskUserRequested) == []


async def test_a_hint_that_no_session_can_hold_fails_that_call(autojump_clock):
    """It nests deeper than a document may, so the journal could not be written."""
    deep: object = "end"
    for _ in range(300):
        deep = [deep]
    tools = [allm.Tool("ask", "Asks.", handler=_asker(deep)), sleeper()]
    model = engine(("ask", {}), ("nap", {"seconds": 1}), tools=tools)
    async with allm.session.open_store("memory://") as store, store.turn("s") as turn:
        await turn.reply(model, "go", max_turns=1)
    session, _ = await store.load("s")
    error = error_of(session.thread.messages[2])
    assert (error["type"], "nests deeper" in error["message"]) == ("encoding_failed", True)
    assert session.thread.messages[3].text == "slept 1"


def _asker(hint):
    async def ask(arguments):
        return allm.AskUser("Which?", fine=1, choice=hint)

    return ask


async def test_halt_ends_the_turn_for_the_handlers_own_reason():
    """Its result is in the conversation."""
    tool = allm.Tool("x", "X.", handler=lambda arguments: allm.Halt("sold_out", {"left": 0}))
    result = await allm.chat(engine(("x", {}), tools=[tool]), "go")
    assert result.halted_reason == "sold_out"
    assert result.thread.last.text == '{"left":0}'


async def test_halts_are_values_of_the_step_and_of_the_turn():
    """Both have the same value, and the caller's metadata has nothing of it."""
    broken = allm.ToolError("no", reason="handler_raised")

    def fail(arguments):
        raise broken

    handlers = {"ask": lambda _: allm.AskUser("?"), "halt": lambda _: allm.Halt("mine", [1]), "fail": fail}
    tools = [allm.Tool(name, "T.", handler=handler) for name, handler in handlers.items()]
    tools.append(allm.Tool("by_hand", "T.", manual=True))
    expected = {
        "ask": allm.UserAsked([allm.PendingQuestion("?", "c0")]),
        "halt": allm.HandlerHalted("mine", "c0", "[1]"),
        "fail": allm.ToolFailed(broken),
        "by_hand": allm.ManualCalls([allm.ToolCall("c0", "by_hand", {}, "{}")]),
    }
    for name, halt in expected.items():
        result = await allm.chat(engine((name, {}), tools=tools), "go", on_tool_error="halt")
        assert result.halt == result.steps[0].halt == halt
        assert result.halted_reason == halt.reason
        assert result.metadata == result.steps[0].metadata == {}
        assert result.error is (broken if name == "fail" else None)
        assert result.steps[0].done == (name != "by_hand")
    assert (broken.tool_name, broken.tool_call_id) == ("fail", "c0")


async def test_a_handler_tells_the_model_what_is_wrong():
    """A ToolError needs no more than a message: the reason is that the handler raised it, the rest is the call's."""

    def fail(arguments):
        raise allm.ToolError("there is no such city")

    result = await allm.chat(engine(("fail", {}), tools=[allm.Tool("fail", "F.", handler=fail)]), "go")
    told = result.steps[0].tool_results[0].text
    assert told == '{"error":{"type":"handler_raised","message":"there is no such city"}}'


async def test_manual_calls_beside_another_halt_are_left_to_the_caller():
    """The halt is the reason, and the manual calls are listed."""
    tools = [allm.Tool("ask", "A.", handler=lambda _: allm.AskUser("?")), allm.Tool("by_hand", "T.", manual=True)]
    result = await allm.chat(engine(("by_hand", {}), ("ask", {}), tools=tools), "go")
    assert result.halt == allm.UserAsked([allm.PendingQuestion("?", "c1")])
    assert [call.id for call in result.manual_tool_calls] == ["c0"]


async def test_a_step_that_is_left_early_says_so():
    """`cancelled` is set for a step that was cut short, and only then."""
    async with allm.stream_step(engine(("nope", {})), "go") as events:
        async for _ in events:
            assert events.result().cancelled
            break
    assert events.result().cancelled
    step, _ = await run(engine(("nope", {})))
    assert not step.cancelled


async def test_several_halts_report_the_lowest_call_index(autojump_clock):
    """All calls finish, and each has its message."""

    async def late(arguments):
        await trio.sleep(5)
        return allm.Halt("first")

    async def early(arguments):
        return allm.AskUser("?")

    tools = [
        allm.Tool("late", "Late.", handler=late),
        allm.Tool("early", "Early.", handler=early),
    ]
    result = await allm.chat(engine(("late", {}), ("early", {}), tools=tools), "go")
    assert result.halted_reason == "first"
    assert [message.tool_call_id for message in result.thread.messages[-2:]] == ["c0", "c1"]


async def test_tool_context_reaches_the_handler():
    """A plain handler takes it as second argument, a function by annotation."""
    seen = []

    def plain(arguments, context):
        seen.append(context)

    @allm.tool
    async def hinted(x: int, info: allm.ToolContext) -> None:
        seen.append(info)

    tools = [allm.Tool("plain", "P.", handler=plain), hinted]
    asked = engine(("plain", {}), ("hinted", {"x": 1}), tools=tools, context={"a": 1, "b": 1})
    await run(asked, context={"b": 2}, session_id="s", request_id="r")
    assert {context.tool_call.id for context in seen} == {"c0", "c1"}
    for context in seen:
        assert dict(context.context) == {"a": 1, "b": 2}
        assert (context.session_id, context.request_id) == ("s", "r")
        assert context.engine is asked


async def test_progress_from_inside_a_tool_is_on_the_stream():
    """From async handlers and threads, between start and end of the call."""

    @allm.tool
    async def later(info: allm.ToolContext) -> str:
        await info.emit({"percent": 50})
        return "done"

    @allm.tool
    def threaded(info: allm.ToolContext) -> str:
        info.emit_from_thread("half")
        return "done"

    _, seen = await run(engine(("later", {}), ("threaded", {}), tools=[later, threaded]))
    assert {event.tool_call.id: event.payload for event in of(seen, allm.ToolProgress)} == {
        "c0": {"percent": 50},
        "c1": "half",
    }
    for call_id in ("c0", "c1"):
        kinds = [type(e).__name__ for e in seen if getattr(getattr(e, "tool_call", None), "id", None) == call_id]
        assert kinds == ["ToolExecutionStarted", "ToolProgress", "ToolExecutionCompleted", "ToolResultEncoded"]


async def test_tool_limit_does_not_count_a_slow_consumer(autojump_clock):
    """The tool's clock stops while progress waits for the consumer."""

    @allm.tool
    async def chatty(info: allm.ToolContext) -> str:
        for n in range(200):
            await info.emit(n)
        return "done"

    async with allm.stream_step(engine(("chatty", {}), tools=[chatty]), "go", tool_timeout=5) as events:
        async for _ in events:
            await trio.sleep(1)
    assert events.result().tool_results[0].text == "done"


async def test_cancelling_the_turn_cancels_all_calls_and_answers_each(autojump_clock):
    """Finished calls keep their result, the rest say "cancelled"."""
    calls = [("nap", {"seconds": 1}), ("nap", {"seconds": 100})]
    with trio.move_on_after(5):
        async with allm.stream(engine(*calls, tools=[sleeper()]), "go") as events:
            await events.until_done()
    result = events.result()
    assert result.halted_reason == "cancelled"
    first, second = result.thread.messages[-2:]
    assert first.text == "slept 1"
    assert error_of(second)["type"] == "cancelled"


async def test_a_thousand_calls_with_mixed_outcomes_leave_nothing_behind(autojump_clock):
    """One message each, in order; no task or thread is left."""

    async def mixed(arguments):
        n = arguments["n"]
        await trio.sleep(n % 7)
        if n % 5 == 0:
            raise ValueError(n)
        if n % 5 == 1:
            await trio.sleep_forever()
        return n

    tools = [
        allm.Tool("mixed", "M.", handler=mixed),
        allm.Tool("sync", "S.", handler=lambda arguments: arguments["n"], timeout=math.inf),
    ]
    calls = [("sync" if n % 10 == 9 else "mixed", {"n": n}) for n in range(1000)]
    step, _ = await run(engine(*calls, tools=tools), tool_timeout=10)
    assert [message.tool_call_id for message in step.tool_results] == [f"c{n}" for n in range(1000)]
    assert sum(message.is_error for message in step.tool_results) == 400
    allm.validate(step.thread)
    await trio.testing.wait_all_tasks_blocked()
    root = trio.lowlevel.current_root_task()
    names = [task.name for nursery in root.child_nurseries for task in nursery.child_tasks]
    assert not any(name.startswith("allm tool") for name in names)


async def test_tool_executor_and_encoder_of_the_engine_are_used():
    """The engine can replace how tools run and how results are encoded."""

    class Executor:
        async def execute(self, tool, tool_call, context):
            await trio.lowlevel.checkpoint()
            return [tool.name, dict(tool_call.arguments)]

    class Encoder:
        def encode(self, value):
            return f"<{value!r}>"

    asked = engine(
        ("x", {"a": 1}), tools=[allm.Tool("x", "X.")], tool_executor=Executor(), tool_result_encoder=Encoder()
    )
    step, _ = await run(asked)
    assert step.tool_results[0].text == "<['x', {'a': 1}]>"


class ScreenshotEncoder:
    """Encodes a result as a text and an image, or as given parts."""

    def __init__(self, *parts):
        self.parts = parts

    def encode(self, value):
        return (allm.TextPart(f"{value}"), *self.parts)


IMAGE = allm.ImagePart(allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png"))


async def test_an_encoder_may_give_parts():
    """A result can have several parts, such as a text and a screenshot."""
    asked = engine(("x", {}), tools=[looking()], tool_result_encoder=ScreenshotEncoder(IMAGE))
    step, _ = await run(asked)
    assert step.tool_results[0].parts == (allm.TextPart("seen"), IMAGE)


async def test_parts_that_are_no_result():
    """Invalid parts from an encoder fail the call, and the model gets an error."""
    asked = engine(("x", {}), tools=[looking()], tool_result_encoder=ScreenshotEncoder("text"))
    step, _ = await run(asked)
    assert step.tool_results[0].is_error
    assert "returned a str; expected one of TextPart, ImagePart" in step.tool_results[0].text


def looking():
    return allm.Tool("x", "X.", handler=lambda _arguments: "seen")


async def test_each_call_is_a_telemetry_span():
    """It is a child of the step's span, and has the error."""
    seen = []
    detach = allm.telemetry.attach(seen.append)
    try:
        await run(engine(("nope", {})))
    finally:
        detach()
    spans = {event.name: event for event in seen if event.phase == "start"}
    [ended] = [event for event in seen if event.name == "tool" and event.phase == "stop"]
    assert ended.parent_id == spans["step"].span_id
    assert ended.attributes["error"].reason == "unknown_tool"


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


async def test_exception_without_a_text_is_the_calls_own_failure():
    """An exception with a broken __str__ is named by its class."""

    def handler(arguments):
        raise Unspeakable

    step, _ = await run(engine(("fail", {}), tools=[allm.Tool("fail", "Fails.", handler=handler)]))
    assert error_of(step.tool_results[0]) == {"type": "handler_raised", "message": "Unspeakable"}


@pytest.mark.parametrize("value", [allm.AskUser(None), allm.AskUser(3), allm.AskUser(""), allm.Halt("")], ids=repr)
async def test_invalid_return_for_a_question_or_reason_that_is_no_text(value):
    """The model gets an error."""
    step, _ = await run(engine(("odd", {}), tools=[allm.Tool("odd", "Is odd.", handler=lambda _: value)]))
    assert error_of(step.tool_results[0])["type"] == "invalid_return"
    assert step.halt is None


@pytest.mark.parametrize("error_type", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_interrupt_in_a_handler_comes_out_as_itself(error_type, asynchronous):
    """A KeyboardInterrupt in a handler is not wrapped in a group."""

    def handler(arguments):
        raise error_type

    async def async_handler(arguments):
        raise error_type

    tool = allm.Tool("stop", "Stops.", handler=async_handler if asynchronous else handler)
    with pytest.raises(error_type):
        trio.run(allm.chat, engine(("stop", {}), ("stop", {}), tools=[tool]), "go")


async def test_sync_handler_may_give_a_coroutine():
    """It is awaited, as for a lambda around an async function."""

    async def add(a):
        return a + 1

    tool = allm.Tool("add", "Adds.", handler=lambda arguments: add(arguments["a"]))
    step, _ = await run(engine(("add", {"a": 1}), tools=[tool]))
    assert [message.text for message in step.tool_results] == ["2"]


def test_result_that_holds_itself_has_no_text_form():
    """A recursive result is a clear error wherever it is encoded."""
    circle = []
    circle.append(circle)
    with pytest.raises(ValueError, match="contains itself"):
        encode_result(circle)


def test_keys_of_a_result_are_those_of_json():
    """Subclasses of int and str are written as numbers and texts."""

    class Metres(int):
        pass

    assert encode_result({None: 1, True: 2, 3: Metres(4), (5, 6): 7}) == '{"null":1,"true":2,"3":4,"[5,6]":7}'


async def test_results_that_wait_for_a_slow_consumer_are_not_lost_at_the_limit(autojump_clock):
    """A call that has run keeps its own result."""
    ran = []

    async def handler(arguments):
        await trio.sleep(1)
        ran.append(arguments)
        return "ran"

    asking = engine(*[("go", {})] * 100, tools=[allm.Tool("go", "Goes.", handler=handler)])
    async with allm.stream(asking, "go", request_timeout=5) as events:
        while not isinstance(await anext(events), allm.MessageCompleted):
            pass
        await trio.sleep(9)
        result = await events.until_done()
    assert result.halted_reason == "error"
    texts = [message.text for message in result.thread.messages if message.role == "tool"]
    assert len(texts) == 100
    assert 1 < texts.count("ran") == len(ran)


async def test_emitting_after_the_turn_is_a_clear_error(autojump_clock):
    """A handler may have kept its context."""
    kept = []

    async def handler(arguments, context):
        kept.append(context)

    await run(engine(("keep", {}), tools=[allm.Tool("keep", "Keeps.", handler=handler)]))
    with pytest.raises(allm.StreamError, match="is over") as caught:
        await kept[0].emit("late")
    assert caught.value.reason == "closed"


async def test_errors_of_a_handlers_own_nursery_are_told_one_by_one():
    """The model gets the messages inside a group."""

    async def fail(text):
        raise ValueError(text)

    async def handler(arguments):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, "no such city")

    step, _ = await run(engine(("look", {}), tools=[allm.Tool("look", "Looks.", handler=handler)]))
    assert error_of(step.tool_results[0]) == {"type": "handler_raised", "message": "no such city"}


def test_time_limit_that_no_clock_can_count_to():
    """A limit beyond the range of a float is rejected."""
    with pytest.raises(allm.ValidationError, match=r"timeout is 1000.*; expected seconds") as caught:
        allm.validate(allm.Tool("t", "d", timeout=10**400))
    assert caught.value.errors == ((("timeout",), "must_be_positive"),)


@pytest.mark.parametrize("handler", [dict, lambda *args: {"n": len(args)}], ids=["built in", "any number"])
async def test_handlers_with_and_without_a_signature(handler):
    """A built-in gets the arguments only; `*args` gets the context too."""
    step, _ = await run(engine(("x", {"n": 2}), tools=[allm.Tool("x", "X.", handler=handler)]))
    assert json.loads(step.tool_results[0].text) == {"n": 2}


# --- a clock that jumps, and worker threads --------------------------------------------------------------------------


def working(name="work", **fields):
    """A sync tool that takes real time, in a thread."""
    return allm.Tool(name, "Works.", handler=lambda arguments: threading.Event().wait(0.05) or "done", **fields)


@pytest.mark.parametrize("options", [{}, {"tool_timeout": 1}, {"request_timeout": 1}, {"tool_timeout": None}])
async def test_a_jumping_clock_waits_for_a_thread(autojump_clock, options):
    """No limit passes while a thread works: neither the tool's, nor the call's, nor one of the test."""
    with trio.fail_after(1):
        step, _ = await run(engine(("work", {}), tools=[working()]), **options)
    assert step.tool_results[0].text == "done"
    assert autojump_clock.autojump_threshold == 0


async def test_a_jumping_clock_waits_for_several_threads(autojump_clock):
    """And then it jumps again: what sleeps beside them costs no time."""
    calls = [("work", {}), ("nap", {"seconds": 500}), ("work", {})]
    step, _ = await run(engine(*calls, tools=[working(), sleeper()]), tool_timeout=1000)
    assert [message.text for message in step.tool_results] == ["done", "slept 500", "done"]
    assert trio.current_time() >= 500
    assert autojump_clock.autojump_threshold == 0


async def test_a_thread_that_hangs_under_a_jumping_clock(autojump_clock):
    """It is abandoned after as much real time as its limit."""
    release = threading.Event()
    hanging = allm.Tool("hang", "Hangs.", handler=lambda arguments: release.wait(), timeout=0.05)
    try:
        step, seen = await run(engine(("hang", {}), tools=[hanging]))
    finally:
        release.set()
    assert error_of(step.tool_results[0])["type"] == "timeout"
    assert of(seen, allm.ToolExecutionCompleted)[0].abandoned
    assert autojump_clock.autojump_threshold == 0


async def test_a_thread_that_waits_for_trio_lets_the_clock_jump(autojump_clock):
    """As a sync tool does that calls async code, or returns it."""

    def calls_back(arguments):
        trio.from_thread.run(trio.sleep, 1000)
        return "called"

    def returns_a_coroutine(arguments):
        return sleeper().handler({"seconds": 1000})

    tools = [allm.tool("back", "Calls.", None, calls_back), allm.tool("later", "Returns.", None, returns_a_coroutine)]
    step, _ = await run(engine(("back", {}), ("later", {}), tools=tools), tool_timeout=5000)
    assert [message.text for message in step.tool_results] == ["called", "slept 1000"]


async def test_a_quick_sync_tool_may_run_without_a_thread():
    """In the task of the turn, whatever kind of tool it is; an exception is the same failure as elsewhere."""
    here = []

    @allm.tool(thread=False)
    def quick(n: int, context: allm.ToolContext) -> int:
        """Count."""
        here.append(trio.lowlevel.in_trio_task())
        return 10 // n

    plain = allm.tool(
        "plain", "Count.", None, lambda arguments: here.append(trio.lowlevel.in_trio_task()), thread=False
    )
    step, _ = await run(engine(("quick", {"n": 2}), ("quick", {"n": 0}), ("plain", {}), tools=[quick, plain]))
    assert here == [True, True, True]
    assert step.tool_results[0].text == "5"
    assert error_of(step.tool_results[1])["type"] == "handler_raised"


def test_thread_is_a_flag():
    """Anything else is refused with the request."""
    with pytest.raises(allm.ValidationError, match=r"thread.*expected True or False"):
        allm.validate(allm.Request([allm.user("hi")], tools=[allm.Tool("a", "b", thread="no")]))
