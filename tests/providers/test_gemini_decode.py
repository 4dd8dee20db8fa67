"""Gemini answers: what becomes of every chunk."""

from __future__ import annotations

import pytest

from allm import (
    Citation,
    Failed,
    HostedCall,
    Image,
    ImagePart,
    MessageCompleted,
    MessageStarted,
    ProviderPart,
    ProviderPartCompleted,
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
from allm.providers.gemini.decode import GeminiDecoder, gemini_usage
from gemini_wire import SIGNATURE, answer, call, chunk, decode, fold, sse, text, thought

SIGNED = {"gemini": {"thought_signature": SIGNATURE}}
STREAM = (
    chunk(thought("Let me "), usage={"promptTokenCount": 9, "totalTokenCount": 9}),
    chunk(thought("see… "), text("Both — "), usage={"promptTokenCount": 9, "thoughtsTokenCount": 4}),
    chunk(call("weather", {"city": "Köln"}, id="w1", signature=SIGNATURE), call("clock", {}, id="c1")),
    chunk(
        text("", thoughtSignature=SIGNATURE), finish="STOP", usage={"promptTokenCount": 7, "candidatesTokenCount": 5}
    ),
)


def test_the_events_of_a_stream():
    """One event per piece, a completion per block, and the end only with the end of the body."""
    events = decode(sse(*STREAM))

    assert events[:-1] == [
        MessageStarted(id="answer-1", model="gemini-test", request_id="request-1"),
        ReasoningDelta("reasoning-0", "Let me "),
        UsageReported(Usage(input_tokens=9, total_tokens=9)),
        ReasoningDelta("reasoning-0", "see… "),
        ReasoningCompleted("reasoning-0", "Let me see… ", provider="gemini"),
        TextDelta("text-1", "Both — "),
        UsageReported(Usage(input_tokens=9, total_tokens=9, output_tokens=4, reasoning_tokens=4)),
        TextCompleted("text-1", "Both — "),
        ToolCallStarted("w1", "weather"),
        ToolCallDelta("w1", '{"city":"Köln"}'),
        ToolCallCompleted(
            "w1", "weather", {"city": "Köln"}, metadata={"gemini": {"id": "w1", "thought_signature": SIGNATURE}}
        ),
        ToolCallStarted("c1", "clock"),
        ToolCallDelta("c1", "{}"),
        ToolCallCompleted("c1", "clock", {}, metadata={"gemini": {"id": "c1"}}),
        TextCompleted("text-2", "", metadata=SIGNED),
        UsageReported(Usage(input_tokens=7, output_tokens=9, reasoning_tokens=4, total_tokens=9)),
    ]
    completed = events[-1]
    assert isinstance(completed, MessageCompleted)
    assert (completed.finish_reason, completed.raw_finish_reason) == ("tool_calls", "STOP")
    assert completed.message == fold(events).message


def test_every_cut_gives_the_same_events():
    """Where a read ends means nothing, not even between CR and LF or inside a character."""
    body = sse(*STREAM)
    whole = decode(body)

    for position in range(1, len(body)):
        assert decode(body[:position], body[position:]) == whole
    assert decode(*(body[position : position + 1] for position in range(len(body)))) == whole


def test_the_last_event_may_lack_its_blank_line():
    """Nothing marks the end of a stream, so what the body's end cuts off counts."""
    body = sse(*STREAM)

    assert decode(body.rstrip()) == decode(body)


@pytest.mark.parametrize(
    ("chunks", "parts"),
    [
        (([text("a")], [text("b"), text("")]), (TextPart("ab"),)),
        (([thought("a")], [thought("")]), (ReasoningPart("a", provider="gemini"),)),
        (
            ([thought("a")], [text("b")], [thought("c")]),
            (ReasoningPart("a", provider="gemini"), TextPart("b"), ReasoningPart("c", provider="gemini")),
        ),
        (
            ([text("a")], [text("b", thoughtSignature=SIGNATURE)], [text("c")]),
            (TextPart("a"), TextPart("b", metadata=SIGNED), TextPart("c")),
        ),
        (([text("a")], [text("", thoughtSignature=SIGNATURE)]), (TextPart("a"), TextPart("", metadata=SIGNED))),
        (([text("a")], [{"thoughtSignature": SIGNATURE}]), (TextPart("a"), TextPart("", metadata=SIGNED))),
        (
            ([thought("a", thoughtSignature=SIGNATURE)], [thought("b")]),
            (ReasoningPart("a", provider="gemini", signature=SIGNATURE), ReasoningPart("b", provider="gemini")),
        ),
        (([{}, {"thought": True}, "?", text("a")],), (TextPart("a"),)),
        (
            ([text("a")], [{"thoughtSignature": SIGNATURE, "inlineData": {"mimeType": "image/png", "data": "eA=="}}]),
            (
                TextPart("a"),
                ImagePart(Image.from_base64("eA==", "image/png"), metadata=SIGNED),
            ),
        ),
        (
            ([{"toolCall": {"id": "1"}}, {"toolResponse": {"id": "1"}}],),
            (
                HostedCall(
                    "1", "code_execution", "in_progress", {}, None, {"toolCall": {"id": "1"}}, provider="gemini"
                ),
                HostedCall("1", "code_execution", data={"toolResponse": {"id": "1"}}, provider="gemini"),
            ),
        ),
    ],
)
def test_pieces_of_one_kind_are_one_block_until_a_signature(chunks, parts):
    """A signed part is kept as it came, as it has to be sent back so; an empty one without a signature is nothing."""
    response = answer(*(chunk(*parts) for parts in chunks), chunk(finish="STOP"))

    assert response.message.content == parts


def test_an_item_shows_its_kind_first():
    """Whatever order the provider wrote: the first key says what the item is."""
    response = answer(chunk({"thoughtSignature": SIGNATURE, "executableCode": {"code": "1"}}, finish="STOP"))

    [part] = response.message.parts
    assert list(part.data) == ["executableCode", "thoughtSignature"]


def test_calls_without_ids_get_some():
    """Two equal calls are two calls; their ids are made here, and not kept to be sent."""
    response = answer(chunk(call("clock", {}), call("clock")), chunk(call("clock", {}), finish="STOP"))

    assert [one.id for one in response.tool_calls] == ["call_0", "call_1", "call_2"]
    assert all(one.arguments == {} and not one.metadata for one in response.tool_calls)


def test_ids_are_new_in_the_conversation():
    """No call gets the id of an earlier one, as results are told apart by it; Gemini gets back what it had sent."""
    decoder = GeminiDecoder(taken=frozenset({"call_0", "x"}))
    response = answer(
        chunk(call("a"), call("b", id="x"), call("c", id="y"), call("d", id="y"), finish="STOP"), decoder=decoder
    )

    ids = [one.id for one in response.tool_calls]
    assert len({*ids, "call_0", "x"}) == 6
    assert ids[2] == "y"
    assert [one.metadata.get("gemini", {}).get("id") for one in response.tool_calls] == [None, "x", "y", "y"]


def partial(path, *, more=None, **value):
    """A piece of an argument."""
    piece = {"jsonPath": path, **value}
    return piece if more is None else {**piece, "willContinue": more}


def pieces(*items, more=True, **fields):
    """A part with pieces of arguments."""
    return call(partialArgs=list(items), willContinue=True if more else None, **fields)


def test_arguments_in_pieces():
    """Pieces belong to the call that is open; an empty call ends it. Its signature and id came with its start."""
    response = answer(
        chunk(call("route", willContinue=True, id="r1", signature=SIGNATURE)),
        chunk(pieces(partial("$.to", stringValue="Bo", more=True)), usage={"trafficType": "ON_DEMAND"}),
        chunk(pieces(partial("$.to", stringValue="nn", more=True), partial("$.stops[0]", stringValue="Ulm"))),
        chunk(pieces(partial("$.to", stringValue=""), partial("$.stops[]"))),
        chunk(call()),
        chunk(call("clock", willContinue=True)),
        chunk(pieces(partial("$.utc", boolValue=True), more=False)),
        chunk(finish="STOP"),
    )

    assert response.finish_reason == "tool_calls"
    assert response.tool_calls == (
        ToolCall(
            "r1",
            "route",
            {"to": "Bonn", "stops": ["Ulm"]},
            metadata={"gemini": {"id": "r1", "thought_signature": SIGNATURE}},
        ),
        ToolCall("call_1", "clock", {"utc": True}),
    )


@pytest.mark.parametrize("following", [call("clock", {}), call("route", {}, id="other")])
def test_another_call_ends_the_open_one(following):
    """A name or an id that is not the open call's belongs to the next one."""
    start = call("route", willContinue=True, id="r1")
    response = answer(chunk(start), chunk(pieces(partial("$.to", stringValue="Ulm"))), chunk(following, finish="STOP"))

    assert [one.arguments for one in response.tool_calls] == [{"to": "Ulm"}, {}]


def test_a_name_that_is_repeated_goes_on():
    """Some send the name with every piece; whole arguments and pieces add up."""
    response = answer(
        chunk(call("route", {"by": "train"}, willContinue=True)),
        chunk(pieces(partial("$.to", stringValue="Ulm"), name="route")),
        chunk(call("route"), finish="STOP"),
    )

    assert [one.arguments for one in response.tool_calls] == [{"by": "train", "to": "Ulm"}]


def test_a_clean_end_ends_the_open_call():
    """`STOP` says that the call is whole."""
    response = answer(
        chunk(call("route", willContinue=True)), chunk(pieces(partial("$.to", stringValue="Ulm")), finish="STOP")
    )

    assert response.tool_calls == (ToolCall("call_0", "route", {"to": "Ulm"}),)


@pytest.mark.parametrize(
    ("finish", "reason"), [("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), (None, "error")]
)
def test_a_call_that_was_cut_off_is_marked(finish, reason):
    """What is there of its arguments is kept as text, and is no arguments."""
    response = answer(
        chunk(call("route", willContinue=True)),
        chunk(pieces(partial("$.to", stringValue="Ul", more=True)), finish=finish),
    )

    assert response.finish_reason == reason
    [cut] = response.tool_calls
    assert (cut.arguments, cut.raw_arguments, cut.metadata) == (None, '{"to":"Ul"}', {"incomplete": True})


def test_a_call_cut_off_before_its_arguments():
    """A call may be named and nothing else."""
    response = answer(chunk(call("route", willContinue=True), finish="MAX_TOKENS"))

    [cut] = response.tool_calls
    assert (cut.name, cut.arguments, cut.raw_arguments) == ("route", None, "")


def test_pieces_that_do_not_fit_are_not_arguments():
    """Better no arguments than wrong ones: the pieces are kept as they came."""
    piece = partial("$..to", stringValue="Ulm")
    response = answer(chunk(call("route", willContinue=True)), chunk(pieces(piece, more=False), finish="STOP"))

    [broken] = response.tool_calls
    assert broken.arguments is None
    assert broken.raw_arguments == '[{"jsonPath":"$..to","stringValue":"Ulm"}]'


def test_a_call_without_a_name_is_nothing():
    """The end of a call that never began is passed over."""
    assert answer(chunk(call()), chunk(text("a"), finish="STOP")).message.content == (TextPart("a"),)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({}, Usage()),
        ({"promptTokenCount": 4, "totalTokenCount": 4}, Usage(input_tokens=4, total_tokens=4)),
        ({"candidatesTokenCount": 0}, Usage(output_tokens=0)),
        ({"thoughtsTokenCount": 3}, Usage(output_tokens=3, reasoning_tokens=3)),
        (
            {
                "promptTokenCount": 10,
                "toolUsePromptTokenCount": 5,
                "cachedContentTokenCount": 8,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 3,
                "totalTokenCount": 20,
                "serviceTier": "standard",
            },
            Usage(
                input_tokens=15,
                output_tokens=5,
                cached_input_tokens=8,
                reasoning_tokens=3,
                total_tokens=20,
                extra={"toolUsePromptTokenCount": 5, "serviceTier": "standard"},
            ),
        ),
        ({"toolUsePromptTokenCount": 5}, Usage(extra={"toolUsePromptTokenCount": 5})),
        ({"promptTokenCount": "4", "totalTokenCount": "4"}, Usage(input_tokens=4, total_tokens=4)),
        ({"promptTokenCount": "four", "totalTokenCount": True}, Usage()),
    ],
)
def test_counts(counts, usage):
    """Input and output are inclusive, and what is not reported is None."""
    assert gemini_usage(counts) == usage


def test_the_last_count_wins():
    """Counts are cumulative: a later chunk replaces, field by field, also with less."""
    response = answer(
        chunk(text("a"), usage={"promptTokenCount": 145, "totalTokenCount": 145}),
        chunk(text("b"), usage={"promptTokenCount": 145, "totalTokenCount": 145}),
        chunk(usage={"promptTokenCount": 85, "candidatesTokenCount": 15, "totalTokenCount": 100}, finish="STOP"),
    )

    assert response.usage == Usage(input_tokens=85, output_tokens=15, total_tokens=100)


@pytest.mark.parametrize(
    ("reports", "usage"),
    [
        (
            [
                {"promptTokenCount": 9, "candidatesTokenCount": 21, "thoughtsTokenCount": 35, "totalTokenCount": 65},
                {"promptTokenCount": 87, "thoughtsTokenCount": 78, "totalTokenCount": 165},
            ],
            Usage(input_tokens=87, output_tokens=78, reasoning_tokens=78, total_tokens=165),
        ),
        (
            [
                {"promptTokenCount": 9, "thoughtsTokenCount": 5, "cachedContentTokenCount": 8, "totalTokenCount": 14},
                {"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13},
            ],
            Usage(input_tokens=9, output_tokens=4, reasoning_tokens=0, cached_input_tokens=0, total_tokens=13),
        ),
        (
            [{"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13}, {"trafficType": "ON_DEMAND"}],
            Usage(input_tokens=9, output_tokens=4, total_tokens=13, extra={"trafficType": "ON_DEMAND"}),
        ),
        (
            [
                {
                    "promptTokenCount": 9,
                    "totalTokenCount": 9,
                    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
                    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
                },
                {
                    "promptTokenCount": 20,
                    "candidatesTokenCount": 1,
                    "totalTokenCount": 21,
                    "promptTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 9},
                        {"modality": "AUDIO", "tokenCount": 11},
                    ],
                },
            ],
            Usage(
                input_tokens=20,
                output_tokens=1,
                total_tokens=21,
                extra={
                    "promptTokensDetails": [
                        {"modality": "TEXT", "tokenCount": 9},
                        {"modality": "AUDIO", "tokenCount": 11},
                    ],
                    "cacheTokensDetails": [],
                    "input_audio_tokens": 11,
                    "cache_audio_read_tokens": 0,
                },
            ),
        ),
    ],
    ids=["fewer kinds", "nothing cached", "a note alone", "modalities"],
)
def test_the_last_report_replaces_the_others(reports, usage):
    """A chunk whose parts add up to its total says everything: what it leaves out is gone."""
    *first, last = reports
    chunks = [chunk(text("a"), usage=report) for report in first]
    assert answer(*chunks, chunk(usage=last, finish="STOP")).usage == usage


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("IMAGE_RECITATION", "content_filter"),
        ("OTHER", "other"),
        ("NEW_WORD", "other"),
    ],
)
def test_finish_reasons(raw, reason):
    """No end that Gemini means is an error, and its own word is kept."""
    response = answer(chunk(text("a"), finish=raw))

    assert (response.finish_reason, response.raw_finish_reason, response.error) == (reason, raw, None)
    assert response.output_text == "a"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("MALFORMED_FUNCTION_CALL", "malformed_tool_call"),
        ("UNEXPECTED_TOOL_CALL", "malformed_tool_call"),
        ("TOO_MANY_TOOL_CALLS", "malformed_tool_call"),
        ("MALFORMED_RESPONSE", "malformed_response"),
        ("MISSING_THOUGHT_SIGNATURE", "invalid_request"),
    ],
)
@pytest.mark.parametrize("message", ["the model called nobody", None])
def test_finish_reasons_that_are_failures(raw, reason, message):
    """The answer is not usable: an error with Gemini's sentence, and everything that arrived is kept."""
    candidate = {} if message is None else {"finishMessage": message}
    parts = (text("a"), call("nobody", {}))
    response = answer(chunk(*parts, finish=raw, candidate=candidate, usage={"promptTokenCount": 3}))

    assert (response.finish_reason, response.raw_finish_reason) == ("error", raw)
    assert (response.error.reason, response.error.provider_code, response.error.retryable) == (reason, raw, False)
    assert (message or raw) in response.error.message
    assert (response.output_text, len(response.tool_calls), response.usage.input_tokens) == ("a", 1, 3)


def test_the_finish_reason_is_not_the_end():
    """Text and counts that follow it belong to the answer; the last word counts."""
    response = answer(
        chunk(finish="STOP"), chunk(text("a"), finish="MAX_TOKENS"), {"usageMetadata": {"promptTokenCount": 3}}
    )

    assert (response.output_text, response.raw_finish_reason, response.usage.input_tokens) == ("a", "MAX_TOKENS", 3)


def test_tool_calls_only_end_a_clean_stop():
    """An answer that ran out of tokens is cut off, whatever calls it holds."""
    assert answer(chunk(call("clock", {}), finish="MAX_TOKENS")).finish_reason == "length"


@pytest.mark.parametrize(
    "blocked",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"promptFeedback": {"blockReason": "SAFETY"}, "candidates": [], "modelVersion": "gemini-test"},
    ],
)
def test_a_blocked_prompt(blocked):
    """No candidates: the filter's word is the finish reason, and nothing is an error."""
    response = answer(blocked)

    assert (response.finish_reason, response.raw_finish_reason, response.error) == ("content_filter", "SAFETY", None)
    assert response.message.content == ()
    assert response.metadata == {"gemini": {"promptFeedback": {"blockReason": "SAFETY"}}}


def test_a_block_in_the_middle():
    """The text before it is kept; ratings alone block nothing."""
    feedback = {"promptFeedback": {"safetyRatings": []}}
    assert (
        answer(chunk(text("a"), **feedback), {"promptFeedback": {"blockReason": "OTHER"}}).finish_reason
        == "content_filter"
    )
    assert answer(chunk(text("a"), finish="STOP", **feedback)).finish_reason == "stop"


def test_an_answer_without_content():
    """`content` may be empty, without parts, or missing."""
    for content in ({}, {"role": "model"}, None):
        candidate = (
            {"finishReason": "MAX_TOKENS"} if content is None else {"content": content, "finishReason": "MAX_TOKENS"}
        )
        response = answer({"candidates": [candidate]})
        assert (response.finish_reason, response.message.content) == ("length", ())


def test_search_results_are_an_item_of_the_provider():
    """Grounding may come in several chunks and is one item at the end."""
    first = {"groundingMetadata": {"webSearchQueries": ["a"]}}
    second = {"groundingMetadata": {"groundingChunks": [{"web": {"uri": "https://a.b"}}]}}
    events = decode(sse(chunk(text("a"), candidate=first), chunk(finish="STOP", candidate=second)))

    data = {**first["groundingMetadata"], **second["groundingMetadata"]}
    part = ProviderPart("gemini", {"groundingMetadata": data})
    assert ProviderPartCompleted("provider-1", part) in events
    cited = Citation(url="https://a.b", provider="gemini")
    assert fold(events).message.content[:2] == (TextPart("a", citations=[cited]), part)


def test_notes_about_the_answer():
    """Citations of all chunks, and the last of everything else about the candidate, are metadata of the response."""
    response = answer(
        chunk(text("a"), candidate={"citationMetadata": {"citationSources": [1]}, "avgLogprobs": -1}),
        chunk(text("b"), candidate={"citationMetadata": {"citationSources": [2], "license": "MIT"}, "tokenCount": 3}),
        chunk(finish="STOP", candidate={"avgLogprobs": -2}),
    )

    assert response.metadata == {
        "gemini": {"citationMetadata": {"citationSources": [1, 2], "license": []}, "avgLogprobs": -2}
    }


def test_only_the_first_candidate_counts():
    """With several candidates, the others are left alone."""
    other = {"content": {"parts": [text("no")]}, "index": 1, "finishReason": "SAFETY"}
    one = chunk(text("yes"), finish="STOP")
    response = answer({**one, "candidates": [other, *one["candidates"]]}, {"candidates": [other]})

    assert (response.output_text, response.finish_reason) == ("yes", "stop")


def test_unknown_chunks_do_no_harm():
    """Nor do strange types in known ones; whoever asks for the raw events sees them all."""
    strange = {"candidates": None, "promptFeedback": 1, "usageMetadata": []}
    body = sse({"createTime": "now"}, strange, {"candidates": [None, 1]}, chunk(text("a"), finish="STOP"))
    events = decode(body)
    asked = GeminiDecoder()
    asked.raw_chunks = True

    assert events[:2] == [MessageStarted(request_id="request-1"), TextDelta("text-0", "a")]
    assert events[-1].id == "answer-1"
    assert [event.payload for event in decode(body, decoder=asked) if isinstance(event, RawChunk)] == [
        {"createTime": "now"},
        strange,
        {"candidates": [None, 1]},
        chunk(text("a"), finish="STOP"),
    ]


ENVELOPE = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
BARE = (
    '{\r\n  "error": {\r\n    "code": 499,\r\n    "message": "Stopped.",\r\n    "status": "CANCELLED"\r\n  }\r\n}\r\n'
)


@pytest.mark.parametrize(
    ("chunks", "reason", "message"),
    [
        ((ENVELOPE,), "overloaded", "overloaded"),
        ((chunk(text("a")), ENVELOPE, chunk(text("b"), finish="STOP")), "overloaded", "overloaded"),
        ((chunk(text("a"), finish="STOP"), BARE), "unknown", "Stopped."),
        ((chunk(text("a"), finish="STOP"), f"[{BARE}]"), "unknown", "Stopped."),
        ((chunk(text("a"), finish="STOP"), BARE[:40]), "stream_truncated", "inside an error report"),
        ((chunk(text("a")),), "stream_truncated", "without a finish reason"),
        ((), "stream_truncated", "without a finish reason"),
        ((chunk(text("a"), finish="STOP"), "data: {no JSON\n\n"), "malformed_response", "not JSON"),
        ((chunk(text("a")), "data: 5\n\n"), "malformed_response", "not a JSON object"),
        ((chunk(text("a")), [chunk(text("b")), 5]), "malformed_response", "not a JSON object"),
    ],
)
def test_failures_inside_a_stream(chunks, reason, message):
    """One failure, and it is the last event; the text before it is kept, and no finish reason is taken for success."""
    events = decode(sse(*chunks))
    response = fold(events)

    assert [type(event) for event in events].count(Failed) == 1
    assert (response.finish_reason, response.raw_finish_reason) == ("error", None)
    assert response.error.reason == reason
    assert message in response.error.message
    assert response.output_text == "".join(event.delta for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize(
    "harmless", ["data: [DONE]\n\n", ": keepalive\n\n", '{"note": 1}\n', "nonsense\n", "event: x\n\n"]
)
def test_what_gateways_add_does_no_harm(harmless):
    """An end marker of another format, comments and stray lines are passed over."""
    response = answer(chunk(text("a")), harmless, chunk(finish="STOP"), harmless)

    assert (response.output_text, response.finish_reason) == ("a", "stop")


@pytest.mark.parametrize("report", ["{", '{\n  "err', '{\n  "error": {\n    "code": 499\n  }', "[{"])
def test_stream_that_ends_inside_an_error_report_is_cut(report):
    """Even if the answer had a finish reason before it, and however little of the report came."""
    events = decode(sse(chunk(text("a"), finish="STOP"), report))
    assert fold(events).error.reason == "stream_truncated"


@pytest.mark.parametrize("document", [list(STREAM), [*STREAM[:2], *STREAM[2:]]])
def test_an_array_of_chunks_is_the_same_answer(document):
    """A gateway that ignores `alt=sse` sends one array, with the same events in it."""
    decoder = GeminiDecoder()
    decoder.begin({"x-request-id": "request-1"})

    assert decoder.decode_document(document) == decode(sse(*STREAM))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (chunk(text("a")), "stream_truncated"),
        ([chunk(text("a"))], "stream_truncated"),
        ([chunk(text("a")), ENVELOPE], "overloaded"),
        (ENVELOPE, "overloaded"),
    ],
)
def test_documents_that_fail(document, reason):
    """An answer without a finish reason is not finished, in whichever framing."""
    assert fold(GeminiDecoder().decode_document(document)).error.reason == reason


@pytest.mark.parametrize("document", [{}, [], "text", [{"hello": 1}]])
def test_documents_that_are_no_answers(document):
    """JSON of another kind is a malformed response."""
    try:
        events = GeminiDecoder().decode_document(document)
    except Exception as error:
        events = [Failed(error)]

    assert fold(events).error.reason == "malformed_response"


def test_a_whole_document():
    """A plain JSON answer is one chunk."""
    response = fold(GeminiDecoder().decode_document(chunk(text("a"), usage={"promptTokenCount": 1}, finish="STOP")))

    assert (response.output_text, response.finish_reason, response.usage.input_tokens) == ("a", "stop", 1)


def test_fields_that_are_null_are_not_there():
    """Servers that write every field they know."""
    part = {"text": "hi", "functionCall": None, "thoughtSignature": None, "inlineData": None}
    response = fold(decode(sse(chunk({"text": None}, part, finish="STOP"))))
    assert response.message.parts == (TextPart("hi"),)


def test_odd_calls_are_not_lost():
    """Arguments as JSON in a string, and a call that lacks its name."""
    calls = [{"functionCall": {"name": "f", "args": '{"a": 1}'}}, {"functionCall": {"args": {"b": 2}}}]
    response = fold(decode(sse(chunk(*calls, finish="STOP"))))
    assert [(call.name, call.arguments) for call in response.tool_calls] == [("f", {"a": 1}), ("", {"b": 2})]


def test_indexes_that_are_text():
    """Some gateways write every number as text; the first candidate is the first one."""
    response = answer(
        chunk(text("a"), candidate={"index": "0"}),
        chunk(text("b"), candidate={"index": "1"}),
        chunk(candidate={"index": "0"}, finish="STOP"),
    )
    assert (response.output_text, response.finish_reason) == ("a", "stop")


def test_an_error_keeps_the_answer_it_comes_with():
    """Text, counts and ids of the same chunk."""
    error = {"error": {"code": 503, "message": "no room", "status": "UNAVAILABLE"}}
    counts = {"usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}
    response = fold(decode(sse({**chunk(text("part")), **counts, **error})))
    assert (response.output_text, response.usage.input_tokens) == ("part", 3)
    assert (response.finish_reason, response.error.message) == ("error", "no room")


def test_arguments_that_are_a_text_but_no_object():
    """The call keeps the text, and does not run without arguments."""
    body = sse(chunk(call("f", '{"a": 1}'), call("f", "{a"), finish="STOP"))
    response = fold(decode(body))
    assert [(c.arguments, c.raw_arguments) for c in response.tool_calls] == [({"a": 1}, None), (None, "{a")]
