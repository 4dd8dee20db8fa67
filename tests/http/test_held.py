"""What a decoder holds and no event has shown is bounded, whichever of its fields holds it."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm.data.json.text import dumps
from allm.http import held
from allm.http.held import held_bytes
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.testing import Reply, WireServer

X = "x" * 1000


def chat(**delta):
    return {"choices": [{"index": 0, "delta": delta}]}


def gemini(**candidate):
    return {"candidates": [candidate]}


def block(**delta):
    return {"type": "content_block_delta", "index": 0, "delta": delta}


HELD = {
    "a call without a name": (ChatDecoder, None, chat(tool_calls=[{"index": 0, "function": {"arguments": X}}])),
    "sound": (ChatDecoder, None, chat(audio={"data": X})),
    "annotations of text to come": (
        ChatDecoder,
        None,
        lambda number: chat(annotations=[{"start_index": 0, "end_index": 9**9, "url": f"{number}{X}"}]),
    ),
    "fields of the service": (ChatDecoder, None, chat(thinking_blocks=[{"type": "redacted", "data": X}])),
    "input of a server's tool": (
        MessagesDecoder,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use", "id": "s"}},
        block(type="input_json_delta", partial_json=X),
    ),
    "citations": (
        MessagesDecoder,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        block(type="citations_delta", citation={"cited_text": X}),
    ),
    "partial arguments": (
        GeminiDecoder,
        None,
        gemini(
            content={
                "parts": [
                    {
                        "functionCall": {
                            "name": "f",
                            "willContinue": True,
                            "partialArgs": [{"jsonPath": "$.a", "stringValue": X}],
                        }
                    }
                ]
            }
        ),
    ),
    "citations of Gemini": (GeminiDecoder, None, gemini(citationMetadata={"citations": [{"uri": X}]})),
}


@pytest.mark.parametrize("what", HELD)
def test_what_is_held_back_has_a_limit(monkeypatch, what):
    """Without an event that could be counted, the answer fails soon after the limit."""
    monkeypatch.setattr(held, "FIRST", 10_000)
    decoder_class, first, event = HELD[what]
    decoder = decoder_class()
    decoder.limits = allm.AnswerLimits(total_bytes=50_000)
    decoder.begin({})
    failed, number = None, 0
    if first is not None:
        decoder.decode("", dumps(first))
    while failed is None and number < 1000:
        number += 1
        try:
            events = decoder.decode("", dumps(event(number) if callable(event) else event))
        except allm.AdapterError as error:
            failed = error
        else:
            failed = next((event.error for event in events if isinstance(event, allm.Failed)), None)
    assert failed.reason == "answer_too_large"
    assert "total_bytes" in failed.message
    assert 40 < number < 120


@pytest.mark.parametrize("decoder_class", [ChatDecoder, MessagesDecoder, GeminiDecoder, ResponsesDecoder])
def test_what_events_have_shown_is_not_held_back(monkeypatch, decoder_class):
    """A long text never runs into the limit, though a decoder has its pieces."""
    monkeypatch.setattr(held, "FIRST", 10_000)
    events = {
        ChatDecoder: chat(content=X),
        MessagesDecoder: block(type="text_delta", text=X),
        GeminiDecoder: gemini(content={"parts": [{"text": X}]}),
        ResponsesDecoder: {"type": "response.output_text.delta", "item_id": "m", "content_index": 0, "delta": X},
    }
    decoder = decoder_class()
    decoder.limits = allm.AnswerLimits(total_bytes=50_000)
    decoder.begin({})
    for _ in range(500):
        [*_, delta] = decoder.decode("", dumps(events[decoder_class]))
        assert isinstance(delta, allm.TextDelta)


def test_everything_in_an_object_is_measured():
    """Fields of classes with attrs and of their subclasses, of containers, each once, and what contains itself."""

    @attrs.define(eq=False)
    class Inner:
        pieces: list

    @attrs.define(eq=False)
    class Outer:
        inner: Inner
        table: dict

    class Plain(Outer):
        pass

    shared = ["x" * 100]
    value = Plain(Inner(shared), {"k" * 100: (b"b" * 100, {"s" * 100})})
    value.more = [shared, value, "m" * 100]
    assert 500 <= held_bytes(value) <= 700


def test_long_pieces_are_measured():
    """Those that a decoder and the fold have in common, too."""
    builder = allm.adapters.MessageBuilder()
    builder.more(allm.TextDelta, "t", [f"{n:04}" for n in range(3000)])
    assert 12_000 <= held_bytes(builder) <= 12_000 + 1024 * 8


async def test_the_limit_of_the_engine_reaches_the_decoder(monkeypatch):
    """Over HTTP, from the engine's settings."""
    monkeypatch.setattr(held, "FIRST", 10_000)
    body = b"".join(b"data: " + dumps(chat(audio={"data": X})) + b"\n\n" for _ in range(300))
    async with WireServer() as server:
        server.add(Reply(headers={"content-type": "text/event-stream"}, body=body))
        adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="m", answer_limits=allm.AnswerLimits(total_bytes=50_000))
        response = await allm.generate(engine, "hi")
    assert response.error.reason == "answer_too_large"
    assert response.error.provider == "openai"
