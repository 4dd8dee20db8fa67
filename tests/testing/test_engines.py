"""`override_engine`: code that makes its own engine is tested without keys and network."""

from __future__ import annotations

import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake, FakeEmbeddings, FakeImages, FakeModeration, FakeSpeech, FakeTranscription
from allm.testing import override_engine


async def ask(text):
    """What an application does: it makes its own engine, of a provider that it has no key for here."""
    response = await allm.generate(allm.Engine.from_model("openai:gpt-5.4"), text)
    return allm.unwrap(response)


def saying(text):
    return Fake(respond=lambda _: text)


async def test_every_engine_in_the_block_has_the_adapter():
    """One with another adapter, one without any, in this task and in those started from it; and no other."""
    answers = []

    async def in_a_task():
        answers.append(await ask("hi"))

    with override_engine(adapter=saying("yes")):
        assert await ask("hi") == "yes"
        assert (await allm.chat(allm.Engine(), "hi")).output_text == "yes"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_a_task)
    assert answers == ["yes"]
    with pytest.raises(allm.EngineError) as caught:
        await ask("hi")
    assert caught.value.reason == "missing_key"


async def test_blocks_nest():
    """The inner one wins for what it names, and the outer one is in effect again after it."""
    vectors = FakeEmbeddings()
    with override_engine(adapter=saying("outer"), embedding_adapter=vectors):
        with override_engine(adapter=saying("inner")):
            assert await ask("hi") == "inner"
            await allm.embed(allm.Engine(), ["hi"])
        assert await ask("hi") == "outer"
    assert len(vectors.requests) == 1


async def test_services_too():
    """Each has its own adapter."""
    engine = allm.Engine.from_model(
        "openai:gpt-5.4",
        embedding_model="openai:text-embedding-3-small",
        image_model="openai:gpt-image-1",
        moderation_model="openai:omni-moderation-latest",
        speech_model="openai:tts-1",
        transcription_model="openai:whisper-1",
    )
    sound = allm.Audio.from_bytes(b"RIFF\x04\x00\x00\x00WAVE", "audio/wav")
    with override_engine(
        embedding_adapter=FakeEmbeddings(),
        image_adapter=FakeImages(),
        moderation_adapter=FakeModeration(),
        speech_adapter=FakeSpeech(),
        transcription_adapter=FakeTranscription(["hello"]),
    ):
        assert len((await allm.embed(engine, ["a", "b"])).embeddings) == 2
        assert len((await allm.generate_image(engine, "a fox")).images) == 1
        assert (await allm.moderate(engine, "kill")).results[0].flagged
        assert (await allm.synthesize(engine, "one two")).audio.data == b"one two "
        assert (await allm.transcribe(engine, sound)).text == "hello"


async def test_a_turn_keeps_the_engine_that_it_was_opened_with():
    """To its end, the model calls of its tools included, wherever its events are read."""

    @allm.tool
    async def ask_another(context: allm.ToolContext) -> str:
        """Ask another model."""
        return (await allm.generate(context.engine, "inner")).output_text

    def respond(request):
        last = request.messages[-1]
        if last.text == "inner":
            return "from the inside"
        return [fake.tool_call("ask_another")] if last.role == "user" else last.text

    adapter = Fake(respond=respond)
    with override_engine(adapter=adapter):
        block = allm.stream(allm.Engine.from_model("openai:gpt-5.4"), "go", tools=[ask_another])
    async with block as events:
        result = await events.until_done()
    assert result.output_text == "from the inside"
    assert len(adapter.requests) == 3

    own = Fake(scripts=[[fake.tool_call("nothing")], [fake.text("own")]])
    block = allm.stream(allm.Engine(adapter=own), "go")
    with override_engine(adapter=saying("other")):
        async with block as events:
            assert (await events.until_done()).output_text == "own"


async def test_sessions_too():
    """A turn of a session, and the next one after an approval."""

    @allm.tool(manual=True)
    async def pay() -> str:
        """Pay."""
        return "paid"

    adapter = Fake(scripts=[[fake.tool_call("pay", id="c1")], [fake.text("Done.")]])
    engine = allm.Engine.from_model("openai:gpt-5.4", tools=[pay])
    with override_engine(adapter=adapter):
        session, _ = await allm.session.start(engine, "Pay it")
        session = allm.session.approve(session, "c1")
        session, result = await allm.session.continue_(engine, session)
    assert result.output_text == "Done."
    assert session.thread.messages[2].text == "paid"


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"adapter": Fake}, "expected an instance"), ({"retry": 3}, "expected RetryPolicy"), ({"adaptor": 1}, "adaptor")],
)
def test_fields_are_checked(fields, words):
    """When the block is entered, by the rules of an engine."""
    with pytest.raises((allm.EngineError, TypeError), match=words), override_engine(**fields):
        pass
