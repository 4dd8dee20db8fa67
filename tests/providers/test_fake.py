"""The fake provider: what its scripts may be, and what it says when they do not fit."""

from __future__ import annotations

import functools

import attrs
import pytest
import trio

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
        with pytest.raises(allm.AdapterError, match="no entry left for call number") as caught:
            await call(engine)
        assert caught.value.reason == "no_scripted_response"
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


async def test_a_function_answers_each_request():
    """With a text or with items, in a turn as in a single call; what was asked is recorded."""

    def respond(request):
        last = request.messages[-1]
        return f"it said {last.text}" if last.role == "tool" else [fake.tool_call("now", id=f"c{len(asked)}")]

    asked = []
    adapter = Fake(respond=respond)
    engine = allm.Engine(adapter=adapter, tools=[allm.tool(lambda: "noon", name="now", description="The time.")])
    for _ in range(3):
        result = await allm.chat(engine, "What time is it?")
        asked.append(result.output_text)
    assert asked == ["it said noon"] * 3
    assert len(adapter.requests) == 6
    adapter.assert_exhausted()


@attrs.frozen
class AsyncCallable:
    """Not a coroutine function, but what it returns is awaited."""

    function: object

    async def __call__(self, request):
        return await self.function(request)


async def test_an_async_function_answers(autojump_clock):
    """It may wait, and is asked again for a retry."""

    async def respond(_request):
        await trio.sleep(1)
        return next(answers)

    for function in (respond, functools.partial(respond), AsyncCallable(respond)):
        answers = iter([[fake.error(WRONG)], "at last"])
        engine = allm.Engine(adapter=Fake(respond=function), retry=allm.RetryPolicy(max_attempts=2))
        assert (await allm.generate(engine, "hi")).output_text == "at last"


async def test_a_function_that_fails():
    """A sync one raises out of the call; an async one makes the provider fail, with its exception as the cause."""

    def broken(request):
        assert request.messages[0].text == "bye", "the text is wrong"

    async def broken_later(request):
        await trio.lowlevel.checkpoint()
        broken(request)

    with pytest.raises(AssertionError, match="the text is wrong"):
        await allm.generate(allm.Engine(adapter=Fake(respond=broken)), "hi")
    response = await allm.generate(allm.Engine(adapter=Fake(respond=broken_later), retry=None), "hi")
    assert isinstance(response.error.__cause__, AssertionError)
    assert "AssertionError: the text is wrong" in response.error.message


async def test_a_function_that_refuses():
    """Before anything is sent, like a script."""
    with pytest.raises(allm.AdapterError) as caught:
        await allm.generate(allm.Engine(adapter=Fake(respond=lambda _: [fake.preflight_error(WRONG)])), "hi")
    assert caught.value is WRONG


@pytest.mark.parametrize("answer", [None, 7, fake.text("hi"), ["hi"], {"text": "hi"}])
async def test_an_answer_that_cannot_be_played(answer):
    """The error names the function, and what it should return."""
    with pytest.raises(allm.ValidationError, match=r"respond= of Fake returned is not a list .*allm\.fake"):
        await allm.generate(allm.Engine(adapter=Fake(respond=lambda _: answer)), "hi")


@pytest.mark.parametrize("given", [{"script": []}, {"scripts": [[]]}])
def test_a_function_or_scripts(given):
    """Not both, and a function has to be one."""
    with pytest.raises(allm.ValidationError, match="not both"):
        Fake(respond=lambda _: "hi", **given)
    with pytest.raises(allm.ValidationError, match="expected a function of a Request"):
        Fake(respond="hi")
