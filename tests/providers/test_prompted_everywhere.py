"""Prompted tools in every wire format: one outcome, cut at every byte, and what is sent."""

from __future__ import annotations

import json

import pytest

import allm
from allm import fake
from allm.execution.options import prepare_call, resolve
from allm.testing import Reply, WireServer
from providers.test_chat_everywhere import FORMATS, weather
from request_types import check_anthropic, check_gemini, check_openai_chat, check_openai_responses

CALLS = (
    '{"calls": [{"tool": "weather", "arguments": {"city": "Zürich", "days": 2}}, '
    '{"tool": "weather", "arguments": {"city": 7}}]}'
)
ANSWER = '{"answer": "Sunny in Z\\u00fcrich \\u2600 \\ud83d\\ude00 ☀\\n\\"ok\\""}'
SAID = 'Sunny in Zürich ☀ \U0001f600 ☀\n"ok"'
MODELS = {
    "openai": "gpt-5.4",
    "openai_responses": "gpt-5.4",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3-pro",
    "bedrock": "amazon.nova-2-lite-v1:0",
}
CHECKS = {
    "openai": check_openai_chat,
    "openai_responses": check_openai_responses,
    "anthropic": lambda body: check_anthropic(body, "2023-06-01"),
    "gemini": check_gemini,
}


def in_tokens(text, size):
    return [fake.text(text[at : at + size]) for at in range(0, len(text), size)]


def script(text, size):
    return [fake.reasoning("Hm."), *in_tokens(text, size), fake.usage(input_tokens=20, output_tokens=10)]


def engine_of(server, wire, **params):
    return allm.Engine(
        adapter=FORMATS[wire](server),
        model=MODELS[wire],
        tools=[weather],
        params={"max_tokens": 100, "tool_mode": "prompted", **params},
    )


@pytest.mark.parametrize("chunks", [1, None])
@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("wire", FORMATS)
async def test_a_turn_is_the_same_everywhere(wire, size, chunks):
    """Calls, results, a mistake fed back, text in pieces, usage, reasoning."""
    async with WireServer() as server:
        server.add(*[Reply.script(wire, script(text, size), chunks=chunks) for text in (CALLS, ANSWER)])
        async with allm.stream(engine_of(server, wire), "What is the weather in Zürich?") as events:
            seen = [event async for event in events]
    result = events.result()
    assert result.halted_reason == "completed"
    assert result.output_text == SAID
    assert [message.role for message in result.thread.messages] == ["user", "assistant", "tool", "tool", "assistant"]
    first = result.steps[0].response
    assert [call.arguments for call in first.tool_calls] == [{"city": "Zürich", "days": 2}, {"city": 7}]
    assert (first.finish_reason, first.output_text, first.reasoning_text) == ("tool_calls", "", "Hm.")
    good, bad = result.steps[0].tool_results
    assert (good.text, bad.is_error) == ('{"city":"Zürich","days":2}', True)
    assert "".join(event.delta for event in seen if isinstance(event, allm.TextDelta)) == SAID
    if size == 1:
        assert len([event for event in seen if isinstance(event, allm.TextDelta)]) > len(SAID) // 2
    assert (result.usage.input_tokens, result.usage.output_tokens) == (40, 20)
    assert allm.from_json(allm.to_json(result)) == result
    for request in server.requests:
        body = request.json()
        assert "tools" not in body
        assert "tool_choice" not in body
        assert "toolConfig" not in body
        assert "Tools:" in json.dumps(body)
    second = server.requests[1].body.decode()
    assert "Result of weather" in second
    assert "expected a string, got 7" in second


@pytest.mark.parametrize("wire", FORMATS)
async def test_a_conversation_moves_between_the_modes(wire):
    """What native tools made is told, and what prompted ones made is sent as calls and results."""
    first, last = (fake.tool_call("weather", {"city": "Zug"}, id=f"native_{name}") for name in "ab")
    async with WireServer() as server:
        scripts = [[first], [fake.text("Sunny.")], script(CALLS, 5), script(ANSWER, 5), [last], [fake.text("Rain.")]]
        server.add(*[Reply.script(wire, items) for items in scripts])
        thread = allm.Thread()
        for mode in ("native", "prompted", "native"):
            engine = engine_of(server, wire, tool_mode=mode)
            result = await allm.chat(engine, thread.add(allm.user("Weather?")))
            assert result.halted_reason == "completed"
            thread = allm.from_json(allm.to_json(result.thread))
    ids = [call.id for message in thread.messages for call in message.tool_calls]
    assert len(set(ids)) == len(ids) == 4
    told, native = server.requests[2].body.decode(), server.requests[-1].json()
    assert '\\"tool\\":\\"weather\\"' in told
    assert "Result of weather: " in told
    names = {"openai": '"role": "tool"', "openai_responses": "function_call_output", "anthropic": "tool_result"}
    names["bedrock"] = "toolResult"
    assert json.dumps(native).count(names.get(wire, "functionResponse")) == 4


@pytest.mark.parametrize("wire", CHECKS)
async def test_the_vendors_take_the_requests(wire):
    """By their own types."""
    async with WireServer() as server:
        server.add(Reply.script(wire, script(CALLS, 9)), Reply.script(wire, script(ANSWER, 9)))
        await allm.chat(engine_of(server, wire), "Weather?")
    for request in server.requests:
        CHECKS[wire](request.json())


@pytest.mark.parametrize("wire", FORMATS)
async def test_a_stream_that_breaks_off(wire):
    """What arrived stays, down to the last bracket."""
    text = 'Well: {"answ'
    failure = allm.AdapterError("gone", reason="network_error", provider="x")
    async with WireServer() as server:
        server.add(Reply.script(wire, [*in_tokens(text, 4), fake.error(failure)]))
        response = await allm.generate(engine_of(server, wire), "Weather?", retry=None)
    assert response.error is not None
    assert response.output_text == text


def local(preset):
    return allm.providers.OpenAI(preset=preset, api_key="k", base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("adapter", "model", "is_held"),
    [
        (allm.providers.OpenAI(api_key="k", base_url="http://127.0.0.1:9/v1"), "m", True),
        (local("llamacpp"), "m", True),
        (local("ollama"), "m", True),
        (local("vllm"), "m", True),
        (allm.providers.OpenAI(api_key="k"), "gpt-5.4", False),
        (allm.providers.OpenAI(api_key="k", endpoint="chat_completions"), "gpt-4.1", False),
        (allm.providers.Anthropic(api_key="k"), "claude-haiku-4-5", False),
        (allm.providers.Gemini(api_key="k"), "gemini-3-pro", True),
    ],
)
@pytest.mark.parametrize("output_mode", ["auto", "prompted"])
async def test_who_is_held_to_the_form_of_the_reply(adapter, model, is_held, output_mode):
    """Servers that take any schema are; the others are told, and `output_mode="prompted"` only tells."""
    options = {"tools": [weather], "tool_mode": "prompted", "output_mode": output_mode, "max_tokens": 9}
    prepared = prepare_call(resolve(allm.Engine(adapter=adapter, model=model), "Weather?", options))
    body = prepared.prepared.body
    assert (b'"json_schema"' in body or b"responseJsonSchema" in body) is (is_held and output_mode == "auto")
