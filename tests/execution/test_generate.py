"""`generate` and `unwrap`, and adapters that break the rules."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.data.events import MessageCompleted, MessageStarted, TextDelta
from allm.execution.stream.folds import StreamCollector
from allm.providers import Fake

DONE = MessageCompleted(allm.assistant("hi"), "stop")


class Emitting:
    """An adapter that emits given bursts."""

    provider = "mine"
    requires_model = False

    def __init__(self, *bursts):
        self.bursts = bursts

    def prepare(self, request, _options):
        return request

    async def stream(self, _prepared, emit):
        for burst in self.bursts:
            await emit(*burst)


async def test_an_empty_burst_is_nothing():
    """An empty burst is ignored."""
    engine = allm.Engine(adapter=Emitting([], [MessageStarted()], [], [TextDelta("t", "hi"), DONE]))
    async with allm.stream_generate(engine, "hi") as events:
        seen = [type(event).__name__ async for event in events]
    assert seen == ["MessageStarted", "TextDelta", "MessageCompleted"]


async def test_nothing_comes_after_the_end():
    """Emitting after the end raises in the adapter, and the response stays as it is."""
    engine = allm.Engine(adapter=Emitting([TextDelta("t", "hi"), DONE], [TextDelta("t", "more")]))
    response = await allm.generate(engine, "hi")
    assert response.output_text == "hi"
    fold = StreamCollector()
    fold.add(DONE)
    with pytest.raises(allm.StreamError, match="TextDelta came after the end") as caught:
        fold.add(TextDelta("t", "more"))
    assert caught.value.reason == "already_done"


async def test_unwrap_gives_the_text_of_a_clean_end():
    """`unwrap` raises the response's error, or an error for another end or no text."""
    failure = allm.AdapterError("no", reason="invalid_request")
    answers = {}
    for name, script in {
        "text": [fake.text("hi")],
        "cut": [fake.text("hi"), fake.finish("length")],
        "calling": [fake.tool_call("weather", {})],
        "empty": [],
        "failed": [fake.text("hi"), fake.error(failure)],
    }.items():
        answers[name] = await allm.generate(allm.Engine(adapter=Fake(script), retry=None), "hi")
    assert allm.unwrap(answers["text"]) == "hi"
    for name, reason, helps in (
        ("cut", "non_stop_finish", "max_tokens="),
        ("calling", "non_stop_finish", "allm.chat"),
        ("empty", "empty_response", "response.message.parts"),
    ):
        with pytest.raises(allm.UnwrapError) as caught:
            allm.unwrap(answers[name])
        assert caught.value.reason == reason
        assert helps in caught.value.advice
    with pytest.raises(allm.AdapterError) as caught:
        allm.unwrap(answers["failed"])
    assert caught.value == failure


@pytest.mark.parametrize("call", [allm.generate, allm.chat, allm.step])
async def test_what_is_no_engine(call):
    """Anything but an Engine is rejected, with its type in the message."""
    with pytest.raises((allm.EngineError, allm.ValidationError, TypeError), match="str"):
        await call("openai:gpt-5.4", "hi")
