"""Mistakes that type checkers find. Both report an unused ignore comment, which makes each line here a test."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import allm
from allm.providers import OpenAI


def on_event(event: str) -> None:
    """An observer with the wrong parameter type."""


def engines(engine: allm.Engine) -> None:
    """Fields of an engine with wrong types, and unknown names."""
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


def tool_sets(toolset: allm.Toolset) -> None:
    """What no set can be made of."""
    allm.Toolset(["weather"])  # type: ignore[list-item]
    toolset.filtered(lambda tool: tool.title)  # type: ignore[attr-defined]
    toolset.approval(lambda call: True)  # type: ignore[arg-type,misc]
    toolset.limited("2")  # type: ignore[arg-type]


async def options(engine: allm.Engine) -> None:
    """Options of calls with wrong types, and unknown names."""
    allm.request("Hello", temprature=1)  # type: ignore[call-arg]
    allm.image_request("a fox", sizes="1024x1024")  # type: ignore[call-arg]
    allm.set_defaults(temprature=1)  # type: ignore[call-arg]
    with allm.defaults(max_turns="many"):  # type: ignore[arg-type]
        await allm.generate(engine, "Hello", on_event=on_event)  # type: ignore[arg-type]
    await allm.chat(engine, "Hello", halt_when=len)  # type: ignore[arg-type]
    await allm.chat(engine, "Hello", before_step=len)  # type: ignore[arg-type]
    await allm.generate(engine, 3)  # type: ignore[call-overload]
    await allm.classify(engine, "Hello", ["yes", "no"])  # type: ignore[call-overload]


async def outputs(engine: allm.Engine) -> int:
    """A response of one class is not a response of another."""
    response: allm.Response[str] = await allm.generate(engine, "Hello", response_format=int)  # type: ignore[arg-type]
    return response.parsed()  # type: ignore[return-value]
