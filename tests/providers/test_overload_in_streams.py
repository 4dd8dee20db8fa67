"""Overload that a provider reports inside a stream that began well is retried: nothing of the answer was there yet.

Shapes as OpenAI and Anthropic send them: a status 200, the opening event, then the error or the end of the connection.
"""

from __future__ import annotations

import pytest

import allm
from allm.providers import Anthropic, OpenAI
from allm.testing import Reply, WireServer

CREATED = {
    "type": "response.created",
    "sequence_number": 0,
    "response": {"id": "resp_1", "object": "response", "model": "gpt-5.4", "status": "in_progress", "output": []},
}
BUSY = {"code": "server_is_overloaded", "message": "Our servers are currently overloaded. Please try again later."}
MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 25, "output_tokens": 1},
    },
}
ROLE_CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "model": "gpt-5.4",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
}


def named(*events):
    return [(event["type"], event) for event in events]


SHAPES = {
    "responses, failed": (
        "openai_responses",
        named(
            CREATED,
            {
                "type": "response.failed",
                "sequence_number": 1,
                "response": {**CREATED["response"], "status": "failed", "error": BUSY},
            },
        ),
    ),
    "responses, error": ("openai_responses", named(CREATED, {"type": "error", "sequence_number": 1, "error": BUSY})),
    "responses, cut": ("openai_responses", named(CREATED)),
    "anthropic, overloaded": (
        "anthropic",
        named(MESSAGE_START, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ),
    "anthropic, cut": ("anthropic", named(MESSAGE_START)),
    "chat, error": ("openai", [(None, ROLE_CHUNK), (None, {"error": {**BUSY, "type": "server_error"}})]),
    "chat, cut": ("openai", [(None, ROLE_CHUNK)]),
}


def adapter_for(wire_format, server):
    if wire_format == "anthropic":
        return Anthropic(api_key="k", base_url=server.url("anthropic"))
    endpoint = "responses" if wire_format == "openai_responses" else "chat_completions"
    return OpenAI(api_key="k", base_url=server.url("openai"), endpoint=endpoint)


@pytest.mark.parametrize(("wire_format", "events"), SHAPES.values(), ids=SHAPES)
async def test_it_is_asked_again(wire_format, events):
    """The caller sees one answer, and so does `on_event`."""
    observed = []
    async with WireServer() as server:
        server.add(Reply.sse(events), Reply.script(wire_format, [allm.fake.text("fine")]))
        engine = allm.Engine(
            adapter=adapter_for(wire_format, server), model="m", retry=allm.RetryPolicy(base_delay=0, jitter=0)
        )
        response = await allm.generate(engine, "hi", on_event=observed.append, max_tokens=100)
        assert (response.output_text, response.error) == ("fine", None)
        assert len(server.requests) == 2
    assert sum(isinstance(event, allm.MessageStarted) for event in observed) == 1
    assert not any(isinstance(event, allm.Failed) for event in observed)
