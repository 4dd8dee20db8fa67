"""Chat Completions answers, in samples written after what the vendor and its imitators send."""

from __future__ import annotations

import json

import pytest

import allm
from allm.data.json.text import dumps
from allm.providers.openai.chat_decode import ChatDecoder


def chunk(delta=None, *, finish=None, index=0, **fields):
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "model": "gpt-x", "choices": [choice], **fields}


def fold(*chunks, done=True):
    """What a stream of these chunks folds to."""
    decoder = ChatDecoder("openai")
    fold = allm.StreamCollector()
    events = []
    for data in chunks:
        events += decoder.decode("", data if isinstance(data, bytes) else dumps(data))
    if done:
        events += decoder.decode("", b"[DONE]")
    for event in events:
        fold.add(event)
    return fold.response(), events


def test_text_and_usage_of_an_extra_chunk():
    """`choices` is empty in the usage chunk; `usage: null` in the others says nothing."""
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 0},
        "something_new": {"x": 1},
    }
    response, events = fold(
        chunk({"role": "assistant", "content": ""}, usage=None),
        chunk({"content": "Hi "}, usage=None),
        chunk({"content": "you"}, usage=None, obfuscation="zz"),
        chunk({}, finish="stop", usage=None),
        {"id": "chatcmpl-1", "choices": [], "usage": usage},
    )
    assert response.output_text == "Hi you"
    assert (response.finish_reason, response.raw_finish_reason) == ("stop", "stop")
    assert (response.id, response.model) == ("chatcmpl-1", "gpt-x")
    assert response.usage == allm.Usage(
        input_tokens=9,
        output_tokens=2,
        total_tokens=11,
        cached_input_tokens=4,
        cache_write_input_tokens=1,
        reasoning_tokens=0,
        extra={"something_new": {"x": 1}},
    )
    assert events[-1].message == response.message


def test_no_usage_is_unknown_and_not_zero():
    """Nothing was reported."""
    response, _ = fold(chunk({"content": "x"}), chunk(finish="stop"))
    assert response.usage == allm.Usage()


def test_tool_calls_arrive_in_pieces_under_their_index():
    """Parallel calls, split inside keys and escapes; a forced one ends with "stop"."""

    def piece(index, text, **first):
        function = {**({"name": first["name"]} if first else {}), "arguments": text}
        ids = {"id": first["id"], "type": "function"} if first else {}
        return chunk({"tool_calls": [{"index": index, **ids, "function": function}]})

    response, events = fold(
        piece(0, "", id="c1", name="weather"),
        piece(0, '{"ci'),
        piece(0, 'ty":"Z\\u00fcr'),
        piece(0, 'ich"}'),
        piece(1, "", id="c2", name="now"),
        piece(1, ""),
        chunk(finish="stop"),
    )
    assert [(c.id, c.name, c.arguments) for c in response.tool_calls] == [
        ("c1", "weather", {"city": "Zürich"}),
        ("c2", "now", {}),
    ]
    assert response.tool_calls[0].raw_arguments == '{"city":"Z\\u00fcrich"}'
    assert (response.finish_reason, response.raw_finish_reason) == ("tool_calls", "stop")
    assert [type(e).__name__ for e in events if getattr(e, "id", "") == "c2"] == [
        "ToolCallStarted",
        "ToolCallCompleted",
    ]


def test_calls_without_an_index_or_an_id_are_told_apart():
    """Gateways that give every call index 0, or no id at all."""
    same_index = [
        chunk({"tool_calls": [{"index": 0, "id": name, "function": {"name": name, "arguments": "{}"}}]})
        for name in ("a", "b")
    ]
    response, _ = fold(*same_index, chunk(finish="tool_calls"))
    assert [call.id for call in response.tool_calls] == ["a", "b"]
    no_ids = chunk({"tool_calls": [{"function": {"name": n, "arguments": {"x": 1}}} for n in ("a", "b")]})
    response, _ = fold(no_ids, chunk(finish="tool_calls"))
    assert [call.name for call in response.tool_calls] == ["a", "b"]
    assert len({call.id for call in response.tool_calls}) == 2
    assert response.tool_calls[0].arguments == {"x": 1}


def test_call_cut_by_its_length_keeps_its_text():
    """`length` in the middle of the arguments: no arguments, the raw text, the reason."""
    delta = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": "b'}}]}
    response, _ = fold(chunk(delta), chunk(finish="length"))
    assert response.finish_reason == "length"
    assert (response.tool_calls[0].arguments, response.tool_calls[0].raw_arguments) == (None, '{"a": "b')


def test_refusal_is_text_that_says_so():
    """`content` is null beside it."""
    response, _ = fold(
        chunk({"role": "assistant", "content": None, "refusal": ""}),
        chunk({"refusal": "I cannot "}),
        chunk({"refusal": "do that."}),
        chunk(finish="stop"),
    )
    assert response.refusal == response.output_text == "I cannot do that."
    assert response.finish_reason == "stop"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_of_compatible_services_is_reasoning(field):
    """Groq and OpenRouter say `reasoning`; DeepSeek, vLLM and llama.cpp `reasoning_content`."""
    response, _ = fold(
        chunk({field: "Let me "}), chunk({field: "see."}), chunk({"content": "42"}), chunk(finish="stop")
    )
    assert response.reasoning_text == "Let me see."
    assert response.output_text == "42"


def test_content_in_parts_is_text_and_reasoning():
    """Mistral's reasoning models."""
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    response, _ = fold(chunk({"content": [thinking, {"type": "text", "text": "42"}]}), chunk(finish="stop"))
    assert (response.reasoning_text, response.output_text) == ("Hm.", "42")


def test_only_choice_zero_counts():
    """With n > 1 the choices are interleaved."""
    response, _ = fold(
        chunk({"content": "a"}),
        chunk({"content": "B"}, index=1),
        chunk({"content": "c"}),
        chunk(finish="stop", index=1),
    )
    assert response.output_text == "ac"
    assert response.finish_reason == "other"


def test_empty_ids_of_the_first_chunk_are_not_taken():
    """Azure sends its prompt filter first."""
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    response, events = fold(first, chunk({"content": "x"}), chunk(finish="stop"))
    assert (response.id, response.model) == ("chatcmpl-1", "gpt-x")
    assert isinstance(events[0], allm.MessageStarted)


@pytest.mark.parametrize(
    "usage",
    [
        chunk(finish="stop", usage={"prompt_tokens": 3, "completion_tokens": 1}),
        chunk(finish="stop", x_groq={"usage": {"prompt_tokens": 3, "completion_tokens": 1}}),
    ],
)
def test_usage_of_the_finish_chunk_counts_once(usage):
    """OpenRouter and Groq; the same counts again in the usage chunk are not added."""
    again = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    response, _ = fold(chunk({"content": "x"}), usage, again)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 1)


def test_error_event_ends_the_stream_and_keeps_what_came():
    """Groq, in the middle of a 200 stream; no [DONE] follows."""
    error = {
        "error": {"message": "bad call", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}
    }
    response, _ = fold(chunk({"reasoning": "Hm"}), error, done=False)
    assert response.finish_reason == "error"
    assert (response.error.reason, response.error.provider_code) == ("malformed_tool_call", "tool_use_failed")
    assert response.reasoning_text == "Hm"


@pytest.mark.parametrize(
    ("status", "error", "reason", "retryable"),
    [
        (401, {"code": "invalid_api_key", "type": "invalid_request_error"}, "authentication_failed", False),
        (404, {"code": "model_not_found", "type": "invalid_request_error"}, "not_found", False),
        (400, {"code": "model_not_found", "type": "invalid_request_error"}, "not_found", False),
        (400, {"code": "context_length_exceeded"}, "context_length_exceeded", False),
        (400, {"code": "content_filter"}, "content_filter", False),
        (400, {"code": None, "type": "invalid_request_error"}, "invalid_request", False),
        (429, {"code": "rate_limit_exceeded", "type": "requests"}, "rate_limited", True),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, "quota_exhausted", False),
        (429, {"code": 429}, "rate_limited", True),
        (500, {"type": "server_error"}, "provider_unavailable", True),
        (503, {"type": "overloaded_error"}, "overloaded", True),
    ],
)
def test_error_answers_have_one_reason(status, error, reason, retryable):
    """By code, then by a type that says something, then by status."""
    from allm.providers.openai.errors import classify

    found = classify("openai", status, {}, {"error": {"message": "m", **error}})
    assert (found.reason, found.retryable) == (reason, retryable)


def test_request_too_large_for_any_limit_is_not_retried():
    """Only the message tells it from the 429 that passes."""
    from allm.providers.openai.errors import classify

    text = "Request too large for gpt-x in organization o on tokens per min (TPM): Limit 1000, Requested 2000."
    found = classify("openai", 429, {}, {"error": {"message": text, "code": "rate_limit_exceeded", "type": "tokens"}})
    assert (found.reason, found.retryable) == ("rate_limited", False)


@pytest.mark.parametrize(
    "body",
    [
        {"detail": "no"},
        {"detail": [{"msg": "no"}]},
        {"error": "no", "code": "x"},
        {"message": "no"},
        "no",
        [{"error": {"message": "no"}}],
    ],
)
def test_every_envelope_gives_its_message(body):
    """OpenAI's, FastAPI's, xAI's, Mistral's, a proxy's text."""
    from allm.providers.openai.errors import classify

    assert "no" in classify("openai", 400, {}, json.loads(json.dumps(body))).message


def test_indexes_that_are_text():
    """Some gateways write every number as text; what they number is the same."""
    call = {"index": "0", "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    more = {"index": 0, "function": {"arguments": ": 1}"}}
    other = {"index": "1", "id": "d", "function": {"name": "g", "arguments": "{}"}}
    usage = {"prompt_tokens": "9", "completion_tokens": "2", "total_tokens": "11"}
    response, _ = fold(
        chunk({"content": "Hi"}, index="0"),
        chunk({"content": "not this one"}, index="1"),
        chunk({"tool_calls": [call]}, index="0"),
        chunk({"tool_calls": [more]}, index="0"),
        chunk({"tool_calls": [other]}, index="0"),
        chunk({}, index="0", finish="tool_calls", usage=usage),
    )
    assert response.output_text == "Hi"
    made = [(call.id, call.name, call.arguments) for call in response.tool_calls]
    assert made == [("c", "f", {"a": 1}), ("d", "g", {})]
    assert response.usage == allm.Usage(input_tokens=9, output_tokens=2, total_tokens=11)
