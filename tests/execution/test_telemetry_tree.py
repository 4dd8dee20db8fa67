"""The tree of telemetry spans: request, turn, step, model call, retry, tool, and the calls inside of a tool."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import time
from contextlib import contextmanager, suppress

import pytest
import trio

import allm
from allm import fake, telemetry
from allm.providers import Fake

BUSY = allm.AdapterError("try later", reason="overloaded", provider="fake")
CANARY = "canary-in-the-mine"
RETRY = allm.RetryPolicy(base_delay=0.5, jitter=0)


@contextmanager
def listening(**options):
    """The events of the block; each span that began has ended once, after all inside of it."""
    heard = []
    detach = telemetry.attach(heard.append, **options)
    try:
        yield heard
    finally:
        detach()
    open_spans = {}
    for event in heard:
        if event.phase == "start":
            assert event.parent_id is None or event.parent_id in open_spans, event
            open_spans[event.span_id] = event
        elif event.phase == "event":
            assert event.parent_id in open_spans, event
        else:
            assert open_spans.pop(event.span_id).name == event.name
            assert event.span_id not in {each.parent_id for each in open_spans.values()}, event
            assert event.duration >= 0
    assert not open_spans


def tree(heard):
    """Each span and event by its path of names, in the order in which they began."""
    paths = {None: ""}
    found = []
    for event in heard:
        if event.phase in {"start", "event"}:
            paths[event.span_id] = path = f"{paths[event.parent_id]} > {event.name}".removeprefix(" > ")
            found.append(path)
    return found


def ended(heard, name):
    """The last events of the spans of this name."""
    return [event for event in heard if event.name == name and event.phase in {"stop", "exception"}]


def inner_engine():
    return allm.Engine(adapter=Fake(scripts=[[fake.text("inner")]] * 3), model="inner")


async def ask_inside():
    return (await allm.generate(inner_engine(), "hi")).output_text


def in_thread():
    return trio.from_thread.run(ask_inside)


def looking(handler=lambda _arguments: "seen"):
    return allm.Tool("look", "Looks.", handler=handler)


def turn_engine(**options):
    scripts = [[fake.error(BUSY)], [fake.tool_call("look", {})], [fake.text("done")]]
    return allm.Engine(adapter=Fake(scripts=scripts), model="m", retry=RETRY, **options)


TURN = [
    "chat",
    "chat > step",
    "chat > step > model_call",
    "chat > step > model_call > adapter.retry",
    "chat > step > tool",
    "chat > step > tool > generate",
    "chat > step",
    "chat > step > model_call",
]


@pytest.mark.parametrize("handler", [ask_inside, in_thread])
async def test_a_turn_is_a_tree(handler, autojump_clock):
    """A call made in a tool, in a task or in a thread, is a child of the tool; a retry belongs to its model call."""
    with listening() as heard:
        result = await allm.chat(turn_engine(), "hi", tools=[looking(lambda _: handler())])
    assert result.output_text == "done"
    assert tree(heard) == TURN
    [retry] = [event for event in heard if event.phase == "event"]
    assert {name: retry.attributes[name] for name in ("attempt", "reason", "delay", "provider")} == {
        "attempt": 1,
        "reason": "overloaded",
        "delay": 0.5,
        "provider": "fake",
    }
    first, second = ended(heard, "model_call")
    assert first.attributes["provider"] == "fake"
    assert (first.attributes["finish_reason"], second.attributes["finish_reason"]) == ("tool_calls", "stop")
    assert first.attributes["time_to_first_event"] == first.attributes["time_to_first_token"] == 0.5


def test_a_turn_is_a_tree_on_asyncio():
    """With a tool on the event loop that calls a model through `allm.aio`, inside of a span of the program."""

    async def handler(_arguments):
        assert telemetry.current_span().name == "tool"
        return (await allm.aio.generate(inner_engine(), "hi")).output_text

    async def main():
        with telemetry.span("request", path="/ask"):
            engine = allm.Engine(adapter=Fake(scripts=[[fake.tool_call("look", {})], [fake.text("done")]]), model="m")
            await allm.aio.chat(engine, "hi", tools=[looking(handler)])

    with listening() as heard:
        asyncio.run(main())
    assert tree(heard) == ["request", *(f"request > {path}" for path in TURN if "retry" not in path)]
    assert heard[0].attributes == {"path": "/ask"}


def test_a_turn_is_a_tree_in_a_thread():
    """With a sync tool in the caller's thread that calls a model through `allm.blocking`."""

    def handler(_arguments):
        return allm.blocking.generate(inner_engine(), "hi").output_text

    with listening() as heard:
        engine = allm.Engine(adapter=Fake(scripts=[[fake.tool_call("look", {})], [fake.text("done")]]), model="m")
        allm.blocking.chat(engine, "hi", tools=[looking(handler)])
    assert tree(heard) == [path for path in TURN if "retry" not in path]


async def test_a_turn_inside_of_a_tool():
    """A sub-agent is a turn below its tool, as a stream too."""

    async def handler(_arguments):
        engine = allm.Engine(adapter=Fake(script=[fake.text("sub")]), model="m")
        async with allm.stream(engine, "hi") as events:
            return (await events.until_done()).output_text

    engine = allm.Engine(adapter=Fake(scripts=[[fake.tool_call("look", {})], [fake.text("done")]]), model="m")
    with listening() as heard:
        async with allm.stream(engine, "hi", tools=[looking(handler)]) as events:
            assert telemetry.current_span() is None
            async for _ in events:
                assert telemetry.current_span() is None  # the reader does not work for the span
    assert tree(heard)[3:6] == [
        "chat > step > tool",
        "chat > step > tool > chat",
        "chat > step > tool > chat > step",
    ]


async def test_a_span_of_the_program_holds_what_its_tasks_do():
    """Calls side by side have it as their parent; its own attributes are on its last event."""
    with listening() as heard:
        with telemetry.span("request", user=3) as span:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(ask_inside)
            span.attributes["answers"] = 3
        await ask_inside()
    assert tree(heard) == ["request", *["request > generate"] * 3, "generate"]
    [event] = ended(heard, "request")
    assert event.attributes == {"user": 3, "answers": 3}


async def test_answers_that_do_not_fit_are_model_calls_of_their_own():
    """A call that asks again has one span for each model call, and the usage of all."""
    engine = allm.Engine(
        adapter=Fake(
            scripts=[[fake.text("x"), fake.usage(output_tokens=1)], [fake.text("3"), fake.usage(output_tokens=2)]]
        ),
        model="m",
    )
    with listening() as heard:
        await allm.generate(engine, "hi", response_format=int, validation_retries=1)
    assert tree(heard) == ["generate", "generate > model_call", "generate > model_call"]
    assert [event.attributes["usage"].output_tokens for event in ended(heard, "model_call")] == [1, 2]
    assert ended(heard, "generate")[0].attributes["usage"].output_tokens == 3


@pytest.mark.parametrize("step", range(12))
async def test_a_turn_that_is_cancelled_says_so_in_every_open_span(step, autojump_clock):
    """At every time: each span that has begun ends once, and those that were running are `cancelled`."""

    async def handler(_arguments):
        await trio.sleep(2)
        return (
            await allm.generate(allm.Engine(adapter=Fake(script=[fake.delay(3), fake.text("x")])), "hi")
        ).output_text

    scripts = [[fake.delay(2), fake.error(BUSY)], [fake.delay(1), fake.tool_call("look", {})], [fake.delay(9)]]
    engine = allm.Engine(adapter=Fake(scripts=scripts), model="m", retry=RETRY)
    tools = [looking(handler)]
    with listening() as heard:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functools.partial(allm.chat, engine, "hi", tools=tools))
            await trio.sleep(step + 0.25)  # not a deadline, which a retry would not wait for
            nursery.cancel_scope.cancel()
    [turn] = ended(heard, "chat")
    assert turn.attributes["cancelled"]
    newest = heard[-len([e for e in heard if e.attributes.get("cancelled")]) :]
    assert all(event.attributes.get("cancelled") for event in newest)
    assert len(newest) >= 3


async def test_a_stream_that_is_left_early_is_cut_short():
    """The turn is `halted`, and what ran for it was cancelled."""
    engine = allm.Engine(adapter=Fake(script=[fake.text("a"), fake.delay(9), fake.text("b")]), model="m")
    with listening() as heard:
        async with allm.stream(engine, "hi") as events:
            async for _ in events:
                break
    assert [(event.name, event.attributes["cancelled"]) for event in heard if event.phase == "stop"] == [
        ("model_call", True),
        ("step", True),
        ("chat", True),
    ]
    assert heard[-1].attributes["outcome"] == "halted"


async def test_a_stream_whose_last_event_was_read_is_complete():
    """Leaving the block after the last event cuts nothing short."""
    with listening() as heard:
        async with allm.stream_generate(inner_engine(), "hi") as events:
            async for event in events:
                if isinstance(event, allm.MessageCompleted):
                    break
    assert heard[-1].attributes["outcome"] == "completed"
    assert "cancelled" not in heard[-1].attributes


async def test_a_failing_function_of_the_program_ends_the_spans(autojump_clock):
    """They end in the phase `exception`, with the error."""

    def fails(_step):
        raise KeyError("no")

    with listening() as heard, suppress(KeyError):
        await allm.chat(turn_engine(), "hi", halt_when=fails, tools=[looking()])
    [turn] = ended(heard, "chat")
    assert turn.phase == "exception"
    assert isinstance(turn.attributes["error"], KeyError)
    with listening() as heard, suppress(KeyError), telemetry.span("request"):
        raise KeyError("no")
    assert heard[-1].phase == "exception"
    with listening() as heard, suppress(KeyError):
        await allm.generate(inner_engine(), "hi", on_event=fails)
    assert [event.phase for event in heard] == ["start", "exception"]
    assert heard[-1].attributes["outcome"] == "failed"


async def test_the_time_limit_of_a_turn_is_its_failure(autojump_clock):
    """What ran at that time was cancelled."""
    engine = allm.Engine(adapter=Fake(script=[fake.delay(9)]), model="m")
    with listening() as heard:
        await allm.chat(engine, "hi", request_timeout=2)
    assert ended(heard, "chat")[0].attributes["error"].reason == "timeout"
    assert ended(heard, "chat")[0].attributes["outcome"] == "failed"
    assert ended(heard, "model_call")[0].attributes["cancelled"]


async def test_a_turn_of_a_session_has_its_id():
    """In the turn, the steps and the model calls."""
    with listening() as heard:
        async with allm.session.open_store("memory://") as store, store.turn("s-1") as turn:
            await turn.reply(inner_engine(), "hi")
    assert {event.name: event.attributes.get("session_id") for event in heard} == {
        "chat": "s-1",
        "step": "s-1",
        "model_call": "s-1",
    }


async def secret_turn():
    engine = allm.Engine(
        adapter=Fake(scripts=[[fake.tool_call("look", {"where": CANARY})], [fake.text(CANARY)]]), model="m"
    )
    tool = looking(lambda arguments: arguments["where"])
    with telemetry.span("request", content=lambda: {"said": CANARY}):
        return await allm.chat(engine, [allm.system(CANARY), allm.user(CANARY)], tools=[tool])


async def test_content_is_for_those_who_ask():
    """Without `content=True` nothing of what was said is in an event, beside a handler that asks for it."""
    with listening() as plain, listening(content=True) as whole:
        await secret_turn()
    assert all(event.content is None for event in plain)
    assert CANARY not in json.dumps([event.to_dict() for event in plain])
    assert CANARY not in repr(plain)
    assert [event.attributes.keys() for event in plain] == [event.attributes.keys() for event in whole]
    found = {(event.name, event.phase, key) for event in whole for key in event.content}
    assert found == {
        ("request", "start", "said"),
        *((name, "start", "messages") for name in ("chat", "model_call")),
        *((name, "start", "tools") for name in ("chat", "model_call")),
        *((name, "stop", "message") for name in ("chat", "model_call")),
        ("tool", "start", "arguments"),
        ("tool", "stop", "result"),
    }
    last = [event.to_dict() for event in whole if event.name == "chat"][-1]
    assert CANARY in json.dumps(last["content"]["message"])


async def test_content_is_made_only_for_those_who_ask():
    """Its functions are not called otherwise."""

    def never():
        raise AssertionError("nobody asked")

    with listening() as heard, telemetry.span("request", content=never):
        pass
    assert len(heard) == 2
    with telemetry.span("request", content=never):  # nobody listens
        pass


async def test_times_are_those_of_the_day_too():
    """They move with `perf_counter` through the whole tree, whatever happens to the clock of the machine."""
    before = time.time()
    with listening() as heard:
        await secret_turn()
    after = time.time()
    assert before - 1 <= heard[0].timestamp <= heard[-1].timestamp <= after + 1
    first = heard[0]
    for event in heard:
        assert event.timestamp - first.timestamp == pytest.approx(event.time - first.time, abs=1e-5)


async def test_every_event_is_json(autojump_clock):
    """Also with usage, errors, content and a value that has no form."""
    odd = {"odd": object(), "many": {1: b"xx"}, "deep": float("inf")}
    with listening(content=True) as heard, telemetry.span("request", odd):
        await secret_turn()
        await allm.generate(allm.Engine(adapter=Fake(script=[fake.error(BUSY)]), model="m", retry=None), "hi")
    texts = [json.dumps(event.to_dict(), allow_nan=False) for event in heard]
    failed = json.loads(texts[-2])["attributes"]["error"]
    assert (failed["type"], failed["reason"], failed["model"]) == ("AdapterError", "overloaded", "m")
    assert json.loads(texts[0])["attributes"]["many"] == {"1": {"bytes": 2}}


async def test_embeddings_of_a_tool_are_its_own():
    """Services are spans below the tool too, and tell their usage; nothing of the texts."""

    async def handler(_arguments):
        engine = allm.Engine(embedding_adapter=allm.providers.FakeEmbeddings(), embedding_model="e")
        await allm.embed(engine, [CANARY])

    engine = allm.Engine(adapter=Fake(scripts=[[fake.tool_call("look", {})], [fake.text("done")]]), model="m")
    with listening() as heard:
        await allm.chat(engine, "hi", tools=[looking(handler)])
    assert "chat > step > tool > embed" in tree(heard)
    [embed] = ended(heard, "embed")
    assert embed.attributes["outcome"] == "completed"
    assert embed.attributes["usage"] is not None
    assert CANARY not in repr(heard)


async def test_a_handler_is_not_told_the_end_of_what_began_before_it():
    """Attached within a span that another handler knows, it hears of the spans that begin from then on."""
    late = []
    with listening(), telemetry.span("request"):
        detach = telemetry.attach(late.append)
        await ask_inside()
    detach()
    assert [(event.name, event.phase) for event in late] == [("generate", "start"), ("generate", "stop")]


async def test_content_that_cannot_be_made_is_logged(caplog):
    """The span is told without it, and the call goes on."""

    def fails():
        raise ValueError("no")

    with listening(content=True) as heard, telemetry.span("request", content=fails):
        assert await ask_inside() == "inner"
    assert heard[0].content == {}
    assert tree(heard) == ["request", "request > generate"]
    assert "could not be made" in caplog.text


async def test_tasks_of_a_span_run_in_what_a_handler_puts_around_it():
    """`around` is entered where work for the span is done: in tools and in their threads, and left with it."""
    var = contextvars.ContextVar("mine", default=0)
    seen = []

    @contextmanager
    def around(span_id):
        token = var.set(span_id)
        try:
            yield
        finally:
            var.reset(token)

    heard = []
    detach = telemetry.attach(heard.append, around=around)
    engine = allm.Engine(adapter=Fake(scripts=[[fake.tool_call("look", {})], [fake.text("done")]]), model="m")
    await allm.chat(engine, "hi", tools=[looking(lambda _arguments: seen.append(var.get()))])
    detach()
    [tool] = ended(heard, "tool")
    assert seen == [tool.span_id]
    assert var.get() == 0


class Breaks:
    """A context manager that fails on entering or on leaving."""

    def __init__(self, when):
        self.when = when

    def __enter__(self):
        if self.when == "entering":
            raise ValueError("no")

    def __exit__(self, *_):
        raise ValueError("no")


@pytest.mark.parametrize("when", ["making", "entering", "leaving"])
async def test_a_broken_around_is_logged_and_detached(when, caplog):
    """The call goes on."""

    def around(_span_id):
        if when == "making":
            raise ValueError("no")
        return Breaks(when)

    telemetry.attach(lambda _event: None, around=around)
    with listening() as heard:
        assert await ask_inside() == "inner"
    assert len(heard) == 2
    assert "is detached" in caplog.text


def test_a_stream_on_asyncio_that_is_left_early():
    """Its spans are below the program's and end once, cut short; the reader does not work for them."""
    engine = allm.Engine(adapter=Fake(script=[fake.text("a"), fake.delay(60), fake.text("b")]), model="m")

    async def main():
        with telemetry.span("request") as request:
            async with allm.aio.stream(engine, "hi") as events:
                async for _ in events:
                    assert telemetry.current_span() is request
                    break

    with listening() as heard:
        asyncio.run(main())
    assert tree(heard) == [
        "request",
        "request > chat",
        "request > chat > step",
        "request > chat > step > model_call",
    ]
    assert all(event.attributes["cancelled"] for event in heard if event.phase == "stop" and event.name != "request")


def test_a_task_on_asyncio_that_is_cancelled():
    """The span of the program and all below it are `cancelled`."""
    engine = allm.Engine(adapter=Fake(script=[fake.delay(60)]), model="m")

    async def call():
        with telemetry.span("request"):
            await allm.aio.chat(engine, "hi")

    async def main():
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def begun(event):
            if event.name == "model_call":
                loop.call_soon_threadsafe(started.set)

        detach = telemetry.attach(begun)
        task = asyncio.create_task(call())
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        detach()

    with listening() as heard:
        asyncio.run(main())
    assert [(event.name, event.attributes["cancelled"]) for event in heard if event.phase == "stop"] == [
        (name, True) for name in ("model_call", "step", "chat", "request")
    ]


async def test_functions_of_the_program_work_for_the_turn():
    """A call made in `on_event` is below the turn, one in `before_step` too."""
    called = []

    async def once(_given):
        if not called:
            called.append(1)
            await ask_inside()

    for name in ("on_event", "before_step"):
        called.clear()
        with listening() as heard:
            await allm.chat(inner_engine(), "hi", **{name: once})
        assert "chat > generate" in tree(heard), name


async def test_a_single_step_is_one_span():
    """`allm.step` has the span of its step, and below it those of its model call and tools."""
    engine = allm.Engine(adapter=Fake(script=[fake.tool_call("look", {})]), model="m")
    with listening(content=True) as heard:
        await allm.step(engine, "hi", tools=[looking()])
    assert tree(heard) == ["step", "step > model_call", "step > tool"]
    assert heard[-1].content["message"].tool_calls[0].name == "look"
