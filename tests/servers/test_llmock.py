"""Tests against llmock: scripted responses and faults of all vendors, over a real socket, by third-party code.

After each test, the server gives a verdict on how its client behaved. It only sees requests, so a response that it
broke counts as mishandled unless the client sends another request: the tests do so, like an application that handles
the failure.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import asynccontextmanager

import pytest
import trio

import allm
from servers import vendors
from servers.vendors import each

testing = pytest.importorskip("llmock.testing", reason="llmock is installed by `nox -s servers`")
from llmock.chaos import StreamChaos  # noqa: E402
from llmock.scenarios import Delay, Fail, Reply, SlowFirstToken, StreamFault, ToolCall, ToolFault  # noqa: E402

GREETING = "Grüezi mitenand 👋 from a scripted model, in a few words."
MIDDLE = 7  # chunks: after some text and before the end in every format
QUICK = allm.RetryPolicy(base_delay=0.1, jitter=0.1)
BROKEN = [("disconnect", {"stream_truncated", "network_error"}), ("truncate", {"stream_truncated"})]


@pytest.fixture(scope="module")
def running():
    with testing.LLMockServer(host="127.0.0.1") as server:
        yield server


@pytest.fixture
def server(running):
    running.state.reset()
    running.state.stream_chaos = StreamChaos()
    yield running
    with urllib.request.urlopen(f"{running.url}/_llmock/verdict", timeout=10) as answer:  # noqa: S310
        assert json.load(answer)["findings"] == []


def ask_at(server, vendor, **options):
    _, name = vendors.VENDORS[vendor]
    return vendors.engine(vendor, server.base_url(name), **options)


def records(server):
    return server.state.journal.records(wait=2)


async def ask_again(server, vendor):
    """Send another request, as an application does after a failure, once the first one's end is recorded."""
    await trio.to_thread.run_sync(records, server)
    response = await allm.generate(ask_at(server, vendor), "hi")
    assert response.error is None


@each()
async def test_text_usage_and_finish_reason(server, vendor):
    """All three arrive with a complete response."""
    server.state.scenarios.add(Reply(text=GREETING))
    response = await allm.generate(ask_at(server, vendor), "What would you like to say to all the people here?")
    assert allm.unwrap(response) == GREETING
    assert response.usage.input_tokens > 0
    assert response.usage.output_tokens > 0


@each()
async def test_text_arrives_in_pieces(server, vendor):
    """The pieces are the words as the server sent them."""
    server.state.scenarios.add(Reply(text=GREETING))
    async with allm.stream_generate(ask_at(server, vendor), "hi") as events:
        pieces = [piece async for piece in events.text()]
    assert "".join(pieces) == GREETING
    assert len(pieces) > 5


@each()
async def test_response_cut_by_the_token_limit(server, vendor):
    """Its finish reason is `length`."""
    server.state.scenarios.add(Reply(text="Some", finish_reason="length"))
    response = await allm.generate(ask_at(server, vendor), "hi")
    assert response.finish_reason == "length"


@each("openai_chat", "anthropic", "gemini")  # on the Responses API llmock reports such a response as completed
async def test_response_cut_by_the_filter(server, vendor):
    """Its finish reason is `content_filter`."""
    server.state.scenarios.add(Reply(text="Some", finish_reason="content_filter"))
    response = await allm.generate(ask_at(server, vendor), "hi")
    assert response.finish_reason == "content_filter"


@each()
async def test_parallel_tool_calls(server, vendor):
    """Their arguments arrive in pieces of a few characters and are complete at the end."""
    calls = (ToolCall("get_weather", {"city": "Zürich"}), ToolCall("get_weather", {"city": "Bern", "days": [1, 2]}))
    server.state.scenarios.add(Reply(text="Let me see.", tool_calls=calls))
    response = await allm.generate(ask_at(server, vendor), "hi", tools=[vendors.get_weather])
    assert response.finish_reason == "tool_calls"
    assert [(call.name, call.arguments) for call in response.tool_calls] == [
        ("get_weather", {"city": "Zürich"}),
        ("get_weather", {"city": "Bern", "days": [1, 2]}),
    ]
    assert len({call.id for call in response.tool_calls}) == 2


@each()
async def test_chat_with_a_tool(server, vendor):
    """Two model calls: a tool call that the server makes up from our schema, and the response to its result."""
    server.state.scenarios.add(Reply(tool_calls=(ToolCall("get_weather", {"city": "Zürich"}),)), Reply(text=GREETING))
    result = await allm.chat(ask_at(server, vendor), "What is the weather?", tools=[vendors.get_weather])
    assert result.halted_reason == "completed"
    assert result.output_text == GREETING
    [first, second] = records(server)
    assert "degrees" not in json.dumps(first.body)
    assert "degrees" in json.dumps(second.body)


@each()
async def test_tool_call_that_fits_the_schema(server, vendor):
    """Without a script the server calls the first tool with an instance of its schema."""
    response = await allm.generate(ask_at(server, vendor), "weather", tools=[vendors.get_weather])
    [call] = response.tool_calls
    assert isinstance(call.arguments["city"], str)


@each("openai_chat", "gemini")
async def test_response_that_fits_a_schema(server, vendor):
    """The schema reaches the server, and its instance reaches us."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    response = await allm.generate(ask_at(server, vendor), "hi", response_format=allm.json_schema("person", schema))
    person = json.loads(allm.unwrap(response))
    assert isinstance(person["name"], str)
    assert isinstance(person["age"], int)


@each("openai_chat")
async def test_broken_arguments_are_kept_as_text(server, vendor):
    """A call of a tool that was never offered is kept as well."""
    server.state.scenarios.add(ToolFault("malformed_arguments"))
    response = await allm.generate(ask_at(server, vendor), "weather", tools=[vendors.get_weather])
    [call] = response.tool_calls
    assert call.arguments is None
    assert call.raw_arguments
    server.state.scenarios.add(ToolFault("unknown_tool"))
    response = await allm.generate(ask_at(server, vendor), "weather", tools=[vendors.get_weather])
    [call] = response.tool_calls
    assert call.name != "get_weather"


@each()
async def test_rate_limit_is_waited_for(server, vendor):
    """Two refusals have different waiting times; the server's verdict checks that we waited."""
    server.state.scenarios.add(Fail(429, retry_after=0.4, times=2))
    before = trio.current_time()
    response = await allm.generate(ask_at(server, vendor, retry=QUICK), "hi")
    assert response.error is None
    assert trio.current_time() - before >= 0.8
    assert [record.status for record in records(server)] == [429, 429, 200]


@each()
@pytest.mark.parametrize("status", [500, 503, 529])
async def test_outage_that_passes(server, vendor, status):
    """The call is retried after the server's waiting time."""
    server.state.scenarios.add(Fail(status, retry_after=0.15, times=2))
    response = await allm.generate(ask_at(server, vendor, retry=QUICK), "hi")
    assert response.error is None
    assert [record.status for record in records(server)] == [status, status, 200]


@each()
async def test_outage_that_stays(server, vendor):
    """The number of attempts is limited, and the error gives the cause."""
    server.state.scenarios.add(Fail(503, retry_after=0.15, times=None))
    response = await allm.generate(ask_at(server, vendor, retry=QUICK), "hi")
    assert response.error.reason in {"provider_unavailable", "overloaded"}
    assert response.error.status == 503
    assert len(records(server)) == 3


@each()
@pytest.mark.parametrize(
    ("status", "reason"), [(400, "invalid_request"), (401, "authentication_failed"), (404, "not_found")]
)
async def test_refusals_are_not_retried(server, vendor, status, reason):
    """The same request would be refused again."""
    server.state.scenarios.add(Fail(status))
    response = await allm.generate(ask_at(server, vendor, retry=QUICK), "hi")
    assert response.error.reason == reason
    assert response.error.status == status
    assert len(records(server)) == 1


@each("openai_chat")
async def test_context_overflow(server, vendor):
    """It is distinguished from other refusals."""
    server.state.scenarios.add(
        Fail(400, code="context_length_exceeded", message="This model's maximum context length was exceeded.")
    )
    response = await allm.generate(ask_at(server, vendor, retry=QUICK), "hi")
    assert response.error.reason == "context_length_exceeded"
    assert len(records(server)) == 1


@each()
@pytest.mark.parametrize(("kind", "reasons"), BROKEN, ids=["disconnect", "truncate"])
async def test_response_that_breaks_off(server, vendor, kind, reasons):
    """It is an error with the text so far, and is not retried, since the reader has seen the text."""
    server.state.scenarios.add(Reply(text=GREETING, times=2), StreamFault(kind, after_chunks=MIDDLE))
    response = await allm.generate(ask_at(server, vendor, retry=QUICK), "hi")
    assert response.error.reason in reasons
    assert GREETING.startswith(response.output_text)
    assert len(records(server)) == 1
    await ask_again(server, vendor)


@each()
async def test_chunk_that_is_not_json(server, vendor):
    """It is an error; the text before it is kept, and the rest is not read."""
    server.state.stream_chaos = StreamChaos(chunk_delay_ms=20)
    server.state.scenarios.add(Reply(text=GREETING, times=2), StreamFault("malformed", after_chunks=MIDDLE))
    response = await allm.generate(ask_at(server, vendor), "hi")
    assert response.error.reason == "malformed_response"
    assert GREETING.startswith(response.output_text)
    await ask_again(server, vendor)


@each()
async def test_stall(server, vendor):
    """The limit on silence ends the call, and the server sees the connection close."""
    server.state.scenarios.add(
        Reply(text=GREETING, times=2), StreamFault("stall", after_chunks=MIDDLE, stall_seconds=30)
    )
    response = await allm.generate(ask_at(server, vendor), "hi", stream_timeout=0.3)
    assert response.error.reason == "timeout"
    [record] = records(server)
    assert not record.completed
    await ask_again(server, vendor)


@each()
async def test_slow_start(server, vendor):
    """The first-event limit counts a slow first token like a slow response; a longer limit gets the response."""
    for slow in (SlowFirstToken(0.5), Delay(0.5)):
        server.state.scenarios.add(slow)
        response = await allm.generate(ask_at(server, vendor), "hi", first_event_timeout=0.1)
        assert response.error.reason == "timeout"
        server.state.scenarios.add(slow)
        response = await allm.generate(ask_at(server, vendor), "hi", first_event_timeout=30)
        assert response.error is None


@asynccontextmanager
async def half_read(server, vendor):
    """A stream that has stalled in the middle, read up to there."""
    server.state.scenarios.add(
        Reply(text=GREETING, times=2), StreamFault("stall", after_chunks=MIDDLE, stall_seconds=30)
    )
    async with allm.stream_generate(ask_at(server, vendor), "hi") as events:
        async for event in events:
            if isinstance(event, allm.TextDelta):
                break
        yield events


@each()
async def test_server_sees_us_leave(server, vendor):
    """Its journal has the request as not completed, soon after the block is left."""
    async with half_read(server, vendor) as events:
        pass
    assert GREETING.startswith(events.result().output_text)
    [record] = records(server)
    assert not record.completed
    assert record.chunks_sent <= MIDDLE
    assert record.duration < 10
    await ask_again(server, vendor)


@each()
async def test_server_sees_a_deadline(server, vendor):
    """The same holds when a deadline around the call ends it."""
    with trio.CancelScope() as scope:
        async with half_read(server, vendor) as events:
            scope.deadline = trio.current_time() + 0.05
            await events.until_done()
    assert scope.cancelled_caught
    [record] = records(server)
    assert not record.completed
    await ask_again(server, vendor)


@each()
async def test_concurrent_calls(server, vendor):
    """On one engine, each call gets a response."""
    asking = ask_at(server, vendor)
    responses = []

    async def ask(number):
        responses.append(await allm.generate(asking, f"question {number}"))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask, number)
    assert [response.error for response in responses] == [None] * 20
    assert len(records(server)) == 20


async def test_an_image_is_generated(server):
    """The server sends images as data URLs, whose bytes are there without fetching."""
    adapter = allm.providers.OpenAIImages(base_url=server.base_url("openai"), api_key=vendors.KEY)
    engine = allm.Engine(image_adapter=adapter, image_model="gpt-image-2", retry=QUICK)
    response = await allm.generate_image(engine, "a fox", n=2)
    assert len(response.images) == response.usage.images == 2
    assert all(image.to_bytes() for image in response.images)


async def test_image_generation_is_retried(server):
    """When the server's error allows it, after the time that it asks for."""
    server.state.scenarios.add(Fail(429, retry_after=1))
    adapter = allm.providers.OpenAIImages(base_url=server.base_url("openai"), api_key=vendors.KEY)
    engine = allm.Engine(image_adapter=adapter, image_model="gpt-image-2", retry=QUICK)
    assert (await allm.generate_image(engine, "a fox")).images
