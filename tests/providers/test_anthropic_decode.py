"""Anthropic answers: what becomes of every event, block and delta."""

from __future__ import annotations

import pytest

from allm import (
    AdapterError,
    Citation,
    CitationAdded,
    Failed,
    HostedCall,
    HostedCallCompleted,
    HostedCallStarted,
    MessageCompleted,
    MessageStarted,
    ProviderPart,
    RawChunk,
    ReasoningCompleted,
    ReasoningDelta,
    ReasoningPart,
    TextCompleted,
    TextDelta,
    TextPart,
    ToolCall,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    UsageReported,
)
from allm.providers.anthropic.decode import MessagesDecoder
from anthropic_wire import SIGNATURE, answer, block, call, decode, fold, sse, started, stopped, text, thinking

PING = {"type": "ping"}


def cited(length, data, **fields):
    """A citation of a whole text, with the data that goes back."""
    return Citation(0, length, provider="anthropic", data=data, **fields)


def kept(**data):
    """What is kept with a part for its way back."""
    return {"anthropic": data}


def test_every_kind_of_event():
    """One event for each delta, and a completed one for each block, in the order of the stream."""
    events = decode(
        sse(
            started({"input_tokens": 9, "output_tokens": 1}),
            thinking(0, "Let me ", "see.", ""),
            PING,
            text(1, "It is ", "noon."),
            call(2, "toolu_1", "clock", "", '{"city"', ': "Ulm"}', caller={"type": "direct"}),
            stopped("tool_use", {"output_tokens": 20}),
        )
    )
    message = events[-1].message

    assert events == [
        MessageStarted(id="msg_1", model="claude-test", request_id="request-1"),
        UsageReported(Usage(input_tokens=9, output_tokens=1)),
        ReasoningDelta("reasoning-0", "Let me "),
        ReasoningDelta("reasoning-0", "see."),
        ReasoningCompleted("reasoning-0", "Let me see.", provider="anthropic", signature=SIGNATURE),
        TextDelta("text-1", "It is "),
        TextDelta("text-1", "noon."),
        TextCompleted("text-1", "It is noon."),
        ToolCallStarted("toolu_1", "clock"),
        ToolCallDelta("toolu_1", '{"city"'),
        ToolCallDelta("toolu_1", ': "Ulm"}'),
        ToolCallCompleted(
            "toolu_1", "clock", {"city": "Ulm"}, '{"city": "Ulm"}', metadata=kept(caller={"type": "direct"})
        ),
        UsageReported(Usage(input_tokens=9, output_tokens=20)),
        MessageCompleted(message, "tool_calls", raw_finish_reason="tool_use", id="msg_1", model="claude-test"),
    ]
    assert [type(part) for part in message.parts] == [ReasoningPart, TextPart, ToolCall]
    assert fold(events).message == message


# Name: (blocks of a stream, parts of the message).
BLOCKS = {
    "text of several blocks": (
        [text(0, "one "), text(1, "two"), text(2)],
        (TextPart("one "), TextPart("two"), TextPart("")),
    ),
    "text that is there at the start": (
        [block(0, {"type": "text", "text": "one "}, {"type": "text_delta", "text": "two"})],
        (TextPart("one two"),),
    ),
    "citations before the text they cover": (
        [
            block(
                0,
                {"type": "text", "text": "", "citations": []},
                {"type": "citations_delta", "citation": {"type": "page_location", "cited_text": "noon"}},
                {"type": "text_delta", "text": "noon"},
            ),
            block(1, {"type": "text", "text": "", "citations": []}, {"type": "text_delta", "text": "."}),
        ],
        (
            TextPart("noon", citations=[cited(4, {"type": "page_location", "cited_text": "noon"}, quote="noon")]),
            TextPart("."),
        ),
    ),
    "thinking that is hidden": (
        [thinking(0)],
        (ReasoningPart("", provider="anthropic", signature=SIGNATURE),),
    ),
    "thinking of a server that does not sign": (
        [thinking(0, "hm", signature=None)],
        (ReasoningPart("hm", provider="anthropic", signature=""),),
    ),
    "redacted thinking": (
        [block(0, {"type": "redacted_thinking", "data": "cmVk"})],
        (ReasoningPart("", provider="anthropic", encrypted_content="cmVk"),),
    ),
    "a call without arguments": (
        [call(0, "a", "clock", ""), call(1, "b", "clock")],
        (ToolCall("a", "clock", {}, ""), ToolCall("b", "clock", {}, "")),
    ),
    "a call whose input comes whole": (
        [call(0, "a", "clock", input={"city": "Ulm"})],
        (ToolCall("a", "clock", {"city": "Ulm"}),),
    ),
    "a call that is not JSON": (
        [call(0, "a", "clock", '{"city": '), call(1, "b", "clock", "[1]")],
        (ToolCall("a", "clock", None, '{"city": '), ToolCall("b", "clock", None, "[1]")),
    ),
    "calls with the same id, and with none": (
        [call(0, "a", "clock", "{}"), call(1, "a", "clock", "{}"), call(2, "", "clock", "{}")],
        (
            ToolCall("a", "clock", {}, "{}"),
            ToolCall("toolu_1", "clock", {}, "{}"),
            ToolCall("toolu_2", "clock", {}, "{}"),
        ),
    ),
    "a call of Anthropic's own tools, and its result": (
        [
            call(0, "srvtoolu_1", "web_search", "", '{"que', 'ry": "noon"}', kind="server_tool_use"),
            block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "x"}]}),
        ],
        (
            ProviderPart(
                "anthropic",
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "noon"}},
            ),
            ProviderPart(
                "anthropic", {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "x"}]}
            ),
        ),
    ),
    "a call of Anthropic's own tools that is not JSON": (
        [call(0, "srvtoolu_1", "web_search", '{"que', kind="server_tool_use")],
        (
            ProviderPart(
                "anthropic",
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"INVALID_JSON": '{"que'},
                },
            ),
        ),
    ),
    "a compaction": (
        [
            block(
                0,
                {"type": "compaction", "content": None},
                {"type": "compaction_delta", "content": "They said hi.", "encrypted_content": "ZW5j"},
            )
        ],
        (ProviderPart("anthropic", {"type": "compaction", "content": "They said hi.", "encrypted_content": "ZW5j"}),),
    ),
    "a block of a later invention": (
        [block(0, {"type": "hologram", "depth": 3}, {"type": "hologram_delta", "x": 1})],
        (ProviderPart("anthropic", {"type": "hologram", "depth": 3}),),
    ),
    "blocks that do not stop": (
        [text(0, "one ")[:-1], text(1, "two")[:-1]],
        (TextPart("one "), TextPart("two")),
    ),
    "a block in the place of one that did not stop": (
        [text(0, "one ")[:-1], text(0, "two")],
        (TextPart("one "), TextPart("two")),
    ),
}


def opaque(part):
    """A call of a tool of the vendor's as the item that goes back."""
    return ProviderPart(part.provider, part.data) if isinstance(part, HostedCall) else part


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name):
    """Every kind of block, whole, in its place."""
    blocks, parts = BLOCKS[name]
    response = answer(started(), *blocks, stopped())

    assert tuple(map(opaque, response.message.parts)) == parts


@pytest.mark.parametrize("name", BLOCKS)
def test_every_split_of_the_bytes(name):
    """Wherever a read ends, the events are the same."""
    body = sse(started(), *BLOCKS[name][0], stopped())
    whole = decode(body)

    for cut in range(1, len(body)):
        assert decode(body[:cut], body[cut:]) == whole


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "other"),
        ("compaction", "other"),
        ("a new word", "other"),
        (None, "other"),
    ],
)
def test_finish_reasons(raw, finish):
    """In the library's words, the provider's own beside it; what there is to call decides over the word."""
    response = answer(started(), text(0, "x"), stopped(raw))
    assert (response.finish_reason, response.raw_finish_reason) == (finish, raw)

    response = answer(started(), call(0, "a", "clock"), stopped(raw))
    assert response.finish_reason == ("tool_calls" if finish == "stop" or raw is None else finish)


def test_calls_of_anthropics_own_tools_are_no_calls():
    """Nobody here has to answer them."""
    response = answer(started(), call(0, "s", "web_search", "{}", kind="server_tool_use"), stopped())

    assert (response.finish_reason, response.tool_calls) == ("stop", ())


def test_a_refusal():
    """The stop reason is the sign; what the model had said is what it said."""
    response = answer(started(), text(0, "Hi"), stopped("refusal", stop_details={"type": "refusal", "category": "bio"}))

    assert (response.refusal, response.finish_reason, response.error) == ("Hi", "content_filter", None)
    assert response.metadata == kept(stop_details={"type": "refusal", "category": "bio"})


def test_what_an_answer_says_about_itself():
    """The sequence that stopped it, the container to carry on in."""
    end = stopped("stop_sequence", stop_sequence="END", container={"id": "container_1"})
    end[0]["context_management"] = {"applied_edits": []}
    response = answer(started(), end)

    assert response.metadata == kept(
        stop_sequence="END", container={"id": "container_1"}, context_management={"applied_edits": []}
    )


FIRST = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 1}


@pytest.mark.parametrize(
    ("first", "last", "usage"),
    [
        (None, None, Usage()),
        (FIRST, None, Usage(input_tokens=15, cached_input_tokens=5, cache_write_input_tokens=0, output_tokens=1)),
        (
            FIRST,
            {"output_tokens": 8},
            Usage(input_tokens=15, cached_input_tokens=5, cache_write_input_tokens=0, output_tokens=8),
        ),
        (  # larger: a server tool read more; null is no count
            FIRST,
            {
                "input_tokens": 4000,
                "cache_read_input_tokens": None,
                "cache_creation_input_tokens": 7,
                "output_tokens": 8,
            },
            Usage(input_tokens=4012, cached_input_tokens=5, cache_write_input_tokens=7, output_tokens=8),
        ),
        (  # smaller: the context was compacted, which only `iterations` counts
            FIRST,
            {
                "input_tokens": 3,
                "cache_read_input_tokens": 0,
                "output_tokens": 2,
                "iterations": [
                    {"type": "compaction", "input_tokens": 100, "cache_read_input_tokens": 50, "output_tokens": 20},
                    {"type": "message", "input_tokens": 3, "output_tokens": 2},
                    {"type": "advisor_message", "input_tokens": 1000, "output_tokens": 1000},
                    None,
                ],
            },
            Usage(input_tokens=153, cached_input_tokens=50, cache_write_input_tokens=0, output_tokens=22),
        ),
        (
            {"input_tokens": 1},
            {
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 4},
                "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0},
                "server_tool_use": {"web_search_requests": 3},
                "service_tier": "standard",
            },
            Usage(
                input_tokens=1,
                output_tokens=9,
                reasoning_tokens=4,
                extra={"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0, "web_search_requests": 3},
            ),
        ),
        ({"output_tokens": 3, "cache_read_input_tokens": 9}, None, Usage(output_tokens=3, cached_input_tokens=9)),
        ({"input_tokens": "many", "output_tokens": True}, {"iterations": 3}, Usage()),
    ],
)
def test_usage(first, last, usage):
    """The last report of each field holds; what came from the cache is a part of the prompt."""
    assert answer(started(first), text(0, "x"), stopped(usage=last)).usage == usage


@pytest.mark.parametrize(
    "strange",
    [
        {"type": "surprise", "x": 1},
        {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "lost"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "later_delta", "x": 1}},
        {"type": "content_block_delta", "index": 0, "delta": None},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_delta"},
    ],
)
def test_what_is_not_known_changes_nothing(strange):
    """Formats grow: a new event, delta or index is shown only to whoever asks for the raw events."""
    blocks = text(0, "one ", "two")
    body = sse(started(), blocks[:2], strange, blocks[2:], stopped())
    events = decode(body)

    assert events == decode(sse(started(), blocks, stopped()))
    asked = MessagesDecoder()
    asked.raw_chunks = True
    assert RawChunk(strange["type"], strange) in decode(body, decoder=asked)
    assert (fold(events).output_text, fold(events).finish_reason) == ("one two", "stop")


@pytest.mark.parametrize(
    "strange",
    [
        PING,
        "event: ping\n\n",
        {"type": "content_block_stop", "index": 7},
        {"type": "content_block_stop"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 7}},
        {"type": "message_delta", "delta": None, "usage": []},
    ],
)
def test_what_says_nothing_is_no_event(strange):
    """Above all a ping, which is no progress that a time limit could count."""
    blocks = text(0, "one ", "two")
    without = decode(sse(started(), blocks, stopped()))

    assert decode(sse(started(), blocks[:2], strange, blocks[2:], stopped())) == without


@pytest.mark.parametrize("kind", ["thinking", "redacted_thinking", "tool_use", "server_tool_use", "compaction"])
def test_a_delta_of_another_kind_is_passed_over(kind):
    """It changes nothing of the block that it came for."""
    start = {"type": kind, "id": "a", "name": "clock", "input": {}, "data": "x", "thinking": "", "signature": ""}
    lost = {"type": "text_delta", "text": "lost"}
    events = decode(sse(started(), block(0, start, lost), stopped()))

    assert not [event for event in events if isinstance(event, TextDelta)]
    assert fold(events).output_text == ""


def test_an_error_as_the_first_event():
    """Nothing was said: it is a failure like one with a status, and may be tried again."""
    error = {"type": "error", "error": {"details": None, "type": "overloaded_error", "message": "Overloaded"}}
    [event] = decode(sse(error))

    assert isinstance(event, Failed)
    assert isinstance(event.error, AdapterError)
    assert (event.error.reason, event.error.retryable, event.error.message) == ("overloaded", True, "Overloaded")
    assert (event.error.provider_code, event.error.provider) == ("overloaded_error", "anthropic")


def test_an_error_in_the_middle():
    """What came before it is kept: text, a call that has not ended, counts and ids."""
    error = {"type": "error", "error": {"type": "api_error", "message": "Gone"}, "request_id": "req_9"}
    response = answer(started(FIRST), text(0, "one"), call(1, "a", "clock", '{"ci')[:-1], error)

    assert (response.output_text, response.finish_reason, response.id) == ("one", "error", "msg_1")
    assert (response.usage.input_tokens, response.request_id) == (15, "request-1")
    assert response.error.request_id == "req_9"
    assert response.tool_calls == (ToolCall("a", "clock", None, '{"ci', metadata={"incomplete": True}),)


@pytest.mark.parametrize("end", [[], stopped()[:1]], ids=["in the middle", "before message_stop"])
def test_no_end_marker_is_truncation(end):
    """Even where the stop reason is known."""
    response = answer(started(), text(0, "one"), end)

    assert (response.output_text, response.finish_reason) == ("one", "error")
    assert response.error.reason == "stream_truncated"


@pytest.mark.parametrize("data", ["{", "[1]", '"x"', "\ud800"])
def test_an_event_that_is_no_object(data):
    """One clear error that quotes what came."""
    raw = data.encode("utf-8", "surrogatepass")
    events = decode(b"event: message_start\ndata: " + raw + b"\n\n")

    assert events[-1].error.reason == "malformed_response"


def test_an_event_without_a_type_is_named_by_its_line():
    """Some servers leave the type out of the data."""
    body = sse(started(), text(0, "x"), stopped()).replace(b'"type": "message_stop"', b"")

    assert fold(decode(body)).finish_reason == "stop"


DOCUMENT = {
    "id": "msg_1",
    "type": "message",
    "model": "claude-test",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
        {"type": "text", "text": "noon", "citations": [{"type": "page_location"}]},
        {"type": "tool_use", "id": "a", "name": "clock", "input": {"city": "Ulm"}},
        {"type": "tool_use", "id": "b", "name": "clock", "input": {}},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": FIRST,
}


def test_a_plain_json_answer():
    """The same events as a stream, each block in one piece."""
    decoder = MessagesDecoder()
    decoder.begin({"x-request-id": "request-1"})
    events = decoder.decode_document(DOCUMENT)
    response = fold(events)

    assert decoder.done
    assert [type(event) for event in events] == [
        MessageStarted,
        UsageReported,
        ReasoningDelta,
        ReasoningCompleted,
        TextDelta,
        CitationAdded,
        TextCompleted,
        ToolCallStarted,
        ToolCallCompleted,
        ToolCallStarted,
        ToolCallCompleted,
        HostedCallStarted,
        HostedCallCompleted,
        MessageCompleted,
    ]
    assert tuple(map(opaque, response.message.parts)) == (
        ReasoningPart("hm", provider="anthropic", signature=SIGNATURE),
        TextPart("noon", citations=[cited(4, {"type": "page_location"})]),
        ToolCall("a", "clock", {"city": "Ulm"}),
        ToolCall("b", "clock", {}, ""),
        ProviderPart("anthropic", DOCUMENT["content"][4]),
        ProviderPart("anthropic", DOCUMENT["content"][5]),
    )
    assert (response.finish_reason, response.usage.input_tokens, response.model) == ("tool_calls", 15, "claude-test")


@pytest.mark.parametrize("document", [[], 3, {}, {"content": "x"}, {"completion": "x"}])
def test_a_document_that_is_no_answer(document):
    """Something else speaks there."""
    with pytest.raises(AdapterError) as caught:
        MessagesDecoder().decode_document(document)

    assert caught.value.reason == "malformed_response"


@pytest.mark.parametrize(
    "document",
    [
        {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}},
        {"error": {"type": "rate_limit_error", "message": "Slow down"}},
    ],
)
def test_a_document_that_is_an_error(document):
    """With the status 200 of a gateway."""
    [event] = MessagesDecoder().decode_document(document)

    assert (event.error.reason, event.error.message) == ("rate_limited", "Slow down")


def test_deltas_that_do_not_say_which_block_they_are_for():
    """Some servers do not count the blocks, or leave out where one starts: nothing of the text is lost."""
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}}
    start, stop = text(0)[0], {"type": "content_block_stop", "index": 0}
    assert answer(started(), start, delta, stop, stopped()).output_text == "hi"
    assert answer(started(), {**delta, "index": 0}, stop, stopped()).output_text == "hi"
    thought = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}
    assert answer(started(), thought, stop, text(1, "hi"), stopped()).reasoning_text == "hm"


@pytest.mark.parametrize(
    "event",
    [
        'data: {"error": {"type": "overloaded_error", "message": "m"}}\n\n',
        'event: error\ndata: {"type": "overloaded_error", "message": "m"}\n\n',
        'event: error\ndata: {"code": 529, "message": "m", "type": "server_error"}\n\n',
    ],
)
def test_errors_in_other_clothes_are_errors(event):
    """Gateways leave out the type, or have one of their own."""
    events = decode(sse(started(), text(0, "hi"), event))
    assert fold(events).error.reason == "overloaded"
    assert fold(events).output_text == "hi"


def test_end_marker_of_another_format_is_passed_over():
    """It is no end either."""
    body = sse(started(), text(0, "hi"), "data: [DONE]\n\n", stopped())
    assert fold(decode(body)).output_text == "hi"


def test_input_as_text_is_an_object():
    """Some servers send it whole, as JSON in a string."""
    block = {"type": "tool_use", "id": "t", "name": "f", "input": '{"a": 1}'}
    start = {"type": "content_block_start", "index": 0, "content_block": block}
    (found,) = answer(started(), start, {"type": "content_block_stop", "index": 0}, stopped("tool_use")).tool_calls
    assert found.arguments == {"a": 1}


def test_an_answer_starts_once():
    """Also where `message_start` comes twice, or not at all."""
    for head in ([], [started()], [started(), started()]):
        kinds = [type(event) for event in decode(sse(*head, text(0, "hi"), stopped()))]
        assert kinds[0] is MessageStarted
        assert kinds.count(MessageStarted) == 1


@pytest.mark.parametrize("left_out", [("content_block_start",), ("content_block_delta",), ("content_block_stop",)])
def test_blocks_that_are_not_numbered_everywhere(left_out):
    """Blocks come one after the other, so a piece without its number, or with one alone, is for the open one."""
    events = [*text(0, "one ", "two"), *call(1, "toolu_1", "f", '{"a"', ": 1}")]
    for event in events:
        if event["type"] in left_out:
            del event["index"]
    response = answer(started(), events, stopped("tool_use"))
    assert response.output_text == "one two"
    assert [made.arguments for made in response.tool_calls] == [{"a": 1}]


def test_an_input_that_is_a_text_but_no_object():
    """Servers that send the input as JSON text may send a broken one: the call keeps it, and does not run without."""
    calls = call(0, "toolu_1", "f", input='{"a": 1}'), call(1, "toolu_2", "f", input="{a")
    response = fold(decode(sse(started(), *calls, *stopped("tool_use"))))
    assert [(c.arguments, c.raw_arguments) for c in response.tool_calls] == [({"a": 1}, None), (None, "{a")]
