"""Mistakes that a type checker finds. Both report an ignore that ignores nothing, so that each line here is a test."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import allm
from allm.providers import OpenAI


def on_event(event: str) -> None:
    """An observer of something else."""


def engines(engine: allm.Engine) -> None:
    """Fields of other types, and names that there are not."""
    allm.Engine(adapter=123)  # type: ignore[arg-type]
    allm.Engine(adapter=OpenAI)  # type: ignore[arg-type]
    allm.Engine(image_adapter=OpenAI())  # type: ignore[arg-type]
    allm.Engine(tool_executor="threads")  # type: ignore[arg-type]
    allm.Engine(tool_result_encoder=str)  # type: ignore[arg-type]
    allm.Engine(on_tool_error="stop")  # type: ignore[arg-type]
    allm.Engine(http_client="https://example.org")  # type: ignore[arg-type]
    allm.Engine.from_model("openai:gpt-5.4", nonsense=1)  # type: ignore[call-arg]
    allm.Engine.from_model("openai:gpt-5.4", adapter=123)  # type: ignore[arg-type]
    engine.with_params(temprature=1)  # type: ignore[call-arg]
    engine.with_params(body={"seed": 7})  # type: ignore[call-arg]


async def options(engine: allm.Engine) -> None:
    """The same for the options of calls."""
    allm.request("Hello", temprature=1)  # type: ignore[call-arg]
    allm.image_request("a fox", sizes="1024x1024")  # type: ignore[call-arg]
    allm.set_defaults(temprature=1)  # type: ignore[call-arg]
    with allm.defaults(max_turns="many"):  # type: ignore[arg-type]
        await allm.generate(engine, "Hello", on_event=on_event)  # type: ignore[arg-type]
    await allm.chat(engine, "Hello", halt_when=len)  # type: ignore[arg-type]
    await allm.generate(engine, 3)  # type: ignore[arg-type]


async def outputs(engine: allm.Engine) -> int:
    """A result of one class is none of another."""
    response: allm.Response[str] = await allm.generate(engine, "Hello", response_format=int)  # type: ignore[arg-type]
    return response.parsed()  # type: ignore[return-value]
