"""The fake provider: what its scripts may be, and what it says when they do not fit."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import Fake, FakeImages, FakeSpeech, FakeTranscription

SOUND = allm.Audio.from_bytes(b"x")
WRONG = allm.AdapterError("no", reason="overloaded")
UNPLAYABLE = {
    "no list": (["hi"], "script 0 of Fake is not a list of items"),
    "a list of texts": ([["hi"]], "script 0 of Fake is not a list of items"),
    "a late refusal": ([[fake.text("a"), fake.preflight_error(WRONG)]], "preflight_error has to be the first item"),
    "more after a failure": ([[fake.error(WRONG), fake.text("a")]], "items are left over after ErrorItem"),
    "more after the end": ([[], [fake.finish("stop"), fake.text("a")]], "script 1 of Fake: items are left over"),
    "more after a refusal": (
        [[fake.preflight_error(WRONG), fake.text("a")]],
        "left over after PreflightError",
    ),
}


@pytest.mark.parametrize("case", UNPLAYABLE)
def test_a_script_that_cannot_be_played(case):
    """It is refused when it is given, not in the middle of a test."""
    scripts, words = UNPLAYABLE[case]
    with pytest.raises(allm.ValidationError, match=words):
        Fake(scripts=scripts)


def test_one_script_or_several():
    """Not both."""
    with pytest.raises(allm.ValidationError, match="not both"):
        Fake([], scripts=[[]])


async def test_each_script_is_an_answer():
    """In order; one that is left over fails the test that says so, and one that is missing fails its call."""
    adapter = Fake(scripts=[[fake.text("a")], [fake.text("b")]])
    engine = allm.Engine(adapter=adapter, retry=None)
    assert (await allm.generate(engine, "1")).output_text == "a"
    with pytest.raises(AssertionError, match="1 of 2 scripts were not played"):
        adapter.assert_exhausted()
    assert (await allm.generate(engine, "2")).output_text == "b"
    adapter.assert_exhausted()
    with pytest.raises(allm.AdapterError, match="call number 3") as caught:
        await allm.generate(engine, "3")
    assert caught.value.reason == "no_scripted_response"


async def test_a_refusal_before_anything_is_sent():
    """It is raised by the call itself."""
    engine = allm.Engine(adapter=Fake([fake.preflight_error(WRONG)]))
    with pytest.raises(allm.AdapterError) as caught:
        await allm.generate(engine, "hi")
    assert caught.value is WRONG


@pytest.mark.parametrize("script", [[], [fake.delay(1)]])
async def test_an_answer_without_content(script, autojump_clock):
    """It begins and ends all the same."""
    async with allm.stream_generate(allm.Engine(adapter=Fake(script)), "hi") as events:
        seen = [type(event).__name__ async for event in events]
    assert seen == ["MessageStarted", "MessageCompleted"]


async def test_scripts_of_the_other_services_end():
    """With an error that says so."""
    calls = [
        (FakeImages([]), "image", lambda engine: allm.generate_image(engine, "a fox")),
        (
            FakeTranscription(["a"]),
            "transcription",
            lambda engine: allm.transcribe(engine, SOUND),
        ),
    ]
    for adapter, service, call in calls:
        engine = allm.Engine(**{f"{service}_adapter": adapter}, retry=None)
        if service == "transcription":
            assert (await call(engine)).text == "a"
        with pytest.raises(allm.AdapterError, match="used up"):
            await call(engine)
    failing = allm.Engine(transcription_adapter=FakeTranscription([WRONG]), retry=None)
    with pytest.raises(allm.AdapterError) as caught:
        await allm.transcribe(failing, SOUND)
    assert caught.value is WRONG


async def test_speech_piece_by_piece(tmp_path):
    """`save` keeps what was read before it, and the pieces are an iterator."""
    engine = allm.Engine(speech_adapter=FakeSpeech([b"a", b"b", b"c"]))
    async with allm.stream_synthesize(engine, "hi") as speech:
        assert await anext(speech) == b"a"
        place = await speech.save(tmp_path / "out.wav")
    assert place.read_bytes() == b"abc"
