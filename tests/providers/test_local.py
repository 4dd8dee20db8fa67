"""Local models, with a scripted server in place of llama.cpp: when it starts, who uses it, when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import attrs
import pytest
import trio

import allm
from allm.adapters import AdapterOptions
from allm.providers import Local
from allm.providers.local import server as servers, threads
from allm.testing import cancel_everywhere, no_leaks

FAKE = Path(__file__).parent / "fake_llama"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfd_open and /proc are of Linux")


@attrs.frozen
class Model:
    """A file with weights, and the log of the servers that loaded it."""

    path: Path
    log: Path

    @property
    def engine(self):
        """An engine for it that never retries."""
        return allm.Engine.from_model(f"local:{self.path}", retry=None)

    def lines(self, word):
        """What was logged."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.removeprefix(word).strip() for line in lines if line.startswith(word)]

    @property
    def processes(self):
        """The ids of all servers that were started."""
        return [int(line) for line in self.lines("start")]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A folder for weights, and the scripted llama.cpp."""
    monkeypatch.setenv("ALLM_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.setattr("allm.providers.local.adapter.usual_threads", lambda: 1)
    yield tmp_path / "home" / "models"
    assert not servers._servers


@pytest.fixture
def make(tmp_path):
    """A function that writes a model's file."""

    def make(name="tiny", **script):
        log = tmp_path / f"{name}.log"
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(b"GGUF" + json.dumps({"log": str(log), **script}).encode())
        return Model(path, log)

    return make


def is_running(process):
    """Whether there is such a process; a child that ended and was not waited for counts."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def started(model, count=1):
    """Wait until so many servers have begun to start."""
    while len(model.processes) < count:  # noqa: ASYNC110 - the file of another process can only be polled
        await trio.sleep(0.005)


def descriptors():
    """The open descriptors of this process."""
    return {path.name for path in Path("/proc/self/fd").iterdir()} if Path("/proc/self/fd").exists() else set()


async def ask(model, prompt="hello", **options):
    """The text of one response."""
    return allm.unwrap(await allm.generate(model.engine, prompt, **options))


def test_a_server_lives_as_long_as_the_run(make):
    """It starts with the first call, serves the next ones, and nothing of it is left after the run."""
    model = make()

    async def main():
        assert not model.processes
        assert (await ask(model)).startswith("hello ")
        await ask(model)
        [process] = model.processes
        assert is_running(process)
        return process

    trio.run(main)  # loads what a first call needs, some of which stays open
    before = descriptors()
    model.log.unlink()
    process = trio.run(main)
    assert not is_running(process)
    assert descriptors() <= before


def test_a_new_run_starts_it_again(make):
    """With another key and another address."""
    model = make()
    for _ in range(2):
        trio.run(ask, model)
    first, second = model.processes
    assert first != second
    assert not is_running(first)
    assert not is_running(second)


async def test_many_first_calls_start_one_server(make):
    """All wait for it."""
    model = make()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask, model, f"call {number}")
    assert len(model.processes) == 1
    assert len(model.lines("call")) == 20


async def test_the_loop_goes_on_while_a_server_starts(make, tmp_path):
    """Another task opens the gate that the start waits for."""
    model = make(gate=str(tmp_path / "gate"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, model)
        await started(model)
        (tmp_path / "gate").touch()
    assert len(model.lines("call")) == 1


async def test_a_cancelled_first_call_leaves_the_start_to_others(make, tmp_path):
    """The second call waits for the same start."""
    model = make(gate=str(tmp_path / "gate"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, model, "first")
        await started(model)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, model, "second")
        await trio.testing.wait_all_tasks_blocked()
        (tmp_path / "gate").touch()
    assert len(model.processes) == 1
    assert model.lines("call") == ["second"]


def test_a_run_that_ends_while_a_server_starts_ends_it(make, tmp_path):
    """Nothing is half started after a cancelled first call."""
    model = make(gate=str(tmp_path / "gate"))

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, model)
            await started(model)
            nursery.cancel_scope.cancel()

    trio.run(main)
    [process] = model.processes
    assert not is_running(process)


def test_runs_of_one_process_share_a_server(make):
    """It ends with the last one."""
    model = make()
    seen = []
    ready, leave = threading.Event(), threading.Event()

    async def long():
        await ask(model, "long")
        ready.set()
        await trio.to_thread.run_sync(leave.wait)
        await ask(model, "again")
        seen.append(is_running(model.processes[0]))

    thread = threading.Thread(target=trio.run, args=[long])
    thread.start()
    try:
        assert ready.wait(30)
        trio.run(ask, model, "short")
        seen.append(is_running(model.processes[0]))
    finally:
        leave.set()
        thread.join(30)
    assert seen == [True, True]
    assert model.lines("call") == ["long", "short", "again"]
    [process] = model.processes
    assert not is_running(process)


def test_threads_of_others_hold_up_nothing(make):
    """A server starts and ends where the program has used up all threads that Trio gives it."""
    first, second = make("first"), make("second")

    async def main():
        await ask(first)  # loads what a first call needs, in threads
        limiter = trio.to_thread.current_default_thread_limiter()
        for _ in range(int(limiter.total_tokens)):
            limiter.acquire_on_behalf_of_nowait(object())
        await ask(second)

    trio.run(main)
    assert not any(map(is_running, first.processes + second.processes))


async def test_servers_are_shared_by_settings(make):
    """Engines with equal adapters use one server, others another one, each with its own settings."""
    model = make()
    small = allm.Engine(adapter=Local(context_size=256, parallel_calls=3, threads=1), model=str(model.path))
    assert allm.unwrap(await allm.generate(small, "small")) == "small 768 3 1"
    again = allm.Engine(adapter=Local(context_size=256, parallel_calls=3, threads=1), model=str(model.path))
    assert allm.unwrap(await allm.generate(again, "again")) == "again 768 3 1"
    assert (await ask(model)).startswith("hello 8192 2 ")
    assert len(model.processes) == 2


async def test_a_server_that_ended_is_started_again(make):
    """The next call finds it gone."""
    model = make()
    await ask(model)
    [server] = servers._servers.values()
    os.kill(model.processes[0], signal.SIGKILL)
    assert await trio.to_thread.run_sync(server.ended, 30)
    await ask(model)
    assert len(model.processes) == 2


async def test_a_server_that_ends_during_a_call(make):
    """What arrived is kept, and the error says why there is no more."""
    model = make()
    response = await allm.generate(model.engine, "die")
    assert response.output_text.startswith("die ")
    assert response.error.reason == "stream_truncated"
    assert "its process was killed" in response.error.message
    await ask(model)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ({"fails": "no", "says": "0.01 E srv  load_model: unknown architecture"}, "unknown architecture"),
        ({"fails": "no", "says": "0.01 E ggml: failed to allocate buffer of size 9"}, "not enough memory"),
        ({"fails": "out of tea"}, "RuntimeError: out of tea"),
        ({"dies": True}, "memory runs out"),
    ],
)
async def test_a_model_that_cannot_be_loaded(make, script, expected):
    """One error for every call that waits, which is not retried; the next call tries again."""
    model = make(**script)
    engine = allm.Engine.from_model(f"local:{model.path}")
    responses = []

    async def call():
        responses.append(await allm.generate(engine, "hello"))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(call)
    for response in responses:
        assert response.error.reason == "provider_unavailable"
        assert not response.error.retryable
        assert expected in response.error.message
        assert str(model.path) in response.error.message
    assert len(model.processes) == 1
    await call()
    assert len(model.processes) == 2


async def test_leaving_closes_the_connection(make):
    """So the server stops to generate."""
    model = make()
    async with allm.stream_generate(model.engine, "endless") as events:
        async for _ in events.text():
            break
    while not model.lines("left"):  # noqa: ASYNC110 - the file of another process can only be polled
        await trio.sleep(0.005)


async def test_a_conversation_that_is_too_long(make):
    """It is the error that every provider has for it."""
    response = await allm.generate(make().engine, "too long")
    assert response.error.reason == "context_length_exceeded"
    assert response.error.provider == "local"
    assert "ALLM_LOCAL_CONTEXT_SIZE" in response.error.message


async def test_no_proxy_is_asked(make, monkeypatch):
    """Whatever the environment says of other servers; nothing is remembered of a server that has ended."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    await ask(make())


async def test_a_response_names_the_model(make):
    """Neither its folder nor its file."""
    response = await allm.generate(make("small-one").engine, "hello")
    assert response.model == "small-one"


async def test_a_key_and_a_client_of_others_stay_out(make):
    """They are for servers elsewhere."""
    with allm.keys.override(local="sk-of-somebody"):
        await ask(make(), api_key="sk-another")


def test_llama_cpp_is_missing(make, monkeypatch):
    """One line says what to install, before anything starts."""
    model = make()
    monkeypatch.setattr(servers, "_package", lambda: None)
    with pytest.raises(allm.EngineError, match="xllamacpp") as caught:
        trio.run(ask, model)
    assert caught.value.reason == "invalid_environment"


def failure(model):
    """What a call of this model raises."""
    with pytest.raises(allm.EngineError) as caught:
        trio.run(allm.generate, allm.Engine.from_model(f"local:{model}"), "hello")
    assert caught.value.reason == "missing_model"
    return caught.value.message


def test_weights_that_were_not_fetched():
    """The command that fetches them; a call never does."""
    assert "allm models pull smollm2-135m" in failure("smollm2-135m")


def test_an_unknown_name(home):
    """What can be fetched, and what is there."""
    home.mkdir(parents=True)
    (home / "mine.gguf").write_bytes(b"GGUF")
    message = failure("smol")
    assert "smollm2-135m" in message
    assert "mine" in message
    assert str(home) in message


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "No such file"), (b"", "begins with b''"), (b"PK\x03\x04", "PK")]
)
def test_files_without_weights(tmp_path, content, expected):
    """Missing, empty, of another kind."""
    path = tmp_path / "file.gguf"
    if content is not None:
        path.write_bytes(content)
    message = failure(path)
    assert expected in message
    assert str(path) in message


async def test_models_by_name_and_by_relative_path(make, home, monkeypatch, tmp_path):
    """A file in the folder is a model by its name; what has a slash or the ending of such files is a path."""
    home.mkdir(parents=True)
    model = make()
    model.path.rename(home / "mine.gguf")
    assert await ask(attrs.evolve(model, path="mine"))
    monkeypatch.chdir(home)
    assert await ask(attrs.evolve(model, path="mine.gguf"))
    assert await ask(attrs.evolve(model, path="./mine.gguf"))
    assert len(model.processes) == 1


async def test_a_model_is_started_in_advance(make):
    """By `warm_up`, which raises what a call would."""
    model = make()
    await allm.warm_up(model.engine)
    assert len(model.processes) == 1
    assert not model.lines("call")
    await ask(model)
    assert len(model.processes) == 1
    with pytest.raises(allm.EngineError):
        await allm.warm_up(allm.Engine.from_model("local:smollm2-135m"))
    with pytest.raises(allm.AdapterError, match="out of tea"):
        await allm.warm_up(make("broken", fails="out of tea").engine)


async def test_a_server_is_no_leak(make):
    """It is kept until the run ends, as connections are."""
    async with no_leaks():
        await ask(make())


async def test_a_call_cancelled_at_every_point(make):
    """Nothing is left behind, and the next call is answered."""
    model = make()
    report = await cancel_everywhere(ask, model)
    assert report.trials > 10
    await ask(model)


def test_more_tokens_than_can_be_counted(make):
    """It is said before a process starts."""
    engine = allm.Engine(adapter=Local(context_size=2**30, parallel_calls=2), model=str(make().path))
    with pytest.raises(allm.EngineError, match="more tokens"):
        trio.run(allm.generate, engine, "hello")


async def test_settings_of_the_environment(make, monkeypatch):
    """For those who cannot write them into a program; what the adapter was made with wins."""
    monkeypatch.setenv("ALLM_LOCAL_CONTEXT_SIZE", "512")
    monkeypatch.setenv("ALLM_LOCAL_PARALLEL_CALLS", "1")
    monkeypatch.setenv("ALLM_LOCAL_THREADS", "3")
    model = make()
    assert await ask(model) == "hello 512 1 3"
    engine = allm.Engine(adapter=Local(context_size=256), model=str(model.path))
    assert allm.unwrap(await allm.generate(engine, "hello")) == "hello 256 1 3"


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_wrong_settings_of_the_environment(make, monkeypatch, value):
    """The variable is named."""
    monkeypatch.setenv("ALLM_LOCAL_THREADS", value)
    with pytest.raises(allm.EngineError, match="ALLM_LOCAL_THREADS") as caught:
        trio.run(ask, make())
    assert caught.value.reason == "invalid_environment"


@pytest.mark.parametrize("name", ["context_size", "parallel_calls", "threads"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_settings_are_checked(name, value):
    """When the adapter is made."""
    with pytest.raises(allm.EngineError, match=name):
        Local(**{name: value})


def test_a_local_model_has_no_address(make):
    """A server of one's own is another provider's."""
    request = allm.request("hello", model=str(make().path))
    with pytest.raises(allm.EngineError, match="llamacpp"):
        Local().prepare(request, AdapterOptions(base_url="http://127.0.0.1:1/v1"))


def length(text):
    return len(text).to_bytes(8, "little")


TEMPLATES = {
    "tools": (b"{% if tools %}{{ tools }}{% endif %}{{ messages }}", ("native", "prompted")),
    "no tools": (b"{{ messages }}", ("prompted",)),
    "no template": (None, ("prompted",)),
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_how_a_model_gets_its_tools(tmp_path, kind):
    """By its chat template, in the file; what else is in the file, such as the word in its vocabulary, says nothing."""
    template, expected = TEMPLATES[kind]
    path, text_type, key = tmp_path / "model.gguf", (8).to_bytes(4, "little"), b"tokenizer.chat_template"
    fields = b"" if template is None else length(key) + key + text_type + length(template) + template
    path.write_bytes(b"GGUF" + bytes(20) + fields + length(b"tools") + b"tools")
    request = allm.request("hello", model=str(path))
    assert Local().tool_modes(request, AdapterOptions()) == expected


def test_tools_of_a_model_that_is_not_there():
    """Nothing is raised here: the call says what is missing."""
    assert Local().tool_modes(allm.request("hello", model="nobody"), AdapterOptions()) == ("prompted",)


@pytest.mark.parametrize(
    ("processors", "quota", "expected"),
    [
        (1, None, 1),
        (2, None, 1),
        (8, None, 4),
        (64, None, 8),
        (64, "max 100000", 8),
        (64, "400000 100000", 2),
        (64, "50000 100000", 1),
        (2, "800000 100000", 1),
    ],
)
def test_the_usual_number_of_threads(monkeypatch, tmp_path, processors, quota, expected):
    """Half of the processors, or of what the container may use of them."""
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota + "\n")
    monkeypatch.setattr(threads, "_QUOTA", file)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)), raising=False)
    assert threads.usual_threads() == expected


PROGRAM = """
import sys, threading, trio, allm
async def main():
    print(allm.unwrap(await allm.generate(allm.Engine.from_model(sys.argv[1]), "hello")), flush=True)
    await trio.sleep_forever()
def run():
    trio.run(main)
"""
ENDINGS = {
    "interrupt": (PROGRAM + "run()", signal.SIGINT),
    "terminate": (PROGRAM + "run()", signal.SIGTERM),
    "kill": (PROGRAM + "run()", signal.SIGKILL),
    "a daemon thread": (PROGRAM + "threading.Thread(target=run, daemon=True).start(); sys.stdin.read()", None),
}


@pytest.mark.parametrize("way", ENDINGS)
def test_the_server_ends_with_the_program(make, way):
    """However that ends: the server closes a connection that is open, which only its end does."""
    program, number = ENDINGS[way]
    model = make()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKE), *sys.path])}
    command = [sys.executable, "-c", program, f"local:{model.path}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            assert process.stdout.readline().startswith(b"hello")
            [child] = model.processes
            ended = os.pidfd_open(child)
            if number is None:
                process.stdin.close()
            else:
                process.send_signal(number)
            process.wait(30)
        finally:
            process.kill()
    trio.run(trio.lowlevel.wait_readable, ended)
    os.close(ended)


FORKING = """
import os, sys, threading, warnings, trio, allm
warnings.simplefilter("ignore")  # of Python 3.12: that a process with threads is forked
ready, go = threading.Event(), threading.Event()
async def ask(who):
    print(allm.unwrap(await allm.generate(allm.Engine.from_model(sys.argv[1]), who)).split()[0], flush=True)
async def parent():
    await ask("before")
    ready.set()
    await trio.to_thread.run_sync(go.wait)
    await ask("after")
thread = threading.Thread(target=trio.run, args=[parent])
thread.start()
ready.wait()
if (child := os.fork()) == 0:
    trio.run(ask, "child")
    os._exit(0)
os.waitpid(child, 0)
go.set()
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_leaves_the_server_alone(make):
    """It starts one of its own, and that of its parent lives on."""
    model = make()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKE), *sys.path])}
    command = [sys.executable, "-c", FORKING, f"local:{model.path}"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["before", "child", "after"]
    assert len(model.processes) == 2


def test_the_key_is_not_seen(make):
    """Neither in the arguments of the process nor in a repr."""
    model = make()

    async def main():
        await ask(model)
        [server] = servers._servers.values()
        with contextlib.suppress(FileNotFoundError):
            folder = trio.Path(f"/proc/{model.processes[0]}")
            shown = await (folder / "cmdline").read_text() + await (folder / "environ").read_text()
            assert server.key.reveal() not in shown
        assert server.key.reveal() not in repr(server)

    trio.run(main)
