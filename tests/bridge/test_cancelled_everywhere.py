"""The cases of the conformance suites on cancellation, for calls from an event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import trio

import allm
import allm.aio
import allm.blocking
from allm import fake
from allm.aio.calls import Waiter
from allm.blocking.blocks import BlockingBlock
from allm.data.json.codec import from_json, to_json
from allm.providers import Anthropic, Fake, Gemini, OpenAI
from allm.testing import StreamAdapterConformance
from allm.testing.conformance.lifetime_cases import AT_ONCE
from allm.testing.conformance.samples import failure, short_response
from allm.testing.leaks import after_settling
from bridge.cancelling import SECONDS, CountingLoop, cancel_everywhere
from bridge.on_asyncio import tasks_in_trio

BOTH = pytest.mark.parametrize("where", ["trio", "loop"])


class OpenAIChat(StreamAdapterConformance):
    wire_format = "openai"

    def make_adapter(self, setup):
        return OpenAI(base_url=f"{setup.base_url}/v1", api_key=setup.api_key, endpoint="chat_completions")


class OpenAIResponses(StreamAdapterConformance):
    wire_format = "openai_responses"

    def make_adapter(self, setup):
        return OpenAI(base_url=f"{setup.base_url}/v1", api_key=setup.api_key, endpoint="responses")


class OfAnthropic(StreamAdapterConformance):
    wire_format = "anthropic"

    def make_adapter(self, setup):
        return Anthropic(base_url=setup.base_url, api_key=setup.api_key)


class OfGemini(StreamAdapterConformance):
    wire_format = "gemini"

    def make_adapter(self, setup):
        return Gemini(base_url=setup.base_url, api_key=setup.api_key)


SUITES = [OpenAIChat, OpenAIResponses, OfAnthropic, OfGemini]


@pytest.fixture(params=SUITES, ids=lambda suite: suite.__name__)
def suite(request):
    return request.param()


async def settled(server):
    """Wait until every request has its outcome, and no connection is open except a reusable one."""

    def is_settled():
        done = [request.outcome for request in server.requests]
        return None not in done and server.connections <= ("completed" in done)

    with trio.fail_after(10):
        await server._wait(is_settled)


@BOTH
@pytest.mark.parametrize("retried", [False, True], ids=["at_once", "retried"])
def test_cancel_at_every_moment(suite, where, retried):
    """No task is left, the partial response is valid, the connection is closed, and the next call works."""
    script = short_response(suite.capabilities)
    scripts = [(fake.error(failure("provider_unavailable")),)] * retried + [script, script]
    replies = [suite._in_pieces(one) for one in scripts]
    whole, results = [], []

    async def call(stage):
        async with allm.aio.stream_generate(stage.engine(retry=AT_ONCE), "hi", tools=suite.tools) as events:
            results[:] = [events.result]
            async for _ in events:
                pass
        return events.result()

    async def check(one):
        if one.number == 0:
            whole.append(one.result)
        elif results:
            response = results.pop()()
            assert from_json(to_json(response)) == response
            assert whole[0].output_text.startswith(response.output_text)
            assert response.error is None
            if not one.caught:
                assert response.message == whole[0].message
        await allm.aio.run(settled, one.stage.server)
        one.stage.server.default = replies[-1]
        response = await allm.aio.generate(one.stage.engine(retry=AT_ONCE), "hi", tools=suite.tools)
        assert response.message == whole[0].message

    cancel_everywhere(call, lambda: suite.playing(*replies), check=check, where=where)


@BOTH
@pytest.mark.parametrize("how", ["timeout", "interrupt"])
def test_other_ways_to_cancel(where, how):
    """A time limit of the loop, and Ctrl-C, leave as little behind; a call without a stream is the same."""
    suite = OpenAIChat()
    replies = [suite._in_pieces(short_response(suite.capabilities))] * 2

    async def call(stage):
        await allm.aio.generate(stage.engine(), "hi", tools=suite.tools)
        async with allm.aio.stream_generate(stage.engine(), "hi", tools=suite.tools) as events:
            return await events.until_done()

    async def check(one):
        if not one.caught:
            assert one.result.output_text == "Hello you"
        await allm.aio.run(settled, one.stage.server)

    cancel_everywhere(call, lambda: suite.playing(*replies), check=check, where=where, how=how)


CALLS = (fake.tool_call("double", {"n": 3}, id="call_1"), fake.tool_call("triple", {"n": 3}, id="call_2"))
TEXT = (fake.text("Six and "), fake.text("nine."))


class Tools:
    """An async and a sync tool, and what they were doing."""

    def __init__(self):
        self.running = []

    def made(self):
        @allm.tool
        async def double(n: int) -> int:
            """Double."""
            self.running.append("double")
            try:
                for _ in range(4):
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                await asyncio.sleep(0)  # the call waits for this too, and a second cancellation would interrupt it
                self.running.remove("double")
                raise
            self.running.remove("double")  # after the last `await`: a cancellation that finds none does not come here
            return 2 * n

        @allm.tool
        def triple(n: int) -> int:
            """Triple."""
            return 3 * n

        return [double, triple]


@BOTH
@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_cancel_a_turn_of_a_session_at_every_moment(suite, where, scheme, tmp_path):
    """Async tools have ended, the session is saved with all that was read, its calls are answered, and it goes on."""
    if scheme == "sqlite" and suite.wire_format != "openai":
        pytest.skip("of the store, which is the same for every provider")
    replies = [suite._in_pieces(one) for one in (CALLS, TEXT)]
    in_memory = allm.aio.session.open_store("memory://")
    ids, tools, outcomes = [], Tools(), []

    @asynccontextmanager
    async def opened():
        if scheme == "memory":
            yield in_memory
            return
        async with allm.aio.session.open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
            yield store

    def around():
        ids.append(f"session {len(ids)}")
        outcomes.clear()
        return suite.playing(*replies)

    async def call(stage):
        async with opened() as store, store.turn(ids[-1]) as lease:
            block = lease.stream_start(stage.engine(), "hi", tools=tools.made(), on_event=lambda _: None)
            async with block as events:
                outcomes.append(events.outcome)
                async for _ in events:
                    pass
        return events.outcome()[0]

    async def check(one):
        assert tools.running == []
        if not one.caught:
            assert one.result.thread.messages[-1].text == "Six and nine."
        await allm.aio.run(settled, one.stage.server)
        one.stage.server._queue.clear()
        one.stage.server.default = replies[-1]
        async with opened() as store:
            saved = None
            if ids[-1] in await store.ids():
                saved, _ = await store.load(ids[-1])
            if outcomes:
                assert saved is not None
                read = outcomes[0]()[0].thread.messages
                kept = saved.thread.messages[: len(read)]  # what tools have done is kept also if nobody has read it
                assert [message.role for message in kept] == [message.role for message in read]
                both = [pair for pair in zip(kept, read, strict=True) if pair[0].role != "tool"]
                assert all(whole.text.startswith(part.text) for whole, part in both)
            async with store.turn(ids[-1]) as lease:  # nobody holds it
                begin = lease.start if saved is None else lease.reply
                result = await begin(one.stage.engine(), "Go on")
                assert result.output_text == "Six and nine."
            await store.delete(ids[-1])
        return saved

    stride = 1 if scheme == "memory" and suite.wire_format == "openai" else 3 if scheme == "memory" else 5
    cancel_everywhere(call, around, check=check, where=where, stride=stride)


async def generate(engine):
    await allm.aio.generate(engine, "hi")


async def stream(engine):
    async with allm.aio.stream_generate(engine, "hi") as events:
        await events.until_done()


async def hold(engine):
    async with allm.aio.stream_generate(engine, "hi") as events:
        await anext(events)
        await asyncio.get_running_loop().create_future()


async def use_a_tool(engine):
    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        await asyncio.get_running_loop().create_future()
        return n

    await allm.aio.chat(engine, "hi", tools=[double])


def more_tasks():
    """A function that finds the tasks of the Trio thread that are more than now."""
    before = Counter([*tasks_in_trio(), "allm run.<locals>.<lambda>"])  # the last is what looks

    def more():
        # A collection in another thread makes one here do nothing while it runs, so one is not enough.
        gc.collect()
        return sorted((Counter(tasks_in_trio()) - before).elements())

    return more


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # a task that the loop had not begun
@pytest.mark.parametrize("call", [generate, stream, hold, use_a_tool])
def test_a_loop_that_is_closed(call, caplog):
    """A call whose loop is stopped and closed at any moment ends when nobody refers to its task any more."""
    caplog.set_level("CRITICAL", "asyncio")  # which says that a task was pending
    script = [fake.tool_call("double", {"n": 3})] if call is use_a_tool else [fake.text("Half"), fake.delay(1000)]
    suite = OpenAIChat()
    with BlockingBlock(suite.playing(default=suite.make_reply(script)), lambda stage, _: stage) as stage:
        more = more_tasks()
        at, timed_out = 0, False
        while not timed_out:
            at += 1
            loop = CountingLoop()
            loop.at, loop.cut = at, loop.stop
            task = loop.create_task(call(stage.engine()))
            loop.call_later(0.3, loop.stop)
            loop.run_forever()
            timed_out = loop.passes < at
            loop.close()
            assert not task.done()
            del task, loop
            gc.collect()
            allm.blocking.run(settled, stage.server)
            assert allm.blocking.run(after_settling, more) == []
        assert at > 1


def test_a_loop_that_is_closed_while_it_is_woken(monkeypatch, caplog):
    """Its task is collected, and its call ends, although the Trio thread is telling it that its block is open."""
    caplog.set_level("CRITICAL", "asyncio")
    soon, is_telling, go_on = Waiter.soon, threading.Event(), threading.Event()

    def soon_and_wait(waiter, function):
        soon(waiter, function)
        if not is_telling.is_set():
            is_telling.set()
            waiter._loop.call_soon_threadsafe(waiter._loop.stop)
            assert go_on.wait(SECONDS)

    monkeypatch.setattr(Waiter, "soon", soon_and_wait)
    more = more_tasks()
    loop = asyncio.SelectorEventLoop()
    engine = allm.Engine(adapter=Fake(scripts=[[fake.text("Half"), fake.delay(1000)]]))
    task = loop.create_task(stream(engine))
    try:
        loop.run_forever()
        for _ in range(3):  # it enters the block and reads
            loop.call_soon(loop.stop)
            loop.run_forever()
        loop.close()
        assert not task.done()
        found = weakref.ref(task)
        del task, loop
        gc.collect()
        assert found() is None
    finally:
        go_on.set()
    assert allm.blocking.run(after_settling, more) == []
