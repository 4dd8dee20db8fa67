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
