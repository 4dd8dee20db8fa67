"""What a broken provider, proxy or network does to a call: one clear error, partial text kept, nothing hangs."""

from __future__ import annotations

import json

import pytest
import trio

import allm
from allm import fake
from allm.testing import (
    BEFORE_HEAD,
    Cut,
    Garbage,
    GarbageHead,
    KeepAlive,
    Reply,
    Reset,
    Stall,
    WireServer,
    loopback_clock,
)

KEY = "sk-canary-0123456789"
WORDS = "one two three four"
ANSWER = Reply.script("openai", [fake.text(WORDS), fake.usage(input_tokens=1, output_tokens=4)])
MIDDLE = ANSWER.event_ends[2]


@pytest.fixture
def clock():
    return loopback_clock()


@pytest.fixture
async def server():
    async with WireServer() as server:
        yield server


def engine(server, *, retry=None, **options):
    adapter = allm.providers.OpenAI(api_key=KEY, base_url=server.url("openai"), endpoint="chat_completions", **options)
    return allm.Engine(adapter=adapter, model="m", retry=retry)


async def ask(server, reply, **options):
    server.add(reply)
    response = await allm.generate(engine(server), "hi", **options)
    assert KEY not in repr(response)
    return response


def with_fault(fault):
    return Reply.script("openai", [fake.text(WORDS), fake.usage(input_tokens=1, output_tokens=4)], fault=fault)


@pytest.mark.parametrize("cut", range(0, len(ANSWER.body) - len(b"data: [DONE]\n\n"), 37))
@pytest.mark.parametrize("clean", [True, False], ids=["short", "dropped"])
async def test_cut_anywhere_is_truncation_and_keeps_the_text(server, cut, clean):
    """Before the end marker there is no success, wherever the stream stops."""
    response = await ask(server, with_fault(Cut(cut, clean=clean)))
    assert response.finish_reason == "error"
    assert response.error.reason == "stream_truncated"
    assert response.error.provider == "openai"
    assert WORDS.startswith(response.output_text)


async def test_cut_after_the_end_marker_is_no_failure(server):
    """What happens to the connection then does not matter to the answer."""
    response = await ask(server, with_fault(Cut(len(ANSWER.body))))
    assert response.finish_reason == "stop"
    assert response.output_text == WORDS


async def test_reset_in_the_middle_keeps_the_text(server):
    """A reset connection is a network error."""
    response = await ask(server, with_fault(Reset(MIDDLE)))
    assert response.error.reason in {"network_error", "stream_truncated"}


@pytest.mark.parametrize("fault", [Cut(BEFORE_HEAD), Reset(BEFORE_HEAD), Reset(0), Cut(0), GarbageHead()])
async def test_failure_before_the_first_event_is_retried(server, fault, clock):
    """Nothing had been shown, so the call starts again."""
    server.add(with_fault(fault), ANSWER)
    response = await allm.generate(engine(server, retry=allm.RetryPolicy()), "hi")
    assert response.output_text == WORDS
    assert len(server.requests) == 2


async def test_silence_after_some_text_is_a_timeout(server, clock):
    """`stream_timeout` bounds it; the text is kept and the connection closed."""
    response = await ask(server, with_fault(Stall(MIDDLE)), stream_timeout=60)
    assert response.error.reason == "timeout"
    assert response.output_text
    with trio.fail_after(5):
        await server.wait_outcomes()
    assert server.requests[0].outcome == "client_closed"


async def test_keep_alive_comments_do_not_extend_the_timeout(server, clock):
    """A socket that is busy with comments is as silent as a silent one."""
    response = await ask(server, with_fault(KeepAlive(MIDDLE, interval=5)), stream_timeout=60)
    assert response.error.reason == "timeout"
    server.requests.clear()
    response = await ask(server, with_fault(KeepAlive(0, interval=5)), first_event_timeout=60)
    assert response.error.reason == "timeout"
    assert "first_event_timeout" in response.error.message


async def test_invalid_utf8_is_malformed(server):
    """The message says where; what came before is kept."""
    bad = b'data: {"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n'
    response = await ask(server, with_fault(Garbage(MIDDLE, bad)))
    assert response.error.reason == "malformed_response"
    assert "UTF-8" in response.error.message
    assert response.output_text
    assert WORDS.startswith(response.output_text)


@pytest.mark.parametrize("garbage", [b"data: {not json\n\n", b"data: 12\n\n", b'data: "text"\n\n', b"data: [1]\n\n"])
async def test_event_that_is_no_json_object_is_malformed(server, garbage):
    """One clear error that quotes the start of what came."""
    response = await ask(server, with_fault(Garbage(MIDDLE, garbage)))
    assert response.error.reason == "malformed_response"
    assert garbage[6:10].decode().strip() in response.error.message
    assert response.output_text


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense without a colon\n\n",
        b": comment\n\n",
        b"data\n\n".replace(b"data", b"id: 7"),
        b'data: {"choices":null}\n\n',
        b'data: {"choices":[]}\n\n',
        b'data: {"choices":[null,7,{"index":0,"delta":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":7,"tool_calls":[null,{"function":3}]}}]}\n\n',
        b'data: {"usage":7,"id":3,"model":[]}\n\n',
        b"event: surprise\ndata: {}\n\n",
    ],
)
async def test_strange_but_harmless_events_are_passed_over(server, garbage):
    """Formats grow; what is not understood does not break the answer."""
    response = await ask(server, with_fault(Garbage(MIDDLE, garbage)))
    assert response.finish_reason == "stop"
    assert response.output_text == WORDS


async def test_event_of_ten_megabytes_is_refused(server):
    """Bounded memory, one clear error, the text before it kept."""
    huge = b"data: " + json.dumps({"choices": [], "padding": "x" * 10_000_000}).encode() + b"\n\n"
    response = await ask(server, with_fault(Garbage(MIDDLE, huge)))
    assert response.error.reason == "malformed_response"
    assert "max_event_bytes" in response.error.message
    assert response.output_text


async def test_large_event_is_accepted_where_the_adapter_says_so(server):
    """`max_event_bytes` is the caller's choice."""
    huge = b"data: " + json.dumps({"choices": [], "padding": "x" * 10_000_000}).encode() + b"\n\n"
    server.add(with_fault(Garbage(MIDDLE, huge)))
    response = await allm.generate(engine(server, max_event_bytes=20_000_000), "hi")
    assert response.output_text == WORDS


async def test_html_instead_of_an_answer_is_malformed(server):
    """A proxy's login page: the message shows what came."""
    page = Reply(headers={"content-type": "text/html"}, body=b"<!doctype html><title>Sign in</title>")
    response = await ask(server, page)
    assert response.error.reason == "malformed_response"
    assert "text/html" in response.error.message
    assert "Sign in" in response.error.message


@pytest.mark.parametrize("body", [b"", b"\n\n", b": hello\n\n", b"\xef\xbb\xbf"])
async def test_empty_answer_is_truncation(server, body):
    """A 200 with nothing in it has not succeeded."""
    response = await ask(server, Reply(headers={"content-type": "text/event-stream"}, body=body))
    assert response.error.reason == "stream_truncated"


async def test_redirect_is_not_followed(server):
    """It would carry the key to wherever it points."""
    response = await ask(server, Reply(status=307, headers={"location": "https://elsewhere.example/v1"}))
    assert response.error.reason == "invalid_request"
    assert "elsewhere.example" in response.error.message
    assert response.error.status == 307


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize("body", [b"", b"upstream connect error", b"<html>bad gateway</html>", b"[]", b"null", b"{}"])
async def test_error_status_with_any_body_is_one_clear_error(server, status, body):
    """Proxies answer what they like; the status still tells."""
    response = await ask(server, Reply(status=status, body=body))
    assert response.error.status == status
    assert response.error.message
    assert response.error.retryable == (status in {429, 500, 502, 503, 504, 529})


async def test_key_echoed_by_the_provider_is_masked(server):
    """In HTTP errors and in errors inside the stream."""
    echo = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}
    response = await ask(server, Reply.json(echo, status=401))
    assert response.error.reason == "authentication_failed"
    assert KEY not in response.error.message
    assert "***" in response.error.message
    response = await ask(server, Reply.sse([(None, {"choices": [], "id": "x"}), ("error", echo)]))
    assert KEY not in allm.to_json(response)
    assert "***" in response.error.message


@pytest.mark.parametrize("url", ["", " ", "localhost", "ftp://host/v1", "http://", "http://host:port/v1", "//host/v1"])
async def test_unusable_base_url_is_told_before_anything_is_sent(url, monkeypatch):
    """Naming the URL and what was expected."""
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    broken = allm.Engine(adapter=allm.providers.OpenAI(api_key=KEY, base_url=url or "x"), model="m")
    with pytest.raises(allm.EngineError, match="http or https URL") as caught:
        await allm.generate(broken, "hi")
    assert caught.value.reason == "invalid_base_url"


async def test_nobody_listens_is_a_network_error():
    """After the retries."""
    async with WireServer() as gone:
        url = gone.url("openai")
    lost = allm.Engine(adapter=allm.providers.OpenAI(api_key=KEY, base_url=url), model="m", retry=None)
    response = await allm.generate(lost, "hi")
    assert response.error.reason == "network_error"
    assert response.error.retryable


async def test_answer_in_plain_json_to_a_streaming_request(server):
    """Some gateways do that; the events are the same kinds."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": [call]}
    document = {
        "id": "x",
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    response = await ask(server, Reply.json(document))
    assert response.output_text == "Hello"
    assert response.finish_reason == "tool_calls"
    assert response.raw_finish_reason == "stop"
    assert response.tool_calls[0].arguments == {"a": 1}
    assert response.usage.total_tokens == 7
    assert (response.id, response.model) == ("x", "m-1")


async def test_retry_after_of_the_provider_is_honoured(server, clock):
    """`retry-after-ms` and `retry-after` alike."""
    server.add(Reply.error("openai", 429, retry_after=7), ANSWER)
    before = trio.current_time()
    response = await allm.generate(engine(server, retry=allm.RetryPolicy(jitter=0)), "hi")
    assert response.output_text == WORDS
    assert trio.current_time() - before >= 7


async def test_x_should_retry_wins_over_the_status(server):
    """The one header that is made for this decision."""
    response = await ask(server, Reply(status=500, headers={"x-should-retry": "false"}, body=b"{}"))
    assert not response.error.retryable
    response = await ask(server, Reply(status=400, headers={"x-should-retry": "true"}, body=b"{}"))
    assert response.error.retryable


@pytest.mark.parametrize("blank", [b"data:\n\n", b"data: \n\n", b"event: ping\ndata:  \n\n", b"data\n\n"])
async def test_events_without_data_keep_the_connection_alive(server, blank):
    """They say nothing, at the start as in the middle."""
    for place in (0, MIDDLE):
        response = await ask(server, with_fault(Garbage(place, blank)))
        assert (response.finish_reason, response.output_text) == ("stop", WORDS)


@pytest.mark.parametrize(
    "error",
    [
        b'{\n  "error": {\n    "message": "no room",\n    "code": 503\n  }\n}\n',
        b'error: {"code":503,"message":"no room","type":"later_error"}\n\n',
        b'event: error\ndata: {"code":503,"message":"no room"}\n\n',
    ],
    ids=["bare", "llama.cpp", "event"],
)
async def test_error_between_the_events_is_the_error(server, error):
    """It says more than that the stream was cut off."""
    response = await ask(server, Reply(body=ANSWER.body[:MIDDLE] + error))
    assert (response.error.reason, response.error.retryable) == ("provider_unavailable", True)
    assert "no room" in response.error.message
    assert response.output_text


async def test_plain_json_that_breaks_off_is_truncation(server):
    """Its last brace is missing; what is whole and no JSON is malformed."""
    response = await ask(server, Reply(body=b'{"choices": [{"message": {"content": "x"'))
    assert response.error.reason == "stream_truncated"
    response = await ask(server, Reply(body=b"{choices}"))
    assert response.error.reason == "malformed_response"


async def test_error_answer_that_breaks_off_still_has_its_status(server):
    """What came of its body will do."""
    body = b'{"error": {"message": "Incorrect API key"}}'
    response = await ask(server, Reply(status=401, body=body, fault=Cut(20)))
    assert (response.error.reason, response.error.status) == ("authentication_failed", 401)
    assert not response.error.retryable


# Its generator that was reading the body cannot be reached any more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_body_that_is_not_in_its_encoding_is_malformed(server):
    """The HTTP library's own exception does not get through."""
    response = await ask(server, Reply(headers={"content-encoding": "gzip"}, body=b"data: no gzip\n\n"))
    assert response.error.reason == "malformed_response"
    response = await ask(server, Reply(status=400, headers={"content-encoding": "gzip"}, body=b"no gzip"))
    assert (response.error.reason, response.error.status) == ("invalid_request", 400)
