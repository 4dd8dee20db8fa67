"""Helpers for tests of streams."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import Fake
from allm.testing import collect, text, tool_calls


@allm.tool
def weather(city: str) -> str:
    """Return the weather."""
    return city.upper()


def engine():
    """An engine whose model says something, calls a tool, and says something else."""
    scripts = [
        [fake.text("Let me "), fake.text("see."), fake.tool_call("weather", {"city": "Zug"})],
        [fake.text(" Warm.")],
    ]
    return allm.Engine(adapter=Fake(scripts=scripts), tools=[weather])


@pytest.mark.parametrize("options", [{}, {"emit_text_deltas": False, "emit_tool_deltas": False}])
async def test_of_a_chat(options):
    """Text and calls of all steps, with or without deltas."""
    events = await collect(allm.stream(engine(), "?", **options))
    assert isinstance(events[-1], allm.ChatCompleted)
    assert text(events) == "Let me see. Warm."
    assert [(call.name, call.arguments) for call in tool_calls(events)] == [("weather", {"city": "Zug"})]


async def test_of_a_part():
    """The helpers work with any part of the events."""
    events = await collect(allm.stream(engine(), "?"))
    assert text(events[:2]) == "Let me "
    assert text([]) == ""
    assert tool_calls([]) == ()


async def test_of_the_rest_of_a_stream():
    """A stream can be collected from its current position."""
    async with allm.stream_generate(allm.Engine(adapter=Fake(script=[fake.text("a"), fake.text("b")])), "?") as events:
        first = await anext(events)
        rest = await collect(events)
    assert isinstance(first, allm.MessageStarted)
    assert text([first, *rest]) == events.result().output_text == "ab"


async def test_a_failure_is_an_event():
    """The events before it are there too."""
    error = allm.AdapterError("gone", reason="network_error")
    adapter = Fake(script=[fake.text("so f"), fake.error(error)])
    events = await collect(allm.stream_generate(allm.Engine(adapter=adapter), "?"))
    assert events[-1] == allm.Failed(error)
    assert text(events) == "so f"
