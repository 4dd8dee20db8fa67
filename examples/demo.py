"""What the examples run on: a real model if ALLM_MODEL names one, else a demo server on this machine.

    python examples/deadline.py                                        # the demo server, without a key
    ALLM_MODEL=anthropic:claude-sonnet-4-6 python examples/deadline.py # a real model; its key from the environment

Your own program has `allm.Engine.from_model("provider:id")` in the place of `demo.engine()`.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

import allm
from allm import fake
from allm.providers import OpenAI
from allm.testing import RecordedRequest, Reply, WireServer

Say = Callable[["Asked"], str | Sequence[Any] | Reply]


@attrs.frozen
class Asked:
    """What the demo server was asked.

    Attributes:
        text: What the user said last.
        results: Texts of the tools' results since then.
        tools: Names of the tools.
        schema: That of the answer, if one was asked for.
        messages: All messages, as OpenAI's format has them.
    """

    text: str
    results: list[str]
    tools: list[str]
    schema: dict[str, Any] | None
    messages: list[dict[str, Any]]


@asynccontextmanager
async def engine(say: Say | None = None, name: str = "demo", **fields: Any) -> AsyncGenerator[allm.Engine]:
    """An engine with a chat model.

    Args:
        say: What the demo server answers: a text, items of `allm.fake`, or a reply such as `Reply.error(...)`. Default:
            it repeats the question.
        name: That of the demo server's model.
        fields: Fields of the engine, such as `tools`.
    """
    if model := os.environ.get("ALLM_MODEL"):
        yield allm.Engine.from_model(model, **fields)
        return
    _tell_of_demo()
    async with WireServer(default=lambda request: _reply(request, say or _repeat)) as server:
        adapter = OpenAI(api_key="demo", base_url=server.url("openai"), endpoint="chat_completions")
        yield allm.Engine(adapter=adapter, model=name, **fields)


def is_real() -> bool:
    """Whether a real model answers."""
    return "ALLM_MODEL" in os.environ


@functools.cache  # once, however many engines a program has
def _tell_of_demo() -> None:
    print("No model: this is the demo server. ALLM_MODEL=provider:id takes a real one.", file=sys.stderr)


def _repeat(asked: Asked) -> str:
    return f"You said: {asked.text}"


def _reply(request: RecordedRequest, say: Say) -> Reply:
    body = request.json()
    messages = body["messages"]
    last = max((index for index, message in enumerate(messages) if message["role"] == "user"), default=0)
    asked = Asked(
        text=_text(messages[last]["content"]),
        results=[_text(message["content"]) for message in messages[last:] if message["role"] == "tool"],
        tools=[tool["function"]["name"] for tool in body.get("tools", ())],
        schema=body.get("response_format", {}).get("json_schema", {}).get("schema"),
        messages=messages,
    )
    said = say(asked)
    if isinstance(said, Reply):
        return said
    items = [fake.text(word) for word in said.replace(" ", " \0").split("\0")] if isinstance(said, str) else list(said)
    counts = fake.usage(input_tokens=len(json.dumps(messages)) // 4, output_tokens=len(items))
    return Reply.script("openai", [*items, counts])


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", f"[{part['type']}]") for part in content)
