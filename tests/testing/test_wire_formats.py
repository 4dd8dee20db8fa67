"""Scripts in the vendors' formats, decoded from the bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import trio

from allm import fake
from allm.data.errors import AdapterError, ValidationError
from allm.data.script import Text
from allm.testing import BEFORE_HEAD, Cut, Reply, Stall

PROVIDERS = ["openai", "openai_responses", "anthropic", "gemini"]
TEXT = "Grüße, 你好世界你好世界 👋🏽\n\n  and a line separator:\u2028 end "
USAGE = fake.usage(input_tokens=100, output_tokens=30, cached_input_tokens=60, reasoning_tokens=12, total_tokens=130)
SOME = (fake.text("some"),)
SCRIPT = [
    fake.reasoning("Let me think about it."),
    fake.text(TEXT),
    fake.tool_call("add", {"a": 1, "b": "ü\n"}, id="id-1"),
    fake.tool_call("now"),
    USAGE,
]


def events(body):
    """The SSE events of a body, as pairs of name and parsed data."""
    found = []
    for block in body.decode().replace("\r\n", "\n").split("\n\n"):
        fields = [line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":")]
        names = [value for name, value in fields if name == "event"]
        data = "\n".join(value for name, value in fields if name == "data")
        if data and data != "[DONE]":
            found.append((names[0] if names else None, json.loads(data)))
    return found


def data_of(provider, script, **kwargs):
    """The parsed data of a script's events."""
    return [data for _, data in events(Reply.script(provider, script, **kwargs).body)]


def test_openai_text():
    """The role, text deltas, a finish reason, usage without choices, and the end marker."""
    reply = Reply.script("openai", [fake.text("Hello big world"), USAGE], model="gpt-x", id="chatcmpl-1")
    chunks = [data for _, data in events(reply.body)]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]

    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hello"},
        {"content": " big"},
        {"content": " world"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]] == [None] * 4 + ["stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 60},
        "completion_tokens_details": {"reasoning_tokens": 12},
    }
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert {(chunk["model"], chunk["id"]) for chunk in chunks} == {("gpt-x", "chatcmpl-1")}
    assert reply.body.endswith(b"\n\ndata: [DONE]\n\n")
    assert b"event:" not in reply.body
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_openai_without_usage():
    """A script without usage looks like a stream without `include_usage`."""
    assert not any("usage" in chunk for chunk in data_of("openai", [fake.text("x")]))


def test_openai_tool_calls():
    """Only the first delta of a call has id and name; its content is null if the call is first."""
    chunks = data_of("openai", SCRIPT[2:4])
    calls = [c["choices"][0]["delta"]["tool_calls"][0] for c in chunks if c["choices"][0]["delta"].get("tool_calls")]
    first = chunks[0]["choices"][0]["delta"]

    assert (first["role"], first["content"]) == ("assistant", None)
    assert calls[0] == {"index": 0, "id": "id-1", "type": "function", "function": {"name": "add", "arguments": ""}}
    assert [call["function"]["name"] for call in calls if "id" in call] == ["add", "now"]
    assert [call["index"] for call in calls] == sorted(call["index"] for call in calls)
    arguments = ["".join(c["function"]["arguments"] for c in calls if c["index"] == index) for index in (0, 1)]
    assert arguments == ['{"a":1,"b":"ü\\n"}', "{}"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_responses():
    """Items are added, filled and done in turn, and are in the terminal event again."""
    found = events(Reply.script("openai_responses", SCRIPT).body)
    payloads = [data for _, data in found]

    assert all(name == data["type"] for name, data in found)
    assert [data["sequence_number"] for data in payloads] == list(range(len(payloads)))
    assert [data["type"] for data in payloads[:2]] == ["response.created", "response.in_progress"]
    added = [data["item"]["type"] for data in payloads if data["type"] == "response.output_item.added"]
    done = [data["item"] for data in payloads if data["type"] == "response.output_item.done"]
    assert added == ["reasoning", "message", "function_call", "function_call"]
    assert [item["type"] for item in done] == added
    final = payloads[-1]["response"]
    assert payloads[-1]["type"] == "response.completed"
    assert final["output"] == done
    assert final["output"][1]["content"][0]["text"] == TEXT
    assert final["output"][2]["call_id"] == "id-1"
    assert json.loads(final["output"][2]["arguments"]) == {"a": 1, "b": "ü\n"}
    assert final["usage"]["input_tokens_details"] == {"cached_tokens": 60}
    assert b"[DONE]" not in Reply.script("openai_responses", SCRIPT).body


@pytest.mark.parametrize(
    ("reason", "kind", "details"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_responses_finish(reason, kind, details):
    """An early end is `response.incomplete`, with the reason."""
    last = data_of("openai_responses", [fake.text("x"), fake.finish(reason)])[-1]

    assert (last["type"], last["response"]["status"]) == (f"response.{kind}", kind)
    assert last["response"]["incomplete_details"] == details
    assert last["response"]["usage"] is None


def test_anthropic():
    """Blocks in turn, padded JSON, a ping, signatures, usage first and last."""
    reply = Reply.script("anthropic", SCRIPT)
    found = events(reply.body)
    payloads = [data for _, data in found]

    assert all(name == data["type"] for name, data in found)
    assert [data["content_block"]["type"] for data in payloads if data["type"] == "content_block_start"] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert [data["index"] for data in payloads if data["type"] == "content_block_stop"] == [0, 1, 2, 3]
    assert payloads[0]["message"]["usage"]["input_tokens"] == 40
    assert payloads[-2]["usage"] == {
        "input_tokens": 40,
        "cache_read_input_tokens": 60,
        "output_tokens": 30,
        "output_tokens_details": {"thinking_tokens": 12},
    }
    assert (payloads[-2]["delta"]["stop_reason"], payloads[-1]["type"]) == ("tool_use", "message_stop")
    kinds = [data["delta"]["type"] for data in payloads if data.get("index") == 0 and "delta" in data]
    assert kinds[-1] == "signature_delta"
    assert [d["delta"]["partial_json"] for d in payloads if d.get("index") == 3 and "delta" in d] == [""]
    assert b'data: {"type": "ping"}\n' in reply.body
    assert b"  }\n\n" in reply.body


def test_anthropic_counts_the_cache_apart():
    """Input tokens exclude those read from the cache or written to it."""
    script = [fake.text("x"), fake.usage(input_tokens=100, cached_input_tokens=60, cache_write_input_tokens=30)]
    start = data_of("anthropic", script)[0]["message"]["usage"]

    assert start == {"input_tokens": 10, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 60}
    assert data_of("anthropic", [fake.usage(output_tokens=5)])[0]["message"]["usage"] == {"output_tokens": 1}


def test_gemini():
    """CRLF, cumulative usage in every chunk, whole calls, and STOP at the end."""
    reply = Reply.script("gemini", SCRIPT)
    chunks = [data for _, data in events(reply.body)]
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    usages = [chunk["usageMetadata"] for chunk in chunks]

    assert reply.body.count(b"\n") == reply.body.count(b"\r\n") == 2 * len(chunks)
    assert "".join(part["text"] for part in parts if part.get("thought")) == "Let me think about it."
    assert [part["functionCall"] for part in parts if "functionCall" in part] == [
        {"name": "add", "args": {"a": 1, "b": "ü\n"}, "id": "id-1"},
        {"name": "now", "args": {}},
    ]
    assert [part.get("text") == "" for part in parts].index(True) == len(parts) - 1
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None] * (len(chunks) - 1) + ["STOP"]
    assert "candidatesTokenCount" not in usages[0]
    assert usages[-1] == {
        "promptTokenCount": 100,
        "candidatesTokenCount": 18,
        "totalTokenCount": 130,
        "cachedContentTokenCount": 60,
        "thoughtsTokenCount": 12,
    }
    totals = [usage["totalTokenCount"] for usage in usages]
    assert totals == sorted(totals)


def test_gemini_usage_in_parts():
    """Counts that the script lacks are left out."""
    assert data_of("gemini", [fake.text("x"), fake.usage(total_tokens=7)])[-1]["usageMetadata"] == {
        "totalTokenCount": 7
    }
    assert "usageMetadata" not in data_of("gemini", [fake.text("x")])[-1]


def text_of(provider, payloads):
    """The visible text in the vendor's format."""
    if provider == "openai":
        return "".join(c["delta"].get("content") or "" for data in payloads for c in data["choices"])
    if provider == "openai_responses":
        return "".join(data["delta"] for data in payloads if data["type"] == "response.output_text.delta")
    if provider == "anthropic":
        return "".join(data["delta"]["text"] for data in payloads if data.get("delta", {}).get("type") == "text_delta")
    parts = [part for data in payloads for part in data["candidates"][0]["content"]["parts"]]
    return "".join(part.get("text", "") for part in parts if not part.get("thought"))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("text", ["", " ", "\n\n\n\n\n\n", "x" * 100, TEXT, "tail   "])
def test_text_survives(provider, text):
    """No character is lost or changed, and the text is raw UTF-8."""
    reply = Reply.script(provider, [fake.text(text)])

    assert text_of(provider, [data for _, data in events(reply.body)]) == text
    assert ("\u2028".encode() in reply.body) == ("\u2028" in text)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_blocks(provider):
    """Text around a call is one response, and consecutive texts are one block."""
    script = [fake.text("one "), fake.text("two "), fake.tool_call("f", id="1"), fake.text("three")]

    assert text_of(provider, data_of(provider, script)) == "one two three"
    if provider == "anthropic":
        assert [d["type"] for d in data_of(provider, script)].count("content_block_stop") == 3


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nothing_at_all(provider):
    """An empty script is an empty, complete response."""
    payloads = data_of(provider, [])

    assert text_of(provider, payloads) == ""
    assert len(payloads) >= 1


def arguments_of(provider, payloads):
    """The joined raw arguments of all calls."""
    if provider == "openai":
        calls = [call for d in payloads for c in d["choices"] for call in c["delta"].get("tool_calls", [])]
        return "".join(call["function"]["arguments"] for call in calls)
    if provider == "openai_responses":
        return "".join(d["delta"] for d in payloads if d["type"] == "response.function_call_arguments.delta")
    return "".join(d["delta"].get("partial_json", "") for d in payloads if "delta" in d)


@pytest.mark.parametrize("provider", ["openai", "openai_responses", "anthropic"])
@pytest.mark.parametrize("raw", ["", '{"a": ', "not json", '{"a":1}'])
def test_raw_arguments(provider, raw):
    """Arguments may be any text."""
    assert arguments_of(provider, data_of(provider, [fake.tool_call("f", raw_arguments=raw)])) == raw


@pytest.mark.parametrize("raw", ["", '{"a": ', "[1]"])
def test_gemini_sends_objects(raw):
    """Arguments that are not an object cannot be expressed."""
    with pytest.raises(ValueError, match="JSON object"):
        Reply.script("gemini", [fake.tool_call("f", raw_arguments=raw)])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_arguments_in_pieces(provider):
    """Pieces belong to the call before them, also after a pause."""
    pieces = [fake.tool_call_delta("1", '{"a"'), fake.delay(1.0), fake.tool_call_delta("1", ": 2}")]
    reply = Reply.script(provider, [fake.tool_call("f", id="1"), *pieces, fake.text("x")])
    payloads = [data for _, data in events(reply.body)]

    if provider == "gemini":
        assert payloads[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"] == {"a": 2}
        assert payloads[-1]["candidates"][0]["finishReason"] == "STOP"
    else:
        assert arguments_of(provider, payloads) == '{"a": 2}'
        assert list(reply.pauses.values()) == [1.0]
        assert arguments_of(provider, data_of(provider, pieces)) == '{"a": 2}'


def test_a_cut_call_stays_open():
    """An error leaves a call in pieces unfinished, but not a whole call."""
    error = fake.error(AdapterError("boom", reason="overloaded"))
    pieces = [fake.tool_call("f", id="1"), fake.tool_call_delta("1", '{"a"')]

    kinds = [data["type"] for data in data_of("anthropic", [*pieces, error])]
    assert "content_block_stop" not in kinds
    kinds = [data["type"] for data in data_of("anthropic", [fake.tool_call("f"), error])]
    assert "content_block_stop" in kinds


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_delays(provider, server, clock, http_client):
    """A delay is a pause at its place in the script."""
    script = [
        fake.delay(1.0),
        fake.text("one"),
        fake.delay(10.0),
        fake.delay(20.0),
        fake.text("two"),
        fake.delay(100.0),
    ]
    server.add(Reply.script(provider, script))
    start = trio.current_time()
    times = {}
    async with http_client() as client, client.stream("POST", server.base_url) as response:
        times["head"] = trio.current_time() - start
        async for chunk in response.aiter_raw():
            for word in ("one", "two"):
                if word in chunk.decode():
                    times.setdefault(word, trio.current_time() - start)
    times["end"] = trio.current_time() - start

    assert {name: round(time) for name, time in times.items()} == {"head": 0, "one": 1, "two": 31, "end": 131}


@pytest.mark.parametrize(
    ("provider", "reason", "word"),
    [
        ("openai", "length", "length"),
        ("openai", "other", "other"),
        ("anthropic", "stop", "end_turn"),
        ("anthropic", "length", "max_tokens"),
        ("anthropic", "content_filter", "refusal"),
        ("anthropic", "other", "pause_turn"),
        ("gemini", "length", "MAX_TOKENS"),
        ("gemini", "content_filter", "SAFETY"),
        ("gemini", "other", "OTHER"),
    ],
)
def test_finish_reasons(provider, reason, word):
    """Each has the vendor's name."""
    assert f'"{word}"' in Reply.script(provider, [fake.text("x"), fake.finish(reason)]).body.decode()


def test_no_vendor_finishes_with_an_error():
    """The finish reason "error" is rejected."""
    with pytest.raises(ValueError, match="ErrorItem"):
        Reply.script("openai", [fake.finish("error")])


@pytest.mark.parametrize("provider", PROVIDERS)
def test_raw(provider):
    """A chunk without a meaning, or raw bytes."""
    body = Reply.script(
        provider, [fake.raw("keepalive", {"n": 12321}), fake.raw("bytes", b":\xff\n\n"), Text("x")]
    ).body

    assert b"12321" in body
    assert b":\xff\n\n" in body
    assert b"keepalive" in Reply.script(provider, [fake.raw("keepalive")]).body


def test_errors_in_mid_stream():
    """The vendor's error event is last."""
    script = [fake.text("some"), fake.error(AdapterError("Too busy", reason="overloaded", provider_code="busy"))]

    assert data_of("openai", script)[-1]["error"] == {
        "message": "Too busy",
        "type": "server_error",
        "param": None,
        "code": "busy",
    }
    assert b"[DONE]" not in Reply.script("openai", script).body
    nested, failed = data_of("openai_responses", script)[-2:]
    assert (nested["type"], nested["error"]["code"], failed["type"]) == ("error", "busy", "response.failed")
    assert failed["response"]["error"] == {"code": "busy", "message": "Too busy"}
    assert data_of("anthropic", script)[-1]["error"] == {"details": None, "type": "busy", "message": "Too busy"}
    bare = Reply.script("gemini", script).body.decode().rpartition("\r\n")[2]
    assert bare.startswith("{\n")
    assert "overloaded" in json.loads(bare)["error"]["message"]


@pytest.mark.parametrize(("provider", "count"), [("openai", 1), ("openai_responses", 4), ("anthropic", 1)])
def test_an_error_as_the_first_event(provider, count):
    """Only Responses announces a response before the error."""
    assert len(data_of(provider, [fake.error(AdapterError("x", reason="overloaded"))])) == count


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("item", [fake.error, fake.preflight_error])
def test_http_errors(provider, item):
    """A first error with a status is an HTTP error, with its wait."""
    error = AdapterError("slow down", reason="rate_limited", status=429, retry_after=7.0)
    reply = Reply.script(provider, [fake.delay(2.0), item(error)])

    assert (reply.status, reply.framing, reply.first_delay) == (429, "content-length", 2.0)
    assert "slow down" in json.loads(reply.body)["error"]["message"]
    assert "7" in (reply.headers.get("retry-after") or reply.body.decode())
    assert b'"7s"' in reply.body or provider != "gemini"


@pytest.mark.parametrize(
    ("provider", "reason", "status", "sign"),
    [
        ("openai", "quota_exhausted", 429, "insufficient_quota"),
        ("openai_responses", "context_length_exceeded", 400, "context_length_exceeded"),
        ("anthropic", "context_length_exceeded", 400, "prompt is too long"),
        ("anthropic", "overloaded", 529, "overloaded_error"),
        ("gemini", "authentication_failed", 400, "API_KEY_INVALID"),
        ("gemini", "overloaded", 503, "overloaded"),
        ("gemini", "unknown", 500, "INTERNAL"),
    ],
)
def test_a_reason_in_the_vendors_terms(provider, reason, status, sign):
    """A reason without a status gets the vendor's status and code."""
    reply = Reply.script(provider, [fake.preflight_error(AdapterError("as I said", reason=reason))])

    assert reply.status == status
    assert sign in reply.body.decode()
    assert "as I said" in reply.body.decode()


def test_an_error_that_is_not_the_providers():
    """Other errors of the library become a 400 or a 500."""
    error = ValidationError([(("messages",), "empty")])
    assert Reply.script("openai", [fake.preflight_error(error)]).status == 500


@pytest.mark.parametrize("provider", PROVIDERS)
def test_failures_of_the_connection(provider):
    """They are played as faults, after the bytes before them."""

    def played(reason, *, before=SOME, item=fake.error):
        return Reply.script(provider, [*before, item(AdapterError("x", reason=reason))])

    size = len(played("network_error").body)
    assert size > 0
    assert played("network_error").fault == Cut(size)
    assert played("timeout").fault == Stall(size)
    assert played("stream_truncated").fault == Cut(size, clean=True)
    assert played("timeout", before=()).fault == Stall(0)
    assert played("network_error", before=(), item=fake.preflight_error).fault == Cut(BEFORE_HEAD)
    assert b"this is not" in played("malformed_response").body


@pytest.mark.parametrize(
    "script",
    [
        [Text("x"), fake.preflight_error(AdapterError("x"))],
        [Text("x"), "no item"],
    ],
)
def test_impossible_scripts(script):
    """The error is raised when the script is written, not in the client."""
    with pytest.raises(ValueError, match=r"cannot stand here|has to be the first"):
        Reply.script("openai", script)


CORPUS = Path(os.environ.get("ALLM_WIRE_CORPUS", Path(__file__).parents[3] / "shared" / "wire"))
FOLDERS = {
    "openai": "openai_chat",
    "openai_responses": "openai_responses",
    "anthropic": "anthropic_messages",
    "gemini": "gemini",
}
OWN_NAMES = {"args", "arguments", "n"}  # what is inside belongs to the script


def shapes(value, path=""):
    """Every path in a JSON value, with the type of its value."""
    yield f"{path}:{type(value).__name__}"
    if isinstance(value, dict) and path.rpartition(".")[2] not in OWN_NAMES:
        for name, inner in value.items():
            yield from shapes(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from shapes(inner, f"{path}[]")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no recorded traffic here: set ALLM_WIRE_CORPUS")
def test_nothing_is_sent_that_the_vendor_does_not_send(provider):
    """Every event, field and type occurs in recorded streams."""
    recorded = set()
    for case in sorted((CORPUS / FOLDERS[provider]).iterdir()):
        body = (case / "response.body").read_bytes()
        if json.loads((case / "response.json").read_bytes())["stream"]:
            recorded |= {f"{name}{shape}" for name, data in events(body) for shape in shapes(data)}
        elif provider == "gemini":  # the whole answer has the shape of a chunk
            recorded |= {f"None{shape}" for shape in shapes(json.loads(body))}
    script = [*SCRIPT, fake.usage(cache_write_input_tokens=3)] if provider == "anthropic" else SCRIPT
    sent = {f"{name}{shape}" for name, data in events(Reply.script(provider, script).body) for shape in shapes(data)}

    assert sent <= recorded
