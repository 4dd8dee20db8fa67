"""Services of `allm.fallback` and `allm.hedge`: embeddings, images, speech and the rest, as of any engine."""

from __future__ import annotations

import attrs
import pytest
import trio

import allm
from allm import fake, telemetry
from allm.adapters import AdapterWrapper
from allm.providers import (
    FakeEmbeddings,
    FakeImages,
    FakeModeration,
    FakeRerank,
    FakeSpeech,
    FakeTranscription,
)
from allm.testing import cancel_everywhere, no_leaks

BUSY = allm.AdapterError("busy", reason="overloaded", status=529)
BROKEN = allm.AdapterError("no", reason="invalid_request", status=400)


def embedding(*script, model=None, **options):
    return allm.Engine(embedding_adapter=FakeEmbeddings(script=script, **options), embedding_model=model)


def speech(*script):
    return allm.Engine(speech_adapter=FakeSpeech(script))


def asked(group, name="embedding"):
    return [len(getattr(member, f"{name}_adapter").requests) for member in group.members]


@pytest.mark.parametrize("kind", [allm.fallback, lambda *engines: allm.hedge(*engines, after=60)])
async def test_every_service_falls_back(autojump_clock, kind):
    """At once, with the answer of the next engine."""
    images = kind(allm.Engine(image_adapter=FakeImages([BUSY])), allm.Engine(image_adapter=FakeImages()))
    assert len((await allm.generate_image(images, "a fox")).images) == 1
    group = kind(embedding([fake.error(BUSY)]), embedding())
    assert len((await allm.embed(group, ["a", "b"])).vectors) == 2
    group = kind(
        allm.Engine(transcription_adapter=FakeTranscription([BUSY])),
        allm.Engine(transcription_adapter=FakeTranscription(["hello there"])),
    )
    assert (await allm.transcribe(group, allm.Audio(b"x", "audio/wav"))).text == "hello there"
    group = kind(
        allm.Engine(transcription_adapter=FakeTranscription([BUSY])),
        allm.Engine(transcription_adapter=FakeTranscription(["hello there"])),
    )
    async with allm.stream_transcribe(group, allm.Audio(b"x", "audio/wav")) as events:
        seen = [event async for event in events]
    assert len(seen) > 2
    assert events.result().text == "hello there"
    group = kind(speech(BUSY), speech(b"one", b"two"))
    assert (await allm.synthesize(group, "hi")).audio.data == b"onetwo"
    group = kind(allm.Engine(), allm.Engine(rerank_adapter=FakeRerank()))
    assert (await allm.rerank(group, "a", ["a", "b"])).results
    group = kind(allm.Engine(moderation_adapter=FakeModeration()), allm.Engine())
    assert (await allm.moderate(group, "a")).flagged is False
    assert trio.current_time() == 0


async def test_a_failure_of_the_request_ends_the_call():
    """With its own class; the last is retried as its policy says."""
    group = allm.fallback(embedding([fake.error(BROKEN)]), embedding())
    with pytest.raises(allm.EmbeddingAdapterError):
        await allm.embed(group, "a")
    assert asked(group)[1] == 0


async def test_all_failing_names_each(autojump_clock):
    """The error is that of the last, after its retries."""
    group = allm.fallback(embedding([fake.error(BUSY)] * 1), embedding(*[[fake.error(BUSY)]] * 3))
    with pytest.raises(allm.EmbeddingAdapterError, match="before it, fake: overloaded, status 529"):
        await allm.embed(group, "a")


async def test_an_engine_without_the_service_is_skipped():
    """If none has it, one error says so for each."""
    with pytest.raises(allm.EngineError, match=r"engine 1: .* engine 2: ") as caught:
        await allm.embed(allm.fallback(allm.Engine(), allm.Engine()), "a")
    assert caught.value.reason == "all_refused"


async def test_vectors_of_two_models_are_not_mixed(autojump_clock):
    """The batches of one call are all embedded by the model that answered first, also those that were under way."""
    first = embedding([], [fake.error(BUSY)], [], model="m1", batch_limit=1, dimensions=3)
    second = embedding(model="m2", batch_limit=1, dimensions=5)
    response = await allm.embed(allm.fallback(first, second), ["a", "b", "c"], max_concurrency=1)
    assert {len(vector) for vector in response.vectors} == {3}
    first = embedding([fake.error(BUSY)], [fake.delay(5)], [fake.delay(5)], model="m1", batch_limit=1, dimensions=3)
    second = embedding(model="m2", batch_limit=1, dimensions=5)
    response = await allm.embed(allm.fallback(first, second), ["a", "b", "c"], max_concurrency=3)
    assert {len(vector) for vector in response.vectors} == {5}


async def test_a_hedge_takes_the_first_answer(autojump_clock):
    """And cancels the other."""
    group = allm.hedge(embedding([fake.delay(50)]), embedding([fake.delay(1)]), after=2)
    async with no_leaks():
        await allm.embed(group, "a")
    assert trio.current_time() == 3


async def test_a_hedge_of_speech_plays_one_voice(autojump_clock):
    """The first audio wins, and goes on as it arrives; leaving early ends both."""
    group = allm.hedge(speech(50.0, b"late"), speech(1.0, b"one", 1.0, b"two"), after=2)
    async with no_leaks():
        async with allm.stream_synthesize(group, "hi") as audio:
            pieces = [(trio.current_time(), piece) async for piece in audio]
        assert pieces == [(3, b"one"), (4, b"two")]
        async with allm.stream_synthesize(group, "hi") as audio:
            async for _ in audio:
                break
    assert audio.result().complete is False


async def test_a_failure_in_the_middle_is_raised(autojump_clock):
    """What came before it stays."""
    for make in (allm.fallback, lambda *engines: allm.hedge(*engines, after=2)):
        async with allm.stream_synthesize(make(speech(b"one", BUSY), speech(b"no")), "hi") as audio:
            with pytest.raises(allm.AdapterError, match="busy"):
                async for _ in audio:
                    pass
        assert audio.result().audio.data == b"one"


async def test_a_service_set_on_the_group_is_that_of_the_group():
    """Members are for what each of them has."""
    group = allm.fallback(embedding(dimensions=3), embedding(dimensions=3))
    own = allm.Engine(embedding_adapter=FakeEmbeddings(dimensions=7))
    changed = attrs.evolve(group, embedding_adapter=own.embedding_adapter)
    assert len((await allm.embed(changed, "a")).vectors[0]) == 7


async def test_telemetry_of_services(autojump_clock):
    """Each attempt is a span of the service below that of the call, and an event."""
    heard = []
    detach = telemetry.attach(heard.append)
    try:
        await allm.embed(allm.fallback(embedding([fake.error(BUSY)]), embedding()), "a")
    finally:
        detach()
    spans = [event for event in heard if event.name == "embed" and event.phase != "start"]
    assert [span.phase for span in spans] == ["exception", "stop", "stop"]
    assert spans[-1].attributes["group"] == "fallback"
    assert {span.parent_id for span in spans[:2]} == {spans[-1].span_id}
    assert [event.attributes["attempt"] for event in heard if event.name == "engine.attempt"] == [1, 2]


async def test_cancelled_everywhere():
    """In a hedge of embeddings and of speech."""
    group = allm.hedge(embedding([], []), embedding([], []), after=0)
    assert (await cancel_everywhere(lambda: allm.embed(group, "a"))).trials > 10
    group = allm.hedge(speech(b"one"), speech(b"two"), after=0)
    assert (await cancel_everywhere(lambda: allm.synthesize(group, "a"))).trials > 10


async def test_costs_are_those_of_whoever_answers():
    """Each provider has its own prices."""
    speaks = allm.Engine(speech_adapter=Priced(FakeSpeech()), speech_model="tts-1")
    alone = await allm.synthesize(speaks, "hello there")
    assert alone.usage.total_cost is not None
    for group in (allm.fallback(allm.Engine(), speaks), allm.hedge(speaks, speaks, after=5)):
        assert (await allm.synthesize(group, "hello there")).usage == alone.usage


class Priced(AdapterWrapper):
    """A fake whose prices are OpenAI's."""

    @property
    def provider(self):
        return "openai"


async def test_limiters_are_those_of_the_members():
    """Each attempt has its place at the limiter of its own engine, and gives it back."""
    limiters = [trio.CapacityLimiter(1), trio.CapacityLimiter(1)]
    held = []

    class Watched(AdapterWrapper):
        async def send(self, prepared):
            held.append([limiter.borrowed_tokens for limiter in limiters])
            return await self.inner.send(prepared)

    adapters = FakeEmbeddings(script=[[fake.error(BUSY)]]), FakeEmbeddings()
    engines = [
        allm.Engine(embedding_adapter=Watched(adapter), limiter=limiter)
        for adapter, limiter in zip(adapters, limiters, strict=True)
    ]
    await allm.embed(allm.fallback(*engines), "a")
    assert held == [[1, 0], [0, 1]]
    assert [limiter.borrowed_tokens for limiter in limiters] == [0, 0]
