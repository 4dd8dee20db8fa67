"""Programs on asyncio: calls run on Trio in a thread, functions of the program on its loop, and nothing is left."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import signal
import sys
import threading
import types
import weakref
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

import allm
import allm.aio
from allm import fake
from allm.aio import interrupts
from allm.aio.blocks import AsyncioBlock
from allm.bridge.thread import trio_thread
from allm.execution.nurseries import background_task
from allm.providers import Fake, FakeEmbeddings, FakeSpeech
from allm.testing import Reply
from bridge.on_asyncio import on_asyncio, wire_server

TURN = [[fake.tool_call("double", {"n": 3})], [fake.text("6")]]


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts or [[fake.text("Hello "), fake.text("there.")]]), **fields)


def openai(server):
    adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
    return allm.Engine(adapter=adapter, model="m")


@on_asyncio
async def test_a_response():
    """As `allm.generate` returns it."""
    response = await allm.aio.generate(engine(), "Hi")
    assert allm.unwrap(response) == "Hello there."
    assert isinstance(response, allm.Response)


@on_asyncio
async def test_a_stream():
    """The same events, pieces and results, in the block and after it."""
    async with allm.aio.stream_generate(engine(), "Hi") as events:
        seen = [event async for event in events]
    assert [type(event).__name__ for event in seen] == [
        "MessageStarted",
        "TextDelta",
        "TextDelta",
        "TextCompleted",
        "MessageCompleted",
    ]
    assert events.result().output_text == "Hello there."
    async with allm.aio.stream_generate(engine(), "Hi") as events:
        assert [piece async for piece in events.text()] == ["Hello ", "there."]
    async with allm.aio.stream_generate(engine(), "Hi") as events:
        assert (await events.until_done()).output_text == "Hello there."


@on_asyncio
async def test_structured_output_while_it_streams():
    """Snapshots and items."""
    script = [fake.text('["a", '), fake.text('"b"]')]
    async with allm.aio.stream_generate(engine(script), "Hi", response_format=list[str]) as events:
        assert [item async for item in events.elements()] == ["a", "b"]
    async with allm.aio.stream_generate(engine(script), "Hi", response_format=list[str]) as events:
        assert [value async for value in events.partial_output()][-1] == ["a", "b"]
    assert events.result().parsed() == ["a", "b"]


@on_asyncio
@pytest.mark.parametrize("block", ["stream_generate", "stream", "session.stream_start"])
async def test_the_code_in_the_error_of_a_block_is_that_of_asyncio(block):
    """Whoever forgets to enter it is shown what to write here."""
    module, name = (allm.aio.session, "stream_start") if "." in block else (allm.aio, block)
    with pytest.raises(allm.StreamError, match=r"async with allm\.aio\.[a-z_.]+\(\.\.\.\) as events:"):
        async for _ in getattr(module, name)(engine(), "Hi"):
            raise AssertionError


@on_asyncio
async def test_a_result_is_what_was_read():
    """Not what has arrived and was not read yet."""
    async with allm.aio.stream_generate(engine(), "Hi") as events:
        async for event in events:
            if isinstance(event, allm.TextDelta):
                break
        assert events.result().output_text == "Hello "
    assert events.result().output_text == "Hello "
    with pytest.raises(allm.StreamError, match="block has been left") as caught:
        await anext(events)
    assert "\n    async with allm.aio.stream_generate(...) as events:\n        async for" in str(caught.value)


@on_asyncio
async def test_errors_come_out_as_themselves():
    """Before the call, from the provider, and from a function of the program."""
    with pytest.raises(allm.ValidationError):
        allm.aio.stream_generate(engine(), [])
    with pytest.raises(allm.ValidationError):
        await allm.aio.generate(engine(), [])
    failing = engine([fake.text("Half"), fake.error(allm.AdapterError("gone", reason="malformed_response"))])
    response = await allm.aio.generate(failing, "Hi")
    assert response.error.reason == "malformed_response"

    def fail(_):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await allm.aio.generate(engine(), "Hi", on_event=fail)
    async with allm.aio.stream_generate(engine(), "Hi", on_event=fail) as events:
        with pytest.raises(LookupError, match="mine"):
            await events.until_done()
    with pytest.raises(ZeroDivisionError):
        async with allm.aio.stream_generate(engine(), "Hi") as events:
            _ = 1 // 0


@pytest.mark.parametrize("mistake", ["iter", "aiter", "await", "with"])
def test_a_block_that_is_not_entered(mistake):
    """The library's own sentence, which says what to write."""

    @on_asyncio
    async def main():
        block = allm.aio.stream_generate(engine(), "Hi")
        with pytest.raises(allm.StreamError, match="async with"):
            if mistake == "iter":
                iter(block)
            elif mistake == "aiter":
                aiter(block)
            elif mistake == "await":
                await block
            else:
                with block:
                    pass

    main()


def test_a_host_tells_its_turns_outside_trio():
    """`last_turn` and `running` wait for nothing, and work on the loop and in a plain thread."""

    @on_asyncio
    async def main():
        async with allm.aio.session.open_store("memory://") as store, allm.aio.session.host(store) as host:
            assert host.last_turn("a") is None
            turn = await host.reply("a", engine(), "Hi")
            assert host.last_turn("a") == turn
            await host.until_idle()
            assert (host.last_turn("a"), host.running("a")) == (turn, None)

    main()
    with allm.blocking.session.open_store("memory://") as store, allm.blocking.session.host(store) as host:
        turn = host.reply("a", engine(), "Hi")
        assert host.last_turn("a") == turn


def test_an_attribute_of_what_a_block_opens():
    """A forgotten `async with` or `with` is the error of an attribute, which says what to write."""

    @on_asyncio
    async def main():
        block = allm.aio.stream_generate(engine(), "Hi")
        with pytest.raises(AttributeError, match=r"no attribute 'text'[^\n]*`async with`"):
            block.text()
        async with block as events:
            assert [text async for text in events.text()]

    main()
    with pytest.raises(AttributeError, match=r"no attribute 'text'[^\n]*`with`"):
        allm.blocking.stream_generate(engine(), "Hi").text()


async def test_the_calls_of_asyncio_on_trio():
    """The error says which function is that of Trio, for calls and for blocks."""
    with pytest.raises(RuntimeError, match=r"On Trio: the same function of allm\."):
        await allm.aio.generate(engine(), "Hi")
    with pytest.raises(RuntimeError, match=r"On Trio: the same function of allm\."):
        async with allm.aio.stream_generate(engine(), "Hi"):
            pytest.fail("a block of asyncio was entered on Trio")


# --- functions of the program ---------------------------------------------------------------------------------------

NAME = contextvars.ContextVar("name", default="unset")


@pytest.fixture
def places():
    """Where functions were called: the thread, the event loop and a context variable."""
    return []


@pytest.fixture
def seen_from(places):
    """Note where this is called."""

    def note():
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        places.append((threading.current_thread(), loop, NAME.get()))

    return note


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_functions_are_called_on_the_loop(places, seen_from, is_async):
    """`on_event`, `halt_when`, `before_step`, the error policy and keys, async or not; sync tools in worker threads."""

    def function(result=None):
        def sync(*_, **__):
            seen_from()
            return result

        async def waits(*_, **__):
            await asyncio.sleep(0)
            return sync()

        return waits if is_async else sync

    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        await asyncio.sleep(0)
        seen_from()
        raise ValueError(n)

    @on_asyncio
    async def main():
        NAME.set("of the caller")
        result = await allm.aio.chat(
            engine(*TURN, tools=[double]),
            "Hi",
            on_event=function(),
            halt_when=function(result=False),
            before_step=function(),
            on_tool_error=function("6"),
        )
        assert result.output_text == "6"
        async with wire_server() as server:
            server.add(Reply.script("openai", [fake.text("x")]))
            adapter = attrs.evolve(openai(server).adapter, api_key=function("key-of-mine"))
            response = await allm.aio.generate(allm.Engine(adapter=adapter, model="m"), "Hi")
            assert allm.unwrap(response) == "x"
            assert server.requests[0].headers["authorization"] == "Bearer key-of-mine"
        expected = (threading.current_thread(), asyncio.get_running_loop(), "of the caller")
        assert len(places) > 10
        assert set(places) == {expected}

    main()


@on_asyncio
async def test_sync_tools_run_in_threads():
    """With the context of the caller; one that may not, on the loop."""
    NAME.set("of the caller")
    seen = []

    def double(n: int) -> int:
        """Double."""
        seen.append((threading.current_thread() is threading.main_thread(), NAME.get()))
        return 2 * n

    for thread in (True, False):
        result = await allm.aio.chat(engine(*TURN, tools=[allm.tool(double, thread=thread)]), "Hi")
        assert [message.text for message in result.thread.messages] == ["Hi", "", "6", "6"]
    assert seen == [(False, "of the caller"), (True, "of the caller")]


@on_asyncio
async def test_progress_of_a_tool():
    """A tool on the loop reports to the stream."""

    @allm.tool
    async def double(n: int, context: allm.ToolContext) -> int:
        """Double."""
        await context.emit("half")
        return 2 * n

    async with allm.aio.stream(engine(*TURN, tools=[double]), "Hi") as events:
        progress = [event.payload async for event in events if isinstance(event, allm.ToolProgress)]
    assert progress == ["half"]


@on_asyncio
async def test_calls_inside_of_a_tool():
    """A tool calls a model itself, as any other function of the program."""

    @allm.tool
    async def double(n: int) -> str:
        """Double."""
        return allm.unwrap(await allm.aio.generate(engine(), str(n)))

    result = await allm.aio.chat(engine(*TURN, tools=[double]), "Hi")
    assert result.thread.messages[2].text == "Hello there."


@on_asyncio
async def test_inputs_that_arrive():
    """An async iterable of the program is read on its loop, and closed."""
    loop, closed = asyncio.get_running_loop(), []

    async def texts():
        try:
            for text in ("a", "b", "c"):
                await asyncio.sleep(0)
                assert asyncio.get_running_loop() is loop
                yield text
        finally:
            closed.append(True)

    embedder = allm.Engine(embedding_adapter=FakeEmbeddings())
    assert len((await allm.aio.embed(embedder, texts())).embeddings) == 3
    async with allm.aio.stream_embed(embedder, texts()) as batches:
        sizes = [len(batch.embeddings) async for batch in batches]
    assert sum(sizes) == 3
    assert batches.done == 3
    with pytest.raises(allm.StreamError, match="block has ended") as caught:
        await anext(batches)
    assert "async with" not in caught.value.message  # which would be Trio's
    assert closed == [True, True]


@on_asyncio
async def test_sound_as_it_arrives(tmp_path):
    """Pieces, the result, and a file."""
    speaker = allm.Engine(speech_adapter=FakeSpeech())
    async with allm.aio.stream_synthesize(speaker, "Hi") as audio:
        pieces = [piece async for piece in audio]
        assert audio.result().complete
    assert b"".join(pieces) == audio.result().audio.data
    async with allm.aio.stream_synthesize(speaker, "Hi") as audio:
        await audio.save(tmp_path / "a.wav")
    assert (tmp_path / "a.wav").read_bytes() == b"".join(pieces)


@on_asyncio
async def test_any_function_for_trio():
    """A workflow that was written for Trio, and methods of values."""

    async def workflow(name, *, greeting):
        async with allm.stream_generate(engine([fake.text(f"{greeting} {name}")]), "Hi") as events:
            return (await events.until_done()).output_text

    assert await allm.aio.run(workflow, "Ada", greeting="Hello") == "Hello Ada"

    def tools():
        return []

    assert list(await allm.aio.run(allm.Toolset(tools).load)) == []


# --- sessions -------------------------------------------------------------------------------------------------------


@on_asyncio
async def test_sessions_and_stores(tmp_path):
    """Turns, streams of turns, leases and conflicts."""
    talk = engine(*[[fake.text("Hello.")]] * 5)
    session, result = await allm.aio.session.start(talk, "Hi", id="a")
    assert (session.status, result.output_text) == ("completed", "Hello.")
    async with allm.aio.session.open_store(f"sqlite:///{tmp_path}/x.db") as store:
        assert await store.save(session) == 1
        async with store.turn("a") as turn:
            assert (await turn.reply(talk, "And you?")).output_text == "Hello."
            async with turn.stream_reply(talk, "Again") as events:
                assert [piece async for piece in events.text()] == ["Hello."]
            assert events.outcome()[0].status == "completed"
        loaded, version = await store.load("a")
        assert (len(loaded.thread.messages), version) == (6, 3)
        assert await store.ids() == ["a"]
        with pytest.raises(allm.SessionConflict):
            await store.save(session)
        with pytest.raises(allm.SessionError, match="does not exist"):
            await store.load("b")


@on_asyncio
async def test_a_session_is_saved_with_all_that_was_read():
    """Also with the words that came just before the reader left, or was cancelled while it did something else."""
    async with allm.aio.session.open_store("memory://") as store:

        async def read(session_id, leave):
            async with store.turn(session_id) as turn, turn.stream_start(engine(), "Hi") as events:
                async for piece in events.text():
                    if await leave(piece):
                        break

        async def at_once(_):
            return True

        async def cancelled(_):
            asyncio.current_task().cancel()
            await asyncio.sleep(1000)

        await read("a", at_once)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(read("b", cancelled))
        for session_id in ("a", "b"):
            session, _ = await store.load(session_id)
            assert [message.text for message in session.thread.messages] == ["Hi", "Hello "]


@on_asyncio
async def test_turns_that_outlive_their_readers():
    """Begun, read by two from different places, and cancelled from the loop; a tool runs on it."""
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()

    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        assert asyncio.get_running_loop() is loop
        await go_on.wait()
        return 2 * n

    async with allm.aio.session.open_store("memory://") as store, allm.aio.session.host(store) as host:
        turn = await host.reply("a", engine(*TURN, tools=[double]), "Hi")
        async with host.attach("a") as events:
            async for event in events:
                if isinstance(event, allm.ToolExecutionStarted):
                    break
            place = events.number
            assert (events.turn, [message.text for message in events.session.thread.messages]) == (turn, ["Hi"])
            assert events.outcome()[1].halted_reason == "cancelled"  # of a turn that has not ended
        async with host.attach("a", after=place, turn=turn) as late, host.attach("a", after=None) as other:
            go_on.set()

            async def numbers(events):
                return [number async for number, _ in events.numbered()]

            one, two = await asyncio.gather(numbers(late), numbers(other))
            assert one == two
            assert one[0] == place + 1
            assert late.outcome() == ((await store.load("a"))[0], late.result())
            assert late.result().output_text == "6"
            assert host.last_turn("a") == await host.next_turn("a") == turn
            assert (host.running("a"), host.last_turn("b")) == (None, None)
        go_on.clear()
        await host.reply("a", engine(*TURN, tools=[double]), "Again")
        assert await host.cancel("a")
        async with host.attach("a") as events:
            assert (await events.until_done()).halted_reason == "cancelled"
        await host.change("a", allm.session.append_user, "Bye")
        with pytest.raises(allm.SessionError, match="runs here"):
            async with host.attach("b"):
                pass
        await host.reply("b", engine(*TURN, tools=[double]), "Left")


@on_asyncio
async def test_a_tool_of_a_turn_that_outlives_its_call():
    """Its task is not collected, though the task of the call has ended and nobody else refers to it."""
    begun, waiting = asyncio.Event(), []

    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        future = asyncio.get_running_loop().create_future()
        waiting.append(weakref.ref(future))
        begun.set()
        await future
        return 2 * n

    async with allm.aio.session.open_store("memory://") as store, allm.aio.session.host(store) as host:

        async def begin():
            await host.reply("a", engine(*TURN, tools=[double]), "Hi")
            await begun.wait()

        await asyncio.create_task(begin())
        gc.collect()
        waiting[0]().set_result(None)
        async with host.attach("a") as events:
            assert (await events.until_done()).output_text == "6"


@on_asyncio
async def test_a_lost_lease_ends_the_body():
    """The body is cancelled, and the reason comes out of the block."""
    async with allm.aio.session.open_store("memory://") as store:
        with pytest.raises(allm.SessionError) as caught:
            async with store.turn("a", lease=0.05) as turn:
                await turn.save(allm.Session(id="a"))
                backend = store._value._backend
                backend._rows["a"].token = "another"
                await asyncio.sleep(20)
        assert caught.value.reason == "lease_lost"
        assert asyncio.current_task().cancelling() == 0


# --- cancellation ---------------------------------------------------------------------------------------------------


@on_asyncio
async def test_leaving_a_stream_closes_its_connection():
    """Before the next statement runs."""
    async with wire_server() as server:
        server.add(Reply.script("openai", [fake.text("x"), fake.delay(1000)]))
        async with allm.aio.stream_generate(openai(server), "Hi") as events:
            async for event in events:
                if isinstance(event, allm.TextDelta):
                    break
        await allm.aio.run(server.wait_idle)
        assert [request.outcome for request in server.requests] == ["client_closed"]


@on_asyncio
async def test_a_deadline_cancels():
    """`asyncio.timeout`, with what had arrived."""
    async with wire_server() as server:
        server.add(*[Reply.script("openai", [fake.text("x"), fake.delay(1000)])] * 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await allm.aio.generate(openai(server), "Hi")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, allm.aio.stream_generate(openai(server), "Hi") as events:
                async for _ in events.text():
                    limit.reschedule(asyncio.get_running_loop().time())
        assert events.result().output_text == "x"
        await allm.aio.run(server.wait_idle)


@on_asyncio
async def test_tools_are_cancelled_on_the_loop():
    """They see it, and have ended when the cancellation goes on."""
    ended = asyncio.Event()
    begun = asyncio.Event()

    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        begun.set()
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(0.01)
            ended.set()
        return n

    task = asyncio.create_task(allm.aio.chat(engine(*TURN, tools=[double]), "Hi"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@on_asyncio
async def test_a_tool_has_a_time_limit_on_the_loop():
    """It is cancelled there, and the model is told."""

    @allm.tool(timeout=0.05)
    async def double(n: int) -> int:
        """Double."""
        await asyncio.sleep(1000)
        return n

    result = await allm.aio.chat(engine(*TURN, tools=[double]), "Hi")
    assert "longer than 0.05 s" in result.thread.messages[2].text


def by_results(request):
    """A call, and after its result the answer."""
    is_answered = any(message["role"] == "tool" for message in request.json()["messages"])
    return Reply.script("openai", TURN[is_answered])


async def turn_with_everything(server, steps):
    """A turn with a tool on the loop, whose events are read; `steps` gets one for each."""

    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        await asyncio.sleep(0)
        return 2 * n

    async with allm.aio.stream(openai(server).with_tools(double), "Hi", on_event=lambda _: None) as events:
        async for _ in events:
            steps.append(True)
    return events.result()


@on_asyncio
async def test_cancelled_after_each_event():
    """At whichever event the task is cancelled, it ends as cancelled and leaves no task and no connection."""
    async with wire_server() as server:
        server.default = by_results
        steps = []
        result = await turn_with_everything(server, steps)
        assert result.output_text == "6"
        for count in range(len(steps)):
            seen = []
            task = asyncio.create_task(turn_with_everything(server, seen))
            while len(seen) < count and not task.done():  # noqa: ASYNC110  (any step of the loop may be the last)
                await asyncio.sleep(0)
            is_running = task.cancel()
            [outcome] = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError) == is_running
            await allm.aio.run(server.wait_outcomes)


@on_asyncio
async def test_cancelled_after_each_step_of_the_loop():
    """The same at each turn of the event loop, from before the call begins until it has ended."""
    async with wire_server() as server:
        server.default = Reply.script("openai", [fake.text("x")])
        outcomes = set()
        for count in range(60):
            task = asyncio.create_task(allm.aio.generate(openai(server), "Hi"))
            for _ in range(count):
                await asyncio.sleep(0.0005 if count > 20 else 0)
            task.cancel()
            outcomes.add((await asyncio.gather(task, return_exceptions=True))[0].__class__.__name__)
        assert outcomes <= {"CancelledError", "Response"}
        assert "CancelledError" in outcomes
        await allm.aio.run(server.wait_outcomes)


@on_asyncio
async def test_a_block_that_ends_by_itself_leaves_nobody_waiting():
    """What is asked of it afterwards, or waits for its turn, fails with a sentence."""
    begun, over = asyncio.Event(), trio.Event()
    loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def ends():
        async def fail():
            await over.wait()
            raise LookupError("mine")

        async with background_task(fail, "fail"):
            yield None

    async def held():
        loop.call_soon_threadsafe(begun.set)
        await trio.sleep_forever()

    with pytest.raises(LookupError, match="mine"):
        async with AsyncioBlock(ends(), lambda _, block: block) as block:
            first, second = (asyncio.create_task(block.do(held)) for _ in range(2))
            await begun.wait()
            trio_thread().soon(over.set)
            await asyncio.sleep(1000)
    assert [type(outcome) for outcome in await asyncio.gather(first, second, return_exceptions=True)][
        1
    ] is allm.StreamError
    with pytest.raises(allm.StreamError, match="the block has ended"):
        block._left = False
        await block.do(held)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
def test_interrupt_in_a_notebook(monkeypatch):
    """It reaches a cell whose provider is silent, though the kernel's handler does not wake the loop."""
    kernel = types.SimpleNamespace(IPKernelApp=types.SimpleNamespace(initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", kernel)
    seen = []

    async def cell():
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        handler = signal.signal(signal.SIGINT, lambda *_: loop.call_soon(task.cancel))
        try:
            async with allm.aio.stream_generate(engine([fake.text("Half"), fake.delay(1000)]), "Hi") as events:
                async for _ in events.text():
                    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        finally:
            signal.signal(signal.SIGINT, handler)
            seen.append(events.result().output_text)
            for end in interrupts._woken.pop(loop):
                loop.remove_reader(end)
                end.close()

    before = signal.set_wakeup_fd(-1)
    try:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cell())
    finally:
        signal.set_wakeup_fd(before)
    assert seen == ["Half"]


# --- many at once ---------------------------------------------------------------------------------------------------


@on_asyncio
async def test_many_calls_share_one_thread():
    """Also from several event loops at once."""
    talk = engine(*[[fake.text("x"), fake.delay(0.01), fake.text("y")]] * 300)
    before = threading.active_count()
    responses = await asyncio.gather(*[allm.aio.generate(talk, "Hi") for _ in range(200)])
    assert {response.output_text for response in responses} == {"xy"}

    def another():
        return asyncio.run(allm.aio.generate(talk, "Hi")).output_text

    assert await asyncio.gather(*[asyncio.to_thread(another) for _ in range(5)]) == ["xy"] * 5
    assert [thread.name for thread in threading.enumerate()].count("allm trio") == 1
    assert before >= 2


@on_asyncio
async def test_back_pressure():
    """A reader that does not read stops the call; nothing is lost when it goes on."""
    made = []

    def respond(_):
        return [fake.text(str(number)) for number in range(1000)]

    def note(event):
        made.append(event)

    talk = allm.Engine(adapter=Fake(respond=respond))
    async with allm.aio.stream_generate(talk, "Hi", on_event=note) as events:
        await anext(events)
        for _ in range(50):
            await asyncio.sleep(0.002)
        held = len(made)
        assert held < 400
        assert len([event async for event in events]) == 1002
    assert len(made) == 1003


@on_asyncio
async def test_one_reader():
    """A second task is refused, and says what to do."""
    async with allm.aio.stream_generate(engine(), "Hi") as events:
        await anext(events)

        async def other():
            with pytest.raises(allm.StreamError, match="a stream has one reader"):
                await anext(events)

        await asyncio.create_task(other())
