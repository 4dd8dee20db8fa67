"""Every function that needs Trio says so, in one sentence, when asyncio or nothing at all runs it."""

from __future__ import annotations

import asyncio

import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake, FakeEmbeddings, FakeImages, FakeModeration, FakeRerank, FakeSpeech, FakeTranscription
from allm.testing import WireServer

SOUND = allm.Audio.from_bytes(b"RIFF0000WAVE", mime_type="audio/wav")


def engine():
    return allm.Engine(
        adapter=Fake(script=[fake.text("hi")]),
        embedding_adapter=FakeEmbeddings(),
        image_adapter=FakeImages(),
        moderation_adapter=FakeModeration(),
        rerank_adapter=FakeRerank(),
        speech_adapter=FakeSpeech(),
        transcription_adapter=FakeTranscription(["x"]),
    )


async def entered(manager):
    async with manager:
        pass


def store():
    return allm.session.open_store("memory://")


def no_tools():
    return []


CALLS = {
    "generate": lambda: allm.generate(engine(), "x"),
    "stream_generate": lambda: entered(allm.stream_generate(engine(), "x")),
    "step": lambda: allm.step(engine(), "x"),
    "chat": lambda: allm.chat(engine(), "x"),
    "stream": lambda: entered(allm.stream(engine(), "x")),
    "embed": lambda: allm.embed(engine(), ["x"]),
    "stream_embed": lambda: entered(allm.stream_embed(engine(), ["x"])),
    "moderate": lambda: allm.moderate(engine(), "x"),
    "generate_image": lambda: allm.generate_image(engine(), "x"),
    "synthesize": lambda: allm.synthesize(engine(), "x"),
    "stream_synthesize": lambda: entered(allm.stream_synthesize(engine(), "x")),
    "rerank": lambda: allm.rerank(engine(), "x", ["y"]),
    "stream_transcribe": lambda: entered(allm.stream_transcribe(engine(), SOUND)),
    "transcribe": lambda: allm.transcribe(engine(), SOUND),
    "session.start": lambda: allm.session.start(engine(), "x", id="a"),
    "open_store": lambda: entered(store()),
    "store.load": lambda: store().load("x"),
    "store.save": lambda: store().save(allm.Session(id="x")),
    "store.ids": lambda: store().ids(),
    "store.delete": lambda: store().delete("x"),
    "store.turn": lambda: entered(store().turn("x")),
    "fetch_image": lambda: allm.fetch_image("https://127.0.0.1/x.png"),
    "Toolset.load": lambda: allm.Toolset(no_tools).load(),
    "WireServer": lambda: entered(WireServer()),
}


@pytest.mark.parametrize("name", CALLS)
def test_under_asyncio(name):
    """The sentence names the way out for a script, a notebook and a web framework, and the page with examples."""
    with pytest.raises(RuntimeError, match=r"allm runs on Trio.*trio\.run\(main\).*allm\.blocking.*allm\.aio.*docs/"):
        asyncio.run(CALLS[name]())


def test_the_way_out_works():
    """What the sentence proposes for asyncio code gives the answer."""

    async def main():
        response = await allm.generate(engine(), "x")
        return response.output_text

    async def under_asyncio():
        return await asyncio.to_thread(trio.run, main)

    assert asyncio.run(under_asyncio()) == "hi"
