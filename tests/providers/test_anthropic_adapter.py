"""The Anthropic adapter over a real socket: where it sends what, and what comes back when something breaks."""

from __future__ import annotations

import attrs
import httpx
import pytest

import allm
from allm import AdapterError, EngineError, ProviderPart, RawChunk, Request, fake
from allm.http.keys import Secret
from allm.runtime.adapters import AdapterOptions
from allm.runtime.registry import adapter_for
from allm.testing import Cut, Garbage, Reply, WireServer, loopback_clock
from anthropic_wire import sse, started, text
from prepared_calls import headers_of

KEY = "sk-ant-canary-0123456789"
WORDS = "one two three four"
SCRIPT = [fake.reasoning("hm"), fake.text(WORDS), fake.usage(input_tokens=4, output_tokens=5)]
ANSWER = Reply.script("anthropic", SCRIPT)
ANTHROPIC = "https://api.anthropic.com"
OVERLOADED = {"type": "error", "error": {"details": None, "type": "overloaded_error", "message": "Overloaded"}}
VARIABLES = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL")


@pytest.fixture
def clock():
    """Virtual time."""
    return loopback_clock()


@pytest.fixture
async def server():
    """A running server."""
    async with WireServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def prepare(adapter, model="claude-haiku-4-5", **options):
    """The HTTP call for a short request."""
    return adapter.prepare(Request((allm.user("hi"),), model=model), AdapterOptions(**options))


async def ask(server, reply, *, retry=None, **options):
    """What a call to a server that answers so gives."""
    server.add(*(reply if isinstance(reply, list) else [reply]))
    adapter = allm.providers.Anthropic(api_key=KEY, base_url=server.url("anthropic"), **options)
    response = await allm.generate(allm.Engine(adapter=adapter, model="claude-haiku-4-5", retry=retry), "hi")
    assert KEY not in repr(response)
    return response


async def test_a_call(server):
    """The key is in its header alone, the body is JSON, and the answer folds to what the server was told to say."""
    response = await ask(server, ANSWER, headers={"X-Extra": "1"}, betas=("a-2026", "b-2026"))

    assert (response.output_text, response.reasoning_text, response.finish_reason) == (WORDS, "hm", "stop")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (4, 5)
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert request.json() == {
        "model": "claude-haiku-4-5",
        "max_tokens": 64_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": True,
    }
    assert (request.headers["x-api-key"], request.headers["x-extra"]) == (KEY, "1")
    assert (request.headers["anthropic-version"], request.headers["anthropic-beta"]) == ("2023-06-01", "a-2026,b-2026")
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, f"{ANTHROPIC}/v1/messages"),
        ({"base_url": "http://127.0.0.1:8080/gateway/"}, "http://127.0.0.1:8080/gateway/v1/messages"),
        ({"base_url": "https://a.example/v1/"}, "https://a.example/v1/messages"),
        ({"base_url": "https://a.example?beta=true"}, "https://a.example/v1/messages?beta=true"),
    ],
)
def test_the_url(options, url):
    """The version is not doubled, and a query of the base stays."""
    assert prepare(allm.providers.Anthropic(api_key=KEY, **options)).url == url


def test_headers():
    """Version, key and id of the request; what the caller gives wins."""
    plain = headers_of(prepare(allm.providers.Anthropic(api_key=KEY, api_version="2026-10-21"), request_id="trace-1"))
    bearer = headers_of(prepare(allm.providers.Anthropic(api_key=KEY, auth="bearer")))
    own = headers_of(prepare(allm.providers.Anthropic(api_key=KEY, betas=("a",), headers={"Anthropic-Beta": "b"})))

    assert (plain["x-api-key"], plain["anthropic-version"], plain["x-request-id"]) == (KEY, "2026-10-21", "trace-1")
    assert "anthropic-beta" not in plain
    assert bearer["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in bearer
    assert own["anthropic-beta"] == "b"
    assert prepare(allm.providers.Anthropic(api_key=KEY, betas="one")).headers["anthropic-beta"] == "one"


def test_the_environment(monkeypatch):
    """The vendor's own variables, and what is given before them."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from-env")
    bearer = allm.providers.Anthropic(auth="bearer")
    assert headers_of(prepare(adapter_for("anthropic")))["x-api-key"] == "from-env"
    assert headers_of(prepare(bearer))["authorization"] == "Bearer from-env"
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token")
    assert headers_of(prepare(adapter_for("anthropic")))["x-api-key"] == "from-env"
    assert headers_of(prepare(bearer))["authorization"] == "Bearer token"
    assert headers_of(prepare(allm.providers.Anthropic(api_key="given")))["x-api-key"] == "given"
    assert headers_of(prepare(bearer, api_key=Secret("call")))["authorization"] == "Bearer call"
    with allm.keys.override(anthropic="overridden"):
        assert headers_of(prepare(adapter_for("anthropic")))["x-api-key"] == "overridden"
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://localhost:1")
    assert prepare(adapter_for("anthropic")).url == "http://localhost:1/v1/messages"
    assert prepare(allm.providers.Anthropic(base_url="http://localhost:2")).url == "http://localhost:2/v1/messages"


@pytest.mark.parametrize(
    ("options", "reason", "words"),
    [
        ({}, "missing_key", "ANTHROPIC_API_KEY"),
        ({"auth": "bearer"}, "missing_key", "ANTHROPIC_AUTH_TOKEN or ANTHROPIC_API_KEY"),
        ({"api_key": "a\nb"}, "invalid_key", "anthropic"),
        ({"api_key": KEY, "base_url": "api.anthropic.com"}, "invalid_base_url", "api.anthropic.com"),
        ({"api_key": KEY, "http_client": object()}, "invalid_engine", "AsyncClient"),
    ],
)
def test_what_is_missing_is_said_before(options, reason, words):
    """Nothing is sent without a key, a URL and a client that can send it."""
    with pytest.raises(EngineError, match=words) as caught:
        prepare(allm.providers.Anthropic(**options))
    assert caught.value.reason == reason


@pytest.mark.parametrize("options", [{"auth": "basic"}, {"prompt_cache": "2h"}, {"structured_output": "json"}])
def test_options_have_values(options):
    """A misspelt one is told at once."""
    with pytest.raises(ValueError, match=str(next(iter(options)))):
        allm.providers.Anthropic(**options)


def test_a_call_shows_no_key():
    """Neither the adapter nor the prepared call has the key in its `repr`."""
    adapter = allm.providers.Anthropic(api_key=KEY, auth="bearer", headers={"x-api-key": KEY})

    assert KEY not in repr(adapter) + repr(prepare(adapter)) + prepare(adapter).url


def test_the_engine_knows_it():
    """By its name in front of a model's."""
    engine = allm.Engine.from_model("anthropic:claude-sonnet-5-5")

    assert isinstance(engine.adapter, allm.providers.Anthropic)
    assert (engine.model, engine.adapter.provider) == ("claude-sonnet-5-5", "anthropic")


async def test_a_client_of_ones_own(server):
    """It is used, and not closed."""
    server.add(ANSWER)
    async with httpx.AsyncClient(headers={"x-mine": "1"}) as client:
        adapter = allm.providers.Anthropic(api_key=KEY, base_url=server.url("anthropic"), http_client=client)
        await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")
        assert not client.is_closed
    assert server.requests[0].headers["x-mine"] == "1"


LAST = ANSWER.event_ends[-2]
"""Where `message_stop` begins."""


@pytest.mark.parametrize("cut", [*range(0, LAST, 131), LAST, LAST + 1])
@pytest.mark.parametrize("clean", [True, False], ids=["short", "dropped"])
async def test_cut_anywhere_is_truncation_and_keeps_the_text(server, cut, clean):
    """Before the end marker there is no success, wherever the stream stops, and however it does."""
    response = await ask(server, attrs.evolve(ANSWER, fault=Cut(cut, clean=clean)))

    assert (response.finish_reason, response.error.reason) == ("error", "stream_truncated")
    assert response.error.provider == "anthropic"
    assert WORDS.startswith(response.output_text)


async def test_pings_are_no_progress(server, clock):
    """A stream of nothing but pings is a silent one."""
    body = sse(started(), text(0, "one")[:2], *[{"type": "ping"}] * 40)
    pauses = {len(sse(started(), text(0, "one")[:2], *[{"type": "ping"}] * count)): 10.0 for count in range(1, 40)}
    reply = Reply(headers={"content-type": "text/event-stream"}, body=body, pauses=pauses)
    response = await ask(server, reply)

    assert (response.error.reason, response.output_text) == ("timeout", "one")


@pytest.mark.parametrize("body", [sse(OVERLOADED), sse({"type": "ping"}, OVERLOADED)], ids=["first", "after a ping"])
async def test_an_error_before_anything_was_said_is_tried_again(server, body):
    """An error in a 200 stream is retried like one with its status."""
    failed = Reply(headers={"content-type": "text/event-stream"}, body=body)
    response = await ask(server, [failed, ANSWER], retry=allm.RetryPolicy(base_delay=0))

    assert (response.output_text, len(server.requests)) == (WORDS, 2)


async def test_an_error_in_the_middle_is_not_tried_again(server):
    """What was said has been said."""
    failed = Reply(headers={"content-type": "text/event-stream"}, body=sse(started(), text(0, "one"), OVERLOADED))
    response = await ask(server, [failed, ANSWER], retry=allm.RetryPolicy(base_delay=0))

    assert (response.output_text, response.error.reason, len(server.requests)) == ("one", "overloaded", 1)


async def test_an_error_answer(server):
    """Status, wait and code are read, and an echoed key is masked."""
    response = await ask(server, Reply.error("anthropic", 429, message=f"Slow down, {KEY}.", retry_after=7))

    error = response.error
    assert isinstance(error, AdapterError)
    assert (error.reason, error.status, error.retry_after, error.retryable) == ("rate_limited", 429, 7, True)
    assert (error.provider, error.provider_code, error.message) == ("anthropic", "rate_limit_error", "Slow down, ***.")
    assert error.request_id


async def test_an_answer_in_plain_json(server):
    """Some gateways give it to a streaming request."""
    document = {
        "id": "msg_1",
        "type": "message",
        "model": "m",
        "content": [{"type": "text", "text": WORDS}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 4, "output_tokens": 5},
    }
    response = await ask(server, Reply.json(document, chunks=5))

    assert (response.output_text, response.finish_reason, response.usage.output_tokens) == (WORDS, "stop", 5)


async def test_news_do_not_break_an_answer(server):
    """An event and a block of later inventions, in the middle of a stream."""
    news = sse(
        {"type": "thread_created", "x": 1},
        {"type": "content_block_start", "index": 9, "content_block": {"type": "hologram", "depth": 3}},
        {"type": "content_block_stop", "index": 9},
    )
    server.add(attrs.evolve(ANSWER, fault=Garbage(ANSWER.event_ends[4], news)))
    adapter = allm.providers.Anthropic(api_key=KEY, base_url=server.url("anthropic"))
    engine = allm.Engine(adapter=adapter, model="m", retry=None)
    async with allm.stream_generate(engine, "hi", include_raw_chunks=True) as events:
        seen = [event async for event in events]
    response = events.result()

    assert (response.output_text, response.finish_reason) == (WORDS, "stop")
    assert RawChunk("thread_created", {"type": "thread_created", "x": 1}) in seen
    assert ProviderPart("anthropic", {"type": "hologram", "depth": 3}) in response.message.parts


async def test_a_turn_with_tools(server):
    """Thinking and call go back as they came, with the result behind them."""
    server.add(
        Reply.script("anthropic", [fake.reasoning("hm"), fake.tool_call("clock", {"city": "Ulm"}, id="toolu_9")]),
        ANSWER,
    )
    tool = allm.Tool("clock", "Tells the time.", handler=lambda arguments: f"noon in {arguments['city']}")
    adapter = allm.providers.Anthropic(api_key=KEY, base_url=server.url("anthropic"), prompt_cache=True)
    result = await allm.chat(allm.Engine(adapter=adapter, model="claude-haiku-4-5", tools=[tool]), "hi")

    assert result.final_response.output_text == WORDS
    question, said, answered = server.requests[1].json()["messages"]
    assert question["content"] == [{"type": "text", "text": "hi"}]
    assert [part["type"] for part in said["content"]] == ["thinking", "tool_use"]
    assert said["content"][0]["signature"]
    assert answered["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_9",
            "content": "noon in Ulm",
            "cache_control": {"type": "ephemeral"},
        }
    ]
