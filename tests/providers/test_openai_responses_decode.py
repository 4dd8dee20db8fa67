"""Responses API answers as events, in samples written after what the vendor and its imitators send."""

from __future__ import annotations

import pytest

import allm
from allm.data.events import Failed
from allm.data.json.text import dumps, loads
from allm.providers.openai.errors import stream_error
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.providers.openai.responses_encode import custom_tools
from openai_wire import (
    CREATED,
    SEARCH,
    added,
    answer,
    call,
    completed,
    custom_call,
    decode,
    done,
    fold,
    folded,
    kinds,
    message,
    prepare,
    reasoning,
    refusal,
)


def text(piece, **fields):
    return "response.output_text.delta", {"delta": piece, **fields}


def arguments(piece, **fields):
    return "response.function_call_arguments.delta", {"delta": piece, **fields}


def test_text_arrives_in_pieces_and_the_item_is_the_authority():
    """Deltas, then the text as `output_item.done` has it, with what has to go back."""
    item = message("Hello you", phase="final_answer")
    events = decode(
        CREATED,
        ("response.in_progress", CREATED[1]),
        added({**item, "content": [], "status": "in_progress"}, 0),
        ("response.content_part.added", {"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {}}),
        text("Hello ", item_id="msg_1", output_index=0, content_index=0),
        text("you!", item_id="msg_1", output_index=0, content_index=0, obfuscation="x"),
        ("response.output_text.done", {"item_id": "msg_1", "text": "Hello you"}),
        done(item, 0),
        completed(item, usage={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}),
    )
    response = fold(events)
    assert kinds(events) == [
        "MessageStarted",
        "TextDelta",
        "TextDelta",
        "TextCompleted",
        "UsageReported",
        "MessageCompleted",
    ]
    assert response.message.content == (
        allm.TextPart("Hello you", metadata={"openai": {"id": "msg_1", "phase": "final_answer"}}),
    )
    assert (response.finish_reason, response.raw_finish_reason) == ("stop", "completed")
    assert (response.id, response.model, response.request_id) == ("resp_1", "gpt-5.4", "req_1")


def test_usage_keeps_what_is_unknown_apart_from_zero():
    """Counts that are not there are None."""
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
        "new": {"x": 1},
    }
    assert folded(message("x"), usage=usage).usage == allm.Usage(
        input_tokens=9,
        cached_input_tokens=4,
        cache_write_input_tokens=2,
        output_tokens=3,
        reasoning_tokens=0,
        total_tokens=12,
        extra={"new": {"x": 1}},
    )
    assert folded(message("x"), usage={"input_tokens": "many", "input_tokens_details": None}).usage == allm.Usage()
    assert folded(message("x"), usage=None).usage == allm.Usage()


def test_encrypted_reasoning_is_taken_when_it_is_finished():
    """Never from `added`: the text there is a shorter one that means nothing."""
    item = reasoning("First. ", "Second.")
    response = fold(
        decode(
            CREATED,
            added(reasoning(encrypted="unfinished"), 0),
            ("response.reasoning_summary_text.delta", {"item_id": "rs_1", "summary_index": 0, "delta": "First. "}),
            ("response.reasoning_summary_part.added", {"item_id": "rs_1", "summary_index": 1}),
            ("response.reasoning_summary_text.delta", {"item_id": "rs_1", "summary_index": 1, "delta": "Second."}),
            done(item, 0),
            completed(reasoning("First. ", "Second.", encrypted="another"), message("Hi")),
        )
    )
    [part] = response.reasoning
    assert (part.text, part.id, part.encrypted_content) == ("First. Second.", "rs_1", "blob")
    assert response.output_text == "Hi"


def test_reasoning_text_is_readable_thinking_too():
    """Open models send it in `content`, with an empty summary."""
    content = [{"type": "reasoning_text", "text": "Let me see."}]
    item = reasoning(content=content, encrypted="")
    response = fold(
        decode(
            CREATED,
            added(reasoning(encrypted="")),
            ("response.reasoning_text.delta", {"item_id": "rs_1", "content_index": 0, "delta": "Let me see."}),
            done(item),
            completed(item),
        )
    )
    assert response.reasoning_text == "Let me see."
    assert response.reasoning[0].encrypted_content is None


def test_hidden_reasoning_has_a_part_with_nothing_to_read():
    """`summary: []`, as it comes unless a summary was asked for."""
    response = folded(reasoning(), call())
    assert response.reasoning_text == ""
    assert response.reasoning[0].encrypted_content == "blob"


def test_calls_are_known_by_their_call_id():
    """The item's own id is kept for replay only; calls are parallel and their pieces go by `item_id`."""
    first, second = call(), call("clock", "{}", id="fc_2", call_id="call_2")
    response = fold(
        decode(
            CREATED,
            added({**first, "arguments": ""}, 0),
            added({**second, "arguments": ""}, 1),
            arguments("{", item_id="fc_2", output_index=1),
            arguments('{"city"', item_id="fc_1", output_index=0),
            arguments("}", item_id="fc_2", output_index=1),
            arguments(':"Zug"}', item_id="fc_1", output_index=0),
            done(second, 1),
            done(first, 0),
            completed(first, second),
        )
    )
    assert [(c.id, c.name, c.arguments, c.raw_arguments) for c in response.tool_calls] == [
        ("call_1", "weather", {"city": "Zug"}, '{"city":"Zug"}'),
        ("call_2", "clock", {}, "{}"),
    ]
    assert response.tool_calls[0].metadata == {"openai": {"id": "fc_1"}}
    assert response.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("raw", "parsed"), [("", {}), ("{}", {}), ('{"a": "b', None), ("[1]", None), ('{"a":1}', {"a": 1})]
)
def test_arguments_are_an_object_or_nothing(raw, parsed):
    """The text is kept as it came."""
    [made] = folded(call(arguments=raw)).tool_calls
    assert (made.arguments, made.raw_arguments) == (parsed, raw)


def test_custom_call_has_free_text():
    """No arguments, its input verbatim."""
    item = custom_call("4 + 4")
    response = fold(
        decode(
            CREATED,
            added({**item, "input": ""}, 0),
            ("response.custom_tool_call_input.delta", {"item_id": "ctc_1", "delta": "4 + "}),
            ("response.custom_tool_call_input.delta", {"item_id": "ctc_1", "delta": "4"}),
            done(item, 0),
            completed(item),
        )
    )
    [made] = response.tool_calls
    assert (made.id, made.arguments, made.raw_arguments) == ("call_c", None, "4 + 4")
    assert made.metadata == {"openai": {"id": "ctc_1", "type": "custom_tool_call"}}


def test_refusal_is_text_that_says_so():
    """The status stays `completed`."""
    item = message(refusal("I cannot."))
    response = fold(
        decode(
            CREATED,
            added(message()),
            ("response.refusal.delta", {"item_id": "msg_1", "content_index": 0, "delta": "I can"}),
            ("response.refusal.delta", {"item_id": "msg_1", "content_index": 0, "delta": "not."}),
            done(item),
            completed(item),
        )
    )
    assert response.refusal == response.output_text == "I cannot."
    assert (response.finish_reason, response.raw_finish_reason) == ("stop", "completed")


def test_annotations_are_kept_with_their_text():
    """Citations, beside the ids that go back."""
    note = {"type": "url_citation", "start_index": 0, "end_index": 1, "title": "T", "url": "https://x.example"}
    part = {"type": "output_text", "text": "So it is.", "annotations": [note]}
    response = fold(
        decode(
            CREATED,
            added(message()),
            text("So it is.", item_id="msg_1", content_index=0),
            ("response.output_text.annotation.added", {"item_id": "msg_1", "annotation": note}),
            done(message(part)),
            completed(message(part)),
        )
    )
    assert response.output_text == "So it is."
    cited = allm.Citation(0, 1, title="T", url="https://x.example", provider="openai", data=note)
    assert response.message.parts[0].citations == response.citations == (cited,)
    assert "annotations" not in response.message.parts[0].metadata["openai"]


@pytest.mark.parametrize(
    "places",
    [
        ((1, "output_text", "So "), (2, "output_text", "be it.")),  # of a list whose first part the item leaves out
        ((7, "output_text", "So "), (3, "output_text", "be it.")),
        ((None, "output_text", "So "), (None, "output_text", "be it.")),
        ((0, "thought", None), (1, "output_text", "So "), (2, "output_text", "be it.")),
    ],
)
def test_a_text_is_found_by_its_place_among_the_texts(places):
    """The finished texts replace those of the deltas, however the server counts parts; none is there twice."""
    events = [CREATED, added(message(), 0)]
    for index, kind, piece in places:
        where = {"item_id": "msg_1", "output_index": 0} | ({} if index is None else {"content_index": index})
        part = {"type": kind, "data": "x"} if piece is None else {"type": kind, "text": ""}
        events.append(("response.content_part.added", {**where, "part": part}))
        events += [text(piece, **where)] if piece is not None else []
    events = decode(*events, done(message("So ", "be it."), 0), completed(message("So ", "be it.")))
    assert [part.text for part in fold(events).message.parts] == ["So ", "be it."]
    started = [event.id for event in events if isinstance(event, allm.TextDelta)]
    assert started == [event.id for event in events if isinstance(event, allm.TextCompleted)]


def test_items_of_the_providers_own_tools_keep_their_place():
    """They are neither text nor calls of ours, whatever their events say."""
    events = decode(
        CREATED,
        added({**SEARCH, "status": "in_progress"}, 0),
        ("response.web_search_call.searching", {"item_id": "ws_1", "output_index": 0}),
        ("response.mcp_call_arguments.delta", {"item_id": "ws_1", "delta": "{}"}),
        done(SEARCH, 0),
        added(message(), 1),
        text("Found.", item_id="msg_1"),
        done(message("Found."), 1),
        completed(SEARCH, message("Found.")),
    )
    response = fold(events)
    assert response.message.parts[0].data == SEARCH
    assert (response.output_text, response.tool_calls, response.finish_reason) == ("Found.", (), "stop")


@pytest.mark.parametrize(
    "event",
    [
        ("keepalive", {"sequence_number": 2}),
        ("response.brand_new", {"item_id": "msg_1", "delta": "?"}),
        ("response.output_text.delta", {"delta": None}),
        ("response.output_text.delta", {"delta": ["x"], "item_id": 7, "output_index": [1]}),
        ("response.refusal.delta", {"delta": ""}),
        ("response.reasoning_text.delta", {"delta": 7}),
        ("response.output_text.done", {"text": "not what counts"}),
        ("response.content_part.added", {"part": None}),
    ],
)
def test_strange_events_are_passed_over(event):
    """Formats grow; what is not understood changes nothing."""
    events = decode(CREATED, added(message()), event, text("Hi", item_id="msg_1"), done(message("Hi")), completed())
    assert fold(events).output_text == "Hi"


def test_stream_without_index_or_id_is_put_together_all_the_same():
    """llama.cpp: no index at all, no id with a call, deltas by `call_id`, and everything is closed at the end."""
    thought = {"type": "reasoning", "id": "rs_x", "summary": [], "content": [], "encrypted_content": ""}
    first = {"type": "function_call", "call_id": "fc_a", "name": "weather", "arguments": ""}
    second = {"type": "function_call", "call_id": "fc_b", "name": "clock", "arguments": ""}
    whole = [
        {**thought, "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {**first, "arguments": '{"city":"Ulm"}'},
        {**second, "arguments": "{}"},
    ]
    response = fold(
        decode(
            ("response.created", {"response": {"id": "resp_1", "object": "response", "status": "in_progress"}}),
            added(thought),
            ("response.reasoning_text.delta", {"delta": "Hm.", "item_id": "rs_x"}),
            added({"type": "message", "role": "assistant", "content": []}),
            ("response.content_part.added", {"part": {"type": "output_text", "text": ""}}),
            text("I "),
            text("look."),
            added(first),
            arguments('{"city"', item_id="fc_a"),
            arguments(':"Ulm"}', item_id="fc_a"),
            added(second),
            arguments("{}", item_id="fc_b"),
            *(done(item) for item in whole),
            ("response.completed", {"response": {"output": whole, "status": "completed", "model": "tiny"}}),
        )
    )
    assert [type(part).__name__ for part in response.message.parts] == [
        "ReasoningPart",
        "TextPart",
        "ToolCall",
        "ToolCall",
    ]
    assert (response.reasoning_text, response.output_text) == ("Hm.", "I look.")
    assert [(c.id, c.arguments) for c in response.tool_calls] == [("fc_a", {"city": "Ulm"}), ("fc_b", {})]


def test_deltas_without_their_item_begin_one():
    """A gateway that sends neither `created` nor `added`: still one start, one block, one end."""
    events = decode(text("Hi "), text("you"), ("response.function_call_arguments.delta", {"delta": "{}"}), completed())
    assert kinds(events) == [
        "MessageStarted",
        "TextDelta",
        "TextDelta",
        "ToolCallStarted",
        "ToolCallDelta",
        "TextCompleted",
        "ToolCallCompleted",
        "MessageCompleted",
    ]
    assert fold(events).output_text == "Hi you"


def test_items_that_were_never_done_are_taken_from_the_end():
    """The terminal event has all of them; those that were done are not taken twice."""
    response = fold(
        decode(
            CREATED,
            added(message(), 0),
            text("He", item_id="msg_1", output_index=0, content_index=0),
            done(reasoning(), 1),
            completed(message("Hello"), reasoning(encrypted="later"), call()),
        )
    )
    assert response.output_text == "Hello"
    assert [part.encrypted_content for part in response.reasoning] == ["blob"]
    assert response.tool_calls[0].arguments == {"city": "Zug"}


def test_items_without_ids_are_told_apart_by_their_place():
    """Two messages without an id, done and repeated at the end: each counts once."""
    items = [{"type": "message", "content": [{"type": "output_text", "text": word}]} for word in ("one ", "two")]
    response = fold(decode(CREATED, *(done(item) for item in items), completed(*items)))
    assert response.output_text == "one two"


def test_item_that_is_done_twice_counts_once():
    """The first time; its pieces and its end are not told again."""
    events = decode(CREATED, done(call(), 0), done(call(arguments="{}"), 0), completed(call()))
    assert kinds(events).count("ToolCallCompleted") == 1
    assert fold(events).tool_calls[0].arguments == {"city": "Zug"}


def test_empty_arguments_delta_begins_the_call_and_says_nothing():
    """OpenAI's first one is empty at times."""
    response = fold(decode(CREATED, added(call(arguments=""), 0), arguments("", item_id="fc_1"), completed(call())))
    assert response.tool_calls[0].raw_arguments == '{"city":"Zug"}'


def test_same_id_twice_makes_two_items():
    """A server that gives every message one id loses nothing."""
    first, second = message("one "), message("two")
    response = fold(decode(CREATED, added(message()), done(first), added(message()), done(second), completed()))
    assert response.output_text == "one two"


def test_same_call_id_twice_makes_two_calls():
    """Each has an id of its own, that its result can name."""
    first, second = call(id="fc_1"), call("other", "{}", id="fc_2")
    events = decode(CREATED, added(first, 0), done(first, 0), added(second, 1), done(second, 1), completed())
    calls = fold(events).tool_calls
    assert [found.name for found in calls] == ["weather", "other"]
    assert len({found.id for found in calls}) == 2


def test_output_beside_its_call_is_an_item_of_its_own():
    """Both have the same `call_id`, and the output may have no id."""
    output = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    response = folded(call(), output, message("Sun."))
    assert (len(response.tool_calls), response.output_text) == (1, "Sun.")
    assert response.message.parts[1] == allm.ProviderPart("openai", output)


def test_arguments_as_an_object_are_taken():
    """Some servers do not write them as text."""
    (found,) = folded(call(arguments={"city": "Zug"})).tool_calls
    assert (found.arguments, found.raw_arguments) == ({"city": "Zug"}, '{"city":"Zug"}')


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("steered", "other")]
)
def test_incomplete_says_why(reason, finish):
    """Also when no message came at all, only thinking."""
    item = reasoning()
    end = completed(item, status="incomplete", incomplete_details={"reason": reason}, usage={"output_tokens": 64})
    response = fold(decode(CREATED, added(item), done(item), end))
    assert (response.finish_reason, response.raw_finish_reason) == (finish, reason)
    assert (response.error, response.output_text, response.usage.output_tokens) == (None, "", 64)


def test_call_that_is_cut_by_the_limit_keeps_its_text():
    """No arguments, the raw text, and the reason."""
    item = call(arguments='{"city": "Z', status="incomplete")
    end = completed(item, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    response = fold(decode(CREATED, added(item), arguments('{"city": "Z', item_id="fc_1"), end))
    assert response.finish_reason == "length"
    assert (response.tool_calls[0].arguments, response.tool_calls[0].raw_arguments) == (None, '{"city": "Z')


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_answer_that_is_not_there_yet_is_no_clean_end(status):
    """`background: true` answers at once; what it says is kept as the raw reason."""
    response = folded(status=status)
    assert (response.finish_reason, response.raw_finish_reason) == ("other", status)


NESTED = {"error": {"type": "server_error", "code": "server_error", "message": "broke", "param": None}}
FLAT = {"code": "server_error", "message": "broke", "param": None}


@pytest.mark.parametrize(
    "event",
    [
        ("response.error", NESTED),
        ("later", {"object": "error", **FLAT}),
    ],
)
def test_errors_in_other_clothes_are_errors(event):
    """Servers that speak the format without all of it."""
    response = fold(decode(CREATED, added(message()), text("So ", item_id="msg_1"), event))
    assert (response.error.reason, response.error.message) == ("provider_unavailable", "broke")
    assert response.output_text == "So "


@pytest.mark.parametrize("error", [NESTED, FLAT], ids=["nested", "flat"])
def test_error_event_in_both_shapes_is_one_failure(error):
    """The `response.failed` that follows is not a second one; the text before it is kept."""
    events = decode(
        CREATED,
        added(message()),
        text("So ", item_id="msg_1"),
        ("error", error),
        completed(status="failed", error={"code": "server_error", "message": "broke"}),
    )
    response = fold(events)
    assert kinds(events).count("Failed") == 1
    assert (response.error.reason, response.error.message) == ("provider_unavailable", "broke")
    assert (response.error.provider_code, response.raw_finish_reason) == ("server_error", None)
    assert (response.output_text, response.id) == ("So ", "resp_1")


@pytest.mark.parametrize(
    ("code", "reason", "retryable"),
    [
        ("server_error", "provider_unavailable", True),
        ("rate_limit_exceeded", "rate_limited", True),
        ("server_is_overloaded", "overloaded", True),
        ("insufficient_quota", "quota_exhausted", False),
        ("context_length_exceeded", "context_length_exceeded", False),
        ("invalid_prompt", "invalid_request", False),
        ("image_content_policy_violation", "content_filter", False),
        ("invalid_image_url", "invalid_request", False),
        ("vector_store_timeout", "provider_unavailable", True),
        ("something_new", "unknown", False),
    ],
)
def test_failed_response_says_why(code, reason, retryable):
    """By the code: there is no status and no type."""
    end = completed(status="failed", error={"code": code, "message": "m"}, usage={"input_tokens": 3})
    response = fold(decode(CREATED, end))
    assert (response.error.reason, response.error.retryable) == (reason, retryable)
    assert response.usage.input_tokens == 3


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_failure_without_an_error_names_its_status(status):
    """And is a failure all the same."""
    error = folded(status=status, error=None).error
    assert status in error.message
    assert error.reason == "unknown"


def test_failure_that_comes_first_has_no_content_before_it():
    """So that the call may be tried again; the ids that came with it are kept."""
    assert kinds(decode(("error", NESTED))) == ["Failed"]
    assert kinds(decode(completed(status="failed", error=FLAT))) == ["MessageStarted", "Failed"]
    assert kinds(ResponsesDecoder().decode_document({"error": FLAT})) == ["Failed"]
    assert kinds(ResponsesDecoder().decode("", dumps({"error": FLAT}))) == ["Failed"]
    assert kinds(ResponsesDecoder().decode("error", dumps({"type": "x", "message": "m"}))) == ["Failed"]


def test_end_without_a_terminal_event_is_truncation():
    """`[DONE]`, which some gateways add, is no such event."""
    decoder = ResponsesDecoder("mine")
    decode(CREATED, added(message()), text("Hi"), decoder=decoder)
    assert decoder.decode("", b"[DONE]") == []
    with pytest.raises(allm.AdapterError, match=r"response\.completed") as caught:
        decoder.end("")
    assert (caught.value.reason, caught.value.provider) == ("stream_truncated", "mine")


def test_done_marker_after_the_end_is_passed_over():
    """The answer is complete by then."""
    decoder = ResponsesDecoder()
    assert kinds(decode(completed(message("x")), decoder=decoder))[-1] == "MessageCompleted"
    assert decoder.done
    assert decoder.decode("", b" [DONE] ") == []


@pytest.mark.parametrize("data", [b"{not json", b"12", b'"text"', b"[1]", b"\xff"])
def test_event_that_is_no_object_is_malformed(data):
    """One clear error that quotes what came."""
    with pytest.raises(allm.AdapterError, match="event of the stream") as caught:
        ResponsesDecoder().decode("", data)
    assert caught.value.reason == "malformed_response"


@pytest.mark.parametrize("document", [{}, [], {"choices": []}, {"object": "response", "output": None}, 7])
def test_document_that_is_no_response_is_malformed(document):
    """Such as an answer of Chat Completions."""
    with pytest.raises(allm.AdapterError, match="no output"):
        ResponsesDecoder().decode_document(document)


def test_a_plain_answer_is_the_same_as_its_stream():
    """Some gateways answer a streaming request with it."""
    items = [reasoning("Hm."), SEARCH, message("I look."), call()]
    events = [event for n, item in enumerate(items) for event in (added(item, n), done(item, n))]
    plain = folded(*items)
    assert plain.message == fold(decode(CREATED, *events, completed(*items))).message
    assert allm.from_json(allm.to_json(plain)) == plain


def test_opaque_data_belongs_to_the_service_it_came_from():
    """A preset's name, so that nobody else is sent it."""
    events = ResponsesDecoder("azure").decode_document(answer(reasoning(), SEARCH, message("Hi"), call()))
    parts = fold(events).message.parts
    assert parts[0].provider == parts[1].provider == "azure"
    assert list(parts[2].metadata) == list(parts[3].metadata) == ["azure"]


def test_error_in_mid_stream_has_the_providers_name():
    """Also when a preset speaks."""
    assert stream_error("azure", NESTED).provider == "azure"
    assert isinstance(ResponsesDecoder("azure").decode("error", dumps(NESTED))[0], Failed)


def test_the_terminal_event_has_the_last_word_on_the_id():
    """Behind some gateways only its id can be referred to."""
    response = fold(decode(CREATED, completed(message("Hi"), id="resp_2", model="gpt-5.4-2026")))
    assert (response.id, response.model) == ("resp_2", "gpt-5.4-2026")


def test_a_plain_answer_starts_with_its_id():
    """As its stream does."""
    [started, *_] = ResponsesDecoder().decode_document(answer(message("Hi")))
    assert started == allm.MessageStarted(id="resp_1", model="gpt-5.4")


@pytest.mark.parametrize("left", [{}, {"arguments": None}, {"arguments": ""}])
def test_a_call_that_is_done_without_its_arguments_has_those_of_its_deltas(left):
    """A tool must not run with an empty object because a gateway left out what it had sent in pieces."""
    item = call()
    del item["arguments"]
    response = fold(
        decode(
            CREATED,
            added({**item, "arguments": ""}, 0),
            arguments('{"city"', item_id="fc_1", output_index=0),
            arguments(':"Ulm"}', item_id="fc_1", output_index=0),
            done({**item, **left}, 0),
            completed({**item, **left}),
        )
    )
    assert response.tool_calls[0].arguments == {"city": "Ulm"}


@pytest.mark.parametrize(
    ("name", "finish", "raw"), [("completed", "stop", "completed"), ("incomplete", "length", "max_output_tokens")]
)
def test_the_last_event_says_how_the_answer_ended_where_its_response_does_not(name, finish, raw):
    """By its name."""
    details = {"reason": "max_output_tokens"} if name == "incomplete" else None
    whole = answer(message("So"), incomplete_details=details)
    del whole["status"]
    response = fold(decode(CREATED, (f"response.{name}", {"response": whole})))
    assert (response.finish_reason, response.raw_finish_reason) == (finish, raw)


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("later", "other")]
)
def test_a_plain_answer_without_a_status_is_incomplete_where_it_says_why(reason, finish):
    """The details are there in incomplete answers only."""
    whole = answer(message("So"), incomplete_details={"reason": reason})
    del whole["status"]
    assert fold(ResponsesDecoder().decode_document(whole)).finish_reason == finish


ALIKE = (reasoning("A", encrypted="a"), SEARCH, reasoning("B", encrypted="b"), message("So "), message("it is"))


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_items_that_share_an_id_are_all_there(streamed):
    """Each counts once, in a plain answer, and in a stream that lists all of them again at its end."""
    if streamed:
        parts = [event for place, item in enumerate(ALIKE) for event in (added(item, place), done(item, place))]
        response = fold(decode(CREATED, *parts, completed(*ALIKE)))
    else:
        response = folded(*ALIKE)
    assert [part.encrypted_content for part in response.reasoning] == ["a", "b"]
    assert (response.reasoning_text, response.output_text) == ("AB", "So it is")
    assert len(response.message.parts) == len(ALIKE)


def served_call(**fields):
    """A call of a tool with free text, as xAI sends those of its own tools."""
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "xs_1", "name": "x_keyword_search"}
    return {**item, "input": '{"query":"q"}', "status": "completed", **fields}


@pytest.mark.parametrize("streamed", [True, False])
def test_call_of_a_tool_of_the_service_is_not_for_the_caller(streamed):
    """Its name is none of the request's: it goes back as it came, and the answer is whole."""
    item = served_call()
    begun = served_call(status="in_progress", input="")
    delta = ("response.custom_tool_call_input.delta", {"item_id": "ctc_1", "output_index": 0, "delta": item["input"]})
    middle = [added(begun, 0), delta, done(item, 0)] if streamed else []
    decoder = ResponsesDecoder("xai", custom_tools=frozenset({"math"}))
    response = fold(decode(CREATED, *middle, completed(item, message("Found.")), decoder=decoder))
    assert (response.tool_calls, response.finish_reason, response.output_text) == ((), "stop", "Found.")
    assert response.message.content[0].data == item
    adapter = allm.providers.OpenAI(preset="xai", api_key="k")
    sent = loads(prepare(allm.user("q"), response.message, allm.user("more"), adapter=adapter, model="grok-4").body)
    assert sent["input"][1] == item


def test_call_of_a_tool_of_the_request_is_for_the_caller():
    """Also one that stands in a namespace; of a stored prompt the tools are not known."""
    mine = custom_call("4 + 4")
    for names in (frozenset({"math"}), None):
        decoder = ResponsesDecoder("openai", custom_tools=names)
        response = fold(decode(CREATED, done(mine, 0), completed(mine), decoder=decoder))
        assert [call.name for call in response.tool_calls] == ["math"]
        assert response.finish_reason == "tool_calls"
    tools = [{"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "math"}]}, {"type": "function"}]
    assert custom_tools({"tools": tools}) == {"math"}
    assert custom_tools({}) == frozenset()
    assert custom_tools({"prompt": {"id": "p"}}) is None


def test_failed_response_keeps_its_output():
    """Text, ids and counts beside the error; a call that was cut is not taken for a whole one."""
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    cut = call(arguments='{"a', status="incomplete")
    for events in (
        decode(completed(message("part"), cut, status="failed", error=FLAT, usage=usage)),
        ResponsesDecoder().decode_document(answer(message("part"), cut, status="failed", error=FLAT, usage=usage)),
    ):
        response = fold(events)
        assert (response.output_text, response.finish_reason, response.id) == ("part", "error", "resp_1")
        assert (response.usage.total_tokens, response.tool_calls) == (7, ())
