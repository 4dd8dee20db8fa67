"""This library in every row. Each row imports what it needs, since one of them measures the start of a process."""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trio
from worker import Meter, check, cpu_of, peak_resident, resident, serve, size_of

import allm

MODELS = {"chat": "gpt-4.1-mini", "responses": "gpt-5-mini", "anthropic": "claude-sonnet-4-6"}


@functools.cache
def write() -> allm.Tool:
    @allm.tool
    async def write(text: str) -> str:
        """Write a text."""
        return text[:1]

    return write


def engine(url: str, format_: str = "chat", **options: Any) -> allm.Engine:
    match format_:
        case "anthropic":
            adapter: Any = allm.providers.Anthropic(api_key="k", base_url=url)
        case "gemini":
            adapter = allm.providers.Gemini(api_key="k", base_url=url)
        case _:
            endpoint: Any = "chat_completions" if format_ == "chat" else "responses"
            adapter = allm.providers.OpenAI(api_key="k", base_url=f"{url}/v1", endpoint=endpoint)
    return allm.Engine(adapter=adapter, model=MODELS.get(format_, "gemini-3-flash"), **options)


async def read(engine: allm.Engine, *, stop_after: int | None = None) -> int:
    count = 0
    async with allm.stream_generate(engine, "hi") as events:
        async for event in events:
            count += isinstance(event, allm.TextDelta | allm.ToolCallDelta)
            if count == stop_after:
                return count
        check(ok=events.result().finish_reason in {"stop", "tool_calls"}, what=events.result())
    return count


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    await read(engine(url.replace(f"tokens={tokens}", "tokens=20"), format, tools=[write()]))
    before = peak_resident()
    with meter.measure():
        count = await read(engine(url, format, tools=[write()]))
    check(ok=count >= tokens or format == "gemini", what=count)
    meter.note(growth=peak_resident() - before)


async def short(meter: Meter, *, url: str, calls: int) -> None:
    model = engine(url)
    for warm in (True, False):
        with Meter().measure() if warm else meter.measure():
            for _ in range(5 if warm else calls):
                text = allm.unwrap(await allm.generate(model, "hi"))
    check(ok="word19" in text, what=text)


async def first_token(meter: Meter, *, url: str, calls: int) -> None:
    model = engine(url)
    for warm in (True, False):
        with Meter().measure() if warm else meter.measure():
            for _ in range(5 if warm else calls):
                await read(model, stop_after=1)


async def cold(meter: Meter, *, url: str) -> None:
    """What the process has cost until the first token of its first call."""
    await read(engine(url), stop_after=1)
    meter.note(process=time.process_time())


async def command(meter: Meter) -> None:
    """`allm --help`."""
    meter.note(cpu=cpu_of([sys.executable, "-m", "allm", "--help"]))


async def nothing(meter: Meter, *, calls: int) -> None:
    class Nothing(allm.adapters.Adapter):
        """Answers with one text, without any network."""

        provider = "nothing"
        requires_model = False

        def prepare(self, request: Any, options: Any) -> Any:
            return request

        async def stream(self, prepared: Any, emit: Any) -> None:
            completed = allm.MessageCompleted(allm.assistant("yes"), "stop")
            await emit(allm.MessageStarted(), allm.TextDelta("0", "yes"), completed)

    model = allm.Engine(adapter=Nothing())
    for warm in (True, False):
        with Meter().measure() if warm else meter.measure():
            for _ in range(5 if warm else calls):
                response = await allm.generate(model, "hi")
    check(ok=response.output_text == "yes", what=response)


async def streams(meter: Meter, *, url: str, streams: int, tokens: int) -> None:
    await read(engine(url.replace("pause=", "no=")))
    model, before, opened = engine(url), resident(), 0

    async def one() -> None:
        nonlocal opened
        count = 0
        async with allm.stream_generate(model, "hi", first_event_timeout=None) as events:
            async for event in events:
                if isinstance(event, allm.MessageStarted):
                    opened += 1
                    if opened == streams:
                        meter.note(open=trio.current_time() - start, memory=(resident() - before) / streams)
                count += isinstance(event, allm.TextDelta)
        check(ok=count == tokens, what=events.result())

    with meter.measure():
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(streams):
                nursery.start_soon(one)


async def connections(meter: Meter, *, url: str, calls: int, at_once: int) -> None:
    model = engine(url, limiter=trio.CapacityLimiter(at_once))
    with meter.measure():
        async with trio.open_nursery() as nursery:
            for _ in range(calls):
                nursery.start_soon(allm.generate, model, "hi")


def messages_of(count: int) -> allm.Thread:
    roles = (allm.user, allm.assistant)
    return allm.Thread(tuple(roles[n % 2](f"message {n} " + "word " * 20) for n in range(count)))


async def thread(meter: Meter, *, url: str, messages: int, turns: int) -> None:
    model, kept = engine(url), messages_of(messages)
    await read(model)
    with meter.measure():
        for turn in range(turns):
            result = await allm.chat(model, kept.add(allm.user(f"question {turn}")))
            kept = result.thread
    check(ok=result.halted_reason == "completed", what=result)


async def codec(meter: Meter, *, messages: int, repeat: int) -> None:
    kept = messages_of(messages)
    allm.from_json(allm.to_json(messages_of(2)))
    with meter.measure():
        for number in range(repeat):
            text = allm.to_json(attrs_copy(kept, number))
    meter.note(encode=meter.costs["cpu"])
    with meter.measure():
        for _ in range(repeat):
            back = allm.from_json(text)
    meter.note(decode=meter.costs["cpu"] - meter.costs["encode"])
    check(ok=back == kept, what="a thread that came back different")


def attrs_copy(kept: allm.Thread, number: int) -> allm.Thread:
    """The same thread the first time, so that the row shows what a thread costs that was written before."""
    return kept if number else messages_of(len(kept.messages))


async def store(meter: Meter, *, url: str, turns: int) -> None:
    """Turns of one session, one after the other; `late` is the CPU of one at the end, `early` at the beginning."""
    model = engine(url)
    await read(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        async with allm.session.open_store(f"sqlite:///{path}") as opened:
            spent: list[float] = []
            for number in range(turns):
                turn_meter = Meter()
                with turn_meter.measure(), meter.measure():
                    async with opened.turn("a") as turn:
                        await turn.reply(model, f"question {number}")
                spent.append(turn_meter.costs["cpu"])
            tenth = max(1, turns // 10)
            meter.note(early=sum(spent[:tenth]) / tenth, late=sum(spent[-tenth:]) / tenth)
        meter.note(disk=size_of(folder))


async def tools(meter: Meter, *, calls: int) -> None:
    asked = [allm.fake.tool_call("write", {"text": "a"}) for _ in range(calls)]
    for count in (2, calls):
        model = allm.Engine(
            adapter=allm.providers.Fake(scripts=[asked[:count], [allm.fake.text("done")]]), tools=[write()]
        )
        with meter.measure() if count == calls else Meter().measure():
            result = await allm.chat(model, "go")
    check(ok=len(result.steps[0].tool_results) == calls, what=result.halted_reason)


async def embeddings(meter: Meter, *, url: str, texts: int, batch: int) -> None:
    adapter = allm.providers.OpenAIEmbeddings(api_key="k", base_url=f"{url}/v1")
    model = allm.Engine(embedding_adapter=adapter, embedding_model="text-embedding-3-small")
    with meter.measure():
        result = await allm.embed(model, [f"text {n}" for n in range(texts)], batch_size=batch, max_concurrency=1)
    check(ok=len(result.embeddings) == texts, what=result)


async def image(meter: Meter, *, url: str, megabytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(megabytes << 20))
        model = engine(url)
        await read(model)
        before = peak_resident()
        with meter.measure():
            response = await allm.generate(model, allm.user("what?", allm.Image.from_file(path)))
        check(ok=response.finish_reason == "stop", what=response)
        meter.note(peak=peak_resident() - before)


ROWS = {
    "tokens": tokens,
    "short": short,
    "first_token": first_token,
    "cold": cold,
    "command": command,
    "nothing": nothing,
    "streams": streams,
    "connections": connections,
    "thread": thread,
    "codec": codec,
    "store": store,
    "tools": tools,
    "embeddings": embeddings,
    "image": image,
}

if __name__ == "__main__":
    serve(ROWS, trio.run)
