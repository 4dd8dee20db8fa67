"""The same tool-using turn against every wire format: one call site, one outcome."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.testing import Reply, WireServer


@allm.tool
async def weather(city: str, days: int = 1) -> dict:
    """The weather of the next days."""
    return {"city": city, "days": days}


def openai_chat(server):
    return allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")


def openai_responses(server):
    return allm.providers.OpenAI(api_key="k", base_url=server.url("openai_responses"), endpoint="responses")


def anthropic(server):
    return allm.providers.Anthropic(api_key="k", base_url=server.url("anthropic"))


def gemini(server):
    return allm.providers.Gemini(api_key="k", base_url=server.url("gemini"))


def bedrock(server):
    return allm.providers.Bedrock(api_key="k", base_url=server.url("bedrock"))


FORMATS = {
    "openai": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
    "bedrock": bedrock,
}
FIRST = [
    fake.reasoning("Which city?"),
    fake.text("I look it up. "),
    fake.tool_call("weather", {"city": "Zürich", "days": 2}),
    fake.tool_call("weather", {"city": 7}),
    fake.usage(input_tokens=20, output_tokens=10),
]
SECOND = [fake.text("Sunny in Zürich ☀"), fake.usage(input_tokens=50, output_tokens=5)]


@pytest.mark.parametrize("wire", FORMATS)
async def test_a_turn_with_tools_is_the_same_everywhere(wire):
    """Text, calls, results, a mistake of the model fed back, usage; and the second request carries it all."""
    async with WireServer() as server:
        server.add(Reply.script(wire, FIRST), Reply.script(wire, SECOND))
        engine = allm.Engine(adapter=FORMATS[wire](server), model="m", tools=[weather], params={"max_tokens": 100})
        async with allm.stream(engine, "What is the weather in Zürich?") as events:
            seen = [event async for event in events]
    result = events.result()
    assert result.halted_reason == "completed"
    assert result.output_text == "Sunny in Zürich ☀"
    assert [message.role for message in result.thread.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    good, bad = result.steps[0].tool_results
    assert good.text == '{"city":"Zürich","days":2}'
    assert bad.is_error
    assert "city: expected a string, got 7" in bad.text
    assert result.steps[0].response.reasoning_text == "Which city?"
    assert (result.usage.input_tokens, result.usage.output_tokens) == (70, 15)
    assert isinstance(seen[-1], allm.ChatCompleted)
    assert allm.from_json(allm.to_json(result)) == result
    second = server.requests[1].body.decode()
    for carried in ("I look it up.", "Zürich", "expected a string, got 7"):
        assert carried in second


@pytest.mark.parametrize("then", FORMATS)
@pytest.mark.parametrize("first", FORMATS)
async def test_a_conversation_moves_from_any_vendor_to_any_other(first, then):
    """The turn of one is sent to another: calls and results arrive, what only the first understands stays behind."""
    async with WireServer() as server:
        engine = allm.Engine(adapter=FORMATS[first](server), model="m", tools=[weather], params={"max_tokens": 100})
        server.add(Reply.script(first, FIRST), Reply.script(first, SECOND))
        result = await allm.chat(engine, "What is the weather in Zürich?")
        thread = allm.from_json(allm.to_json(result.thread)).add(allm.user("And tomorrow?"))
        moved = allm.Engine(adapter=FORMATS[then](server), model="m", tools=[weather], params={"max_tokens": 100})
        server.add(Reply.script(then, SECOND))
        answer = await allm.chat(moved, thread)
    assert answer.halted_reason == "completed"
    sent = server.requests[2].body.decode()
    for carried in ("I look it up.", "expected a string, got 7", "And tomorrow?"):
        assert carried in sent
    if first != then and {first, then} != {"openai", "openai_responses"}:
        assert "signature" not in sent.lower() or then == "gemini"
