"""One streaming call over HTTP: how much of a response is read, and when reading stops."""

from __future__ import annotations

import pytest

import allm
from allm.http import stream_call as exchange
from allm.providers import OpenAI
from allm.testing import Reply, WireServer

ANSWER = {"id": "1", "choices": [{"message": {"content": "hi " * 100}, "finish_reason": "stop"}]}


async def ask(reply, **fields):
    async with WireServer() as server:
        server.default = reply
        adapter = OpenAI(**{"api_key": "k", "endpoint": "chat_completions", **fields}, base_url=server.url("openai"))
        return await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "hi")


async def test_a_document_that_is_too_long(monkeypatch):
    """Reading stops while it arrives; one below the limit is read."""
    reply = Reply.json(ANSWER, chunks=50, flush=True)
    assert (await ask(reply)).output_text == "hi " * 100
    monkeypatch.setattr(exchange, "MAX_DOCUMENT_BYTES", 200)
    response = await ask(reply)
    assert response.error.reason == "malformed_response"
    assert "longer than 200 bytes" in response.error.message


WITHOUT_AN_ANSWER = {
    "no object": (b"[1]", "not a JSON object"),
    "no choices": (b'{"id": "1"}', "no choices"),
    "an error": (b'{"error": {"message": "so it is"}}', "so it is"),
}


@pytest.mark.parametrize("case", WITHOUT_AN_ANSWER)
async def test_a_document_that_is_not_a_response(case):
    """The error says what it is instead."""
    body, words = WITHOUT_AN_ANSWER[case]
    response = await ask(Reply(body=body))
    assert words in response.error.message


async def test_a_service_without_a_key():
    """Its failures have its name; there is no key to mask."""
    response = await ask(Reply.json({"error": "no such model"}, status=404), api_key=None, preset="ollama")
    assert (response.error.provider, response.error.reason) == ("ollama", "not_found")
    assert response.error.message == "no such model"


LAST_EVENTS = {
    "openai": ('data: {"id": "1", "choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}', "data: [DONE]"),
    "anthropic": (
        'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}',
        'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}',
        'event: message_stop\ndata: {"type": "message_stop"}',
    ),
    "responses": (
        'data: {"type": "response.output_text.delta", "delta": "hi"}',
        'data: {"type": "response.completed", "response": {"id": "r", "status": "completed"}}',
    ),
    "gemini": ('data: {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}',),
}


def adapter_of(vendor, server):
    """The vendor's adapter, connected to the server."""
    options = {"api_key": "k", "base_url": server.url(vendor if vendor != "responses" else "openai")}
    if vendor == "anthropic":
        return allm.providers.Anthropic(**options)
    if vendor == "gemini":
        return allm.providers.Gemini(**options)
    return OpenAI(**options, endpoint="responses" if vendor == "responses" else "chat_completions")


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
@pytest.mark.parametrize("vendor", LAST_EVENTS)
async def test_the_last_event_counts_without_the_blank_line(vendor, end):
    """Complete JSON shows that it is whole; some servers and proxies omit the final blank line."""
    body = "\n\n".join(LAST_EVENTS[vendor]) + end
    async with WireServer() as server:
        server.default = Reply(headers={"content-type": "text/event-stream"}, body=body.encode())
        engine = allm.Engine(adapter=adapter_of(vendor, server), model="gpt-4o", retry=None)
        response = await allm.generate(engine, "hi", max_tokens=9)
    assert (response.output_text, response.finish_reason, response.error) == ("hi", "stop", None)


@pytest.mark.parametrize("vendor", LAST_EVENTS)
async def test_a_last_event_cut_in_two_is_truncation(vendor):
    """Half of its JSON is not an event."""
    body = "\n\n".join(LAST_EVENTS[vendor])[:-1]
    async with WireServer() as server:
        server.default = Reply(headers={"content-type": "text/event-stream"}, body=body.encode())
        engine = allm.Engine(adapter=adapter_of(vendor, server), model="gpt-4o", retry=None)
        response = await allm.generate(engine, "hi", max_tokens=9)
    assert response.error.reason == "stream_truncated"


async def test_an_error_report_outside_any_field_counts_without_a_line_end():
    """A gateway that breaks off writes it and closes the connection."""
    answer, _ = LAST_EVENTS["openai"]
    body = answer + '\n\n{"error": {"message": "no capacity", "code": 503}}'
    response = await ask(Reply(headers={"content-type": "text/event-stream"}, body=body.encode()))
    assert (response.output_text, response.error.message) == ("hi", "no capacity")
    assert response.error.reason == "provider_unavailable"
