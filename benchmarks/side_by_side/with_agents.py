"""The package `openai-agents`, on asyncio."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, SQLiteSession, set_tracing_disabled
from openai import AsyncOpenAI
from worker import Meter, check, serve, size_of

set_tracing_disabled(disabled=True)


def agent(url: str) -> Agent[Any]:
    client = AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0)
    model = OpenAIChatCompletionsModel(model="gpt-4.1-mini", openai_client=client)
    return Agent(name="a", model=model, model_settings=ModelSettings())


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    for address in (url.replace(f"tokens={tokens}", "tokens=20"), url):
        with meter.measure() if address == url else Meter().measure():
            count = 0
            result = Runner.run_streamed(agent(address), "hi")
            async for event in result.stream_events():
                count += event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    check(ok=count >= tokens, what=count)


async def thread(meter: Meter, *, url: str, messages: int, turns: int) -> None:
    model = agent(url)
    texts = [f"message {n} " + "word " * 20 for n in range(messages)]
    kept: list[Any] = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    await Runner.run(model, "hi")
    with meter.measure():
        for turn in range(turns):
            result = await Runner.run(model, [*kept, {"role": "user", "content": f"question {turn}"}])
            kept = result.to_input_list()
    check(ok=len(kept) == messages + 2 * turns, what=len(kept))


async def store(meter: Meter, *, url: str, turns: int) -> None:
    model = agent(url)
    await Runner.run(model, "hi")
    with tempfile.TemporaryDirectory() as folder:
        session = SQLiteSession("a", str(Path(folder) / "s.db"))
        spent: list[float] = []
        for number in range(turns):
            turn_meter = Meter()
            with turn_meter.measure(), meter.measure():
                await Runner.run(model, f"question {number}", session=session)
            spent.append(turn_meter.costs["cpu"])
        session.close()
        tenth = max(1, turns // 10)
        meter.note(early=sum(spent[:tenth]) / tenth, late=sum(spent[-tenth:]) / tenth)
        meter.note(disk=size_of(folder))


if __name__ == "__main__":
    serve({"tokens": tokens, "thread": thread, "store": store}, lambda main: asyncio.run(main()))
