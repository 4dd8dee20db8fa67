"""Events that came together are decoded to what each of them is decoded to by itself, in every format.

The fast way has to take a chunk exactly as the other does, or leave it: chunks are made of the keys that it knows, with
values that it may not expect, and every recorded answer is read in runs too.
"""

from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest
from hypothesis import given, settings, strategies as st

import allm
from allm.adapters import classify_error
from allm.execution.stream.folds import fold_burst
from allm.http.sse import Run, SSEDecoder
from allm.http.stream_call import StreamCall, _Reader
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from wire_corpus import CORPUS, cases

DECODERS = {
    "openai_chat": ChatDecoder,
    "openai_responses": ResponsesDecoder,
    "anthropic_messages": MessagesDecoder,
    "gemini": GeminiDecoder,
}
CASES = [(api, case) for api in DECODERS for case in cases(api)]


def decoded(decoder, events, most):
    """All that is decoded, the failure included, and how many events were taken in runs of at most `most`."""
    decoder.begin({})
    found, taken, left = [], 0, list(events)
    try:
        while left and not decoder.done:
            name, size = left[0][0], 0
            while size < min(most, len(left)) and left[size][0] == name and is_line(left[size][1]):
                size += 1
            quick, events = 0, []
            if size:
                quick, events = decoder.decode_run(Run(name, b"\n".join(data for _, data in left[:size]), size))
            assert quick or not events
            found += events
            taken += quick
            del left[:quick]
            if quick < size or not size:
                found += decoder.decode(*left.pop(0))
        if not decoder.done:
            found += decoder.end("")
    except allm.AdapterError as error:
        found.append(allm.Failed(error))
    return [described(event) for event in found], taken


def is_line(data):
    """Whether an event may be in a run."""
    return data.startswith(b"{") and data.endswith(b"}") and b"\n" not in data


def described(event):
    """Equal for equal events: errors compare by identity."""
    if isinstance(event, allm.Failed):
        return (event.error.reason, str(event.error), event.raw_finish_reason)
    return event


def same(make, events):
    """Compare runs of every length; how many events were taken at most."""
    expected, none = decoded(make(), events, 0)
    assert none == 0
    most = 0
    for size in (1, 2, 3, 50):
        found, taken = decoded(make(), events, size)
        assert found == expected
        most = max(most, taken)
    return most


@pytest.mark.skipif(not CASES, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize(("api", "case"), CASES, ids=[case.name for _, case in CASES])
def test_recorded_answers(api, case):
    """As they came."""
    events = list(SSEDecoder().feed((case.folder / "response.body").read_bytes()))
    same(DECODERS[api], [(name, data) for name, data in events if data.strip()])


# --- generated chunks ------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(["", " a", "b", "é", "\U0001f600", '"', "\\", "error", "data: "])
ODD = st.sampled_from([None, "", 0, 1, 1.5, -1, True, False, [], {}, [1], {"a": 1}, "x", "1", 10**30, {"error": "e"}])


def either(*usual):
    """One of the usual values nearly always, and now and then an odd one."""
    return st.one_of(*[value if isinstance(value, st.SearchStrategy) else st.just(value) for value in usual] * 4, ODD)


def objects(required, optional=None):
    return st.fixed_dictionaries(required, optional=optional or {})


FUNCTIONS = objects({"arguments": either(TEXTS)}, {"name": either(None)})
CALLS = objects({"index": either(0, 1), "function": FUNCTIONS}, {"id": either(None), "type": either("function", None)})
CHAT_DELTAS = st.one_of(
    objects({"content": either(TEXTS)}, {"role": either("assistant"), "refusal": either(None), "tool_calls": ODD}),
    objects({"content": either(TEXTS)}, {"reasoning": ODD, "reasoning_content": ODD, "function_call": ODD}),
    objects({"reasoning_content": either(TEXTS)}, {"reasoning": either(TEXTS), "content": either(None, "")}),
    objects({"reasoning": either(TEXTS)}, {"content": either(None, ""), "refusal": ODD}),
    objects({"tool_calls": either(st.lists(CALLS, min_size=1, max_size=2))}, {"content": either(None)}),
    objects(
        {"content": either("a", "b")},
        {
            "channel": either("final"),
            "tool_calls": either([], None),
            "other": ODD,
            "text": either("growing"),
            "signature": either("s1", "s2"),
            "extra_content": either(None, {}, {"google": {"thought": True}}),
            "executed_tools": either([{"index": 0, "a": 1}], [{"index": 1}]),
            "content_filter_results": either({"hate": {"filtered": False}}),
            "thinking_blocks": either(None),
        },
    ),
    objects(
        {
            "reasoning": either("a", "b"),
            "reasoning_details": either([{"type": "t", "text": "a"}], [{"data": "d"}], [1]),
        },
        {"content": either(""), "role": either("assistant")},
    ),
)
USAGE = objects(
    {"prompt_tokens": either(9), "completion_tokens": either(*range(1, 40))},
    {
        "total_tokens": either(20, 30),
        "prompt_tokens_details": either({"cached_tokens": 3}, None),
        "completion_tokens_details": either({"reasoning_tokens": 2}),
        "cost": either(0.5),
    },
)
FILTERED = either(*({"hate": {"filtered": filtered, "severity": "safe"}} for filtered in (True, False)))
CHAT_CHOICES = objects(
    {"delta": either(CHAT_DELTAS)},
    {
        "index": either(0),
        "logprobs": either(None),
        "finish_reason": either(None, "null"),
        "native_finish_reason": either(None, "x"),
        "content_filter_results": FILTERED,
        "message": ODD,
        "stop_reason": ODD,
    },
)
CHAT = objects(
    {"choices": either(st.lists(CHAT_CHOICES, min_size=1, max_size=1))},
    {
        "id": either("c1", "c2"),
        "object": either("chat.completion.chunk"),
        "created": either(1),
        "model": either("m", "n"),
        "service_tier": either("default", None),
        "system_fingerprint": either("fp", None),
        "usage": either(None, USAGE),
        "obfuscation": either("xyz"),
        "other": ODD,
        "error": either(None),
        "provider": either("p", "q"),
        "x_groq": either(None, {}, {"id": "r"}),
        "citations": either(["a"], ["a", "b"]),
        "rows": either([{"index": 0, "a": 1}], [{"index": 0, "b": 2}, {"index": 1}]),
        "not a name": either(1),
        "native_finish_reason": ODD,
    },
)
CALL = {"index": 0, "id": "call", "type": "function", "function": {"name": "f", "arguments": ""}}
CHAT_BEFORE = [
    {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [CALL]}}], "system_fingerprint": "fp"},
]
CHAT_AFTER = [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "service_tier": "default"}]

PLACES = {"item_id": either("i1", "i2", "i3"), "output_index": either(0, 1, 2), "sequence_number": either(3)}
MORE = {"obfuscation": either("x"), "other": ODD}
RESPONSES = st.one_of(
    objects(
        {"type": either("response.output_text.delta"), "delta": either(TEXTS), **PLACES},
        {"content_index": either(0, 1), "logprobs": either([], None), **MORE},
    ),
    objects(
        {"type": either("response.reasoning_summary_text.delta"), "delta": either(TEXTS), **PLACES},
        {"summary_index": either(0, 1), **MORE},
    ),
    objects({"type": either("response.function_call_arguments.delta"), "delta": either(TEXTS), **PLACES}, MORE),
)
RESPONSES_BEFORE = [
    {"type": "response.created", "response": {"id": "r", "model": "m"}},
    *(
        {"type": "response.output_item.added", "output_index": place, "item": item}
        for place, item in enumerate(
            [
                {"type": "message", "id": "i1"},
                {"type": "reasoning", "id": "i2"},
                {"type": "function_call", "id": "i3", "call_id": "call", "name": "f"},
            ]
        )
    ),
]
RESPONSES_AFTER = [{"type": "response.completed", "response": {"id": "r", "status": "completed"}}]

ANTHROPIC = objects(
    {
        "type": either("content_block_delta"),
        "delta": either(
            objects({"type": either("text_delta"), "text": either(TEXTS)}, {"other": ODD}),
            objects({"type": either("thinking_delta"), "thinking": either(TEXTS)}, {"text": ODD}),
            objects({"type": either("input_json_delta"), "partial_json": either(TEXTS)}),
        ),
    },
    {"index": either(0, 1, 2), "other": ODD},
)
BLOCKS = [{"type": "text", "text": ""}, {"type": "thinking", "thinking": ""}, {"type": "tool_use", "id": "c"}]
ANTHROPIC_BEFORE = [
    {"type": "message_start", "message": {"id": "m1", "model": "m", "usage": {"input_tokens": 1}}},
    *({"type": "content_block_start", "index": place, "content_block": block} for place, block in enumerate(BLOCKS)),
]
ANTHROPIC_AFTER = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]

COUNTS = objects(
    {"promptTokenCount": either(9), "candidatesTokenCount": either(*range(1, 40)), "totalTokenCount": either(10, 20)},
    {
        "thoughtsTokenCount": either(5),
        "serviceTier": either("standard"),
        "promptTokensDetails": either([{"modality": "TEXT", "tokenCount": 9}]),
    },
)
PARTS = objects({"text": either(TEXTS)}, {"thought": either(st.booleans()), "thoughtSignature": either(None)})
CANDIDATES = objects(
    {"content": either(objects({"parts": either(st.lists(PARTS, min_size=1, max_size=1))}, {"role": either("model")}))},
    {"index": either(0), "finishReason": either(None), "other": ODD},
)
GEMINI = objects(
    {"candidates": either(st.lists(CANDIDATES, min_size=1, max_size=1))},
    {
        "usageMetadata": either(COUNTS),
        "modelVersion": either("m", "n"),
        "responseId": either("r", "s"),
        "createTime": either("2026"),
        "other": ODD,
    },
)
GEMINI_CHUNK = {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "modelVersion": "m", "responseId": "r"}
GEMINI_AFTER = [{"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}]


def unnamed(values):
    return [("", value if isinstance(value, bytes) else dump(value)) for value in values]


def named(values):
    return [(value["type"] if isinstance(value.get("type"), str) else "", dump(value)) for value in values]


def dump(value):
    return json.dumps(value, ensure_ascii=False).encode()


FORMATS = {
    "openai_chat": (CHAT, CHAT_BEFORE, CHAT_AFTER, unnamed),
    "openai_responses": (RESPONSES, RESPONSES_BEFORE, RESPONSES_AFTER, named),
    "anthropic_messages": (ANTHROPIC, ANTHROPIC_BEFORE, ANTHROPIC_AFTER, named),
    "gemini": (GEMINI, [GEMINI_CHUNK], GEMINI_AFTER, unnamed),
}


@pytest.mark.parametrize("api", FORMATS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_generated_chunks(api, data):
    """Each chunk comes a few times in a row, since only equal ones come in a run."""
    chunks, before, after, events_of = FORMATS[api]
    repeated = data.draw(st.lists(st.tuples(chunks, st.integers(1, 3)), max_size=8))
    values = [value for value, times in repeated for _ in range(times)]
    same(DECODERS[api], events_of([*before, *values, *after]))


SCRIPT = {"text": [allm.fake.text(f"w{n} ") for n in range(100)], "call": [allm.fake.tool_call("f", {"a": "w " * 200})]}
WIRES = {"openai_chat": "openai", "anthropic_messages": "anthropic"}


@pytest.mark.parametrize("what", SCRIPT)
@pytest.mark.parametrize("api", FORMATS)
def test_usual_answers_are_taken_in_runs(api, what):
    """Nearly all events of an answer as the vendor sends it; Gemini sends a call in one piece."""
    body = allm.testing.Reply.script(WIRES.get(api, api), SCRIPT[what]).body
    events = list(SSEDecoder().feed(body))
    taken = same(DECODERS[api], events)
    assert taken > len(events) - (15 if what == "text" or api != "gemini" else len(events) + 1)


OWN = {
    "Azure": ({}, {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}, {"refusal": None}),
    "DeepSeek": ({"usage": None}, {}, {"reasoning_content": None}),
    "Groq": ({"x_groq": None}, {}, {"channel": "final"}),
    "llama.cpp": ({"timings": {"predicted_n": 3, "predicted_ms": 1.5}}, {}, {}),
    "LiteLLM": ({"citations": None, "stream_options": {}}, {}, {"provider_specific_fields": None, "audio": None}),
    "Mistral": ({"p": "abcdefg"}, {}, {}),
    "Ollama": ({"system_fingerprint": "fp_ollama"}, {}, {"role": "assistant"}),
    "OpenRouter": ({"provider": "P"}, {"native_finish_reason": None}, {"role": "assistant", "reasoning_details": []}),
    "Perplexity": ({"citations": ["a"], "search_results": [{"title": "t"}]}, {"message": None}, {"role": "assistant"}),
    "vLLM with continuous usage": ({"usage": {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}}, {}, {}),
    "xAI": (
        {"usage": {"completion_tokens": 3, "prompt_tokens_details": {"text_tokens": 8}}, "citations": None},
        {},
        {},
    ),
    "SGLang": ({}, {"matched_stop": None, "finish_reason": ""}, {"reasoning_content": None, "tool_calls": None}),
    "Together": ({"prompt": []}, {"text": "a", "seed": 1}, {"token_id": 7, "role": "assistant", "tool_calls": []}),
    "vLLM": ({"prompt_token_ids": None}, {"stop_reason": None, "token_ids": None}, {"reasoning": None}),
}
"""What services add to every chunk: beside the choices, in the choice, and in the delta."""


@pytest.mark.parametrize("kind", ["text", "thought", "call"])
@pytest.mark.parametrize("service", OWN)
def test_keys_of_the_services_own(service, kind):
    """They cost a run nothing: all chunks but the first few are taken at once, and what they say is kept."""
    own, of_choice, of_delta = OWN[service]
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    delta = {
        "text": {"content": "a"},
        "thought": {"content": "", "reasoning_content": "a"},
        "call": {"content": None, "tool_calls": [{"index": 0, "function": {"arguments": "1"}}]},
    }[kind]

    def chunk(delta, finish=None):
        choice = {"index": 0, "finish_reason": finish, **of_choice, "delta": {**of_delta, **delta}}
        return dump({"id": "c1", "model": "m", **own, "choices": [choice]})

    first = [chunk({"role": "assistant", "content": ""}), *([chunk({"tool_calls": [call]})] if kind == "call" else [])]
    events = [("", data) for data in (*first, *[chunk(delta)] * 300, b"[DONE]")]
    assert same(ChatDecoder, events) >= 299


@pytest.mark.parametrize("what", ["text", "call"])
@pytest.mark.parametrize("api", FORMATS)
def test_a_long_answer_takes_little_more_memory_than_its_text(api, what):
    """What has come is kept in long pieces, which decoder and fold have in common."""
    words = 30_000
    script = {"text": allm.fake.text("word " * words), "call": allm.fake.tool_call("f", {"a": "word " * words})}[what]
    body = allm.testing.Reply.script(WIRES.get(api, api), [script]).body
    events = list(SSEDecoder().feed(body))
    middle = events[len(events) // 4 : len(events) // 4 + 20]
    delta = max(middle, key=lambda event: sum(other[0] == event[0] for other in middle))
    decoder, collector = DECODERS[api](), allm.StreamCollector()
    decoder.begin({})
    before = [event for event in events[: events.index(delta)] if b"word" not in event[1]]
    for name, data in [*before, delta]:
        fold_burst(collector, decoder.decode(name, data))
    run = Run(delta[0], b"\n".join([delta[1]] * 50), 50)
    taken, found = decoder.decode_run(run)
    if (api, what) == ("gemini", "call"):  # it comes whole
        return
    assert taken == 50
    fold_burst(collector, found)
    tracemalloc.start()
    try:
        size = 0
        for _ in range(1000):
            _, found = decoder.decode_run(run)
            fold_burst(collector, found)
            size += sum(len(event.arguments_delta if what == "call" else event.delta) for event in found)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * size + 400_000


def counted(count):
    """An answer whose chunks each have the counts so far."""
    usages = [{"prompt_tokens": 8, "completion_tokens": n, "total_tokens": n + 8} for n in range(1, count + 1)]
    chunks = [{"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": usage} for usage in usages]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usages[-1]}
    return unnamed([{"id": "c1", "model": "m", **chunk} for chunk in (*chunks, last)])


def test_counts_in_every_chunk():
    """They cost a run little: they are reported whenever the answer has grown by half, and exactly at its end."""
    events = [*counted(1000), ("", b"[DONE]")]
    assert same(ChatDecoder, events) > 960
    found, _ = decoded(ChatDecoder(), events, 50)
    reports = [event.usage for event in found if type(event) is allm.UsageReported]
    assert len(reports) < 20
    assert (reports[0].output_tokens, reports[-1].output_tokens, reports[-1].total_tokens) == (1, 1000, 1008)
    assert type(found[-1]) is allm.MessageCompleted


def test_counts_of_an_answer_that_is_cut():
    """The newest ones are reported, however it ends."""
    for failing in (b'{"error": {"message": "x"}}', b"{", None):
        decoder = ChatDecoder()
        decoder.begin({})
        found = [event for name, data in counted(100)[:-1] for event in decoder.decode(name, data)]
        assert found[-1] != allm.UsageReported(allm.Usage(input_tokens=8, output_tokens=100, total_tokens=108))
        try:
            found += decoder.cut() if failing is None else decoder.decode("", failing)
        except allm.AdapterError:
            found += decoder.cut()
        usages = [event.usage.output_tokens for event in found if type(event) is allm.UsageReported]
        assert usages[-1] == 100


def test_counts_that_say_different_things():
    """One that a later chunk leaves out is not lost."""
    usages = [{"completion_tokens": 10}, {"completion_tokens": 11, "prompt_tokens": 5}, {"completion_tokens": 12}]
    chunks = [{"id": "c", "model": "m", "choices": [], "usage": usage} for usage in usages]
    decoder = ChatDecoder()
    decoder.begin({})
    collector = allm.StreamCollector()
    for _, data in unnamed([*CHAT_BEFORE[:1], *chunks, *CHAT_AFTER]):
        for event in decoder.decode("", data):
            collector.add(event)
    for event in decoder.decode("", b"[DONE]"):
        collector.add(event)
    assert (collector.response().usage.input_tokens, collector.response().usage.output_tokens) == (5, 12)


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"choices":[]}',
        b'{"id":"c1","choices":[],"choices":[{"index":0,"delta":{"content":"a"}}]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a","content":"b"}}]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"\xff"}}]}',
        b'{"id":"\xff","choices":[{"index":0,"delta":{"content":"a"}}]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}]} x',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}]}{}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"created":NaN}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"own":"\\ud83d"}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"own":"\xff"}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"own":[NaN]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"own":1,"own":[2]}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"own":{"a":123456789012345678901234567890}}',
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"' + b"x" * 2000 + b'":1}',
        b"   ",
        b"[DONE]",
        b'{"id":"c1","choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"a":{"b":[{}]}}}',
    ],
)
def test_odd_json(chunk):
    """Keys that come twice, half of a character, what is no JSON: in a run as alone."""
    usual = dump({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "b"}}]})
    same(ChatDecoder, [("", data) for data in (usual, usual, chunk, usual, usual, b"[DONE]") if data.strip()])


CHUNK = dump({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "b"}}]})


@pytest.mark.parametrize(
    "lines",
    [
        [CHUNK + CHUNK, b" "],
        [CHUNK + b" " + CHUNK, b""],
        [CHUNK[:-1] + b", ", b'"created":1}', CHUNK + CHUNK],
        [CHUNK[: CHUNK.index(b",") + 1], CHUNK[CHUNK.index(b",") + 1 :], CHUNK + CHUNK],
    ],
)
def test_an_event_is_one_object(lines):
    """Two objects in one event, or one in two, are no JSON, also where the numbers of both come out even."""
    body = b"".join(b"data: %b\n\n" % line for line in [CHUNK, CHUNK, *lines, CHUNK])
    found = read(ChatDecoder, [body])
    assert [event for event in found if type(event) is allm.TextDelta] == [allm.TextDelta("text-0", "b")] * 2
    assert found[-1][0] == "malformed_response"


@pytest.mark.parametrize("api", FORMATS)
def test_a_short_answer_in_one_read_is_decoded_in_few_steps(api, monkeypatch):
    """A run is taken as far as it goes, and only what is around it is decoded one by one."""
    body = allm.testing.Reply.script(WIRES.get(api, api), SCRIPT["text"][:20]).body
    steps = []

    def counted(step):
        def call(*args):
            steps.append(step)
            return step(*args)

        return call

    for name in ("decode", "decode_run"):
        monkeypatch.setattr(DECODERS[api], name, counted(getattr(DECODERS[api], name)))
    found = read(DECODERS[api], [body])
    assert "".join(event.delta for event in found if type(event) is allm.TextDelta) == "".join(
        f"w{n} " for n in range(20)
    )
    deltas = sum(type(event) is allm.TextDelta for event in found)
    around = len(list(SSEDecoder().feed(body))) - deltas
    assert deltas >= 20
    assert len(steps) <= around + 2  # the first delta may begin the answer


class Opened:
    """What a reader needs of an open call."""

    def annotate(self, error):
        """Leave the error as it is."""


def read(make, reads):
    """All that a reader decodes of a body in these reads."""
    call = StreamCall(provider="x", url="http://x/", headers={}, classify=classify_error, new_decoder=make)
    decoder = make()
    decoder.begin({})
    reader = _Reader(call, Opened(), decoder, emit=None)
    for data in reads:
        if not reader.ended:
            reader._decode(data)
    return [described(event) for event in reader.decoded]


@pytest.mark.parametrize("api", FORMATS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_generated_bodies_in_any_cut(api, data):
    """Cut anywhere, with comments and other events in between: as if each event had come by itself."""
    chunks, before, after, events_of = FORMATS[api]
    values = data.draw(st.lists(chunks, max_size=12))
    end = data.draw(st.sampled_from(["\n\n", "\r\n\r\n"]))
    noise = st.sampled_from([b"", b"", b"", b": ping" + end.encode(), b"event: ping\ndata: {}" + end.encode()])
    pieces = []
    for name, value in events_of([*before, *values, *values, *after]):
        head = b"event: %b%b" % (name.encode(), end[: len(end) // 2].encode()) if name else b""
        pieces.append(data.draw(noise) + head + b"data: " + value + end.encode())
    body = b"".join(pieces)
    alone = DECODERS[api]()
    alone.begin({})
    expected = []
    try:
        for name, value in SSEDecoder().feed(body):
            if not alone.done:
                expected += alone.decode(name, value)
    except allm.AdapterError as error:
        expected += [*alone.cut(), allm.Failed(error)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    reads = [body[early:late] for early, late in itertools.pairwise([0, *cuts, len(body)])]
    assert read(DECODERS[api], reads) == [described(event) for event in expected]
