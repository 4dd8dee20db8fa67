"""The stream for its consumer: exceptions, order, filters, misuse, back-pressure."""

from __future__ import annotations

import asyncio
import gc
import signal
import weakref

import attrs
import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.execution.stream import event_stream


def engine(*items, **fields):
    return allm.Engine(adapter=allm.providers.Fake(script=list(items)), **fields)


@attrs.define
class Adapter:
    """An adapter made of one function."""

    play: object
    provider: str = "test"
    requires_model = False
    calls: int = 0

    def prepare(self, request, options):
        return request

    async def stream(self, prepared, emit):
        self.calls += 1
        await self.play(emit)


def adapted(play, **fields):
    return allm.Engine(adapter=Adapter(play), **fields)


DONE = allm.MessageCompleted(allm.assistant("x"), "stop")


async def collect(stream):
    async with stream as events:
        return [event async for event in events], events


async def test_generate_is_the_fold_of_the_stream():
    """`generate` and the stream give the same response."""
    items = [fake.reasoning("hm"), fake.text("a"), fake.tool_call("f", {"x": 1}), fake.text("b")]
    seen, events = await collect(allm.stream_generate(engine(*items), "hi"))
    assert events.result() == await allm.generate(engine(*items), "hi")
    fold = allm.StreamCollector()
    for event in seen:
        fold.add(event)
    assert fold.response() == events.result()


async def test_every_prefix_folds_to_a_valid_response():
    """Any prefix is a response that survives JSON."""
    items = [
        fake.reasoning("hm"),
        fake.text("a"),
        fake.tool_call_delta("c1", '{"x"'),
        fake.error(allm.AdapterError("no")),
    ]
    async with allm.stream_generate(engine(*items), "hi") as events:
        prefixes = [events.result()]
        async for _ in events:
            prefixes.append(events.result())
    for response in prefixes:
        assert allm.from_json(allm.to_json(response)) == response
    assert [response.finish_reason for response in prefixes[:-1]] == [None] * (len(prefixes) - 1)
    assert prefixes[-1].finish_reason == "error"
    assert prefixes[-1].output_text == "a"
    assert prefixes[-1].tool_calls[0].metadata == {"incomplete": True}


async def test_nothing_is_sent_before_the_first_event_is_asked_for():
    """Entering the block starts nothing."""
    adapter = Adapter(lambda emit: emit(DONE))
    async with allm.stream_generate(allm.Engine(adapter=adapter), "hi"):
        await trio.testing.wait_all_tasks_blocked()
        assert adapter.calls == 0


async def test_body_exception_comes_out_as_itself():
    """It has no group and no extra context, also if it is a group itself."""
    for error in (KeyError("mine"), ExceptionGroup("mine", [ValueError("x")]), StopAsyncIteration("mine")):
        with pytest.raises(BaseException) as caught:  # noqa: PT011
            async with allm.stream_generate(engine(fake.text("x"), fake.delay(9)), "hi") as events:
                await anext(events)
                raise error
        assert caught.value is error or caught.value.__cause__ is error
        assert caught.value.__context__ is None or caught.value.__cause__ is error


async def test_body_exception_is_not_kept_alive():
    """No frame of the library keeps a reference to it."""

    class Mine(Exception):
        pass

    def run():
        error = Mine()
        return error, weakref.ref(error)

    error, ref = run()
    with pytest.raises(Mine):
        async with allm.stream_generate(engine(fake.text("x")), "hi") as events:
            await anext(events)
            raise error
    del error
    gc.collect()
    assert ref() is None or not gc.garbage


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_on_event_exception_reaches_the_consumer_as_itself(asynchronous):
    """It is raised after the events before it; the result is kept."""
    error = LookupError("observer")

    def observe(event):
        if isinstance(event, allm.TextDelta) and event.delta == "b":
            raise error

    async def observe_later(event):
        await trio.lowlevel.checkpoint()
        observe(event)

    items = [fake.text("a"), fake.text("b"), fake.text("c")]
    seen = []
    with pytest.raises(LookupError) as caught:
        async with allm.stream_generate(
            engine(*items), "hi", on_event=observe_later if asynchronous else observe
        ) as events:
            async for event in events:
                seen.append(event)
    assert caught.value is error
    assert [type(event).__name__ for event in seen] == ["MessageStarted", "TextDelta"]
    assert events.result().output_text == "a"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("number", range(6))
async def test_on_event_may_fail_at_any_event(asynchronous, hidden, number):
    """At any event of a burst, it is raised after the events before it."""
    error, left = LookupError("observer"), [number]

    def observe(event):
        left[0] -= 1
        if left[0] < 0:
            raise error

    async def observe_later(event):
        observe(event)

    items = [fake.text("a b"), fake.delay(0), fake.text("c"), fake.usage(input_tokens=1)]
    with pytest.raises(LookupError) as caught:
        await allm.generate(
            engine(*items), "hi", on_event=observe_later if asynchronous else observe, emit_text_deltas=not hidden
        )
    assert caught.value is error


async def test_on_event_cannot_end_the_iteration():
    """StopAsyncIteration from `on_event` is an error, not the end."""

    def observe(event):
        raise StopAsyncIteration

    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        await allm.generate(engine(fake.text("a")), "hi", on_event=observe)


async def test_events_have_numbers(autojump_clock):
    """Their places in the stream: also in the middle of a burst, after a read that was cancelled, and after the end."""
    items = [fake.text("a"), fake.delay(1), fake.text("b"), fake.tool_call("f", {"x": 1}), fake.text("c")]
    async with allm.stream_generate(engine(*items), "hi") as events:
        assert events.number == 0
        await anext(events)
        await anext(events)
        with trio.move_on_after(0.5):
            await anext(events)
        assert events.number == 2
        numbers = [events.number async for _ in events]
    assert numbers == list(range(3, 3 + len(numbers)))
    assert events.number == numbers[-1]
    async with allm.stream_generate(engine(*items), "hi", emit_text_deltas=False, emit_tool_deltas=False) as events:
        shown = [events.number async for _ in events]
    assert shown == [1, *(number for number in numbers if number in shown)]
    assert len(shown) < shown[-1] == numbers[-1]  # those that are hidden have numbers too


async def test_on_event_sees_every_adapter_event_before_the_filters():
    """It sees them in order, hidden ones included."""
    observed = []
    items = [fake.text("a"), fake.raw("ping", {"n": 1}), fake.tool_call("f", {})]
    seen, events = await collect(
        allm.stream_generate(
            engine(*items), "hi", on_event=observed.append, emit_text_deltas=False, emit_tool_deltas=False
        )
    )
    names = [type(event).__name__ for event in observed]
    assert names[:2] == ["MessageStarted", "TextDelta"]
    assert "RawChunk" not in names  # nobody asked for them
    assert [event for event in observed if event in seen] == seen
    hidden = {"TextDelta", "ToolCallDelta"}
    assert {type(event).__name__ for event in seen}.isdisjoint(hidden)
    assert hidden <= set(names)
    assert events.result() == await allm.generate(engine(*items), "hi")


async def test_raw_chunks_are_shown_when_asked_for():
    """`include_raw_chunks=True` shows the provider's own events."""
    seen, _ = await collect(allm.stream_generate(engine(fake.raw("ping", {"n": 1})), "hi", include_raw_chunks=True))
    assert allm.RawChunk("ping", {"n": 1}) in seen


async def test_adapter_error_reaches_the_user_as_itself():
    """The error in the last event and in the response is the object that was raised."""
    error = allm.AdapterError("no", reason="invalid_request")

    async def play(emit):
        await emit(allm.MessageStarted(), allm.TextDelta("0", "partial"))
        raise error

    seen, events = await collect(allm.stream_generate(adapted(play), "hi"))
    assert seen[-1] == allm.Failed(error)
    assert events.result().error is error
    assert events.result().output_text == "partial"
    with pytest.raises(allm.AdapterError) as caught:
        allm.unwrap(events.result())
    assert caught.value is error


async def test_adapter_defect_is_reported_with_its_cause():
    """Another exception becomes the cause of an AdapterError; the text is kept."""
    defect = KeyError("choices")

    async def play(emit):
        await emit(allm.TextDelta("0", "partial"))
        raise defect

    response = await allm.generate(adapted(play), "hi")
    assert response.error.reason == "unknown"
    assert "KeyError" in response.error.message
    assert response.error.__cause__ is defect
    assert response.output_text == "partial"


async def test_stream_without_an_end_is_truncated():
    """An adapter that returns without a last event gives an error."""
    response = await allm.generate(adapted(lambda emit: emit(allm.TextDelta("0", "part"))), "hi")
    assert response.finish_reason == "error"
    assert response.error.reason == "stream_truncated"
    assert response.output_text == "part"


async def test_events_after_the_end_are_dropped():
    """Later events, in the same burst or another, change nothing."""

    async def play(emit):
        await emit(allm.TextDelta("0", "x"), DONE, allm.TextDelta("0", "late"))
        await emit(allm.TextDelta("0", "later"))

    seen, events = await collect(allm.stream_generate(adapted(play), "hi"))
    assert seen == [allm.TextDelta("0", "x"), DONE]
    assert events.result().finish_reason == "stop"


async def test_text_gives_the_visible_text():
    """Text comes piece by piece, or as whole blocks if deltas are hidden."""
    async with allm.stream_generate(engine(fake.text("a"), fake.reasoning("r"), fake.text("b")), "hi") as events:
        assert [piece async for piece in events.text()] == ["a", "b"]
    quiet = allm.stream_generate(engine(fake.text("a"), fake.text("b")), "hi", emit_text_deltas=False)
    async with quiet as events:
        assert [piece async for piece in events.text()] == ["ab"]


async def test_iterating_outside_the_block_is_a_clear_error():
    """Before the block, the error says `async with`; after it, `result()`."""
    stream = allm.stream_generate(engine(fake.text("a")), "hi")
    with pytest.raises(allm.StreamError, match="async with"):
        async for _ in stream:
            pass
    async with stream as events:
        await anext(events)
    with pytest.raises(allm.StreamError, match="block has been left") as caught:
        await anext(events)
    assert caught.value.reason == "closed"
    with pytest.raises(allm.StreamError):
        await events.until_done()


async def test_two_tasks_cannot_read_one_stream():
    """The second task gets a clear error, the first is not disturbed."""
    async with allm.stream_generate(engine(fake.text("a"), fake.delay(0), fake.text("b")), "hi") as events:
        await anext(events)

        async def second():
            with pytest.raises(allm.StreamError, match="one reader"):
                await events.until_done()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(second)
        assert (await events.until_done()).output_text == "ab"


async def test_second_task_does_not_even_get_what_has_arrived():
    """It is rejected even if events are waiting."""
    async with allm.stream_generate(engine(fake.text("a b c")), "hi") as events:
        await anext(events)

        async def second():
            with pytest.raises(allm.StreamError, match="one reader"):
                await anext(events)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(second)
        assert (await events.until_done()).output_text == "a b c"


async def test_block_left_while_another_task_reads(autojump_clock):
    """The reader gets a StreamError, not one of Trio's channel errors."""

    async def read(events):
        with pytest.raises(allm.StreamError) as caught:
            await events.until_done()
        assert caught.value.reason == "closed"

    stream = allm.stream_generate(engine(fake.text("a"), fake.delay(99)), "hi")
    async with trio.open_nursery() as nursery, stream as events:
        nursery.start_soon(read, events)
        await trio.sleep(1)
    assert events.result().output_text == "a"


def test_another_event_loop_is_a_clear_error():
    """Under asyncio the error names Trio."""
    with pytest.raises(RuntimeError, match="runs on Trio"):
        asyncio.run(allm.generate(engine(fake.text("a")), "hi"))


async def test_stream_is_entered_once():
    """A stream can be entered only once."""
    stream = allm.stream_generate(engine(fake.text("a")), "hi")
    async with stream as events:
        await events.until_done()
    with pytest.raises(allm.StreamError, match="runs once"):
        async with stream:
            pass


async def test_until_done_and_iteration_checkpoint():
    """Reading lets other tasks run and can be cancelled."""
    async with allm.stream_generate(engine(fake.text("a")), "hi") as events:
        with trio.testing.assert_checkpoints():
            await events.until_done()
        with trio.testing.assert_checkpoints():
            await events.until_done()
    with trio.testing.assert_checkpoints():
        await allm.generate(engine(fake.text("a")), "hi")


async def test_slow_consumer_stops_the_adapter():
    """The adapter runs ahead by a bounded number of bursts, then waits."""
    emitted = 0

    async def play(emit):
        nonlocal emitted
        for _ in range(10_000):
            await emit(allm.TextDelta("0", "x"))
            emitted += 1
        await emit(DONE)

    async with allm.stream_generate(adapted(play), "hi", on_event=lambda event: None) as events:
        await anext(events)
        await trio.testing.wait_all_tasks_blocked()
        assert emitted < 300
        await events.until_done()
    assert emitted == 10_000


async def test_consumer_in_a_shielded_scope_can_finish_after_a_cancel():
    """The stages run as long as the body, even if cancelled."""
    with trio.CancelScope() as outer:
        async with allm.stream_generate(engine(fake.text("a"), fake.text("b")), "hi") as events:
            await anext(events)
            outer.cancel()
            with trio.CancelScope(shield=True):
                response = await events.until_done()
    assert response.output_text == "ab"
    assert response.finish_reason == "stop"


async def test_orchestration_options_are_dropped_with_a_debug_line(caplog):
    """Options of the chat loop are logged once and ignored."""
    caplog.set_level("DEBUG", logger="allm")
    await allm.generate(engine(fake.text("a")), "hi", mode="manual", max_turns=3, halt_when=lambda step: True)
    assert [record.args[0] for record in caplog.records] == ["mode", "max_turns", "halt_when"]


async def test_preflight_order():
    """The first missing thing is named, and nothing is sent."""
    with pytest.raises(allm.EngineError) as caught:
        allm.stream_generate(allm.Engine(), [])
    assert caught.value.reason == "missing_adapter"
    with pytest.raises(allm.EngineError) as caught:
        allm.stream_generate(allm.Engine(adapter=object()), [])
    assert caught.value.reason == "missing_stream_adapter"
    openai = allm.Engine(adapter=allm.providers.OpenAI())
    with pytest.raises(allm.ValidationError):
        allm.stream_generate(openai, [])
    with pytest.raises(allm.EngineError) as caught:
        allm.stream_generate(openai, "hi")
    assert caught.value.reason == "missing_model"


async def test_missing_key_names_the_variable(monkeypatch):
    """The error names the environment variable and the other sources."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(allm.EngineError, match="OPENAI_API_KEY") as caught:
        await allm.generate(allm.Engine(adapter=allm.providers.OpenAI(), model="m"), "hi")
    assert caught.value.reason == "missing_key"
    assert "override" in caught.value.message


@pytest.mark.parametrize("error_type", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_a_stage_comes_out_as_itself(error_type):
    """A KeyboardInterrupt may strike in any task."""

    def observe(event):
        raise error_type

    async def main():
        await allm.generate(engine(fake.text("a")), "hi", on_event=observe)

    with pytest.raises(error_type):
        trio.run(main)


@pytest.mark.parametrize("end", ["deadline", "exception"])
def test_interrupt_in_a_task_is_shown_whatever_else_ends_the_block(end):
    """It wins over a deadline and over the body's exception."""

    async def stop(arguments):
        try:
            await trio.sleep(1 if end == "exception" else 99)
        finally:
            raise KeyboardInterrupt

    async def main():
        asking = engine(fake.tool_call("stop"), tools=[allm.Tool("stop", "Stops.", handler=stop)])
        with trio.move_on_after(9):
            async with allm.stream(asking, "go") as events:
                try:
                    await events.until_done()
                finally:
                    if end == "exception":
                        raise LookupError

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_group_of_the_body_comes_out_as_itself():
    """Whatever exceptions it contains."""
    group = BaseExceptionGroup("mine", [KeyboardInterrupt(), LookupError()])

    async def main():
        async with allm.stream_generate(engine(fake.text("a"), fake.delay(99)), "hi") as events:
            await anext(events)
            raise group

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert caught.value is group


def test_interrupt_in_the_body_comes_out_as_itself():
    """Also while the stages are busy."""

    async def main():
        async with allm.stream_generate(engine(fake.text("a"), fake.delay(99)), "hi") as events:
            await anext(events)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


def test_ctrl_c_while_events_are_folded(monkeypatch):
    """What was read is in the result, once, wherever the signal strikes."""
    folded = event_stream.fold_burst

    def interrupted(*args):
        monkeypatch.setattr(event_stream, "fold_burst", folded)
        signal.raise_signal(signal.SIGINT)
        folded(*args)

    events = None
    seen = []

    async def main():
        nonlocal events
        async with allm.stream_generate(engine(fake.text("Four "), fake.text("legs"), fake.delay(60)), "Hi") as events:
            async for event in events:
                if isinstance(event, allm.TextDelta):
                    seen.append(event.delta)
                    monkeypatch.setattr(event_stream, "fold_burst", interrupted)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert seen
    assert events.result().output_text == "".join(seen)
