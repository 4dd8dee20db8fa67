"""Whatever JSON a provider sends: the answer that a decoder makes of it can be saved, and is read as it was."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

import allm
from allm.data.json.text import dumps
from allm.http.answer_size import AnswerSize
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.bedrock.decode import ConverseDecoder
from allm.providers.cohere.chat_decode import ChatDecoder as CohereDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder

DEPTHS = (1, 150, 197, 198, 199, 200, 201, 230, 300)


def nested(inner, depth, key):
    """A value so many levels down, in objects, lists or objects with a key of our own documents."""
    for _ in range(depth):
        inner = [inner] if key is None else {key: inner}
    return inner


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
)
small = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.sampled_from(["$type", "type", "index", "v"]), inner, max_size=3)
    ),
    max_leaves=5,
)
values = small | st.builds(nested, small, st.sampled_from(DEPTHS), st.sampled_from([None, "a", "$type", "type"]))
objects = st.dictionaries(st.text(max_size=2), values, max_size=2)


def text_of(value):
    return dumps(value).decode()


def chat(value, extra):
    function = {"name": "f", "arguments": text_of(value)}
    own = {"id": "c", "index": 0, "function": function, "extra_content": extra}
    delta = {"content": "x", "reasoning": "r", "thinking_blocks": [extra], "own": value, "annotations": [value]}
    return [
        {"id": "1", "choices": [{"index": 0, "delta": {**delta, "tool_calls": [own]}}], "citations": value},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls", "own": extra}], "usage": {"own": value}},
    ]


def responses(value, extra):
    output = [
        {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "x", "annotations": [value]}]},
        {
            "type": "function_call",
            "id": "i",
            "call_id": "c",
            "name": "f",
            "arguments": text_of(value),
            "x": extra,
        },
        {"type": "function_call", "id": "j", "call_id": "d", "name": "f", "arguments": extra, "caller": value},
        {"type": "web_search_call", "id": "w", "action": value},
    ]
    response = {"id": "r", "output": output, "own": value, "usage": {"input_tokens": 1, "own": value}}
    return [{"type": "response.completed", "response": response}]


def anthropic(value, extra):
    blocks = [
        {"type": "text", "text": "x", "citations": [value], "own": extra},
        {"type": "tool_use", "id": "c", "name": "f", "input": value},
        {"type": "tool_use", "id": "d", "name": "f", "input": text_of(value), "caller": extra},
        {"type": "web_search_tool_result", "content": value},
    ]
    starts = [{"type": "content_block_start", "index": i, "content_block": b} for i, b in enumerate(blocks)]
    usage = {"input_tokens": 1, "own": value}
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use", "container": value}, "usage": usage}
    return [{"type": "message_start", "message": {"id": "1"}}, *starts, end, {"type": "message_stop"}]


def gemini(value, extra):
    partial = [{"jsonPath": "$.a", "structValue": value}, {"jsonPath": "$.b[3]", "stringValue": "x"}]
    parts = [
        {"text": "x"},
        {"functionCall": {"name": "f", "args": value}},
        {"functionCall": {"name": "f", "args": extra, "partialArgs": partial}},
        {"functionCall": {"name": "g", "args": text_of(value)}},
        {"executableCode": value},
    ]
    candidate = {"content": {"parts": parts}, "finishReason": "STOP", "groundingMetadata": extra, "own": value}
    return [{"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1, "own": value}, "own": extra}]


def bedrock(value, extra):
    server = {"toolUseId": "s", "name": "nova_code_interpreter", "type": "server_tool_use", "own": value}
    result = {"toolUseId": "s", "type": "nova_code_interpreter_result", "content": value, "own": extra}
    deltas = [{"citation": value}, {"text": "x"}, {"citation": extra}]
    return [
        *(("contentBlockDelta", {"contentBlockIndex": 9, "delta": delta}) for delta in deltas),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": server}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": text_of(value)}}}),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": result}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolResult": [value, extra]}}),
        ("messageStop", {"stopReason": "end_turn", "additionalModelResponseFields": value}),
        ("metadata", {"trace": extra, "usage": {"own": value, "cacheDetails": [extra]}}),
    ]


def cohere(value, extra):
    call = {"id": "c", "function": {"name": "f", "arguments": text_of(value)}}
    cited = {"start": 0, "end": 1, "sources": [extra, {"document": value}], "own": value, "content_index": 0}
    return [
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "x"}}}},
        {"type": "citation-start", "delta": {"message": {"citations": cited}}},
        {"type": "citation-start", "delta": {"message": {"citations": {"content_index": 0, "sources": value}}}},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": extra}}},
    ]


WIRES = {
    "openai": (ChatDecoder, chat),
    "openai_responses": (ResponsesDecoder, responses),
    "anthropic": (MessagesDecoder, anthropic),
    "gemini": (GeminiDecoder, gemini),
    "bedrock": (ConverseDecoder, bedrock),
    "cohere": (CohereDecoder, cohere),
}


def answered(decoder, events):
    """The events of an answer as a consumer sees them."""
    decoder.begin({})
    decoded, size = [], AnswerSize(allm.AnswerLimits())
    try:
        for event in events:
            if not decoder.done:
                kind, data = event if isinstance(event, tuple) else ("", event)
                decoded += decoder.decode(kind, dumps(data))
        if not decoder.done:
            decoded += decoder.end("")
    except allm.AdapterError as error:
        decoded.append(allm.Failed(error))
    return [kept for event in decoded for kept in size.admit((event,))]


@pytest.mark.parametrize("name", WIRES)
@settings(max_examples=150, deadline=None)
@given(value=values, extra=objects)
def test_any_json(name, value, extra):
    """Arguments, opaque items, notes and counts: each event and the response come back as they were."""
    decoder_class, wire = WIRES[name]
    collector = allm.StreamCollector()
    for event in answered(decoder_class(), wire(value, extra)):
        assert allm.from_json(allm.to_json(event)) == event
        collector.add(event)
    response = collector.response()
    assert allm.from_json(allm.to_json(response)) == response
    thread = allm.Thread((allm.user("hi"), response.message))
    assert allm.from_json(allm.to_json(thread)) == thread


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("size", [100_000, 300_000, 1_500_000])
def test_much_json(name, size):
    """The same with as many values as no document could hold."""
    decoder_class, wire = WIRES[name]
    collector = allm.StreamCollector()
    for event in answered(decoder_class(), wire([0] * size, {})[:1]):
        collector.add(event)
        if isinstance(event, allm.Failed):
            break
    response = collector.response()
    assert allm.from_json(allm.to_json(response)) == response
