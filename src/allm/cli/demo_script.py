"""The script of the demo: the same responses in every wire format, at the pace of a real model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import attrs

import allm
from allm import fake
from allm.data.script import ScriptItem
from allm.testing import Reply, WireServer
from allm.testing.wire_formats import Provider

__all__ = ["FORMATS", "SCENES", "Format", "Scene", "get_weather", "reply"]


@attrs.frozen
class Format:
    """A wire format, and an engine that uses it with the server."""

    title: str
    wire: Provider
    engine: Callable[[WireServer], allm.Engine]


@attrs.frozen
class Scene:
    """One question and the scripted responses of its turn; a second one follows a tool's result.

    Attributes:
        label: The label in the summary.
        ends: The expected `halted_reason` of the turn.
    """

    title: str
    label: str
    question: str
    ends: allm.HaltedReason
    responses: tuple[tuple[ScriptItem, ...], ...]


@allm.tool
def get_weather(city: str, days: int = 1) -> dict[str, str]:
    """The weather of the next days."""
    return {f"day {day}": f"rain in {city}" for day in range(1, days + 1)}


SCENES = (
    Scene(
        "A response streams",
        "response",
        "What is a nursery in Trio?",
        "completed",
        (
            (
                fake.text(
                    "A nursery is a block in which tasks live. You open it, start\n"
                    "tasks in it, and leave it when the last of them has ended, so\n"
                    "none is ever left behind. Cancel it, and all of them stop."
                ),
                fake.usage(input_tokens=14, output_tokens=52),
            ),
        ),
    ),
    Scene(
        "The model calls a tool, which runs here",
        "tool call",
        "Do I need an umbrella in Lisbon?",
        "completed",
        (
            (
                fake.tool_call("get_weather", {"city": "Lisbon", "days": 2}),
                fake.usage(input_tokens=61, output_tokens=19),
            ),
            (
                fake.text("Yes, for both days."),
                fake.usage(input_tokens=92, output_tokens=6),
            ),
        ),
    ),
    Scene(
        "The connection breaks in the middle",
        "broken",
        "Tell me a story about a cable.",
        "error",
        (
            (
                fake.text("Once upon a time a cable lay on the floor of the sea, and every"),
                fake.error(allm.AdapterError("somebody dropped an anchor on it", reason="network_error")),
            ),
        ),
    ),
)


def _engine(adapter: allm.adapters.StreamAdapter) -> allm.Engine:
    return allm.Engine(adapter=adapter, model="scripted", tools=[get_weather], params={"max_tokens": 256})


def _chat_completions(server: WireServer) -> allm.Engine:
    adapter = allm.providers.OpenAI(api_key="no-key", base_url=server.url("openai"), endpoint="chat_completions")
    return _engine(adapter)


def _responses(server: WireServer) -> allm.Engine:
    adapter = allm.providers.OpenAI(api_key="no-key", base_url=server.url("openai_responses"), endpoint="responses")
    return _engine(adapter)


def _anthropic(server: WireServer) -> allm.Engine:
    return _engine(allm.providers.Anthropic(api_key="no-key", base_url=server.url("anthropic")))


def _gemini(server: WireServer) -> allm.Engine:
    return _engine(allm.providers.Gemini(api_key="no-key", base_url=server.url("gemini")))


FORMATS = {
    "openai": Format("OpenAI Chat Completions", "openai", _chat_completions),
    "responses": Format("OpenAI Responses", "openai_responses", _responses),
    "anthropic": Format("Anthropic Messages", "anthropic", _anthropic),
    "gemini": Format("Gemini generateContent", "gemini", _gemini),
}
"""The formats by the names that `allm demo --format` takes."""

FIRST_TOKEN = 0.16  # seconds
GAPS = (0.010, 0.026, 0.006, 0.017, 0.012, 0.030, 0.008, 0.014)  # seconds between events, repeated


def reply(wire: Provider, script: Iterable[ScriptItem], *, fast: bool) -> Reply:
    """The script as a reply in the format `wire`; with pauses between its events unless `fast`."""
    scripted = Reply.script(wire, script)
    if fast:
        return scripted
    gaps = dict(zip(scripted.event_ends, itertools.cycle(GAPS), strict=False))
    return attrs.evolve(scripted, first_delay=FIRST_TOKEN, pauses=gaps)
