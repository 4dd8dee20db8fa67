"""What services beside chat cost, as a call gives it."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers import (
    Anthropic,
    DeepgramTranscription,
    ElevenLabsSpeech,
    OpenAIImages,
    OpenAISpeech,
    OpenAITranscription,
)
from allm.runtime import costs
from allm.testing import Reply, WireServer, loopback_clock

SOUND = b"ID3\x04" + bytes(2000)
WAV = allm.Audio(b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "audio/wav")
IMAGE = "iVBORw0KGgo="


@pytest.fixture(autouse=True)
def autojump_clock():
    return loopback_clock()


@pytest.fixture(autouse=True)
def without_genai_prices(monkeypatch):
    """Use only our own prices, even if genai-prices is installed."""
    monkeypatch.setattr(costs, "_genai_prices", lambda: None)


@pytest.fixture
async def server():
    async with WireServer() as server:
        yield server


def hears(adapter, model):
    return allm.Engine(transcription_adapter=adapter, transcription_model=model, retry=None)


async def test_a_transcription_by_the_hour(server):
    """OpenAI says what it charges for, Deepgram how long the audio is; what speakers cost there is not known."""
    server.add(Reply.json({"text": "Hi", "usage": {"type": "duration", "seconds": 1800}}))
    engine = hears(OpenAITranscription(api_key="k", base_url=f"{server.base_url}/v1"), "whisper-1")
    assert (await allm.transcribe(engine, WAV)).usage.total_cost == 0.18
    answer = {"metadata": {"duration": 3600.0}, "results": {"channels": [{"alternatives": [{"transcript": "Hi"}]}]}}
    server.add(Reply.json(answer), Reply.json(answer))
    engine = hears(DeepgramTranscription(api_key="k", base_url=server.base_url), "nova-3")
    assert (await allm.transcribe(engine, WAV)).usage.total_cost == 0.258
    assert (await allm.transcribe(engine, WAV, diarize=True)).usage.total_cost is None


@pytest.mark.parametrize("arriving", [False, True])
async def test_speech_by_the_character(server, arriving):
    """Of all that is said, also in several requests."""
    text = "Owls hunt at night. " * 40

    async def pieces():
        yield text[:300]
        yield text[300:]

    server.default = Reply(body=SOUND, headers={"content-type": "audio/mpeg"})
    adapter = OpenAISpeech(api_key="k", base_url=f"{server.base_url}/v1")
    engine = allm.Engine(speech_adapter=adapter, speech_model="tts-1", retry=None)
    speech = await allm.synthesize(engine, pieces() if arriving else text)
    said = sum(len(request.json()["input"]) for request in server.requests)
    assert said >= len(text) - 50
    assert speech.usage.total_cost == pytest.approx(said * 15 / 1e6)
    assert (len(server.requests) > 1) == arriving


async def test_speech_of_a_model_without_a_price(server):
    """Has no cost."""
    server.add(Reply(body=SOUND, headers={"content-type": "audio/mpeg"}))
    adapter = ElevenLabsSpeech(api_key="k", base_url=server.base_url)
    engine = allm.Engine(speech_adapter=adapter, speech_model="eleven_v99", retry=None)
    assert (await allm.synthesize(engine, "Hi", voice="x")).usage.total_cost is None


async def test_images_by_the_token(server):
    """A kind of token each has its price."""
    details = {"text_tokens": 100_000, "image_tokens": 100_000}
    usage = {"input_tokens": 200_000, "output_tokens": 200_000, "total_tokens": 400_000}
    usage |= {"input_tokens_details": details, "output_tokens_details": details}
    server.default = Reply.json({"data": [{"b64_json": IMAGE}], "usage": usage})
    adapter = OpenAIImages(api_key="k", base_url=f"{server.base_url}/v1")
    engine = allm.Engine(image_adapter=adapter, image_model="gpt-image-1.5", retry=None)
    response = await allm.generate_image(engine, "An owl")
    assert response.usage.total_cost == pytest.approx(0.5 + 0.8 + 1.0 + 3.2)
    assert allm.from_json(allm.to_json(response)) == response
    assert (await allm.generate_image(engine, "An owl", model="gpt-image-99")).usage.total_cost is None


async def test_searches_of_an_answer(server):
    """Are in its total, streamed from a provider."""
    script = [
        fake.hosted_call("web_search", {"query": "owls"}, {"sources": []}),
        fake.text("Yes."),
        fake.usage(input_tokens=1000, output_tokens=1000),
    ]
    server.add(Reply.script("anthropic", script))
    engine = allm.Engine(adapter=Anthropic(api_key="k", base_url=server.base_url), model="claude-sonnet-4-5")
    usage = (await allm.generate(engine, "Owls?", tools=[allm.hosted.web_search()])).usage
    assert usage.total_cost == pytest.approx(usage.input_cost + usage.output_cost + 0.01)
