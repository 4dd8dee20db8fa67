"""Characters whose two UTF-16 halves come in two events, as gateways that count in UTF-16 send them, on every wire."""

from __future__ import annotations

import json

import pytest

import allm
from allm.providers import Anthropic, Bedrock, Cohere, Gemini, OpenAI
from allm.testing import Reply, WireServer, loopback_clock
from allm.testing.wire_formats.bedrock import frame

FIRST, SECOND = "\ud83d", "\ude00"
FACE = "\U0001f600"
LOST = "\ufffd"


def chat(*deltas, finish="stop"):
    chunks = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    end = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    return [*map(json.dumps, [*chunks, end]), "[DONE]"]


def chat_call(*pieces):
    first, *rest = pieces
    function = {"name": "f", "arguments": first}
    calls = [{"index": 0, "id": "x", "function": function}, *({"index": 0, "function": {"arguments": p}} for p in rest)]
    return chat(*({"tool_calls": [call]} for call in calls), finish="tool_calls")


def responses(kind, *pieces):
    deltas = [{"type": f"response.{kind}.delta", "item_id": "i", "output_index": 0, "delta": p} for p in pieces]
    response = {"id": "r", "status": "completed", "output": []}
    events = [{"type": "response.created", "response": {"id": "r"}}]
    if kind.startswith("function"):
        item = {"type": "function_call", "id": "i", "call_id": "x", "name": "f", "arguments": ""}
        events.append({"type": "response.output_item.added", "output_index": 0, "item": item})
    return list(map(json.dumps, [*events, *deltas, {"type": "response.completed", "response": response}]))


def anthropic(block, delta, *pieces, stop="end_turn"):
    events = [
        {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": {**delta, list(delta)[1]: p}} for p in pieces),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop}},
        {"type": "message_stop"},
    ]
    return list(map(json.dumps, events))


def gemini(*parts):
    chunks = [{"candidates": [{"content": {"parts": [part]}}]} for part in parts]
    return list(map(json.dumps, [*chunks, {"candidates": [{"finishReason": "STOP"}]}]))


def bedrock(start, *deltas, stop="end_turn"):
    return [
        ("messageStart", {"role": "assistant"}),
        *([("contentBlockStart", {"contentBlockIndex": 0, "start": start})] if start else []),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta}) for delta in deltas),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": stop}),
        ("metadata", {"usage": {}}),
    ]


def cohere(kind, *messages, stop="COMPLETE"):
    events = [
        *({"type": kind, "index": 0, "delta": {"message": message}} for message in messages),
        {"type": "message-end", "delta": {"finish_reason": stop}},
    ]
    return list(map(json.dumps, events))


def cohere_call(*pieces):
    first, *rest = pieces
    start = {"id": "x", "function": {"name": "f", "arguments": first}}
    begun = cohere("tool-call-start", {"tool_calls": start})[:1]
    return begun + cohere(
        "tool-call-delta", *({"tool_calls": {"function": {"arguments": p}}} for p in rest), stop="TOOL_CALL"
    )


TEXTS = {
    "bedrock": ("bedrock", lambda *pieces: bedrock(None, *({"text": p} for p in pieces))),
    "cohere": ("cohere", lambda *pieces: cohere("content-delta", *({"content": {"text": p}} for p in pieces))),
    "chat": ("openai", lambda *pieces: chat(*({"content": p} for p in pieces))),
    "chat, refusal": ("openai", lambda *pieces: chat(*({"refusal": p} for p in pieces))),
    "responses": ("openai_responses", lambda *pieces: responses("output_text", *pieces)),
    "anthropic": (
        "anthropic",
        lambda *pieces: anthropic({"type": "text", "text": ""}, {"type": "text_delta", "text": ""}, *pieces),
    ),
    "gemini": ("gemini", lambda *pieces: gemini(*({"text": p} for p in pieces))),
}
THOUGHTS = {
    "bedrock": ("bedrock", lambda *pieces: bedrock(None, *({"reasoningContent": {"text": p}} for p in pieces))),
    "cohere": ("cohere", lambda *pieces: cohere("content-delta", *({"content": {"thinking": p}} for p in pieces))),
    "chat": ("openai", lambda *pieces: chat(*({"reasoning_content": p} for p in pieces))),
    "chat, details": (
        "openai",
        lambda *pieces: chat(
            *({"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": p}]} for p in pieces)
        ),
    ),
    "responses": ("openai_responses", lambda *pieces: responses("reasoning_summary_text", *pieces)),
    "anthropic": (
        "anthropic",
        lambda *pieces: anthropic({"type": "thinking"}, {"type": "thinking_delta", "thinking": ""}, *pieces),
    ),
    "gemini": ("gemini", lambda *pieces: gemini(*({"text": p, "thought": True} for p in pieces))),
}
CALLS = {
    "bedrock": (
        "bedrock",
        lambda *pieces: bedrock(
            {"toolUse": {"toolUseId": "x", "name": "f"}}, *({"toolUse": {"input": p}} for p in pieces), stop="tool_use"
        ),
    ),
    "cohere": ("cohere", cohere_call),
    "chat": ("openai", chat_call),
    "responses": ("openai_responses", lambda *pieces: responses("function_call_arguments", *pieces)),
    "anthropic": (
        "anthropic",
        lambda *pieces: anthropic(
            {"type": "tool_use", "id": "x", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            *pieces,
            stop="tool_use",
        ),
    ),
}
PIECES = {
    "in the middle": ((f"a {FIRST}", f"{SECOND} b"), f"a {FACE} b"),
    "alone in each": (("a", FIRST, SECOND, "b"), f"a{FACE}b"),
    "at first": ((FIRST, f"{SECOND}b"), f"{FACE}b"),
    "twice": ((f"a{FIRST}", SECOND + FIRST, f"{SECOND}b"), f"a{FACE}{FACE}b"),
    "the first alone": ((f"a{FIRST}", "b"), f"a{LOST}b"),
    "the first twice": ((f"a{FIRST}", FIRST, SECOND), f"a{LOST}{FACE}"),
    "the second alone": (("a", f"{SECOND}b"), f"a{LOST}b"),
    "the last": (("a", f"b{FIRST}"), f"ab{LOST}"),
    "nothing else": ((FIRST,), LOST),
}


@pytest.fixture
def clock():
    return loopback_clock()


def engine(server, wire):
    key = "key-0123456789"
    adapter = {
        "openai": lambda: OpenAI(api_key=key, base_url=server.url("openai"), endpoint="chat_completions"),
        "openai_responses": lambda: OpenAI(api_key=key, base_url=server.url("openai"), endpoint="responses"),
        "anthropic": lambda: Anthropic(api_key=key, base_url=server.url("anthropic")),
        "gemini": lambda: Gemini(api_key=key, base_url=server.url("gemini")),
        "bedrock": lambda: Bedrock(api_key=key, base_url=server.base_url, region="us-east-1"),
        "cohere": lambda: Cohere(api_key=key, base_url=server.base_url),
    }[wire]()
    return allm.Engine(adapter=adapter, model="claude-sonnet-4-6" if wire == "anthropic" else "m")


def framed(kind, event):
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps(event).encode("ascii"))


def body(events):
    if isinstance(events[0], tuple):
        return b"".join(framed(*event) for event in events)
    return "".join(f"data: {event}\n\n" for event in events).encode("ascii")


async def streamed(wire, events):
    """The events of an answer, and what it folds to."""
    async with WireServer() as server:
        kind = "application/vnd.amazon.eventstream" if wire == "bedrock" else "text/event-stream"
        server.default = Reply(body=body(events), headers={"content-type": kind})
        async with allm.stream_generate(engine(server, wire), "hi") as stream:
            seen = [event async for event in stream]
            response = stream.result()
    assert seen[-1].message == response.message
    assert allm.from_json(allm.to_json(response)) == response
    allm.to_json(response).encode()
    for event in seen:
        allm.to_json(event).encode()
        for name in ("delta", "arguments_delta"):
            getattr(event, name, "").encode()  # raises where half of a character is in it
    return seen, response


@pytest.mark.parametrize("case", PIECES)
@pytest.mark.parametrize("wire", TEXTS)
async def test_text(clock, wire, case):
    """Two halves are one character, one alone is U+FFFD, and the deltas are the text."""
    (name, encode), (pieces, text) = TEXTS[wire], PIECES[case]
    seen, response = await streamed(name, encode(*pieces))
    assert response.output_text == text
    assert "".join(event.delta for event in seen if isinstance(event, allm.TextDelta)) == text


@pytest.mark.parametrize("case", PIECES)
@pytest.mark.parametrize("wire", THOUGHTS)
async def test_reasoning(clock, wire, case):
    """Just so, and in what is kept to be sent back."""
    (name, encode), (pieces, text) = THOUGHTS[wire], PIECES[case]
    seen, response = await streamed(name, encode(*pieces))
    assert response.reasoning_text == text
    assert "".join(event.delta for event in seen if isinstance(event, allm.ReasoningDelta)) == text


@pytest.mark.parametrize("case", PIECES)
@pytest.mark.parametrize("wire", CALLS)
async def test_arguments(clock, wire, case):
    """In their text and in the values that it stands for."""
    (name, encode), (pieces, text) = CALLS[wire], PIECES[case]
    seen, response = await streamed(name, encode('{"s": "', *pieces, '"}'))
    [call] = response.tool_calls
    assert call.arguments == {"s": text}
    assert call.raw_arguments == f'{{"s": "{text}"}}'
    deltas = (event.arguments_delta for event in seen if isinstance(event, allm.ToolCallDelta))
    assert "".join(deltas) == call.raw_arguments


@pytest.mark.parametrize("wire", CALLS)
async def test_arguments_that_escape_half_of_a_character(clock, wire):
    """The model's own text stays, the value is whole, and so is what goes back."""
    name, encode = CALLS[wire]
    _, response = await streamed(name, encode('{"s": "a\\ud8', '3d", "t": "\\ud83d', '\\ude00"}'))
    [call] = response.tool_calls
    assert call.arguments == {"s": f"a{LOST}", "t": FACE}
    async with WireServer() as server:
        server.default = Reply.json({"error": {"message": "no"}}, status=400)
        thread = [allm.user("hi"), response.message, allm.tool_result(call.id, "ok")]
        await allm.generate(engine(server, name), thread)
        sent = server.requests[0].body.decode()
    assert "ud83d" not in sent


async def test_arguments_of_gemini(clock):
    """They come as an object, or in pieces that are put together (Vertex AI)."""
    whole = {"functionCall": {"name": "f", "args": {"s": [f"a{FIRST}"]}}}
    pieces = [
        {"jsonPath": "$.s", "stringValue": f"a{FIRST}", "willContinue": True},
        {"jsonPath": "$.s", "stringValue": f"{SECOND}b"},
    ]
    first = {"functionCall": {"name": "f", "partialArgs": pieces[:1], "willContinue": True}}
    last = {"functionCall": {"partialArgs": pieces[1:]}}
    _, response = await streamed("gemini", gemini(whole, first, last))
    assert [call.arguments for call in response.tool_calls] == [{"s": [f"a{LOST}"]}, {"s": f"a{FACE}b"}]


async def test_two_blocks_at_once(clock):
    """The half of one block is not joined with that of another."""
    deltas = [{"content": f"a{FIRST}"}, {"reasoning_content": f"{SECOND}b{FIRST}"}, {"content": f"{SECOND}c"}]
    _, response = await streamed("openai", chat(*deltas))
    assert (response.output_text, response.reasoning_text) == (f"a{FACE}c", f"{LOST}b{LOST}")


DOCUMENTS = {
    "openai": {"choices": [{"message": {"content": f"a{FIRST}"}, "finish_reason": "stop"}]},
    "openai_responses": {
        "output": [{"type": "message", "content": [{"type": "output_text", "text": f"a{FIRST}"}]}],
        "status": "completed",
    },
    "anthropic": {"content": [{"type": "text", "text": f"a{FIRST}"}], "stop_reason": "end_turn"},
    "gemini": {"candidates": [{"content": {"parts": [{"text": f"a{FIRST}"}]}, "finishReason": "STOP"}]},
}


@pytest.mark.parametrize("wire", DOCUMENTS)
async def test_a_whole_document(clock, wire):
    """No other half can come."""
    async with WireServer() as server:
        server.default = Reply(body=json.dumps(DOCUMENTS[wire]).encode(), headers={"content-type": "application/json"})
        response = await allm.generate(engine(server, wire), "hi")
    assert (response.output_text, response.error) == (f"a{LOST}", None)


async def test_an_answer_that_breaks_off(clock):
    """What came is kept, its last half as U+FFFD; so is that of an error."""
    error = json.dumps({"error": {"message": f"no {FIRST}"}})
    for last in ([], [error]):
        async with WireServer() as server:
            events = [*chat({"content": f"a{FIRST}"})[:1], *last]
            server.default = Reply(body=body(events), headers={"content-type": "text/event-stream"})
            response = await allm.generate(engine(server, "openai"), "hi", retry=None)
        assert (response.output_text, response.finish_reason) == (f"a{LOST}", "error")
        assert allm.from_json(allm.to_json(response)).output_text == response.output_text
        str(response.error).encode()


@pytest.mark.parametrize("wire", ["openai", "openai_responses", "anthropic", "gemini"])
async def test_what_is_sent(clock, wire):
    """Is UTF-8: half of a character in a prompt, a result or the system prompt is U+FFFD, two are one."""
    call = allm.ToolCall("x", "f", {"s": f"c{FIRST}"})
    thread = [
        allm.system(f"s{FIRST}"),
        allm.user(f"u{FIRST}{SECOND}"),
        allm.assistant(call),
        allm.tool_result("x", f"t{SECOND}"),
    ]
    async with WireServer() as server:
        server.default = Reply.json({"error": {"message": "no"}}, status=400)
        await allm.generate(engine(server, wire), thread)
        sent = server.requests[0].body
    for text in (f"s{LOST}", f"u{FACE}", f"c{LOST}", f"t{LOST}"):
        assert text.encode() in sent
    assert b"ud83d" not in sent
