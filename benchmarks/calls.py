"""What a call costs besides its tokens, each row beside what it is judged by: a ratio of medians, measured in one run.

Every row is a function that returns a `Row` and can be imported. CPU is that of this process; the server is in another
one, and answers with bytes that were written before. `python benchmarks/calls.py [row ...]` prints the table.

The rows of `openai` and `pydantic-ai` need those packages in the environment that runs this; without them they say so.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import msgspec
import trio

import allm
from allm import fake

ROUNDS = 7
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIELDS = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "default"}


@attrs.frozen
class Row:
    """One row: `ratio` is the median of ours over that of what it is judged by; both in `unit`."""

    name: str
    ratio: float
    ours: float
    base: float
    unit: str
    goal: float | None = None

    def __str__(self) -> str:
        goal = "" if self.goal is None else f"{self.goal:8.2f}"
        return f"{self.name:58}{self.ours:12.4g}{self.base:12.4g} {self.unit:6}{self.ratio:8.2f}{goal}"


# --- the server ------------------------------------------------------------------------------------------------------


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return b"data: " + json.dumps({**FIELDS, "choices": [choice], "usage": None}).encode() + b"\n\n"


def _stream(tokens: int) -> list[bytes]:
    first = [_event({"role": "assistant", "content": ""})]
    texts = [_event({"content": f" word{n}"}) for n in range(tokens)]
    usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}
    last = b"data: " + json.dumps({**FIELDS, "choices": [], "usage": usage}).encode() + b"\n\n"
    return [_chunk(event) for event in (*first, *texts, _event({}, "stop"), last, b"data: [DONE]\n\n")] + [b"0\r\n\r\n"]


def _document(tokens: int) -> bytes:
    message = {"role": "assistant", "content": "".join(f" word{n}" for n in range(tokens))}
    usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}
    answer = {**FIELDS, "object": "chat.completion", "usage": usage}
    answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


class _Server:
    """Answers by the first part of the path.

    `/short` at once, `/pause` after 20 ms, `/first` with 20 ms after the first token, `/slow/SECONDS` between all.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0
        self.most = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            while await self._answer(stream):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _answer(self, stream: trio.SocketStream) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = await stream.receive_some()
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        while len(body) < length:
            body += await stream.receive_some()
        path = head.split(b" ", 2)[1].decode()
        if path.startswith("/slow"):
            await self._slowly(stream, float(path.split("/")[2]))
        elif path.startswith("/count"):
            text = json.dumps([self.connections, self.most]).encode()
            self.connections = self.most = 0
            await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))
        else:
            if path.startswith("/first"):
                await stream.send_all(FIRST)
            if path.startswith(("/pause", "/first")):
                await trio.sleep(0.02)
            await stream.send_all(
                REST if path.startswith("/first") else SHORT if STREAMS in body.replace(b" ", b"") else PLAIN
            )
        return True

    async def _slowly(self, stream: trio.SocketStream, pause: float) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await stream.send_all(HEAD)
            for chunk in SLOW:
                await stream.send_all(chunk)
                await trio.sleep(pause)
        finally:
            self.open -= 1


STREAMS = b'"stream":true'
SHORT = HEAD + b"".join(_stream(20))
FIRST, REST = HEAD + b"".join(_stream(20)[:2]), b"".join(_stream(20)[2:])
PLAIN = _document(20)
SLOW = _stream(10)


def _serve() -> None:
    """In a process of its own, until its input ends."""
    _allow_files()

    async def main() -> None:
        server = _Server()
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
            print(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}", flush=True)
            nursery.start_soon(trio.serve_listeners, server.serve, listeners)
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()

    trio.run(main)


def _allow_files() -> None:
    """Each connection is an open file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def server() -> Iterator[str]:
    """A server in a process of its own; gives its address."""
    _allow_files()
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


# --- who calls -------------------------------------------------------------------------------------------------------


def _library() -> Any:
    from allm.http.library import library

    return library()


def engine(url: str, path: str, **settings: Any) -> allm.Engine:
    """An engine over the shared client."""
    adapter = allm.providers.OpenAI(api_key="k", base_url=url + path, endpoint="chat_completions")
    return allm.Engine(adapter=adapter, model="gpt-5.4", **settings)


@asynccontextmanager
async def bare_client() -> AsyncIterator[Any]:
    """A client as a script would make it for as many requests as it likes."""
    http = _library()
    limits = http.Limits(max_connections=None, max_keepalive_connections=None)
    async with http.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:
        yield client


BODY = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hi"}]}
decode = msgspec.json.Decoder().decode


async def bare_stream(client: Any, url: str, seen: Callable[[], None] = lambda: None) -> int:
    """Read a stream with as little as possible: raw bytes, split at blank lines, C JSON."""
    count, rest = 0, b""
    async with client.stream("POST", url + "/chat/completions", json={**BODY, "stream": True}) as response:
        async for data in response.aiter_raw():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                if event != b"data: [DONE]":
                    choices = decode(event[6:])["choices"]
                    if choices and choices[0]["delta"].get("content"):
                        count += 1
                        seen()
    return count


async def our_stream(engine: allm.Engine, seen: Callable[[], None] = lambda: None) -> int:
    """The same through the library."""
    count = 0
    async with allm.stream_generate(engine, "hi") as events:
        async for event in events:
            if isinstance(event, allm.TextDelta):
                count += 1
                seen()
    return count


async def compare(calls: int, *candidates: Callable[[], Awaitable[object]]) -> list[float]:
    """Median CPU seconds of one call of each candidate; they take turns."""
    times: list[list[float]] = [[] for _ in candidates]
    for candidate in candidates:
        await candidate()
    for _ in range(ROUNDS):
        for candidate, found in zip(candidates, times, strict=True):
            begun = time.process_time()
            for _ in range(calls):
                await candidate()
            found.append((time.process_time() - begun) / calls)
    return [statistics.median(found) for found in times]


# --- rows ------------------------------------------------------------------------------------------------------------


class _Nothing(allm.adapters.Adapter):
    """An adapter that does nothing."""

    provider = "nothing"

    def prepare(self, request: allm.Request, _options: Any) -> Any:
        return request

    async def stream(self, _prepared: Any, emit: Any) -> None:
        await emit(DONE)


DONE = allm.MessageCompleted(allm.assistant("hi"), "stop")


def nothing() -> Row:
    """A call over an adapter that does nothing, by a nursery with two tasks."""

    async def task() -> None:
        pass

    async def nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            nursery.start_soon(task)

    async def main() -> list[float]:
        engine = allm.Engine(adapter=_Nothing(), model="m")
        return await compare(300, lambda: allm.generate(engine, "hi"), nursery)

    ours, base = trio.run(main)
    return Row("a call over an adapter that does nothing / a nursery", ours / base, ours * 1e6, base * 1e6, "us", 3)


def telemetry() -> list[Row]:
    """A turn with a tool that a handler is told of, and one that OpenTelemetry is, by one that nobody listens to."""

    @allm.tool
    async def look() -> str:
        """Look."""
        return "ok"

    def answer(request: allm.Request) -> list[Any]:
        return [fake.text("done") if request.messages[-1].role == "tool" else fake.tool_call("look", {})]

    engine = allm.Engine(adapter=allm.providers.Fake(respond=answer), model="m", tools=[look])

    async def turn() -> None:
        await allm.chat(engine, "go")

    async def told() -> None:
        detach = allm.telemetry.attach(lambda _event: None)
        await turn()
        detach()

    async def by_opentelemetry() -> list[float]:
        with otel.instrument(TracerProvider(), MeterProvider()):
            return await compare(100, turn)

    rows = []
    ours, base = trio.run(compare, 100, told, turn)
    rows.append(Row("a turn that a handler is told of / one that it is not", ours / base, ours * 1e6, base * 1e6, "us"))
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider

        from allm.telemetry import otel
    except ImportError:
        return rows
    [ours] = trio.run(by_opentelemetry)
    rows.append(Row("a turn with OpenTelemetry / without", ours / base, ours * 1e6, base * 1e6, "us"))
    return rows


def short_call() -> Row:
    """`generate` of 20 tokens, by a plain JSON call with the bare client."""

    async def main() -> list[float]:
        async with bare_client() as client:

            async def plain() -> None:
                response = await client.post(url + "/short/chat/completions", json=BODY)
                assert decode(response.content)["choices"][0]["message"]["content"]

            return await compare(60, lambda: allm.generate(engine(url, "/short"), "hi"), plain)

    with server() as url:
        ours, base = trio.run(main)
    return Row("short call: generate, 20 tokens / bare plain JSON", ours / base, ours * 1e3, base * 1e3, "ms", 2.4)


def short_call_of_openai() -> Row | str:
    """`generate` of 20 tokens, by a plain call with openai's package."""
    try:
        import openai
    except ImportError:
        return "openai is not installed"

    async def main() -> list[float]:
        client = openai.AsyncOpenAI(api_key="k", base_url=url + "/short")
        messages: Any = BODY["messages"]

        async def plain() -> None:
            assert (await client.chat.completions.create(model="gpt-5.4", messages=messages)).choices[0].message.content

        return await compare(60, lambda: allm.generate(engine(url, "/short"), "hi"), plain)

    with server() as url:
        ours, base = trio.run(main)
    return Row("short call: generate, 20 tokens / openai, plain", ours / base, ours * 1e3, base * 1e3, "ms", 1)


def first_token() -> Row:
    """CPU until the first token is there, by the bare client."""

    async def main() -> list[float]:
        spent: dict[Any, list[float]] = {our_stream: [], bare_stream: []}

        async def timed(call: Any, *args: Any) -> None:
            begun, first = time.process_time(), 0.0

            def seen() -> None:
                nonlocal first
                first = first or time.process_time() - begun

            await call(*args, seen)
            spent[call].append(first)

        async with bare_client() as client:
            ready = engine(url, "/first")
            for _ in range(20 * ROUNDS):
                await timed(our_stream, ready)
                await timed(bare_stream, client, url + "/first")
        return [statistics.median(times) for times in spent.values()]

    with server() as url:
        ours, base = trio.run(main)
    return Row("first token / bare", ours / base, ours * 1e3, base * 1e3, "ms", 1.3)


def tools() -> Row:
    """A thousand async tools in one batch, for each, by a nursery with a task for each."""
    count = 1000

    @allm.tool
    async def nothing(n: int) -> str:
        """Do nothing."""
        return "ok"

    script = [[fake.tool_call("nothing", {"n": n}) for n in range(count)], [fake.text("done")]]

    async def one() -> str:
        return "ok"

    async def nursery() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)

    async def turn(tools: list[Any], script: Any) -> None:
        engine = allm.Engine(adapter=allm.providers.Fake(scripts=script), model="m")
        result = await allm.chat(engine, "go", tools=tools)
        assert len(result.steps[0].tool_results) == (count if tools else 0)

    async def main() -> list[float]:
        return await compare(1, lambda: turn([nothing], script), nursery)

    ours, base = trio.run(main)
    return Row("tools: 1,000 async, each / a task", ours / base, ours / count * 1e6, base / count * 1e6, "us")


async def _many(count: int, call: Callable[[Callable[[], None]], Awaitable[int]]) -> dict[str, Any]:
    """Open `count` streams at once; CPU in all, seconds until all have shown a token, and the gaps between tokens."""
    gaps: list[float] = []
    opened = 0
    all_open = 0.0
    begun = trio.current_time()
    cpu = time.process_time()

    async def one() -> None:
        nonlocal opened, all_open
        last: float | None = None

        def seen() -> None:
            nonlocal opened, all_open, last
            now = trio.current_time()
            if last is None:
                opened += 1
                if opened == count:
                    all_open = now - begun
            else:
                gaps.append(now - last)
            last = now

        assert await call(seen) == 10

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    gaps.sort()
    return {
        "cpu": time.process_time() - cpu,
        "open": all_open,
        "p99/median": gaps[len(gaps) * 99 // 100] / statistics.median(gaps),
    }


def _streams(who: str, url: str, count: int) -> None:
    """In a process of its own, for its memory."""
    _allow_files()

    async def main() -> dict[str, Any]:
        pause = max(0.5, count / 1000)
        path = f"/slow/{pause}"
        if who == "ours":
            ready = engine(url, path)
            await allm.generate(engine(url, "/short"), "hi")
            before = _resident()
            found = await _many(count, lambda seen: our_stream(ready, seen))
        else:
            async with bare_client() as client:
                await bare_stream(client, url + "/short")
                before = _resident()
                found = await _many(count, lambda seen: bare_stream(client, url + path, seen))
        return {**found, "memory": (_resident() - before) / count}

    print(json.dumps(trio.run(main)))


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def slow_streams(count: int = 1000) -> list[Row]:
    """Many slow streams at once, by as many of the bare client: CPU, memory of each, time until all are open."""
    found: dict[str, Any] = {}
    for who in ("ours", "bare"):
        with server() as url:
            command = [sys.executable, __file__, "--streams", who, url, str(count)]
            found[who] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    ours, bare = found["ours"], found["bare"]
    rows = [
        ("cpu", "CPU", 1, "s", 1.2),
        ("memory", "memory of each", 1024, "KB", 1.4),
        ("open", "all open", 1, "s", 1.1),
    ]
    table = [
        Row(f"{count:,} slow streams: {name} / bare", ours[key] / bare[key], ours[key] / by, bare[key] / by, unit, goal)
        for key, name, by, unit, goal in rows
    ]
    fair = ours["p99/median"]
    return [*table, Row(f"{count:,} slow streams: p99 of the gaps / their median", fair, fair, 1, "", 5)]


def connections(calls: int = 1500, at_once: int = 200) -> Row:
    """Connections made for many requests, by how many there are at once."""

    async def main() -> int:
        ready = engine(url, "/pause")
        limit = trio.CapacityLimiter(at_once)

        async def one() -> None:
            async with limit:
                assert (await allm.generate(ready, "hi")).error is None

        async with trio.open_nursery() as nursery:
            for _ in range(calls):
                nursery.start_soon(one)
        async with bare_client() as client:
            return int((await client.get(url + "/count")).json()[0]) - 1

    with server() as url:
        made = trio.run(main)
    return Row(f"connections for {calls:,} requests, {at_once} at once", made / at_once, made, at_once, "", 1)


OURS = """
import time, trio, allm
async def main():
    adapter = allm.providers.OpenAI(api_key="k", base_url={url!r}, endpoint="chat_completions")
    async with allm.stream_generate(allm.Engine(adapter=adapter, model="m"), "hi") as events:
        async for event in events:
            if isinstance(event, allm.TextDelta):
                print(time.process_time())
                break
trio.run(main)
"""
BARE = """
import json, time, trio, {library} as http
async def main():
    async with http.AsyncClient() as client:
        async with client.stream("POST", {url!r} + "/chat/completions", json={{"stream": True}}) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                    print(time.process_time())
                    break
trio.run(main)
"""


def _seconds_of(*command: str, printed: bool = False) -> float:
    """Median CPU seconds of a process, or those that it prints, with the bytecode of its modules written before."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = folder
        for _ in range(ROUNDS + 1):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run = subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times.append(float(run.stdout) if printed else whole)
    return statistics.median(times[1:])


def cold_start() -> Row:
    """CPU of a process from its start to the first token, by the bare client."""
    with server() as url:
        ours = _seconds_of("-c", OURS.format(url=url + "/short"), printed=True)
        base = _seconds_of("-c", BARE.format(url=url + "/short", library=_library().__name__), printed=True)
    return Row("cold start to the first token / bare", ours / base, ours * 1e3, base * 1e3, "ms", 1.2)


HELP = """
import click, rich.console
@click.command()
def main():
    pass
rich.console.Console().print("hi")
main(["--help"])
"""


def help_of_the_command() -> Row:
    """`allm --help`, by a program that only imports click and rich."""
    ours = _seconds_of("-m", "allm", "--help")
    base = _seconds_of("-c", HELP)
    return Row("allm --help / click and rich", ours / base, ours * 1e3, base * 1e3, "ms", 2.2)


async def _longest_stall(call: Callable[[], Awaitable[object]]) -> float:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await trio.sleep(0.001)
            longest = max(longest, time.perf_counter() - before)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await trio.sleep(0.02)
        longest = 0.0
        await call()
        nursery.cancel_scope.cancel()
    return longest


STALL = """
import sys, trio, allm
sys.path.insert(0, {folder!r})
from calls import _longest_stall, engine
ready = engine({url!r}, "")
print(trio.run(_longest_stall, lambda: allm.generate(ready, "hi")))
"""


def first_call_stall() -> Row:
    """How long the first call of a process holds up a running loop: no limit of its own, in milliseconds."""
    import pathlib

    folder = str(pathlib.Path(__file__).parent)
    with server() as url:
        program = STALL.format(folder=folder, url=url + "/short")
        runs = [subprocess.run([sys.executable, "-c", program], check=True, capture_output=True) for _ in range(3)]
    longest = statistics.median(float(run.stdout) for run in runs)
    return Row("first call of a process: longest stall of the loop / 1 ms", longest * 1e3, longest * 1e3, 1, "ms")


ROWS: tuple[Callable[[], Row | str | list[Row]], ...] = (
    nothing,
    telemetry,
    short_call,
    short_call_of_openai,
    first_token,
    tools,
    slow_streams,
    connections,
    cold_start,
    help_of_the_command,
    first_call_stall,
)


def main() -> None:
    """Print the table."""
    print(f"{'row':58}{'ours':>12}{'base':>12} {'unit':6}{'ratio':>8}{'goal':>8}")
    for row in ROWS:
        if not sys.argv[1:] or row.__name__ in sys.argv[1:]:
            found = row()
            for one in found if isinstance(found, list) else [found]:
                print(one, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve"]:
            _serve()
        case ["--streams", who, url, count]:
            _streams(who, url, int(count))
        case _:
            main()
