"""Request bodies of both OpenAI endpoints: what is in them, and that the vendor's own types accept them."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm.data.jsontext import dumps, loads
from allm.providers.openai.responses_decode import ResponsesDecoder
from request_types import check_openai_chat, check_openai_responses

PNG = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n0000")
TOOL = allm.Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = allm.ToolCall("call_1", "weather", {"city": "Zug"}, '{"city": "Zug"}')
FOREIGN = allm.Message(
    "assistant",
    [
        allm.ReasoningPart("Hm.", provider="anthropic", signature="sig"),
        allm.TextPart("I look.", metadata={"gemini": {"thought_signature": "x"}}),
        allm.ProviderPart("anthropic", {"type": "server_tool_use", "id": "s"}),
        allm.ToolCall("toolu_1", "weather", {"city": "Bern"}, metadata={"gemini": {"id": "g"}}),
    ],
)
CONVERSATION = [
    allm.system("Be brief."),
    allm.user("What is this?", PNG, allm.Image.from_url("https://x.example/a.png")),
    allm.assistant(allm.TextPart("A picture. "), CALL),
    allm.tool_result("call_1", "sunny"),
    FOREIGN,
    allm.tool_result("toolu_1", "rain", is_error=True),
    allm.assistant(allm.TextPart("I cannot say.", refusal=True)),
    allm.user("Go on"),
]
SCHEMA = allm.json_schema("answer", {"type": "object", "properties": {}, "additionalProperties": False})
REQUESTS = {
    "text": {},
    "tools": {"tools": [TOOL], "tool_choice": "required"},
    "named tool": {"tools": [TOOL], "tool_choice": "weather"},
    "schema": {"response_format": SCHEMA},
    "any json": {"response_format": "json"},
    "limits": {"temperature": 0.5, "max_tokens": 100},
    "body options": {"options": {"metadata": {"k": "v"}}},
}
OPTIONS = allm.AdapterOptions(reasoning_effort="low", reasoning_summary="auto", verbosity="low")


def body(endpoint, request, options=OPTIONS):
    adapter = allm.providers.OpenAI(api_key="k", endpoint=endpoint)
    return loads(adapter.prepare(request, options).body)


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("messages", [[allm.user("hi")], CONVERSATION], ids=["short", "long"])
def test_chat_bodies_are_what_the_vendor_accepts(messages, fields):
    """Every mapping, with messages that other vendors made."""
    check_openai_chat(body("chat_completions", allm.Request(messages, model="gpt-x", **fields)))


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("messages", [[allm.user("hi")], CONVERSATION], ids=["short", "long"])
def test_responses_bodies_are_what_the_vendor_accepts(messages, fields):
    """Every mapping, with messages that other vendors made."""
    check_openai_responses(body("responses", allm.Request(messages, model="gpt-5", **fields)))


def test_responses_body_is_stateless_and_strict_is_always_said():
    """Nothing is stored, encrypted reasoning is asked for where the model thinks, and `strict` is never left out."""
    made = body("responses", allm.Request([allm.user("hi")], model="gpt-5", tools=[TOOL]))
    assert made["store"] is False
    assert made["include"] == ["reasoning.encrypted_content"]
    assert made["tools"][0]["strict"] is False
    assert made["reasoning"] == {"effort": "low", "summary": "auto"}
    assert made["text"] == {"verbosity": "low"}
    assert "include" not in body("responses", allm.Request([allm.user("hi")], model="gpt-4o"))
    strict = attrs.evolve(TOOL, metadata={"strict": True})
    assert body("responses", allm.Request([allm.user("hi")], model="m", tools=[strict]))["tools"][0]["strict"] is True


def test_options_are_merged_over_the_body():
    """They win over what was derived."""
    request = allm.Request([allm.user("hi")], model="m", temperature=1, options={"temperature": 0, "store": True})
    assert body("responses", request)["temperature"] == 0
    assert body("responses", request)["store"] is True
    assert body("chat_completions", request)["temperature"] == 0


def test_unknown_tool_choice_is_refused():
    """With the name; nothing is sent."""
    for endpoint in ("responses", "chat_completions"):
        with pytest.raises(allm.ValidationError, match="nope"):
            body(endpoint, allm.Request([allm.user("hi")], model="m", tools=[TOOL], tool_choice="nope"))


def test_foreign_reasoning_and_items_are_left_out():
    """Calls and text of another vendor stay; its thinking and server tools mean nothing here."""
    made = body("responses", allm.Request([FOREIGN, allm.tool_result("toolu_1", "x")], model="gpt-5"))
    assert [item.get("type") for item in made["input"]] == ["message", "function_call", "function_call_output"]
    made = body("chat_completions", allm.Request([FOREIGN, allm.tool_result("toolu_1", "x")], model="m"))
    assert set(made["messages"][0]) == {"role", "content", "tool_calls"}


def answer(*output, status="completed", **fields):
    return {"object": "response", "id": "resp_1", "model": "gpt-5", "status": status, "output": list(output), **fields}


REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "First. "}, {"type": "summary_text", "text": "Second."}],
    "encrypted_content": "blob",
}
FUNCTION_CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_9",
    "name": "weather",
    "arguments": '{"city":"Z"}',
}
MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}


def fold(events):
    fold = allm.StreamCollector()
    for event in events:
        fold.add(event)
    return fold.response()


def test_an_answer_goes_back_as_it_came():
    """Reasoning with its encrypted content before its call, server items and phases in their place."""
    response = fold(ResponsesDecoder().decode_document(answer(REASONING, SEARCH, MESSAGE, FUNCTION_CALL)))
    message = allm.from_json(allm.to_json(response.message))
    request = allm.Request([allm.user("hi"), message, allm.tool_result("call_9", "sunny")], model="gpt-5")
    made = body("responses", request)
    check_openai_responses(made)
    assert made["input"][1:5] == [REASONING, SEARCH, MESSAGE, FUNCTION_CALL]
    assert made["input"][5] == {"type": "function_call_output", "call_id": "call_9", "output": "sunny"}


def test_reasoning_without_what_followed_it_is_not_sent():
    """An orphan is a 400."""
    response = fold(ResponsesDecoder().decode_document(answer(MESSAGE, REASONING, status="incomplete")))
    made = body("responses", allm.Request([allm.user("hi"), response.message, allm.user("go on")], model="gpt-5"))
    assert [item.get("type", item.get("role")) for item in made["input"]] == ["user", "message", "user"]


def stream(*events):
    """Fold a stream of `(type, fields)`."""
    decoder = ResponsesDecoder()
    out = []
    for kind, fields in events:
        out += decoder.decode(kind, dumps({"type": kind, **fields}))
        if decoder.done:
            break
    return fold(out), out


CREATED = ("response.created", {"response": {"id": "resp_1", "model": "gpt-5", "status": "in_progress"}})


def test_streamed_reasoning_call_and_text():
    """Deltas first, the done items as authority, usage from the terminal event."""
    unfinished = {**REASONING, "encrypted_content": "unfinished"}
    response, events = stream(
        CREATED,
        ("response.output_item.added", {"output_index": 0, "item": unfinished}),
        ("response.reasoning_summary_text.delta", {"item_id": "rs_1", "summary_index": 0, "delta": "First. "}),
        ("keepalive", {"sequence_number": 3}),
        ("response.output_item.done", {"output_index": 0, "item": REASONING}),
        ("response.output_item.added", {"output_index": 1, "item": {**FUNCTION_CALL, "arguments": ""}}),
        ("response.function_call_arguments.delta", {"item_id": "fc_1", "delta": '{"city"'}),
        ("response.function_call_arguments.delta", {"item_id": "fc_1", "delta": ':"Z"}'}),
        ("response.output_item.done", {"output_index": 1, "item": FUNCTION_CALL}),
        ("response.completed", {"response": answer(REASONING, FUNCTION_CALL, usage={"input_tokens": 3})}),
    )
    assert response.reasoning_text == "First. Second."
    assert response.reasoning[0].encrypted_content == "blob"
    assert [(c.id, c.arguments) for c in response.tool_calls] == [("call_9", {"city": "Z"})]
    assert (response.finish_reason, response.usage.input_tokens) == ("tool_calls", 3)
    assert allm.RawChunk("keepalive", {"type": "keepalive", "sequence_number": 3}) in events


def test_stream_without_any_index_or_id_folds_all_the_same():
    """As llama.cpp sends it."""
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi you"}]}
    response, _ = stream(
        CREATED,
        ("response.output_item.added", {"item": {"type": "message", "content": []}}),
        ("response.output_text.delta", {"delta": "Hi "}),
        ("response.output_text.delta", {"delta": "you"}),
        ("response.output_item.done", {"item": message}),
        ("response.completed", {"response": answer(message)}),
    )
    assert response.output_text == "Hi you"


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"type": "server_error", "code": "server_error", "message": "broke"}},
        {"code": "server_error", "message": "broke", "param": None},
    ],
    ids=["nested", "flat"],
)
def test_error_event_in_both_shapes_is_one_failure(error):
    """The `response.failed` that follows is not a second one."""
    failed = answer(status="failed", error={"code": "server_error", "message": "broke"})
    response, events = stream(CREATED, ("error", error), ("response.failed", {"response": failed}))
    assert (response.error.reason, response.error.message) == ("provider_unavailable", "broke")
    assert [type(event) for event in events].count(allm.Failed) == 1


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("else", "other")]
)
def test_incomplete_says_why(reason, finish):
    """Also when no message came at all."""
    incomplete = answer(REASONING, status="incomplete", incomplete_details={"reason": reason})
    response, _ = stream(CREATED, ("response.incomplete", {"response": incomplete}))
    assert (response.finish_reason, response.raw_finish_reason) == (finish, reason)


def test_custom_tool_call_is_a_call_with_free_text():
    """No arguments, the input verbatim; its result goes back in kind."""
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_c", "name": "math", "input": "4 + 4"}
    response = fold(ResponsesDecoder().decode_document(answer(item)))
    [call] = response.tool_calls
    assert (call.arguments, call.raw_arguments) == (None, "4 + 4")
    made = body("responses", allm.Request([response.message, allm.tool_result("call_c", "8")], model="gpt-5"))
    assert made["input"] == [item, {"type": "custom_tool_call_output", "call_id": "call_c", "output": "8"}]
