"""The package `openai`, on asyncio."""

from __future__ import annotations

import asyncio
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from worker import Meter, check, peak_resident, resident, serve

HI: Any = [{"role": "user", "content": "hi"}]


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0, timeout=None)


async def read(openai: AsyncOpenAI, format_: str, *, stop_after: int | None = None) -> int:
    pieces: list[str] = []
    if format_ == "chat":
        async with await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, stream=True) as stream:
            async for chunk in stream:
                if chunk.choices:
                    delta = chunk.choices[0].delta
                    calls = delta.tool_calls
                    text = calls[0].function.arguments if calls and calls[0].function else delta.content
                    if text:
                        pieces.append(text)
                        if len(pieces) == stop_after:
                            break
    else:
        async with await openai.responses.create(model="gpt-5-mini", input="hi", stream=True) as stream:
            deltas = {"response.output_text.delta", "response.function_call_arguments.delta"}
            pieces += [event.delta async for event in stream if event.type in deltas]
    return len(pieces)


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    async with client(url.replace(f"tokens={tokens}", "tokens=20")) as openai:
        await read(openai, format)
    async with client(url) as openai:
        with meter.measure():
            count = await read(openai, format)
    check(ok=count >= tokens, what=count)


async def short(meter: Meter, *, url: str, calls: int) -> None:
    async with client(url) as openai:
        for warm in (True, False):
            with Meter().measure() if warm else meter.measure():
                for _ in range(5 if warm else calls):
                    response = await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI)
                    text = response.choices[0].message.content
    check(ok="word19" in (text or ""), what=text)


async def first_token(meter: Meter, *, url: str, calls: int) -> None:
    async with client(url) as openai:
        for warm in (True, False):
            with Meter().measure() if warm else meter.measure():
                for _ in range(5 if warm else calls):
                    await read(openai, "chat", stop_after=1)


async def cold(meter: Meter, *, url: str) -> None:
    async with client(url) as openai:
        await read(openai, "chat", stop_after=1)
    meter.note(process=time.process_time())


async def streams(meter: Meter, *, url: str, streams: int, tokens: int) -> None:
    async with client(url.replace("pause=", "no=")) as openai:
        await read(openai, "chat")
    async with client(url) as openai:
        before, opened = resident(), 0
        loop = asyncio.get_running_loop()

        async def one() -> None:
            nonlocal opened
            count = 0
            async with await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, stream=True) as stream:
                is_open = False
                async for chunk in stream:
                    if not is_open:  # with its first event, as the others see it
                        opened, is_open = opened + 1, True
                        if opened == streams:
                            meter.note(open=loop.time() - start, memory=(resident() - before) / streams)
                    count += bool(chunk.choices and chunk.choices[0].delta.content)
            check(ok=count == tokens, what=count)

        with meter.measure():
            start = loop.time()
            await asyncio.gather(*(one() for _ in range(streams)))


async def connections(meter: Meter, *, url: str, calls: int, at_once: int) -> None:
    async with client(url) as openai:
        places = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with places:
                await read(openai, "chat")

        with meter.measure():
            await asyncio.gather(*(one() for _ in range(calls)))


async def embeddings(meter: Meter, *, url: str, texts: int, batch: int) -> None:
    async with client(url) as openai:
        with meter.measure():
            vectors = []
            for start in range(0, texts, batch):
                asked = [f"text {n}" for n in range(start, start + batch)]
                response = await openai.embeddings.create(model="text-embedding-3-small", input=asked)
                vectors += [item.embedding for item in response.data]
    check(ok=len(vectors) == texts, what=len(vectors))


async def image(meter: Meter, *, url: str, megabytes: int) -> None:
    """As the package's documentation does it: the picture as a data URL in the message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(megabytes << 20))
        async with client(url) as openai:
            await read(openai, "chat")
            before = peak_resident()
            with meter.measure():
                source = "data:image/png;base64," + b64encode(path.read_bytes()).decode()
                content = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": source}}]
                asked: Any = [{"role": "user", "content": content}]
                response = await openai.chat.completions.create(model="gpt-4.1-mini", messages=asked)
            check(ok=bool(response.choices), what=response)
            meter.note(peak=peak_resident() - before)


ROWS = {
    "tokens": tokens,
    "short": short,
    "first_token": first_token,
    "cold": cold,
    "streams": streams,
    "connections": connections,
    "embeddings": embeddings,
    "image": image,
}

if __name__ == "__main__":
    serve(ROWS, lambda main: asyncio.run(main()))
