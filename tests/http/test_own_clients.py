"""HTTP clients of users: mocks, hooks, redirects. Their responses work like those of a server."""

from __future__ import annotations

import gzip
import json

import pytest

import allm
from allm import fake
from allm.http import library as http_library
from allm.providers import Anthropic, Gemini, OpenAI, OpenAIEmbeddings
from allm.testing import Reply, WireServer, loopback_clock

LIBRARY = http_library.library()
KEY = "key-0123456789"
CHUNKS = [
    {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]},
]
EVENTS = "".join(f"data: {chunk}\n\n" for chunk in [*map(json.dumps, CHUNKS), "[DONE]"])
ANSWER = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "id": "c", "model": "m"}
SSE = {"content-type": "text/event-stream"}


@pytest.fixture
def clock():
    return loopback_clock()


def mock(respond, **settings):
    """A client whose every request is answered by a function."""
    return LIBRARY.AsyncClient(transport=LIBRARY.MockTransport(respond), **settings)


def chat(client, endpoint="chat_completions"):
    adapter = OpenAI(api_key=KEY, base_url="http://x/v1", http_client=client, endpoint=endpoint)
    return allm.Engine(adapter=adapter, model="m", retry=None)


async def stream_of(body):
    for at in range(0, len(body), 10):
        yield body[at : at + 10]


BODIES = {
    "json": lambda: {"json": ANSWER},
    "content": lambda: {"content": EVENTS.encode(), "headers": SSE},
    "text": lambda: {"text": EVENTS, "headers": SSE},
    "compressed": lambda: {
        "content": gzip.compress(EVENTS.encode(), mtime=0),
        "headers": {**SSE, "content-encoding": "gzip"},
    },
    "a stream": lambda: {"content": stream_of(EVENTS.encode()), "headers": SSE},
    "a stream of one piece": lambda: {"stream": LIBRARY.ByteStream(EVENTS.encode()), "headers": SSE},
}


@pytest.mark.parametrize("form", BODIES)
async def test_a_mock(clock, form):
    """Its response works however it was made, whether it was read or not."""
    async with mock(lambda _: LIBRARY.Response(200, **BODIES[form]())) as client:
        response = await allm.generate(chat(client), "hi")
    assert (response.output_text, response.finish_reason, response.error) == ("hi", "stop", None)


WIRES = {
    "openai": lambda client: OpenAI(
        api_key=KEY, base_url="http://x/v1", http_client=client, endpoint="chat_completions"
    ),
    "openai_responses": lambda client: OpenAI(
        api_key=KEY, base_url="http://x/v1", http_client=client, endpoint="responses"
    ),
    "anthropic": lambda client: Anthropic(api_key=KEY, base_url="http://x", http_client=client),
    "gemini": lambda client: Gemini(api_key=KEY, base_url="http://x", http_client=client),
}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_mock_of_every_provider(clock, wire):
    """Responses and errors work alike; the hook sees the body that was sent."""
    async with WireServer() as server:
        server.add(Reply.script(wire, [fake.text("hi")]))
        async with LIBRARY.AsyncClient() as client:
            path = {"anthropic": "/v1/messages", "gemini": "/models/m:streamGenerateContent"}.get(wire, "/v1/x")
            recorded = await client.post(server.base_url + path, json={"model": "m", "stream": True})
    sent = []
    answers = [
        LIBRARY.Response(200, content=recorded.content, headers=SSE),
        LIBRARY.Response(429, json={"error": {"message": "slow down", "type": "rate_limit_error"}}),
    ]

    def respond(request):
        sent.append(json.loads(request.content))
        return answers.pop(0)

    async with mock(respond) as client:
        engine = allm.Engine(adapter=WIRES[wire](client), model="claude-sonnet-4-6", retry=None)
        response = await allm.generate(engine, "a question")
        assert (response.output_text, response.error) == ("hi", None)
        failed = await allm.generate(engine, "a question")
    assert (failed.error.reason, failed.error.message) == ("rate_limited", "slow down")
    assert all("a question" in json.dumps(body) for body in sent)


async def test_a_mock_of_a_unary_call(clock):
    """Embeddings, as an example of services that respond with JSON."""
    document = {"data": [{"index": 0, "embedding": [1.0, 2.0]}], "model": "m"}
    async with mock(lambda _: LIBRARY.Response(200, json=document)) as client:
        adapter = OpenAIEmbeddings(api_key=KEY, base_url="http://x/v1", http_client=client)
        response = await allm.embed(allm.Engine(embedding_adapter=adapter, embedding_model="m"), "a")
    assert len(response.embeddings) == 1


async def test_hooks(clock):
    """A hook may read the request and the response of a real server; the result is the same."""
    seen = []

    async def on_request(request):
        seen.append(json.loads(request.content)["messages"][0]["content"])
        seen.append(await request.aread() == request.content)

    async def on_response(response):
        seen.append(await response.aread() == response.content)

    async with WireServer() as server:
        server.default = Reply.script("openai", [fake.text("hi")])
        hooks = {"request": [on_request], "response": [on_response]}
        async with LIBRARY.AsyncClient(event_hooks=hooks) as client:
            adapter = OpenAI(api_key=KEY, base_url=server.url("openai"), http_client=client)
            response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "why")
        assert server.requests[0].json()["messages"][0]["content"] == "why"
    assert (response.output_text, seen) == ("hi", ["why", True, True])


async def test_a_hook_that_discards_the_body(clock):
    """It is reported as an error of the response."""

    async def on_response(response):
        async for _ in response.aiter_raw():
            pass

    async with mock(
        lambda _: LIBRARY.Response(200, content=stream_of(b"x")), event_hooks={"response": [on_response]}
    ) as c:
        response = await allm.generate(chat(c), "hi")
    assert response.error.reason == "malformed_response"
    assert "await response.aread() keeps it" in response.error.message


async def test_authentication_that_repeats_the_request(clock):
    """`auth=` of the client may need the body twice."""

    class Twice(LIBRARY.Auth):
        requires_request_body = True

        def auth_flow(self, request):
            yield request
            request.headers["x-digest"] = str(len(request.content))
            yield request

    async with WireServer() as server:
        server.default = Reply.script("openai", [fake.text("hi")])
        async with LIBRARY.AsyncClient(auth=Twice()) as client:
            adapter = OpenAI(api_key=KEY, base_url=server.url("openai"), http_client=client)
            response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "why")
        first, second = server.requests
        assert first.body == second.body != b""
        assert second.headers["x-digest"] == str(len(first.body))
    assert response.output_text == "hi"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(clock, status):
    """Whatever the client's settings, because the key would be sent along."""
    async with WireServer() as server:
        server.add(Reply(status=status, headers={"location": "/elsewhere"}))
        async with LIBRARY.AsyncClient(follow_redirects=True) as client:
            adapter = OpenAI(api_key=KEY, base_url=server.url("openai"), http_client=client)
            response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "why")
        assert len(server.requests) == 1
    assert (response.error.reason, response.error.status) == ("invalid_request", status)
    assert "redirect to /elsewhere" in response.error.message
