"""`include_raw_chunks=True` shows every event of the wire, also those that gave other events; else none is made."""

from __future__ import annotations

import json

import attrs
import pytest

import allm
from allm import fake
from allm.adapters import FrameDecoder
from allm.providers import Anthropic, Bedrock, Cohere, Gemini, OpenAI
from allm.testing import Reply, WireServer, loopback_clock

SCRIPT = [fake.reasoning("Hm."), fake.text("Hello "), fake.text("you"), fake.tool_call("f", {"a": 1})]
FORMATS = ("openai", "openai_responses", "anthropic", "gemini", "bedrock", "cohere")


def adapter_of(wire_format, server):
    if wire_format == "anthropic":
        return Anthropic(api_key="k", base_url=server.url("anthropic"))
    if wire_format == "cohere":
        return Cohere(api_key="k", base_url=server.base_url)
    if wire_format == "bedrock":
        return Bedrock(api_key="k", region="us-east-1", base_url=server.base_url)
    if wire_format == "gemini":
        return Gemini(api_key="k", base_url=server.url("gemini"))
    endpoint = "responses" if wire_format == "openai_responses" else "chat_completions"
    return OpenAI(api_key="k", base_url=server.url("openai"), endpoint=endpoint)


async def read(wire_format, reply, **options):
    async with WireServer() as server:
        server.add(reply)
        engine = allm.Engine(adapter=adapter_of(wire_format, server), model="m")
        async with allm.stream_generate(engine, "hi", max_tokens=99, **options) as events:
            seen = [event async for event in events]
    return seen, events.result()


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_every_event_of_the_wire_is_shown(wire_format):
    """One for each, in order, and the result is as without them."""
    reply = Reply.script(wire_format, SCRIPT)
    seen, response = await read(wire_format, reply, include_raw_chunks=True)
    plain, without = await read(wire_format, reply)

    raw = [event for event in seen if isinstance(event, allm.RawChunk)]
    frames = list(FrameDecoder().feed(reply.body)) if wire_format == "bedrock" else []
    assert len(raw) == (len(frames) or reply.body.count(b"data: "))
    assert [event for event in seen if not isinstance(event, allm.RawChunk)] == plain
    assert response == without


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_none_is_made_unless_it_is_asked_for(wire_format, monkeypatch):
    """Not one, not even to be thrown away."""
    made = []
    monkeypatch.setattr("allm.http.decoder.RawChunk", lambda *args: made.append(args))
    seen, _ = await read(wire_format, Reply.script(wire_format, SCRIPT))
    assert not made
    assert not any(isinstance(event, allm.RawChunk) for event in seen)


@pytest.fixture
def clock():
    """Silences of the server cost no time."""
    return loopback_clock()


@pytest.mark.parametrize(
    ("wire_format", "event", "reason"),
    [
        ("anthropic", {"type": "ping"}, "timeout"),
        ("anthropic", {"type": "later_event"}, None),
        ("openai_responses", {"type": "keepalive", "sequence_number": 3}, "timeout"),
        ("openai_responses", {"type": "response.later_event", "sequence_number": 3}, None),
    ],
)
async def test_keep_alives_are_no_progress(clock, wire_format, event, reason):
    """An event that is not known is a sign that the answer goes on; a ping says that the connection is open."""
    reply = Reply.script(wire_format, [fake.text("Hello")])
    first, *rest = reply.body.split(b"\n\n")
    line = f"event: {event['type']}\ndata: {json.dumps(event)}".encode()
    body = b"\n\n".join([first, line, line, line, *rest])
    length = len(first) + 2
    offsets = [length + index * (len(line) + 2) for index in range(4)]
    slow = attrs.evolve(reply, body=body, chunks=None, pauses=dict.fromkeys(offsets, 2.0))
    _, response = await read(wire_format, slow, stream_timeout=5)
    assert (response.error and response.error.reason) == reason
