"""What comes back from Anthropic goes back to Anthropic: the same blocks in the same order."""

from __future__ import annotations

import json

import pytest

import allm
from allm import Request
from allm.http.sse import SSEDecoder
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.anthropic.encode import Settings, encode
from allm.providers.gemini.encode import encode as encode_gemini
from allm.providers.openai.chat_encode import encode as encode_openai
from allm.runtime.adapters import AdapterOptions
from anthropic_wire import SIGNATURE, answer, block, call, fold, started, stopped, text, thinking
from request_types import check_anthropic
from wire_corpus import CORPUS, cases

CITATION = {
    "type": "web_search_result_location",
    "cited_text": "noon",
    "encrypted_index": "RW5j",
    "title": None,
    "url": "https://example.com",
}


def body(*messages, model="claude-haiku-4-5", tools=()):
    """The request that carries on after `messages`."""
    request = Request((allm.user("?"), *messages), model=model, tools=tools)
    return encode(request, AdapterOptions(), Settings())


def through_json(*messages):
    """Messages as they come back from a store."""
    return allm.from_json(allm.to_json(allm.Thread(messages)), allm.Thread).messages


def test_white_space_between_cited_texts_goes_back():
    """Else two sentences run together; anywhere else the API refuses a text that is nothing but white space."""
    cited = {"type": "text", "text": "It is noon.", "citations": [CITATION]}
    space, plain = {"type": "text", "text": " "}, {"type": "text", "text": "So."}
    for content, sent in (
        ([cited, space, cited], [cited, space, cited]),
        ([plain, space, cited], [plain, space, cited]),
        ([plain, space, plain], [plain, plain]),
        ([space, cited, space], [cited]),
    ):
        decoder = MessagesDecoder()
        decoder.begin({})
        document = {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}
        message = decoder.decode_document(document)[-1].message
        assert body(message, allm.user("Go on"))["messages"][1]["content"] == sent


def test_a_turn_with_everything_goes_back_as_it_came():
    """Also after a round trip through JSON."""
    search = {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [],
        "caller": {"type": "direct"},
    }
    first = answer(
        started(),
        thinking(0, "Let me ", "see."),
        block(1, {"type": "redacted_thinking", "data": "cmVk"}),
        call(2, "srvtoolu_1", "web_search", '{"query": ', '"time"}', kind="server_tool_use"),
        block(3, search),
        block(
            4,
            {"type": "text", "text": "", "citations": []},
            {"type": "citations_delta", "citation": CITATION},
            {"type": "text_delta", "text": "noon"},
        ),
        text(5, "\n\n"),
        thinking(6),
        call(7, "toolu_1", "clock", "", caller={"type": "direct"}),
        call(8, "toolu_2", "weather", '{"city": "Ulm"}'),
        stopped("tool_use"),
    )
    results = allm.tool_result("toolu_1", "12:00"), allm.tool_result("toolu_2", "fog", is_error=True)

    sent = body(*through_json(first.message, *results))
    assert sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Let me see.", "signature": SIGNATURE},
                {"type": "redacted_thinking", "data": "cmVk"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "time"}},
                search,
                {"type": "text", "text": "noon", "citations": [CITATION]},
                {"type": "thinking", "thinking": "", "signature": SIGNATURE},
                {"type": "tool_use", "id": "toolu_1", "name": "clock", "input": {}, "caller": {"type": "direct"}},
                {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Ulm"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12:00"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "fog", "is_error": True},
            ],
        },
    ]
    check_anthropic(sent, "2023-06-01")


def test_a_paused_turn_is_carried_on():
    """The turn goes back as it is, and what the model adds to it is the same turn."""
    paused = answer(started(), call(0, "srvtoolu_1", "web_search", "{}", kind="server_tool_use"), stopped("pause_turn"))
    assert paused.finish_reason == "other"
    sent = body(paused.message)
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant"]

    rest = answer(started(), text(0, "Noon."), stopped())
    sent = body(paused.message, rest.message, allm.user("thanks"))
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert [part["type"] for part in sent["messages"][1]["content"]] == ["server_tool_use", "text"]


def test_an_answer_that_broke_off_can_be_answered():
    """What the API would refuse is left out or wrapped: thinking without its signature, a call without its end."""
    broken = answer(
        started(), thinking(0, "hm", signature=None)[:-1], text(1, "Let me see."), call(2, "a", "clock", '{"ci')[:-1]
    )
    assert broken.finish_reason == "error"
    sent = body(broken.message, allm.tool_result("a", "cancelled", is_error=True))

    assert sent["messages"][1]["content"] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "a", "name": "clock", "input": {"INVALID_JSON": '{"ci'}},
    ]
    check_anthropic(sent, "2023-06-01")


@pytest.mark.parametrize("encode_elsewhere", [encode_openai, encode_gemini])
def test_another_vendor_gets_nothing_of_anthropic(encode_elsewhere):
    """A conversation can move on: no signature, no thought, no server tool in the other's request."""
    first = answer(
        started(),
        thinking(0, "Secret."),
        block(1, {"type": "redacted_thinking", "data": SIGNATURE}),
        call(2, "srvtoolu_1", "web_search", "{}", kind="server_tool_use"),
        call(3, "toolu_1", "clock", "", caller={"type": "direct", "tool_id": SIGNATURE}),
        stopped("tool_use"),
    )
    messages = (allm.user("?"), first.message, allm.tool_result("toolu_1", "12"))
    sent = json.dumps(encode_elsewhere(Request(messages, model="m"), AdapterOptions()))

    assert SIGNATURE not in sent
    assert "Secret." not in sent
    assert "srvtoolu_1" not in sent
    assert "clock" in sent


def wire_blocks(data):
    """The blocks of a recorded answer, put together by their deltas alone."""
    if data[:1] == b"{":
        return json.loads(data)["content"]
    blocks = {}
    for _, event in SSEDecoder().feed(data):
        event = json.loads(event)
        if event["type"] == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        if event["type"] == "content_block_delta":
            block = blocks[event["index"]]
            match event["delta"]:
                case {"text": piece}:
                    block["text"] += piece
                case {"thinking": piece}:
                    block["thinking"] += piece
                case {"partial_json": piece}:
                    block["json"] += piece
                case {"citation": citation}:
                    block["citations"] = [*(block.get("citations") or []), citation]
                case {"type": _, **fields}:
                    block.update(fields)
    for block in blocks.values():
        pieces = block.pop("json")
        if pieces:
            block["input"] = json.loads(pieces)
    return list(blocks.values())


def plain(block):
    """A block without what says nothing, and without its place in a cache."""
    return {key: value for key, value in block.items() if value not in (None, []) or key == "content"}


RECORDED = [case for case in cases("anthropic_messages") if case.expected["outcome"] == "ok"]
NOT_TYPED = {
    **dict.fromkeys(("compaction", "fallback", "mcp_connector"), "the types here know nothing in beta"),
    "web_fetch_20260209": "its result of code has `abort_reason`, which no type has, and goes back as it came",
}
"""Answers whose blocks the published types do not have."""


def continued(case):
    """The blocks of a recorded answer, and the request that carries on after it."""
    data = (case.folder / "response.body").read_bytes()
    decoder = MessagesDecoder()
    if data[:1] == b"{":
        events = decoder.decode_document(json.loads(data))
    else:
        events = [event for name, item in SSEDecoder().feed(data) for event in decoder.decode(name, item)]
    [message] = through_json(fold(events).message)
    results = [allm.tool_result(made.id, "done") for made in message.tool_calls]
    tools = [allm.Tool(made.name, "") for made in message.tool_calls[:1]]
    return wire_blocks(data), body(message, *results, allm.user("Go on."), tools=tools)


@pytest.mark.skipif(not RECORDED, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_recorded_answers_go_back_as_they_came(case):
    """Every block with every field, but for text that nobody would see."""
    blocks, sent = continued(case)
    replayed = [part for turn in sent["messages"] if turn["role"] == "assistant" for part in turn["content"]]

    assert [plain(part) for part in replayed] == [
        plain(part) for part in blocks if part["type"] != "text" or part["text"].strip()
    ]


@pytest.mark.skipif(not RECORDED, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_anthropic_would_accept_its_answers_back(case, version):
    """The request after a recorded answer fits the types of the vendor's SDK."""
    for name, reason in NOT_TYPED.items():
        if name in case.name:
            pytest.skip(reason)
    check_anthropic(continued(case)[1], version)
