"""What the demo plays: the same answers in every wire format, at the pace of a real model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import attrs

import allm
from allm import fake
from allm.data.script import ScriptItem
from allm.testing import Reply, WireServer
from allm.testing.wire_formats import Provider

__all__ = ["FORMATS", "SCENES", "WEATHER", "Format", "Scene", "reply"]


@attrs.frozen
class Format:
    """A wire format, and the engine that speaks it to the server."""

    title: str
    wire: Provider
    engine: Callable[[WireServer], allm.Engine]


@attrs.frozen
class Scene:
    """One question and its scripted answer.

    Attributes:
        label: For the summary.
        ends: The finish reason that the answer has to fold to.
    """

    title: str
    label: str
    question: str
    ends: allm.FinishReason
    script: tuple[ScriptItem, ...]


WEATHER = allm.Tool(
    "get_weather",
    "The weather of the next days.",
    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
)

SCENES = (
    Scene(
        "An answer streams",
        "answer",
        "What is a nursery in Trio?",
        "stop",
        (
            fake.text(
                "A nursery is a block in which tasks live. You open it, start\n"
                "tasks in it, and leave it when the last of them has ended, so\n"
                "none is ever left behind. Cancel it, and all of them stop."
            ),
            fake.usage(input_tokens=14, output_tokens=52),
        ),
    ),
    Scene(
        "The model calls a tool",
        "tool call",
        "Do I need an umbrella in Lisbon?",
        "tool_calls",
        (
            fake.tool_call("get_weather", {"city": "Lisbon", "days": 2}),
            fake.usage(input_tokens=61, output_tokens=19),
        ),
    ),
    Scene(
        "The connection breaks in the middle",
        "broken",
        "Tell me a story about a cable.",
        "error",
        (
            fake.text("Once upon a time a cable lay on the floor of the sea, and every"),
            fake.error(allm.AdapterError("somebody dropped an anchor on it", reason="network_error")),
        ),
    ),
)


def _openai(server: WireServer) -> allm.Engine:
    adapter = allm.providers.OpenAI(api_key="no-key", base_url=server.url("openai"), endpoint="chat_completions")
    return allm.Engine(adapter=adapter, model="scripted").with_tools(WEATHER)


FORMATS = (Format("OpenAI Chat Completions", "openai", _openai),)

FIRST_TOKEN = 0.16  # seconds
GAPS = (0.010, 0.026, 0.006, 0.017, 0.012, 0.030, 0.008, 0.014)  # seconds between events, over and over


def reply(wire: Provider, script: Iterable[ScriptItem], *, fast: bool) -> Reply:
    """The answer in the format `wire`; with pauses between its events unless it has to be `fast`."""
    answer = Reply.script(wire, script)
    if fast:
        return answer
    gaps = dict(zip(answer.event_ends, itertools.cycle(GAPS), strict=False))
    return attrs.evolve(answer, first_delay=FIRST_TOKEN, pauses=gaps)
