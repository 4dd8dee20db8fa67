"""Every kind of call with every vendor, each with the answer that a server plays: what the trials go through."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

import allm
from allm import fake, providers
from allm.testing import Reply

KEY = "sk-canary-0123456789-abcdefghijklmnopqrstuvwxyz"
WORDS = "one two three four five six"
PNG = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png")
WAV = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
SOUND = bytes(range(256)) * 16
TEXT = [fake.reasoning("Hm."), fake.text(WORDS), fake.usage(input_tokens=3, output_tokens=6)]
# Two calls at once, so that several tasks are ready together.
TOOLS = [fake.text("one"), fake.tool_call("look", {"n": 1}, id="c1"), fake.tool_call("look", {"n": 2}, id="c2")]


async def look(arguments):
    return f"seen {arguments['n']}"


LOOK = allm.Tool("look", "Looks.", handler=look)


@attrs.frozen
class Call:
    """A kind of call.

    Attributes:
        name: Vendor and kind, such as `anthropic stream`.
        adapters: Makes the engine's adapters: a base URL without a path and an HTTP client go in, or None for both.
        replies: What the server answers, in order; the last one again and again. Empty: the adapter plays in memory.
        ask: Makes the call; returns its result, or raises its error.
        text: What of a result is text of `WORDS`; None where the result has no text.
    """

    name: str
    adapters: Callable[[str, Any], dict[str, Any]]
    replies: tuple[Reply, ...]
    ask: Callable[[allm.Engine], Awaitable[Any]]
    is_stream: bool = False

    def engine(self, base_url="", client=None, **fields):
        """An engine for it; without a policy it never retries."""
        return allm.Engine(model="m", tools=[LOOK], **{"retry": None, **fields}, **self.adapters(base_url, client))

    def pieces(self):
        """The replies, with one HTTP chunk for each event, so that there is a task step between any two."""
        return [in_pieces(reply) for reply in self.replies]


def in_pieces(reply):
    ends = [0, *reply.event_ends]
    sizes = [end - start for start, end in itertools.pairwise(ends)]
    return attrs.evolve(reply, chunks=sizes or max(1, len(reply.body) // 4), flush=True)


async def generate(engine):
    return await allm.generate(engine, "hi")


async def stream(engine):
    async with allm.stream_generate(engine, "hi", on_event=lambda event: None) as events:
        async for _ in events:
            pass
    return events.result()


async def chat(engine):
    return await allm.chat(engine, "hi")


async def turn(engine):
    async with allm.session.open_store("memory://") as store, store.turn("s") as lease:
        return await lease.reply(engine, "hi")


async def speak_in_pieces(engine):
    async with allm.stream_synthesize(engine, "hi", model="tts-1") as speech:
        async for _ in speech:
            pass
    return speech.result()


def at_openai(path):
    return lambda url, client: {"api_key": KEY, "base_url": f"{url}/v1", "http_client": client, **path}


VENDORS = {
    "openai": lambda url, client: providers.OpenAI(
        api_key=KEY, base_url=f"{url}/v1", endpoint="chat_completions", http_client=client
    ),
    "openai_responses": lambda url, client: providers.OpenAI(
        api_key=KEY, base_url=f"{url}/v1", endpoint="responses", http_client=client
    ),
    "anthropic": lambda url, client: providers.Anthropic(api_key=KEY, base_url=url, http_client=client),
    "gemini": lambda url, client: providers.Gemini(api_key=KEY, base_url=url, http_client=client),
}


def chat_calls(vendor):
    """Answers without tools, and chats whose first answer calls two tools."""
    text, tools = Reply.script(vendor, TEXT), Reply.script(vendor, TOOLS)

    def adapters(url, client):
        return {"adapter": VENDORS[vendor](url, client)}

    return [
        Call(f"{vendor} generate", adapters, (text,), generate, is_stream=True),
        Call(f"{vendor} stream", adapters, (text,), stream, is_stream=True),
        Call(f"{vendor} chat", adapters, (tools, text), chat, is_stream=True),
        Call(f"{vendor} turn", adapters, (tools, text), turn, is_stream=True),
    ]


def service(vendor, field, made, reply, ask, kind):
    """A call of a service."""
    path = "/v1" if vendor != "gemini" else ""
    options = {"api_key": KEY}

    def adapters(url, client):
        return {field: made(base_url=url + path, http_client=client, **options)}

    return Call(f"{vendor} {kind}", adapters, (reply,), ask)


ENCODED = base64.b64encode(PNG.to_bytes()).decode()
VECTORS = {
    "openai": {"data": [{"index": 0, "embedding": [1.0, 0.5]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}},
    "voyage": {"data": [{"index": 0, "embedding": [1.0, 0.5]}], "usage": {"total_tokens": 1}},
    "gemini": {"embeddings": [{"values": [1.0, 0.5]}]},
}
PICTURE = {
    "openai": {"data": [{"b64_json": ENCODED}]},
    "gemini": {
        "candidates": [
            {
                "content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": ENCODED}}]},
                "finishReason": "STOP",
            }
        ]
    },
}
HEARD = {
    "openai": {"text": WORDS},
    "gemini": {"candidates": [{"content": {"parts": [{"text": WORDS}]}, "finishReason": "STOP"}]},
}
VERDICT = {"results": [{"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.1}}]}
SPOKEN = Reply(body=SOUND, headers={"content-type": "audio/mpeg"})


def service_calls():
    """Every service of every vendor over HTTP."""
    made = {
        "openai": (providers.OpenAIEmbeddings, providers.OpenAIImages, providers.OpenAITranscription),
        "gemini": (providers.GeminiEmbeddings, providers.GeminiImages, providers.GeminiTranscription),
    }
    for vendor, (embeddings, images, transcription) in made.items():
        vectors, picture, heard = (Reply.json(table[vendor]) for table in (VECTORS, PICTURE, HEARD))
        yield service(
            vendor, "embedding_adapter", embeddings, vectors, lambda e: allm.embed(e, "hi", model="m"), "embed"
        )
        yield service(
            vendor, "image_adapter", images, picture, lambda e: allm.generate_image(e, "a", model="m"), "image"
        )
        yield service(
            vendor, "image_adapter", images, picture, lambda e: allm.edit_image(e, PNG, "a", model="m"), "edit"
        )
        yield service(
            vendor,
            "transcription_adapter",
            transcription,
            heard,
            lambda e: allm.transcribe(e, WAV, model="m"),
            "transcribe",
        )
    vectors = Reply.json(VECTORS["voyage"])
    yield service(
        "voyage",
        "embedding_adapter",
        providers.VoyageEmbeddings,
        vectors,
        lambda e: allm.embed(e, "hi", model="m"),
        "embed",
    )
    judged, heard = Reply.json(VERDICT), SPOKEN
    yield service(
        "openai",
        "moderation_adapter",
        providers.OpenAIModeration,
        judged,
        lambda e: allm.moderate(e, "hi", model="m"),
        "moderate",
    )
    speech = providers.OpenAISpeech
    yield service(
        "openai", "speech_adapter", speech, heard, lambda e: allm.synthesize(e, "hi", model="tts-1"), "speech"
    )
    yield service("openai", "speech_adapter", speech, heard, speak_in_pieces, "speech stream")


def fake_calls():
    """The same kinds of call with the adapters that play in memory."""
    for kind in (generate, stream):
        yield Call(
            f"fake {kind.__name__}", lambda *_: {"adapter": providers.Fake(script=TEXT)}, (), kind, is_stream=True
        )
    for kind in (chat, turn):
        yield Call(
            f"fake {kind.__name__}",
            lambda *_: {"adapter": providers.Fake(scripts=[TOOLS, TEXT])},
            (),
            kind,
            is_stream=True,
        )
    yield Call(
        "fake embed", lambda *_: {"embedding_adapter": providers.FakeEmbeddings()}, (), lambda e: allm.embed(e, "hi")
    )
    yield Call(
        "fake image", lambda *_: {"image_adapter": providers.FakeImages()}, (), lambda e: allm.generate_image(e, "a")
    )
    yield Call(
        "fake moderate",
        lambda *_: {"moderation_adapter": providers.FakeModeration()},
        (),
        lambda e: allm.moderate(e, "hi"),
    )
    yield Call(
        "fake speech", lambda *_: {"speech_adapter": providers.FakeSpeech()}, (), lambda e: allm.synthesize(e, "hi")
    )
    yield Call("fake speech stream", lambda *_: {"speech_adapter": providers.FakeSpeech()}, (), speak_in_pieces)
    yield Call(
        "fake transcribe",
        lambda *_: {"transcription_adapter": providers.FakeTranscription([WORDS])},
        (),
        lambda e: allm.transcribe(e, WAV),
    )


CHATS = [call for vendor in VENDORS for call in chat_calls(vendor)]
OVER_HTTP = [*CHATS, *service_calls()]
CALLS = [*OVER_HTTP, *fake_calls()]
