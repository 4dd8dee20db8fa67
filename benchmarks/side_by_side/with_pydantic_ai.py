"""The package `pydantic-ai`, on asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from worker import Meter, check, serve


def model(url: str) -> OpenAIChatModel:
    return OpenAIChatModel("gpt-4.1-mini", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="k"))


async def read(url: str) -> int:
    count = 0
    async with Agent(model(url)).run_stream("hi") as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            count += bool(text)
    return count


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    await read(url.replace(f"tokens={tokens}", "tokens=20"))
    with meter.measure():
        count = await read(url)
    check(ok=count >= tokens, what=count)


async def short(meter: Meter, *, url: str, calls: int) -> None:
    agent = Agent(model(url))
    for warm in (True, False):
        with Meter().measure() if warm else meter.measure():
            for _ in range(5 if warm else calls):
                result = await agent.run("hi")
    check(ok="word19" in result.output, what=result.output)


def messages_of(count: int) -> list[ModelMessage]:
    texts = [f"message {n} " + "word " * 20 for n in range(count)]
    return [
        ModelResponse([TextPart(text)]) if n % 2 else ModelRequest([UserPromptPart(text)])
        for n, text in enumerate(texts)
    ]


async def thread(meter: Meter, *, url: str, messages: int, turns: int) -> None:
    agent, kept = Agent(model(url)), messages_of(messages)
    await agent.run("hi")
    with meter.measure():
        for turn in range(turns):
            result = await agent.run(f"question {turn}", message_history=kept)
            kept = result.all_messages()
    check(ok=len(kept) == messages + 2 * turns, what=len(kept))


async def codec(meter: Meter, *, messages: int, repeat: int) -> None:
    kept = messages_of(messages)
    with meter.measure():
        for _ in range(repeat):
            text = ModelMessagesTypeAdapter.dump_json(kept)
    meter.note(encode=meter.costs["cpu"])
    with meter.measure():
        for _ in range(repeat):
            back = ModelMessagesTypeAdapter.validate_json(text)
    meter.note(decode=meter.costs["cpu"] - meter.costs["encode"])
    check(ok=len(back) == messages, what=len(back))


async def tools(meter: Meter, *, calls: int) -> None:
    for count in (2, calls):

        def answer(messages: list[ModelMessage], info: AgentInfo, count: int = count) -> ModelResponse:
            if len(messages) > 1:
                return ModelResponse([TextPart("done")])
            return ModelResponse([ToolCallPart("write", {"text": "a"}) for _ in range(count)])

        agent: Agent[Any, str] = Agent(FunctionModel(answer))

        @agent.tool_plain
        async def write(text: str) -> str:
            return text[:1]

        with meter.measure() if count == calls else Meter().measure():
            result = await agent.run("go")
    check(ok=len(result.all_messages()[2].parts) == calls, what=result.output)


ROWS = {"tokens": tokens, "short": short, "thread": thread, "codec": codec, "tools": tools}

if __name__ == "__main__":
    serve(ROWS, lambda main: asyncio.run(main()))
