"""Speech by services that answer in other ways than OpenAI."""

from __future__ import annotations

import base64
import io
import json
import wave

import pytest

import allm
from allm import models
from allm.providers import ElevenLabsSpeech, GeminiSpeech, OpenAISpeech, XaiSpeech
from allm.providers.gemini.speech import encode_speech as encode_gemini
from allm.providers.openai.speech import encode_speech as encode_openai
from allm.testing import Reply, WireServer, loopback_clock
from request_types import check_gemini

KEY = "sk-audio-canary"
SOUND = bytes(range(256)) * 40


@pytest.fixture
def clock():
    return loopback_clock()


async def spoken(adapter_type, reply, text="Hello.", settings=None, model="m", **options):
    """The speech that a server's reply becomes, and what it was asked."""
    async with WireServer() as server:
        server.add(reply)
        adapter = adapter_type(api_key=KEY, base_url=f"{server.base_url}/v1", **(settings or {}))
        engine = allm.Engine(speech_adapter=adapter, speech_model=model, retry=None)
        speech = await allm.synthesize(engine, text, **options)
        [seen] = server.requests
    return speech, seen


def samples(data=SOUND, mime_type="audio/L16;codec=pcm;rate=24000", **usage):
    inline = {"mimeType": mime_type, "data": base64.b64encode(data).decode()}
    answer = {"candidates": [{"content": {"parts": [{"inlineData": inline}]}, "finishReason": "STOP"}]}
    return Reply.json({**answer, "usageMetadata": usage})


@pytest.mark.parametrize("rate", [16000, 24000])
async def test_samples_of_gemini_become_a_file(clock, rate):
    """That Python's own reader reads, at the rate that their type says."""
    speech, seen = await spoken(GeminiSpeech, samples(mime_type=f"audio/L16;codec=pcm;rate={rate}"), voice="Puck")
    with wave.open(io.BytesIO(speech.audio.data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (rate, 1, 2)
        assert file.readframes(file.getnframes()) == SOUND
    assert speech.audio.mime_type == "audio/wav"
    assert seen.path == "/v1/v1beta/models/m:generateContent"
    config = json.loads(seen.body)["generationConfig"]
    assert config["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"] == {"voiceName": "Puck"}


async def test_samples_as_they_are(clock):
    """If they are asked for; what is a file already stays one."""
    speech, _ = await spoken(GeminiSpeech, samples(), format="pcm")
    assert (speech.audio.data, speech.audio.mime_type) == (SOUND, "audio/pcm")
    speech, _ = await spoken(GeminiSpeech, samples(mime_type="audio/mpeg"))
    assert (speech.audio.data, speech.audio.mime_type) == (SOUND, "audio/mpeg")


async def test_what_speech_cost(clock):
    """Where the answer says its tokens, and their price is known."""
    prices = models.Prices(input=1, output=2, output_audio=10)
    models.put(models.ModelInfo(provider="gemini", id="acme-speaks", prices=prices))
    details = [{"modality": "AUDIO", "tokenCount": 1_000_000}]
    counts = {"promptTokenCount": 1_000_000, "candidatesTokenCount": 1_000_000, "candidatesTokensDetails": details}
    speech, _ = await spoken(GeminiSpeech, samples(**counts), model="acme-speaks")
    assert (speech.usage.input_tokens, speech.usage.output_tokens, speech.usage.total_cost) == (1e6, 1e6, 11.0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "content_filter"),
        ({"candidates": [{"finishReason": "OTHER"}]}, "malformed_response"),
        ({"candidates": [{"content": {"parts": [{"inlineData": {"data": "?"}}]}}]}, "malformed_response"),
    ],
    ids=["blocked", "none", "no base64"],
)
async def test_gemini_answers_without_audio(clock, answer, reason):
    """Say why."""
    with pytest.raises(allm.AdapterError) as caught:
        await spoken(GeminiSpeech, Reply.json(answer))
    assert (caught.value.reason, caught.value.provider) == (reason, "gemini")


def test_bodies_for_gemini_are_what_google_takes():
    """By its own descriptors; how to speak stands before what to say."""
    body = encode_gemini(allm.SpeechRequest("Hello.", voice="Kore", instructions="Say cheerfully"))
    assert body["contents"][0]["parts"] == [{"text": "Say cheerfully: Hello."}]
    check_gemini(body)


async def test_elevenlabs(clock):
    """The voice and the format are in the URL, the key in a header of its own."""
    reply = Reply(body=SOUND, headers={"content-type": "audio/mpeg"}, chunks=10)
    speech, seen = await spoken(ElevenLabsSpeech, reply, voice="JBFqnCBsd6RMkjVDRZzb", speed=1.1)
    assert seen.path == "/v1/text-to-speech/JBFqnCBsd6RMkjVDRZzb/stream?output_format=mp3_44100_128"
    assert seen.headers["xi-api-key"] == KEY
    assert json.loads(seen.body) == {"text": "Hello.", "model_id": "m", "voice_settings": {"speed": 1.1}}
    assert (speech.audio.data, speech.audio.mime_type) == (SOUND, "audio/mpeg")


@pytest.mark.parametrize(
    ("format_", "sent", "mime_type"),
    [("pcm", "pcm_24000", "audio/pcm"), ("pcm_16000", "pcm_16000", "audio/pcm"), ("ulaw_8000", "ulaw_8000", "audio/x")],
)
async def test_formats_of_elevenlabs(clock, format_, sent, mime_type):
    """Have its own names, which are passed on."""
    reply = Reply(body=SOUND, headers={"content-type": "audio/x"})
    speech, seen = await spoken(ElevenLabsSpeech, reply, voice="abc", format=format_)
    assert seen.path.endswith(f"output_format={sent}")
    assert speech.audio.mime_type == mime_type


async def test_xai(clock):
    """A text and a language, which it finds out."""
    reply = Reply(body=SOUND, headers={"content-type": "audio/mpeg"})
    speech, seen = await spoken(XaiSpeech, reply, model=None, voice="Ara")
    assert seen.path == "/v1/tts"
    assert json.loads(seen.body) == {"text": "Hello.", "language": "auto", "voice": "Ara"}
    assert speech.audio.data == SOUND


async def test_mistral(clock):
    """Audio in JSON, and no voice that only OpenAI has."""
    reply = Reply.json({"audio_data": base64.b64encode(SOUND).decode()})
    speech, seen = await spoken(OpenAISpeech, reply, settings={"preset": "mistral"})
    assert json.loads(seen.body) == {"model": "m", "input": "Hello."}
    assert (speech.audio.data, speech.audio.mime_type) == (SOUND, "audio/mpeg")


@pytest.mark.parametrize("answer", [{"x": 1}, {"audio_data": "?"}, {"audio_data": 3}])
async def test_json_without_audio(clock, answer):
    """Is no speech."""
    with pytest.raises(allm.AdapterError) as caught:
        await spoken(OpenAISpeech, Reply.json(answer), settings={"preset": "mistral"})
    assert caught.value.reason == "malformed_response"


def test_voices_are_the_services_own():
    """OpenAI's is named to OpenAI only."""
    request = allm.SpeechRequest("Hello.", model="m")
    assert encode_openai(request, "azure")["voice"] == "alloy"
    assert "voice" not in encode_openai(request, "openrouter")


@pytest.mark.parametrize(
    ("adapter_type", "options", "path"),
    [
        (GeminiSpeech, {"speed": 2}, "speed"),
        (GeminiSpeech, {"format": "mp3"}, "format"),
        (XaiSpeech, {"instructions": "low"}, "instructions"),
        (XaiSpeech, {"format": "wav"}, "format"),
        (ElevenLabsSpeech, {}, "voice"),
        (ElevenLabsSpeech, {"voice": "../x"}, "voice"),
        (ElevenLabsSpeech, {"voice": "abc", "instructions": "low"}, "instructions"),
        (ElevenLabsSpeech, {"voice": "abc", "format": "wav"}, "format"),
    ],
)
async def test_what_a_service_lacks(adapter_type, options, path):
    """Is refused by name, before anything is sent."""
    engine = allm.Engine(speech_adapter=adapter_type(api_key=KEY), speech_model="m")
    with pytest.raises(allm.ValidationError) as caught:
        await allm.synthesize(engine, "Hello.", **options)
    assert caught.value.errors[0][0] == (path,)
