"""A known word means the same on every wire format, and `chat` goes by it."""

from __future__ import annotations

import pytest

import allm
from allm.adapters import finish_reason_of
from allm.data.json.text import dumps
from allm.providers import OpenAI
from allm.providers.anthropic import decode as anthropic_decode
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.gemini import decode as gemini_decode
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai import answer_notes
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.testing import Reply, WireServer


def chat(word):
    decoder = ChatDecoder()
    events = decoder.decode("", dumps({"id": "c", "choices": [{"delta": {"content": "hi"}, "finish_reason": word}]}))
    return [*events, *decoder.decode("", b"[DONE]")]


def anthropic(word):
    decoder = MessagesDecoder()
    events = [
        {"type": "message_start", "message": {"id": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": word}},
        {"type": "message_stop"},
    ]
    return [event for data in events for event in decoder.decode("", dumps(data))]


def gemini(word):
    decoder = GeminiDecoder()
    chunk = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": word}]}
    return [*decoder.decode("", dumps(chunk)), *decoder.end("")]


def responses(word):
    item = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "hi"}]}
    response = {"id": "r", "status": "incomplete", "incomplete_details": {"reason": word}, "output": [item]}
    return ResponsesDecoder().decode("", dumps({"type": "response.incomplete", "response": response}))


WIRES = [chat, anthropic, gemini, responses]


@pytest.mark.parametrize(
    "words",
    [answer_notes.FINISH, anthropic_decode._FINISH, gemini_decode._FINISH],
    ids=["chat", "anthropic", "gemini"],
)
def test_a_vendors_own_words_mean_what_they_mean_elsewhere(words):
    """The words that stand in a decoder are also in the table for all wire formats, with the same meaning."""
    assert {word: finish_reason_of(word) for word in words} == words


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("tool_use", "stop"),  # without a call
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("network_error", "error"),
        ("something_new", "other"),
    ],
)
def test_the_word_of_another_vendor(wire, word, meaning):
    """The text is there whatever the word."""
    collector = allm.StreamCollector()
    for event in wire(word):
        collector.add(event)
    response = collector.response()
    assert (response.output_text, response.finish_reason, response.raw_finish_reason) == ("hi", meaning, word)
    assert (response.error is None) == (meaning != "error")


@pytest.mark.parametrize(("word", "requests"), [("eos", 2), ("function_calls", 2), ("something_new", 2), ("length", 1)])
async def test_a_turn_goes_on_after_calls_that_ran(word, requests):
    """Whatever word the service has for it, unless that is known to mean that the answer was cut."""
    call = {"index": 0, "id": "c", "function": {"name": "noon", "arguments": "{}"}}
    first = {"id": "a", "model": "m", "choices": [{"delta": {"tool_calls": [call]}, "finish_reason": word}]}
    last = {"id": "b", "model": "m", "choices": [{"delta": {"content": "12:00"}, "finish_reason": "eos"}]}
    async with WireServer() as server:
        server.add(*(Reply.sse([(None, chunk)]) for chunk in (first, last)))
        adapter = OpenAI(base_url=server.url("openai"), api_key="k")
        tool = allm.Tool("noon", "Noon.", handler=lambda _arguments: "12:00")
        result = await allm.chat(allm.Engine(adapter=adapter, model="m", tools=[tool]), "when?")
    assert (len(server.requests), result.halted_reason) == (requests, "completed")
