"""The Gemini adapter over a real socket: where it sends what, and what comes back when something breaks."""

from __future__ import annotations

import attrs
import httpx
import pytest

import allm
from allm import AdapterError, EngineError, Request, ValidationError, fake
from allm.providers.gemini.adapter import resource_name
from allm.runtime.adapters import AdapterOptions
from allm.runtime.registry import adapter_for
from allm.testing import Cut, Reply, WireServer, loopback_clock
from gemini_wire import chunk, sse, text
from prepared_calls import headers_of

KEY = "AIza-canary-0123456789"
WORDS = "one two three four"
SCRIPT = [fake.reasoning("hm"), fake.text(WORDS), fake.usage(input_tokens=4, output_tokens=5)]
ANSWER = Reply.script("gemini", SCRIPT)
GOOGLE = "https://generativelanguage.googleapis.com"
TAIL = ":streamGenerateContent?alt=sse"


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
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def prepare(adapter, model="m", **options):
    """The HTTP call for a short request."""
    return adapter.prepare(Request((allm.user("hi"),), model=model), AdapterOptions(**options))


async def ask(server, reply, *, retry=None, **options):
    """What a call to a server that answers so gives."""
    server.add(*(reply if isinstance(reply, list) else [reply]))
    adapter = allm.providers.Gemini(api_key=KEY, base_url=server.url("gemini"), **options)
    response = await allm.generate(allm.Engine(adapter=adapter, model="gemini-9", retry=retry), "hi")
    assert KEY not in repr(response)
    return response


async def test_a_call(server):
    """The key is in its header alone, the body is JSON, and the answer folds to what the server was told to say."""
    response = await ask(server, ANSWER, headers={"X-Extra": "1"})

    assert (response.output_text, response.reasoning_text, response.finish_reason) == (WORDS, "hm", "stop")
    assert (response.usage.input_tokens, response.usage.output_tokens) == (4, 5)
    [request] = server.requests
    assert (request.method, request.path) == ("POST", f"/v1beta/models/gemini-9{TAIL}")
    assert request.json() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    assert (request.headers["x-goog-api-key"], request.headers["x-extra"]) == (KEY, "1")
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("model", "resource"),
    [
        ("gemini-3.5-flash", "models/gemini-3.5-flash"),
        ("models/gemini-3.5-flash", "models/gemini-3.5-flash"),
        ("tunedModels/mine-1", "tunedModels/mine-1"),
        ("publishers/google/models/gemini-9", "publishers/google/models/gemini-9"),
        ("projects/p/locations/eu/publishers/google/models/g", "projects/p/locations/eu/publishers/google/models/g"),
        ("google/gemini-9", "models/google%2Fgemini-9"),
        ("../other", "models/..%2Fother"),
        ("a b?key=1#c:d", "models/a%20b%3Fkey%3D1%23c%3Ad"),
        ("models/x:generateContent", "models/x%3AgenerateContent"),
        ("ünïcode", "models/%C3%BCn%C3%AFcode"),
        ("models", "models/models"),
    ],
)
def test_models_in_the_url(model, resource):
    """A name stays in its place of the URL, whatever is in it."""
    assert resource_name(model) == resource


@pytest.mark.parametrize("model", ["", ".", "..", "models/", "models/..", "models/../x", "tunedModels/a//b"])
def test_models_that_reach_outside(model):
    """A name that would be another path is refused."""
    with pytest.raises(ValidationError, match="cannot be part of a URL"):
        resource_name(model)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, f"{GOOGLE}/v1beta/models/m{TAIL}"),
        ({"api_version": "v1"}, f"{GOOGLE}/v1/models/m{TAIL}"),
        ({"api_version": ""}, f"{GOOGLE}/models/m{TAIL}"),
        ({"base_url": "http://127.0.0.1:8080/gateway/"}, f"http://127.0.0.1:8080/gateway/v1beta/models/m{TAIL}"),
        ({"base_url": "https://g.example/v1beta/"}, f"https://g.example/v1beta/models/m{TAIL}"),
        ({"base_url": "https://g.example?a=1"}, f"https://g.example/v1beta/models/m{TAIL.replace('?', '?a=1&')}"),
    ],
)
def test_the_url(options, url):
    """Base, version, model; the version is not doubled, and a query of the base stays."""
    assert prepare(allm.providers.Gemini(api_key=KEY, **options)).url == url


def test_the_environment(monkeypatch):
    """The vendor's own variables: GEMINI_API_KEY before GOOGLE_API_KEY, and what is given before both."""
    monkeypatch.setenv("GOOGLE_API_KEY", "second")
    assert headers_of(prepare(adapter_for("gemini")))["x-goog-api-key"] == "second"
    monkeypatch.setenv("GEMINI_API_KEY", "first")
    assert headers_of(prepare(adapter_for("gemini")))["x-goog-api-key"] == "first"
    assert headers_of(prepare(allm.providers.Gemini(api_key="given")))["x-goog-api-key"] == "given"
    with allm.keys.override(gemini="overridden"):
        assert headers_of(prepare(adapter_for("gemini")))["x-goog-api-key"] == "overridden"
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://localhost:1")
    assert prepare(adapter_for("gemini")).url.startswith("http://localhost:1/v1beta/")
    assert prepare(allm.providers.Gemini(base_url="http://localhost:2")).url.startswith("http://localhost:2/v1beta/")


@pytest.mark.parametrize(
    ("options", "reason", "words"),
    [
        ({}, "missing_key", "GEMINI_API_KEY or GOOGLE_API_KEY"),
        ({"api_key": "a\nb"}, "invalid_key", "gemini"),
        ({"api_key": KEY, "base_url": "generativelanguage"}, "invalid_base_url", "generativelanguage"),
        ({"api_key": KEY, "http_client": object()}, "invalid_engine", "AsyncClient"),
    ],
)
def test_what_is_missing_is_said_before(options, reason, words):
    """Nothing is sent without a key, a URL and a client that can send it."""
    with pytest.raises(EngineError, match=words) as caught:
        prepare(allm.providers.Gemini(**options))
    assert caught.value.reason == reason


def test_a_call_shows_no_key():
    """Neither the adapter nor the prepared call has the key in its `repr`, and the URL has none at all."""
    adapter = allm.providers.Gemini(api_key=KEY)
    call = prepare(adapter, request_id="trace-1")

    assert KEY not in repr(adapter) + repr(call) + call.url
    assert call.headers["x-request-id"] == "trace-1"


async def test_a_client_of_ones_own(server):
    """It is used, and not closed."""
    server.add(ANSWER)
    async with httpx.AsyncClient(headers={"x-mine": "1"}) as client:
        adapter = allm.providers.Gemini(api_key=KEY, base_url=server.url("gemini"), http_client=client)
        await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")
        assert not client.is_closed
    assert server.requests[0].headers["x-mine"] == "1"


LAST = ANSWER.event_ends[-2]
"""Where the event with the finish reason begins."""


@pytest.mark.parametrize("cut", [*range(0, LAST, 131), LAST, LAST + 1, LAST + 60, len(ANSWER.body) - 6])
@pytest.mark.parametrize("clean", [True, False], ids=["short", "dropped"])
async def test_cut_anywhere_is_truncation_and_keeps_the_text(server, cut, clean):
    """Before the finish reason there is no success, wherever the stream stops, and however it does."""
    response = await ask(server, attrs.evolve(ANSWER, fault=Cut(cut, clean=clean)))

    assert (response.finish_reason, response.error.reason) == ("error", "stream_truncated")
    assert response.error.provider == "gemini"
    assert WORDS.startswith(response.output_text)


async def test_a_connection_that_drops_before_the_body_ends_is_truncation(server):
    """The end of the body is the end of the answer: without it, an error may still have been on its way."""
    response = await ask(server, attrs.evolve(ANSWER, fault=Cut(len(ANSWER.body))))

    assert (response.finish_reason, response.output_text) == ("error", WORDS)


async def test_an_array_instead_of_events(server):
    """A gateway that ignores `alt=sse` answers with one JSON array."""
    chunks = [chunk(text("one ")), chunk(text("two"), finish="STOP")]
    response = await ask(server, Reply.json(chunks, chunks=5))

    assert (response.output_text, response.finish_reason) == ("one two", "stop")


async def test_an_error_as_the_first_event_is_tried_again(server):
    """Nothing was emitted: an error in a 200 stream is retried like one with its status."""
    overloaded = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}
    failed = Reply(headers={"content-type": "text/event-stream"}, body=sse(overloaded))
    response = await ask(server, [failed, ANSWER], retry=allm.RetryPolicy(base_delay=0))

    assert (response.output_text, len(server.requests)) == (WORDS, 2)


async def test_an_error_answer(server):
    """Status, wait and code are read, and an echoed key is masked."""
    reply = Reply.error("gemini", 429, message=f"Slow down, {KEY}.", retry_after=7)
    response = await ask(server, reply)

    error = response.error
    assert isinstance(error, AdapterError)
    assert (error.reason, error.status, error.retry_after, error.retryable) == ("rate_limited", 429, 7, True)
    assert (error.provider, error.provider_code, error.message) == ("gemini", "RESOURCE_EXHAUSTED", "Slow down, ***.")


async def test_an_error_between_the_events(server):
    """Vertex AI's bare error object is found behind a finish reason that had come already."""
    reply = Reply.script("gemini", [fake.text(WORDS), fake.error(AdapterError("Stopped.", reason="unknown"))])
    response = await ask(server, reply)

    assert (response.output_text, response.finish_reason) == (WORDS, "error")
    assert "Stopped." in response.error.message


async def test_ids_of_calls_are_new_in_the_conversation(server):
    """The decoder knows the ids that the thread has."""
    server.add(Reply.script("gemini", [fake.tool_call("clock", {})]))
    adapter = allm.providers.Gemini(api_key=KEY, base_url=server.url("gemini"))
    thread = [
        allm.user("?"),
        allm.assistant(allm.ToolCall("call_0", "clock", {})),
        allm.tool_result("call_0", "12:00"),
    ]
    response = await allm.generate(allm.Engine(adapter=adapter, model="gemini-2.0-flash"), thread)

    assert [call.id for call in response.tool_calls] != ["call_0"]
    assert response.finish_reason == "tool_calls"
