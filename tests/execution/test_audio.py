"""Speech and transcription: requests, streamed audio, and the result after any end."""

from __future__ import annotations

import pytest
import trio

import allm
from allm.providers import FakeSpeech, FakeTranscription

WAV = b"RIFF\x24\0\0\0WAVEfmt "


def speaker(*script, **fields):
    return allm.Engine(speech_adapter=FakeSpeech(script or None), **fields)


def listener(*script, **fields):
    return allm.Engine(transcription_adapter=FakeTranscription(script), **fields)


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (WAV, "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio/mpeg"),
        (b"\xff\xf1\x50", "audio/aac"),
        (b"fLaC", "audio/flac"),
        (b"OggS", "audio/ogg"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"\x1aE\xdf\xa3", "audio/webm"),
        (b"\xff", None),
        (b"RIFF\x24\0\0\0AVI ", None),
    ],
)
def test_the_type_of_audio(data, mime_type):
    """The MIME type is read from the first bytes, and has a file name suffix."""
    audio = allm.Audio.from_bytes(data)
    assert audio.mime_type == mime_type
    assert audio.file_name().startswith("audio")
    assert allm.Audio.from_base64(audio.to_base64()).data == audio.data
    assert allm.from_json(allm.to_json(audio)) == audio


def test_audio_files(tmp_path):
    """A file that is not there is told at once; one that is keeps its name."""
    place = allm.Audio.from_bytes(WAV).save(tmp_path / "a.WAV")
    audio = allm.Audio.from_file(place)
    assert (audio.data, audio.mime_type, audio.file_name()) == (WAV, "audio/wav", "a.WAV")
    with pytest.raises(allm.ValidationError, match="there is no audio file"):
        allm.Audio.from_file(tmp_path / "none.wav")
    with pytest.raises(allm.ValidationError, match="does not decode"):
        allm.Audio.from_base64("?")
    assert repr(audio).startswith("Audio(file=")


async def test_synthesize_is_the_fold_of_its_stream():
    """`synthesize` returns the pieces of the stream in order."""
    whole = await allm.synthesize(speaker(), "one two three")
    async with allm.stream_synthesize(speaker(), "one two three") as speech:
        pieces = [piece async for piece in speech]
    assert pieces == [b"one ", b"two ", b"three "]
    assert whole == speech.result()
    assert (whole.audio.data, whole.audio.mime_type, whole.complete) == (b"one two three ", "audio/wav", True)


async def test_what_had_arrived_stays(autojump_clock):
    """After a break, an exception, a cancellation or a failure the result stays, and reading on fails."""
    async with allm.stream_synthesize(speaker(), "one two three") as speech:
        async for _ in speech:
            break
    assert (speech.result().audio.data, speech.result().complete) == (b"one ", False)
    with pytest.raises(allm.StreamError, match="async with"):
        await anext(speech)

    with pytest.raises(KeyError):
        async with allm.stream_synthesize(speaker(), "one two") as speech:
            await anext(speech)
            raise KeyError
    with trio.move_on_after(1):
        async with allm.stream_synthesize(speaker(b"a", 60, b"b"), "x") as speech:
            async for _ in speech:
                pass
    assert speech.result().audio.data == b"a"

    broken = allm.AdapterError("cut", reason="stream_truncated")
    with pytest.raises(allm.AdapterError, match="cut"):
        async with allm.stream_synthesize(speaker(b"a", broken), "x") as speech:
            async for _ in speech:
                pass
    assert (speech.result().audio.data, speech.result().complete) == (b"a", False)


async def test_saving_as_it_arrives(tmp_path, autojump_clock):
    """Each piece is in the file once it has arrived, even if the rest never does."""
    async with allm.stream_synthesize(speaker(), "one two") as speech:
        await anext(speech)
        place = await speech.save(tmp_path / "a.wav")
    assert place.read_bytes() == b"one two "
    with pytest.raises(allm.AdapterError):
        async with allm.stream_synthesize(speaker(b"a", allm.AdapterError("cut")), "x") as speech:
            await speech.save(tmp_path / "b.wav")
    assert (tmp_path / "b.wav").read_bytes() == b"a"


async def test_limits_of_speech(autojump_clock):
    """Time limits apply to the first piece, to each further one, and to the whole call."""
    for script, option in (((60, b"a"), "first_event_timeout"), ((b"a", 60, b"b"), "first_event_timeout")):
        with pytest.raises(allm.AdapterError, match=option) as caught:
            await allm.synthesize(speaker(*script), "x", retry=None, first_event_timeout=5)
        assert caught.value.reason == "timeout"
    with pytest.raises(allm.AdapterError, match="request_timeout"):
        await allm.synthesize(speaker(3, b"a", 3, b"b"), "x", request_timeout=5)


async def test_speech_is_tried_again_only_before_it_begins(autojump_clock):
    """A failure before the first piece, or a response without audio, is retried."""

    class Hesitant(FakeSpeech):
        def open(self, prepared):
            self._script = self.answers.pop(0)
            return super().open(prepared)

    busy = allm.AdapterError("busy", reason="overloaded")
    adapter = Hesitant()
    adapter.answers = [[busy], [b"a"]]
    assert (await allm.synthesize(allm.Engine(speech_adapter=adapter), "x")).audio.data == b"a"
    adapter.answers = [[b"a", busy], [b"b"]]
    with pytest.raises(allm.AdapterError, match="busy"):
        await allm.synthesize(allm.Engine(speech_adapter=adapter), "x")
    adapter.answers = [[]]
    with pytest.raises(allm.AdapterError, match="no audio"):
        await allm.synthesize(allm.Engine(speech_adapter=adapter), "x")


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (allm.SpeechRequest(""), "text"),
        (allm.SpeechRequest(7), "text"),
        (allm.SpeechRequest("x", speed=0), "speed"),
        (allm.SpeechRequest("x", voice=3), "voice"),
    ],
)
async def test_invalid_speech_requests(request_, path):
    """An invalid speech request is rejected at the call."""
    with pytest.raises(allm.ValidationError, match=path):
        allm.stream_synthesize(speaker(), request_)


async def test_a_transcription():
    """The model comes from the engine, and options of the call win over fields of the request."""
    engine = listener("hello", model="chatty", transcription_model="ears")
    request = allm.TranscriptionRequest(allm.Audio.from_bytes(WAV), language="de", metadata={"n": 1})
    answer = await allm.transcribe(engine, request, language="en", timestamps="word")
    [asked] = engine.transcription_adapter.requests
    assert (asked.model, asked.language, asked.timestamps) == ("ears", "en", ("word",))
    assert (answer.text, answer.metadata) == ("hello", {"n": 1})
    assert allm.from_json(allm.to_json(answer)) == answer


async def test_a_path_is_a_file(tmp_path):
    """A path is read as a file."""
    place = allm.Audio.from_bytes(WAV).save(tmp_path / "a.wav")
    engine = listener("hello", "again")
    await allm.transcribe(engine, place)
    await allm.transcribe(engine, str(place))
    assert [asked.audio.data for asked in engine.transcription_adapter.requests] == [WAV, WAV]


@pytest.mark.parametrize(
    ("audio", "options", "path"),
    [
        (7, {}, "audio"),
        (allm.Audio(b""), {}, "audio"),
        (allm.Audio("text"), {}, "audio.source"),
        (allm.Audio(WAV, "audio/wav\r\nx-other: field"), {}, "audio.mime_type"),
        (allm.Audio(WAV, 5), {}, "audio.mime_type"),
        (allm.Audio(WAV), {"timestamps": ["hour"]}, "timestamps"),
        (allm.Audio(WAV), {"timestamps": 5}, "timestamps"),
        (allm.Audio(WAV), {"temperature": "hot"}, "temperature"),
    ],
)
async def test_invalid_transcription_requests(audio, options, path):
    """An invalid transcription request is rejected at the call."""
    with pytest.raises(allm.ValidationError, match=path):
        await allm.transcribe(listener("x"), audio, **options)


async def test_services_are_apart():
    """The chat adapter and chat model are never used for speech or transcription."""
    engine = allm.Engine(adapter=allm.providers.Fake(script=[]), model="chatty")
    for call in (allm.synthesize(engine, "x"), allm.transcribe(engine, allm.Audio(WAV))):
        with pytest.raises(allm.EngineError, match="set Engine"):
            await call
    named = allm.Engine().with_services(speech_model="openai:tts-1", transcription_model="gemini:gemini-3-flash")
    assert (named.speech_model, named.transcription_model) == ("tts-1", "gemini-3-flash")


async def test_a_model_is_needed():
    """A call without a model is rejected, unless the adapter needs none; nothing is sent."""
    speech = allm.Engine(speech_adapter=allm.providers.OpenAISpeech(api_key="k"))
    with pytest.raises(allm.EngineError, match="no model for speech") as caught:
        await allm.synthesize(speech, "hi")
    assert caught.value.reason == "missing_model"
    with pytest.raises(allm.EngineError, match="no model for transcription") as caught:
        await allm.transcribe(
            allm.Engine(transcription_adapter=allm.providers.OpenAITranscription(api_key="k")), allm.Audio(WAV)
        )
    assert caught.value.reason == "missing_model"
