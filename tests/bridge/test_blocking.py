"""Scripts and plain threads: calls block their thread, Ctrl-C cancels them, and nothing is left."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading

import pytest

import allm
import allm.aio
import allm.blocking
from allm import fake
from allm.aio.blocks import AsyncioBlock
from allm.bridge.hold import Hold
from allm.bridge.thread import TrioThread, trio_thread
from allm.providers import Fake, FakeEmbeddings, FakeSpeech
from allm.testing import Reply, WireServer
from bridge.on_asyncio import tasks_in_trio

TURN = [[fake.tool_call("double", {"n": 3})], [fake.text("6")]]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """No task in the Trio thread."""
    before = tasks_in_trio()
    yield
    assert tasks_in_trio() == before


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts or [[fake.text("Hello "), fake.text("there.")]]), **fields)


def test_a_response():
    """As `allm.generate` returns it."""
    assert allm.unwrap(allm.blocking.generate(engine(), "Hi")) == "Hello there."


def test_a_stream_in_a_for_loop():
    """It ends with the loop, also with a `break`, and has its result."""
    events = allm.blocking.stream_generate(engine(), "Hi")
    names = [type(event).__name__ for event in events]
    assert names == ["MessageStarted", "TextDelta", "TextDelta", "TextCompleted", "MessageCompleted"]
    assert events.result().output_text == "Hello there."
    events = allm.blocking.stream_generate(engine(), "Hi")
    for event in events:
        if isinstance(event, allm.TextDelta):
            break
    assert events.result().output_text == "Hello "
    with pytest.raises(allm.StreamError, match="entered before") as caught:
        next(iter(events))
    assert "\n    with allm.blocking.stream_generate(...) as events:\n        for event in events" in str(caught.value)


def test_a_stream_in_a_block():
    """Pieces, items, snapshots and the rest."""
    with allm.blocking.stream_generate(engine(), "Hi") as events:
        assert list(events.text()) == ["Hello ", "there."]
    assert events.result().output_text == "Hello there."
    with pytest.raises(allm.StreamError, match="block has been left") as caught:
        next(events)
    assert "\n    with allm.blocking.stream_generate(...) as events:\n        for event in events" in str(caught.value)
    script = [fake.text('["a", '), fake.text('"b"]')]
    with allm.blocking.stream_generate(engine(script), "Hi", response_format=list[str]) as events:
        assert list(events.elements()) == ["a", "b"]
    with allm.blocking.stream_generate(engine(script), "Hi", response_format=list[str]) as events:
        assert list(events.partial_output())[-1] == ["a", "b"]
    with allm.blocking.stream_generate(engine(), "Hi") as events:
        assert events.until_done().output_text == "Hello there."


def test_nothing_was_read():
    """The result of a stream that was not begun is a mistake that says so."""
    with pytest.raises(allm.StreamError, match="nothing was read"):
        allm.blocking.stream_generate(engine(), "Hi").result()


def test_errors_come_out_as_themselves():
    """Before the call, and from a function of the program."""
    with pytest.raises(allm.ValidationError):
        allm.blocking.generate(engine(), [])

    def fail(_):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        allm.blocking.generate(engine(), "Hi", on_event=fail)
    with pytest.raises(LookupError, match="mine"):
        list(allm.blocking.stream_generate(engine(), "Hi", on_event=fail))
    with pytest.raises(ZeroDivisionError), allm.blocking.stream_generate(engine(), "Hi"):
        _ = 1 // 0


NAME = contextvars.ContextVar("name", default="unset")


def test_where_functions_are_called():
    """Sync ones in the thread that waits, sync tools in worker threads, async ones on Trio; in the caller's context."""
    seen = []

    def note(*_):
        seen.append((threading.current_thread().name, NAME.get()))

    @allm.tool
    def double(n: int) -> int:
        """Double."""
        assert threading.current_thread() is not threading.main_thread()
        assert NAME.get() == "mine"
        return 2 * n

    @allm.tool(name="double")
    async def on_trio(n: int) -> int:
        """Double."""
        import trio

        await trio.lowlevel.checkpoint()
        return 2 * n

    token = NAME.set("mine")
    try:
        for tool in (double, on_trio):
            result = allm.blocking.chat(engine(*TURN, tools=[tool]), "Hi", on_event=note, halt_when=note)
            assert [message.text for message in result.thread.messages] == ["Hi", "", "6", "6"]
            for _ in allm.blocking.stream(engine(*TURN, tools=[tool]), "Hi", on_event=note):
                pass
    finally:
        NAME.reset(token)
    assert set(seen) == {(threading.current_thread().name, "mine")}


def test_sessions_and_stores():
    """Turns, streams of turns and leases."""
    talk = engine(*[[fake.text("Hello.")]] * 5)
    with allm.blocking.session.open_store("memory://") as store:
        with store.turn("a") as turn:
            assert turn.start(talk, "Hi").output_text == "Hello."
            with turn.stream_reply(talk, "Again") as events:
                assert list(events.text()) == ["Hello."]
            assert events.outcome()[0].status == "completed"
        session, version = store.load("a")
        assert (len(session.thread.messages), version) == (4, 2)
        assert store.ids() == ["a"]
        with pytest.raises(allm.SessionError, match="does not exist"):
            store.load("b")
    store.close()


def test_a_session_is_saved_with_all_that_was_read():
    """Also with the words that came just before the reader left."""
    with allm.blocking.session.open_store("memory://") as store:
        with store.turn("a") as turn, turn.stream_start(engine(), "Hi") as events:
            for _ in events.text():
                break
        session, _ = store.load("a")
    assert [message.text for message in session.thread.messages] == ["Hi", "Hello "]


def test_turns_that_outlive_their_readers():
    """Begun, read from two places, and cancelled by a plain thread."""
    go_on = threading.Event()

    @allm.tool
    def wait() -> str:
        """Wait."""
        go_on.wait()
        return "waited"

    model = engine([fake.tool_call("wait")], [fake.text("Hello "), fake.text("there.")], tools=[wait])
    with allm.blocking.session.open_store("memory://") as store, allm.blocking.session.host(store) as host:
        turn = host.reply("a", model, "Hi")
        with host.attach("a") as events:
            assert (events.turn, events.session.thread.messages[0].text) == (turn, "Hi")
            while not isinstance(next(events), allm.ToolExecutionStarted):
                pass
            place = events.number
        with host.attach("a", after=place) as events:
            go_on.set()
            assert list(events.text()) == ["Hello ", "there."]
            assert events.outcome()[0] == store.load("a")[0]
        assert [type(event).__name__ for event in host.attach("a", after=events.number - 1)] == ["ChatCompleted"]
        with host.attach("a") as again:
            assert [number for number, _ in again.numbered()] == list(range(1, events.number + 1))
        assert host.cancel("a") is False
        assert host.running("a") is None
        assert host.last_turn("a") == host.next_turn("a") == turn


def test_batches_and_sound(tmp_path):
    """Streams that are not of events."""
    embedder = allm.Engine(embedding_adapter=FakeEmbeddings())
    assert len(allm.blocking.embed(embedder, ["a", "b"]).embeddings) == 2
    with allm.blocking.stream_embed(embedder, ["a", "b"]) as batches:
        assert sum(len(batch.embeddings) for batch in batches) == 2
        assert batches.done == 2
    with pytest.raises(allm.StreamError, match="block has ended"):
        next(batches)
    with allm.blocking.stream_synthesize(allm.Engine(speech_adapter=FakeSpeech()), "Hi") as audio:
        audio.save(tmp_path / "a.wav")
        assert (tmp_path / "a.wav").read_bytes() == audio.result().audio.data


def test_any_function_for_trio():
    """A workflow that was written for Trio."""

    async def workflow(name):
        return allm.unwrap(await allm.generate(engine([fake.text(f"Hello {name}")]), "Hi"))

    assert allm.blocking.run(workflow, "Ada") == "Hello Ada"


def test_beside_a_running_loop():
    """In a cell of a notebook, say, or in a handler of a web framework."""

    async def cell():
        return allm.unwrap(allm.blocking.generate(engine(), "Hi"))

    assert asyncio.run(cell()) == "Hello there."


def test_many_threads():
    """Each waits for its own calls; Trio has one thread."""
    talk = engine(*[[fake.text("x"), fake.delay(0.01), fake.text("y")]] * 40)
    answers = []
    workers = [
        threading.Thread(target=lambda: answers.append(allm.blocking.generate(talk, "Hi").output_text))
        for _ in range(40)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == ["xy"] * 40
    assert [thread.name for thread in threading.enumerate()].count("allm trio") == 1


INTERRUPTED = """
import os, signal, sys, threading
import allm
import allm.aio
import allm.blocking
from allm import fake
from allm.providers import Fake

engine = allm.Engine(adapter=Fake(script=[fake.text("Half"), fake.delay(1000)]))
events = None
def interrupt(event):
    if isinstance(event, allm.TextDelta):
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    if sys.argv[1] == "call":
        allm.blocking.generate(engine, "Hi", on_event=interrupt)
    else:
        events = allm.blocking.stream_generate(engine, "Hi")
        for event in events:
            interrupt(event)
except KeyboardInterrupt:
    print("interrupted", events.result().output_text if events else "")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_ctrl_c_cancels(kind):
    """In the middle of a call, and of a loop over events; what had arrived is there, and the process ends at once."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, kind], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["interrupted", "Half"][: 1 if kind == "call" else 2]


def interrupting(monkeypatch, owner, name, *, after):
    """Let Ctrl-C come right before or after one call of a method."""
    original, waiting = getattr(owner, name), [True]

    def method(self, *args):
        interrupt = waiting.pop() if waiting else False
        if interrupt and not after:
            signal.raise_signal(signal.SIGINT)
        original(self, *args)
        if interrupt and after:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", ["start", "leave"])
def test_ctrl_c_around_a_beginning(monkeypatch, method, after):
    """A call that is being started, and a block that is being left, end too."""
    script = [fake.text("Half"), fake.delay(1000)]
    trio_thread()  # runs
    interrupting(monkeypatch, TrioThread if method == "start" else Hold, method, after=after)
    if method == "start":
        with pytest.raises(KeyboardInterrupt):
            allm.blocking.generate(engine(script), "Hi")
    with pytest.raises(KeyboardInterrupt), allm.blocking.stream_generate(engine(script), "Hi") as events:
        next(iter(events))
        if method == "start":
            raise KeyboardInterrupt


FORKED = """
import os
import allm
import allm.aio
import allm.blocking
from allm import fake
from allm.providers import Fake

def ask():
    return allm.blocking.generate(allm.Engine(adapter=Fake(script=[fake.text("Hi")])), "x").output_text

print(ask(), flush=True)
child = os.fork()
if not child:
    print(ask(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_has_a_thread_of_its_own():
    """As a web server with workers makes them."""
    ignore = ["-W", "ignore::DeprecationWarning"]  # of newer Pythons, about any fork with threads
    done = subprocess.run(
        [sys.executable, *ignore, "-c", FORKED], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout.split(), done.stderr) == (["Hi", "Hi"], "")


def test_leaving_a_stream_closes_its_connection():
    """Before the next statement runs."""

    async def main():
        async with AsyncioBlock(WireServer(), lambda server, _: server) as server:
            server.add(Reply.script("openai", [fake.text("x"), fake.delay(1000)]))
            adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
            await asyncio.to_thread(read_a_little, allm.Engine(adapter=adapter, model="m"))
            await allm.aio.run(server.wait_idle)
            return [request.outcome for request in server.requests]

    def read_a_little(talk):
        for event in allm.blocking.stream_generate(talk, "Hi"):
            if isinstance(event, allm.TextDelta):
                break

    assert asyncio.run(main()) == ["client_closed"]
