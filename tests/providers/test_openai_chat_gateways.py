"""Chat Completions as other services than OpenAI speak it: the same answer in other clothes."""

from __future__ import annotations

import pytest

import allm
from allm.data.json.text import dumps, loads
from allm.providers.openai.chat_decode import ChatDecoder
from openai_wire import prepare


def chunk(delta=None, *, finish=None, **fields):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "gen-1", "model": "m", "choices": [choice], **fields}


def fold(*chunks, done=True, provider="openai"):
    """What a stream of these chunks folds to."""
    decoder = ChatDecoder(provider)
    collector = allm.StreamCollector()
    for data in chunks:
        for event in decoder.decode("", dumps(data)):
            collector.add(event)
    for event in decoder.decode("", b"[DONE]") if done else ():
        collector.add(event)
    return collector.response()


def calls(*deltas):
    """What a stream of these elements of `tool_calls`, each in a chunk of its own, makes of them."""
    response = fold(*(chunk({"tool_calls": [delta]}) for delta in deltas), chunk(finish="tool_calls"))
    assert response.finish_reason == "tool_calls"
    assert len({call.id for call in response.tool_calls}) == len(response.tool_calls)
    return [(call.name, call.arguments) for call in response.tool_calls]


def piece(arguments, name=None, **fields):
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {**fields, "function": function}


F, G = ("f", {"x": 1}), ("g", {"x": 2})


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([piece('{"x"', "f", id="a"), piece('{"x"', "g", id="b"), piece(":1}", id="a"), piece(":2}", id="b")], [F, G]),
        ([piece('{"x"', "f", index=0, id="r1"), piece(":1}", index=0, id="r2")], [F]),
        ([piece("", "f", index=0), piece('{"x":1}', index=0, id="a")], [F]),
        ([{"index": 0, "id": "a", "function": None}, piece('{"x":1}', "f", index=0)], [F]),
        ([{"index": 0, "function": None}, piece('{"x":1}', "f", index=0, id="a")], [F]),
        ([piece('{"x":1}', "f", index=0, id="a"), piece('{"x":2}', "g", index=1, id="a")], [F, G]),
        ([piece('{"x":1}', "f", index=0, id=""), piece('{"x":2}', "g", index=0, id="")], [F, G]),
        ([piece('{"x":1}', "f"), piece('{"x":2}', "g")], [F, G]),
        ([piece("", "f", index=0, id="a"), piece('{"x"', "f", index=0, id="a"), piece(":1}", "f", index=0)], [F]),
        ([piece('{"x":1}', "f", index=0, id="a"), piece("", "f", index=0, id="a")], [F]),
        ([piece('{"x":1}', index=0, id="a")], [("", {"x": 1})]),
        ([piece(None, "f", index=0, id="a")], [("f", {})]),
    ],
    ids=[
        "interleaved by id",
        "a new id with every piece",
        "id after the name",
        "function null at first",
        "id and function null at first",
        "one id for all",
        "one index and no id",
        "neither index nor id",
        "name with every piece",
        "name again at the end",
        "no name",
        "arguments null",
    ],
)
def test_calls_are_told_apart_however_their_pieces_are_named(deltas, expected):
    """Nothing is lost and nothing glued together, and every call has an id of its own."""
    assert calls(*deltas) == expected


def test_function_call_is_a_call():
    """The form before there were tools, which some services still speak."""
    response = fold(
        chunk({"function_call": {"name": "f", "arguments": '{"x"'}}),
        chunk({"function_call": {"arguments": ":1}"}}),
        chunk(finish="function_call"),
    )
    assert [(call.name, call.arguments) for call in response.tool_calls] == [F]
    assert response.finish_reason == "tool_calls"


def test_what_the_answer_holds_decides_how_it_ended():
    """The word "tool_calls" without a call is a stop; a call and no word at all is a call."""
    call = chunk({"tool_calls": [piece('{"x":1}', "f", index=0, id="a")]})
    assert fold(chunk({"content": "x"}), chunk(finish="tool_calls")).finish_reason == "stop"
    assert fold(call).finish_reason == "tool_calls"
    assert fold(chunk({"content": "x"})).finish_reason == "other"
    assert fold(chunk({"content": "x"}, finish="model_length")).finish_reason == "length"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ({"object": "error", "message": "no room", "type": "BadRequestError", "code": 400}, "invalid_request"),
        ({"choices": [{"index": 0, "error": {"code": 502, "message": "no room"}}]}, "provider_unavailable"),
        (chunk(x_groq={"id": "r", "error": "no room"}), "unknown"),
        ([{"error": {"code": 503, "message": "no room", "status": "UNAVAILABLE"}}], "provider_unavailable"),
    ],
    ids=["vllm", "openrouter", "groq", "gemini"],
)
def test_failure_inside_the_stream_is_one_in_every_form(failure, reason):
    """None of them passes for the end of an answer."""
    response = fold(chunk({"content": "x"}), failure, done=False)
    assert (response.finish_reason, response.output_text) == ("error", "x")
    assert "no room" in response.error.message
    assert response.error.reason == reason


def test_finish_reason_error_is_an_error():
    """Mistral and OpenRouter; what came before it and the usage are kept."""
    response = fold(chunk({"content": "x"}), chunk(finish="error", usage={"prompt_tokens": 3}))
    assert (response.finish_reason, response.raw_finish_reason, response.output_text) == ("error", "error", "x")
    assert response.error.reason == "provider_unavailable"
    assert response.usage.input_tokens == 3


def test_stream_without_an_answer_is_malformed():
    """It has an end marker, and nothing before it that anyone could read."""
    decoder = ChatDecoder("openai")
    decoder.decode("", b'{"detail": "no such route"}')
    with pytest.raises(allm.AdapterError, match="no such route") as caught:
        decoder.decode("", b"[DONE]")
    assert caught.value.reason == "malformed_response"


def test_thinking_in_two_fields_counts_once():
    """Some send the same text under the old and the new name (vLLM), or as details as well (OpenRouter)."""
    both = chunk({"reasoning": "Hm.", "reasoning_content": "Hm."})
    details = chunk({"reasoning": " So.", "reasoning_details": [{"type": "reasoning.text", "text": " So."}]})
    response = fold(both, details, chunk({"content": "42"}, finish="stop"))
    assert (response.reasoning_text, response.output_text) == ("Hm. So.", "42")


def test_reasoning_details_go_back_as_they_came():
    """OpenRouter: texts put together, the signature with them, encrypted items on their own, in order."""
    pieces = [
        {"type": "reasoning.text", "text": "Let me ", "index": 0, "signature": None, "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "see.", "index": 0},
        {"type": "reasoning.text", "signature": "sig", "index": 0},
        {"type": "reasoning.encrypted", "data": "blob", "index": 1, "id": "rs_1"},
        {"type": "reasoning.encrypted", "data": "blob2", "index": 1, "id": "rs_2"},
    ]
    chunks = [chunk({"reasoning_details": [detail]}) for detail in pieces]
    response = fold(*chunks, chunk({"content": "42"}, finish="stop"), provider="openrouter")
    assert response.reasoning_text == "Let me see."
    adapter = allm.providers.OpenAI(api_key="k", preset="openrouter")
    message = allm.from_json(allm.to_json(response.message))
    body = _body(prepare(message, adapter=adapter))
    text = {"type": "reasoning.text", "text": "Let me see.", "index": 0, "signature": "sig"}
    assert body["messages"][0] == {
        "role": "assistant",
        "content": "42",
        "reasoning_details": [{**text, "format": "anthropic-claude-v1"}, *pieces[3:]],
    }
    elsewhere = allm.providers.OpenAI(api_key="k", endpoint="chat_completions")
    assert _body(prepare(message, adapter=elsewhere))["messages"][0] == {"role": "assistant", "content": "42"}


def test_encrypted_thinking_alone_is_kept():
    """There is nothing to read in it, and the next call fails without it."""
    detail = {"type": "reasoning.encrypted", "data": "blob", "index": 0}
    response = fold(chunk({"reasoning_details": [detail]}), chunk({"content": "x"}, finish="stop"), provider="p")
    (part,) = response.message.reasoning
    assert (part.text, part.metadata) == ("", {"p": {"reasoning_details": [detail]}})


@pytest.mark.parametrize(
    ("content", "reasoning", "text", "refusal"),
    [
        ([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "x"}], "Hm.", "x", None),
        ([{"type": "refusal", "refusal": "no"}], "", "no", "no"),
        ([{"type": "hologram", "text": None}, "odd", None], "", "", None),
    ],
)
def test_content_in_parts_of_any_kind(content, reasoning, text, refusal):
    """What is known is taken, what is not does no harm."""
    response = fold(chunk({"content": content}, finish="stop"))
    assert (response.reasoning_text, response.output_text, response.refusal) == (reasoning, text, refusal)


def test_whole_message_at_the_end_of_a_stream():
    """Services that cannot stream send one chunk with a message."""
    whole = {"id": "g", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}
    assert fold(whole, chunk(finish="stop")).output_text == "hi"
    beside = chunk({"content": "hi"})
    beside["choices"][0]["message"] = {"content": "hi"}  # Perplexity: all so far, in every chunk
    assert fold(beside, chunk(finish="stop")).output_text == "hi"


CALLED = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
NOTE = {"type": "url_citation", "url_citation": {"url": "https://a"}}
AT_THE_END = {
    "text": ([{"content": "One "}, {"content": "two"}], {"content": "One two"}),
    "more text than its pieces": ([{"content": "One "}], {"content": "One two"}),
    "another text": ([{"content": "One two"}], {"content": "Bye"}),
    "nothing": ([{"content": "One two"}], {"content": ""}),
    "thinking": ([{"reasoning": "Hm."}, {"content": "One two"}], {"reasoning": "Hm.", "content": "One two"}),
    "details": (
        [{"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]}, {"content": "One two"}],
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}], "content": "One two"},
    ),
    "calls": ([{"content": "One two"}, {"tool_calls": [CALLED]}], {"content": "One two", "tool_calls": [CALLED]}),
    "citations": ([{"content": "One two", "annotations": [NOTE]}], {"content": "One two", "annotations": [NOTE]}),
    "all but the first piece": ([{"content": "One"}], {"content": "One two", "reasoning_content": "Hm."}),
}


@pytest.mark.parametrize("case", AT_THE_END)
def test_a_whole_message_behind_its_pieces_is_not_said_twice(case):
    """MiniMax ends a stream with the message; the pieces are what was shown, and it only adds to them."""
    pieces, whole = AT_THE_END[case]
    last = {"id": "g", "choices": [{"index": 0, "finish_reason": "stop", "message": whole}]}
    response = fold(*(chunk(piece) for piece in pieces), last)
    assert response.output_text == "One two"
    assert response.reasoning_text in {"", "Hm."}
    assert [call.arguments for call in response.tool_calls] == ([{"a": 1}] if case == "calls" else [])
    text = next(part for part in response.message.parts if isinstance(part, allm.TextPart))
    assert [citation.data for citation in text.citations] == ([NOTE] if case == "citations" else [])


def test_messages_that_grow_from_chunk_to_chunk():
    """Without any pieces, each chunk having all so far."""
    chunks = [{"id": "g", "choices": [{"message": {"content": text}}]} for text in ("One", "One ", "One two")]
    assert fold(*chunks, chunk(finish="stop")).output_text == "One two"


def test_citations_are_kept_with_the_text():
    """Search models; delta by delta or with the message."""
    one, two = ({"type": "url_citation", "url_citation": {"url": url}} for url in ("https://a", "https://b"))
    response = fold(chunk({"content": "x", "annotations": [one]}), chunk({"annotations": [two]}, finish="stop"))
    assert [(citation.url, citation.data) for citation in response.citations] == [
        ("https://a", one),
        ("https://b", two),
    ]
    assert response.message.parts[0].metadata == {}


def test_model_and_id_may_come_late():
    """The first chunk has only a role."""
    response = fold({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}, chunk({"content": "x"}, finish="stop"))
    assert (response.id, response.model) == ("gen-1", "m")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3.0, "completion_tokens": 4.0, "prompt_tokens_details": None}, (3, 4, None, None)),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 17,
                "completion_tokens_details": {"reasoning_tokens": 10},
            },
            (3, 14, 10, 17),
        ),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 14,
                "total_tokens": 17,
                "completion_tokens_details": {"reasoning_tokens": 10},
            },
            (3, 14, 10, 17),
        ),
    ],
    ids=["numbers with a point", "xai", "openai"],
)
def test_output_tokens_are_all_that_was_generated(usage, expected):
    """Reasoning is counted beside the completion by xAI, in it by all others; the total tells which."""
    found = fold(chunk({"content": "x"}, finish="stop", usage=usage)).usage
    assert (found.input_tokens, found.output_tokens, found.reasoning_tokens, found.total_tokens) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 20,
                "total_tokens": 404,
                "prompt_audio_seconds": 4,
                "prompt_tokens_details": {"audio_tokens": 375},
            },
            (384, 20, None, 404),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 20, "total_tokens": 404, "prompt_audio_seconds": 4},
            (384, 20, None, 404),
        ),
        ({"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 93}, (8, 85, 80, 93)),
        (
            {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 93, "citation_tokens": 80},
            (8, 5, None, 93),
        ),
        ({"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 12}, (8, 5, None, 12)),
        ({"prompt_tokens": 8, "completion_tokens": 5}, (8, 5, None, None)),
    ],
    ids=["audio", "audio without its count", "thinking of Gemini", "searches", "a total too small", "no total"],
)
def test_the_parts_add_up_to_the_total(usage, expected):
    """What some services count in the total alone is part of the prompt (sound) or of the answer (thinking)."""
    found = fold(chunk({"content": "x"}, finish="stop", usage=usage)).usage
    assert (found.input_tokens, found.output_tokens, found.reasoning_tokens, found.total_tokens) == expected


def test_usage_in_the_choice_counts():
    """Moonshot."""
    last = chunk(finish="stop")
    last["choices"][0]["usage"] = {"prompt_tokens": 3, "completion_tokens": 4}
    assert fold(chunk({"content": "x"}), last).usage.output_tokens == 4


def _body(call):

    return loads(call.body)


@pytest.mark.parametrize(
    "failure",
    [{"choices": [{"index": 0, "error": {"code": 502, "message": "no room"}}]}, chunk(x_groq={"error": "no room"})],
    ids=["openrouter", "groq"],
)
def test_failure_that_comes_first_has_no_content_before_it(failure):
    """So that the call may be tried again; the ids that came with it are kept."""
    *before, event = ChatDecoder("openai").decode("", dumps(failure))
    assert isinstance(event, allm.Failed)
    assert before == ([allm.MessageStarted(id="gen-1", model="m")] if "id" in failure else [])
