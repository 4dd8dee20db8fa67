"""The block around a stream: entering it, and the errors for every misuse."""

from __future__ import annotations

import asyncio

import pytest
import trio

import allm
from allm import fake


def engine():
    return allm.Engine(
        adapter=allm.providers.Fake(script=[fake.text("hi")]),
        embedding_adapter=allm.providers.FakeEmbeddings(),
        image_adapter=allm.providers.FakeImages(),
        moderation_adapter=allm.providers.FakeModeration(),
        speech_adapter=allm.providers.FakeSpeech(),
        transcription_adapter=allm.providers.FakeTranscription(["hi"]),
    )


BLOCKS = {
    "allm.stream_generate": lambda: allm.stream_generate(engine(), "hi"),
    "allm.stream_step": lambda: allm.stream_step(engine(), "hi"),
    "allm.stream": lambda: allm.stream(engine(), "hi"),
    "allm.stream_embed": lambda: allm.stream_embed(engine(), "hi"),
    "allm.stream_synthesize": lambda: allm.stream_synthesize(engine(), "hi"),
    "allm.session.stream_reply": lambda: allm.session.stream_start(engine(), "hi"),
}
every_block = pytest.mark.parametrize(("name", "opened"), BLOCKS.items(), ids=BLOCKS)


async def async_for(block):
    async for _ in block:
        pytest.fail("a block gave something")


async def plain_for(block):
    for _ in block:
        pytest.fail("a block gave something")


async def awaited(block):
    await block


async def plain_with(block):
    with block:
        pytest.fail("a plain `with` entered a block")


@every_block
@pytest.mark.parametrize("misuse", [async_for, plain_for, awaited, plain_with])
async def test_a_block_that_is_not_entered_shows_the_right_lines(name, opened, misuse):
    """Misuse raises an error with the correct code; the block can still be entered."""
    block = opened()
    with pytest.raises(allm.StreamError) as caught:
        await misuse(block)
    assert caught.value.reason == "not_entered"
    assert f"\n    async with {name}(...) as " in str(caught.value)
    assert str(caught.value).endswith(": ...")
    async with block as stream:
        assert [item async for item in stream]


@every_block
def test_what_a_stream_has_its_block_has_not(name, opened):
    """A forgotten `async with` is the error of an attribute, with the correct code."""
    block = opened()
    with pytest.raises(AttributeError) as caught:
        block.text()
    assert "no attribute 'text': open it with `async with`" in str(caught.value)
    assert f"\n    async with {name}(...) as " in str(caught.value)
    assert not hasattr(block, "__len__")


async def test_a_turn_and_a_host_that_are_not_opened_show_the_right_lines():
    """They are blocks too: what is called on them, and `await`, say how to open them."""
    async with allm.session.open_store("memory://") as store:
        for block, line in (
            (store.turn("trip-1"), "async with store.turn(...) as turn:"),
            (allm.session.host(store), "async with allm.session.host(store) as host:"),
        ):
            with pytest.raises(AttributeError, match="no attribute 'reply'") as unopened:
                await block.reply(engine(), "hi")
            with pytest.raises(allm.StreamError, match="await") as caught:
                await block
            assert line in str(unopened.value)
            assert line in str(caught.value)
            async with block as opened:
                assert opened.reply


@every_block
async def test_a_block_is_entered_once(name, opened):
    """Entering a block a second time is an error, also while it runs."""
    block = opened()
    async with block:
        for _ in range(2):
            with pytest.raises(allm.StreamError, match="runs once") as caught:
                await block.__aenter__()
            assert caught.value.reason == "closed"
            assert name in str(caught.value)
    with pytest.raises(allm.StreamError, match="runs once"):
        async with block:
            pytest.fail("a block was entered twice")


@every_block
def test_a_block_is_entered_in_a_trio_task(name, opened):
    """Outside Trio, entering raises an error that names Trio, and the block can still be entered."""
    block = opened()

    async def enter():
        async with block as stream:
            return [item async for item in stream]

    with pytest.raises(RuntimeError, match=r"allm runs on Trio"):
        asyncio.run(enter())
    assert trio.run(enter), name


@pytest.mark.parametrize(
    "call",
    [
        lambda: allm.generate(engine(), "hi"),
        lambda: allm.embed(engine(), "hi"),
        lambda: allm.synthesize(engine(), "hi"),
        lambda: allm.generate_image(engine(), "hi"),
        lambda: allm.moderate(engine(), "hi"),
        lambda: allm.transcribe(engine(), allm.Audio(b"RIFF....WAVE")),
        lambda: allm.session.start(engine(), "hi"),
    ],
)
def test_calls_run_in_a_trio_task(call):
    """Service calls outside Trio raise the same error."""

    async def main():
        await call()

    with pytest.raises(RuntimeError, match=r"allm runs on Trio"):
        asyncio.run(main())


@every_block
async def test_what_the_block_raises_comes_out_as_itself(name, opened):
    """Any exception of the body comes out as itself, including groups and StopIteration."""
    for error in (KeyError(name), StopIteration(name), StopAsyncIteration(name), ExceptionGroup(name, [KeyError()])):
        with pytest.raises(type(error)) as caught:
            async with opened() as stream:
                await anext(aiter(stream))
                raise error
        assert caught.value is error
