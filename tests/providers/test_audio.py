"""Adapters of speech and transcription, over HTTP and as pure functions."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import trio

import allm
from allm.providers import GeminiTranscription, OpenAISpeech, OpenAITranscription
from allm.providers.gemini.transcription import (
    decode_transcription as decode_gemini,
    encode_transcription as encode_gemini,
)
from allm.providers.openai.speech import encode_speech
from allm.providers.openai.transcription import MOST_BYTES, decode_transcription, encode_transcription
from allm.testing import Cut, Reply, Stall, WireServer, loopback_clock
from request_types import check_gemini, force, vendor

WAV = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
KEY = "sk-audio-canary"
SOUND = bytes(range(256)) * 40


@pytest.fixture
def clock():
    return loopback_clock()


def speaker(server, **fields):
    adapter = OpenAISpeech(api_key=KEY, base_url=f"{server.base_url}/v1")
    return allm.Engine(speech_adapter=adapter, speech_model="gpt-4o-mini-tts", **{"retry": None, **fields})


def listener(server, adapter=None, model="whisper-1"):
    adapter = adapter or OpenAITranscription(api_key=KEY, base_url=f"{server.base_url}/v1")
    return allm.Engine(transcription_adapter=adapter, transcription_model=model, retry=None)


def sound(**fields):
    return Reply(body=SOUND, headers={"content-type": "audio/mpeg", "x-request-id": "r1"}, **fields)


def test_bodies_of_speech_are_what_openai_takes():
    """By the types of its own SDK."""
    request = allm.SpeechRequest(
        "hi", model="gpt-4o-mini-tts", voice="coral", format="wav", speed=1.5, instructions="low"
    )
    judge = vendor("pydantic").TypeAdapter(vendor("openai.types.audio.speech_create_params").SpeechCreateParams)
    force(judge.validate_python(encode_speech(request), extra="forbid"))


def test_fields_of_a_transcription_are_what_openai_takes():
    """Their names are in its SDK's type; the file itself no judge can look into."""
    request = allm.TranscriptionRequest(
        WAV, model="whisper-1", language="en", prompt="x", temperature=0, timestamps="word"
    )
    known = vendor("openai.types.audio.transcription_create_params").TranscriptionCreateParamsBase.__annotations__
    assert encode_transcription(request).keys() <= known.keys()


def test_bodies_for_gemini_are_what_google_takes():
    """By its own descriptors."""
    request = allm.TranscriptionRequest(WAV, model="gemini-3-flash", language="en", prompt="Trio", temperature=0.5)
    check_gemini(encode_gemini(request))


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (allm.SpeechRequest("x" * 4097), "text"),
        (allm.SpeechRequest("x", speed=5), "speed"),
        (allm.SpeechRequest("x", format="midi"), "format"),
        (allm.SpeechRequest("x", model="tts-1-hd", instructions="low"), "instructions"),
        (allm.SpeechRequest("x", model="openai/tts-1", instructions="low"), "instructions"),
        (allm.SpeechRequest("x", options={"stream_format": "sse"}), "options"),
    ],
)
def test_what_openai_does_not_say(request_, path):
    """Is refused by name."""
    with pytest.raises(allm.ValidationError) as caught:
        encode_speech(request_)
    assert caught.value.errors[0][0][0] == path


@pytest.mark.parametrize(
    ("audio", "fields", "path"),
    [
        (allm.Audio(bytes(MOST_BYTES + 1), "audio/wav"), {}, "audio"),
        (allm.Audio(b"x", "audio/midi"), {}, "audio"),
        (WAV, {"model": "gpt-4o-transcribe", "timestamps": "word"}, "timestamps"),
        (WAV, {"model": "openai/gpt-4o-transcribe", "timestamps": "word"}, "timestamps"),
        (WAV, {"model": "gpt-4o-transcribe-diarize", "timestamps": "word"}, "timestamps"),
        (WAV, {"model": "gpt-4o-transcribe-diarize", "prompt": "Trio"}, "prompt"),
        (WAV, {"options": {"response_format": "text"}}, "options"),
        (WAV, {"options": {"response_format": "srt"}}, "options"),
        (WAV, {"options": {"response_format": "vtt"}}, "options"),
        (WAV, {"options": {"stream": True}}, "options"),
    ],
)
def test_what_openai_does_not_listen_to(audio, fields, path):
    """Is refused by name, before it is uploaded."""
    with pytest.raises(allm.ValidationError) as caught:
        encode_transcription(allm.TranscriptionRequest(audio, **fields))
    assert caught.value.errors[0][0][0] == path


@pytest.mark.parametrize(
    ("model", "timestamps", "expected"),
    [
        ("gpt-4o-transcribe", (), {"response_format": "json"}),
        ("whisper-1", (), {"response_format": "json"}),
        ("whisper-1", "word", {"response_format": "verbose_json", "timestamp_granularities": ["word"]}),
        ("gpt-4o-transcribe-diarize", "segment", {"response_format": "diarized_json", "chunking_strategy": "auto"}),
        ("gpt-4o-transcribe-diarize", (), {"response_format": "diarized_json", "chunking_strategy": "auto"}),
    ],
)
def test_the_form_of_an_answer_depends_on_the_model(model, timestamps, expected):
    """Each gets what it can answer."""
    request = allm.TranscriptionRequest(WAV, model=model, timestamps=timestamps)
    assert encode_transcription(request) == {"model": model, **expected}


async def test_speech_over_http(clock):
    """As it arrives, with its type; the key in its header only."""
    async with WireServer() as server:
        server.add(sound(chunks=100))
        async with allm.stream_synthesize(speaker(server), "hello", format="mp3") as speech:
            pieces = [piece async for piece in speech]
        [seen] = server.requests
    assert b"".join(pieces) == SOUND
    assert len(pieces) > 1
    assert json.loads(seen.body) == {
        "model": "gpt-4o-mini-tts",
        "input": "hello",
        "voice": "alloy",
        "response_format": "mp3",
    }
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    result = speech.result()
    assert (result.audio.mime_type, result.request_id, result.complete) == ("audio/mpeg", "r1", True)


@pytest.mark.parametrize(
    ("asked", "kind", "mime_type"),
    [
        (None, "audio/wav; rate=24000", "audio/wav"),
        (None, "application/octet-stream", "audio/mpeg"),
        ("opus", "audio/mpeg", "audio/ogg"),
        ("mulaw", "audio/basic", "audio/basic"),
    ],
)
async def test_the_type_of_speech(clock, asked, kind, mime_type):
    """Is what was asked for, else what the server calls it, else what OpenAI sends unasked."""
    async with WireServer() as server:
        server.add(Reply(body=SOUND, headers={"content-type": kind}))
        speech = await allm.synthesize(speaker(server), "hello", options={"response_format": asked} if asked else {})
    assert speech.audio.mime_type == mime_type


async def test_a_connection_that_breaks_keeps_what_had_arrived(clock):
    """And raises: half a sentence is no success."""
    async with WireServer() as server:
        server.add(sound(fault=Cut(5000)))
        with pytest.raises(allm.AdapterError) as caught:
            async with allm.stream_synthesize(speaker(server), "hello") as speech:
                async for _ in speech:
                    pass
    assert caught.value.reason == "stream_truncated"
    assert SOUND.startswith(speech.result().audio.data)
    assert not speech.result().complete


@pytest.mark.parametrize("way", ["break", "exception", "cancel"])
async def test_every_exit_closes_the_connection(clock, way):
    """Before the statement after the block."""
    async with WireServer() as server:
        server.add(sound(fault=Stall(3000)))
        with trio.move_on_after(5), suppress(KeyError):
            async with allm.stream_synthesize(speaker(server), "hello") as speech:
                async for _ in speech:
                    if way == "break":
                        break
                    if way == "exception":
                        {}["an error of the block"]
        await server.wait_idle()
        assert server.requests[0].outcome != "completed"
    assert speech.result().audio.data


async def test_refusals(clock):
    """Have their reason; JSON in place of audio is no audio."""
    refusal = {"error": {"message": f"bad key {KEY}", "code": "invalid_api_key"}}
    async with WireServer() as server:
        xml = Reply(body=b"<Error/>", headers={"content-type": "application/xml"})
        server.add(Reply.json(refusal, status=401), Reply.json({"x": 1}), xml)
        with pytest.raises(allm.AdapterError, match="bad key") as caught:
            await allm.synthesize(speaker(server), "hello")
        assert caught.value.reason == "authentication_failed"
        assert KEY not in str(caught.value)
        for _ in range(2):
            with pytest.raises(allm.AdapterError, match="expected audio"):
                await allm.synthesize(speaker(server), "hello")


async def test_a_transcription_over_http(clock):
    """The file in a form, with its name and type."""
    answer = {
        "text": "hello there",
        "language": "english",
        "duration": 1.5,
        "segments": [{"text": "hello there", "start": 0, "end": 1.5, "speaker": "A"}],
        "words": [{"word": "hello", "start": 0.0, "end": 0.6}],
        "usage": {"type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    }
    async with WireServer() as server:
        server.add(Reply.json(answer, headers={"x-request-id": "r2"}))
        found = await allm.transcribe(listener(server), WAV, language="en", timestamps=["word", "segment"])
        [seen] = server.requests
    assert seen.path == "/v1/audio/transcriptions"
    assert b'name="file"; filename="audio.wav"\r\nContent-Type: audio/wav' in seen.body
    assert WAV.data in seen.body
    assert seen.body.count(b'name="timestamp_granularities[]"') == 2
    assert (found.text, found.language, found.duration, found.request_id) == ("hello there", "english", 1.5, "r2")
    assert found.segments == (allm.TranscriptionPart(text="hello there", start=0.0, end=1.5, speaker="A"),)
    assert found.words == (allm.TranscriptionPart(text="hello", start=0.0, end=0.6),)
    assert (found.usage.input_tokens, found.usage.total_tokens) == (3, 7)


async def test_gemini_over_http(clock):
    """The transcript without the thinking."""
    parts = [{"thought": True, "text": "hm"}, {"text": "hello "}, {"text": "there"}]
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}], "modelVersion": "gemini-3-flash"}
    async with WireServer() as server:
        server.add(Reply.json(answer))
        adapter = GeminiTranscription(api_key=KEY, base_url=server.base_url)
        found = await allm.transcribe(listener(server, adapter, "gemini-3-flash"), WAV)
    assert (found.text, found.model) == ("hello there", "gemini-3-flash")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "content_filter"),
        ({"candidates": [{"finishReason": "RECITATION"}]}, "content_filter"),
        ({"candidates": [{"finishReason": "OTHER"}]}, "malformed_response"),
        ({}, "malformed_response"),
    ],
)
def test_gemini_answers_without_text(document, reason):
    """Say why."""
    with pytest.raises(allm.AdapterError) as caught:
        decode_gemini(document, provider="gemini", model=None)
    assert caught.value.reason == reason


def test_silence_is_an_answer():
    """Nothing was said."""
    assert decode_gemini({"candidates": [{"finishReason": "STOP"}]}, provider="gemini", model=None).text == ""
    assert decode_transcription({"text": ""}, provider="openai", model=None).text == ""
    with pytest.raises(allm.AdapterError, match="no text"):
        decode_transcription({"x": 1}, provider="openai", model=None)


@pytest.mark.parametrize(
    ("audio", "fields", "path"),
    [(allm.Audio(b"?"), {}, "audio"), (WAV, {"timestamps": "word"}, "timestamps")],
)
def test_what_gemini_does_not_take(audio, fields, path):
    """Is refused by name."""
    with pytest.raises(allm.ValidationError) as caught:
        encode_gemini(allm.TranscriptionRequest(audio, **fields))
    assert caught.value.errors[0][0] == (path,)


@pytest.mark.parametrize(
    ("request_", "tag"),
    [
        (allm.TranscriptionRequest(WAV, timestamps="word"), "unsupported_option"),
        (allm.TranscriptionRequest(allm.Audio(b"?")), "missing_mime_type"),
        (allm.TranscriptionRequest(allm.Audio(bytes(15 * 1024 * 1024 + 1), "audio/wav")), "too_large"),
    ],
    ids=["times", "type", "size"],
)
def test_what_gemini_cannot_write_down(request_, tag):
    """Is found before anything is sent."""
    with pytest.raises(allm.ValidationError) as caught:
        encode_gemini(request_)
    assert [found for _, found in caught.value.errors] == [tag]


def test_limits_of_openai_bind_nobody_else():
    """Another service or server may take more than 25 MiB, and longer texts; at OpenAI they are refused."""
    long = allm.TranscriptionRequest(allm.Audio(bytes(25 * 1024 * 1024 + 1), "audio/wav"), model="whisper-1")
    said = allm.SpeechRequest("a" * 5000, model="kokoro", speed=9)
    options = allm.adapters.AdapterOptions()
    for elsewhere in ({"base_url": "http://gpu-box:8000/v1"}, {"preset": "groq"}):
        OpenAITranscription(api_key="k", **elsewhere).prepare(long, options)
        OpenAISpeech(api_key="k", **elsewhere).prepare(said, options)
    with pytest.raises(allm.ValidationError) as caught:
        OpenAITranscription(api_key="k", base_url="https://api.openai.com/v1").prepare(long, options)
    assert caught.value.errors == ((("audio",), "too_large"),)
    with pytest.raises(allm.ValidationError) as caught:
        OpenAISpeech(api_key="k", base_url="https://api.openai.com/v1").prepare(said, options)
    assert [path for path, _ in caught.value.errors] == [("text",), ("speed",)]
