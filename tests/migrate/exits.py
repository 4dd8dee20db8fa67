"""Leave a stream of another package in five ways: `python exits.py PACKAGE loop|block URL`.

Prints for each way, as JSON, whether its connection is closed when the next statement runs, or after the event loop has
gone round a thousand times more, or open after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
from pathlib import Path

PACKAGE, FORM, URL = sys.argv[1:]
ESTABLISHED = "01"  # the kernel's word in /proc/net/tcp


def opened():
    """How many connections of this process to the server are open, as the kernel knows at this moment."""
    port = f":{int(URL.rsplit(':', 1)[1].split('/')[0]):04X}"
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(port) and row[3] == ESTABLISHED for row in rows)


def ask(text):
    return [{"role": "user", "content": text}]


async def of_openai():
    import openai

    client = openai.AsyncOpenAI(base_url=URL, max_retries=0)

    async def start(text):
        return await client.chat.completions.create(model="gpt-4o-mini", messages=ask(text), stream=True)

    return start, lambda chunk: chunk.choices and chunk.choices[0].delta.content


async def of_anthropic():
    import anthropic

    client = anthropic.AsyncAnthropic(base_url=URL, max_retries=0)

    async def start(text):
        return await client.messages.create(model="claude", max_tokens=9, messages=ask(text), stream=True)

    return start, lambda event: getattr(getattr(event, "delta", None), "text", None)


async def of_litellm():
    import litellm

    async def start(text):
        return await litellm.acompletion("openai/gpt-4o-mini", ask(text), api_base=URL, stream=True, num_retries=0)

    return start, lambda chunk: chunk.choices and chunk.choices[0].delta.content


async def of_langchain():
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-4o-mini", base_url=URL, max_retries=0)

    async def start(text):
        return model.astream(text)

    return start, lambda chunk: chunk.content


async def in_loop(start, text_of, question, act, kept):
    """Read in a plain loop; `kept` has the stream, as a variable of the program would."""
    kept.append(await start(question))
    async for piece in kept[0]:
        if text_of(piece) and await act():
            break


async def in_block(start, text_of, question, act, kept):
    async with await start(question) as stream:
        async for piece in stream:
            if text_of(piece) and await act():
                break


async def in_block_of_an_agent(start, text_of, question, act, kept):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = Agent(OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(base_url=URL, api_key="k")))
    async with agent.run_stream(question) as result:
        async for _ in result.stream_text(delta=True, debounce_by=None):
            if await act():
                break


async def main():
    if PACKAGE == "pydantic-ai":
        read, start, text_of = in_block_of_an_agent, None, None
    else:
        start, text_of = await globals()[f"of_{PACKAGE}"]()
        read = in_loop if FORM == "loop" else in_block
    found = {}

    async def go_on():
        return False

    async def leave():
        return True

    async def fail():
        raise ZeroDivisionError

    def by_cancel(busy):
        arrived = asyncio.Event()

        async def arrive():
            arrived.set()
            if busy:
                await asyncio.Event().wait()
            return False

        async def run(kept):
            task = asyncio.ensure_future(read(start, text_of, "Stall.", arrive, kept))
            await arrived.wait()
            for _ in range(20):  # to where it waits for more
                await asyncio.sleep(0)
            task.cancel()
            await task

        return run

    ways = {
        "break": lambda kept: read(start, text_of, "Stall.", leave, kept),
        "exception": lambda kept: read(start, text_of, "Stall.", fail, kept),
        "cancel": by_cancel(busy=False),
        "cancel while busy": by_cancel(busy=True),
        "end": lambda kept: read(start, text_of, "All of it.", go_on, kept),  # last: it leaves one in the pool
    }
    for name, way in ways.items():
        kept = []
        with contextlib.suppress(ZeroDivisionError, asyncio.CancelledError):
            await way(kept)
        at_once = not opened()
        for _ in range(1000):
            await asyncio.sleep(0)
        found[name] = "open" if opened() else "closed" if at_once else "closed later"
        kept.clear()
        while name != "end" and opened():  # else the next way would find this one's
            gc.collect()
            await asyncio.sleep(0)
    sys.stdout.write(json.dumps(found))


asyncio.run(main())
