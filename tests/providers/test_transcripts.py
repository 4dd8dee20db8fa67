"""What services make of recordings with several speakers, each in its own form."""

from __future__ import annotations

import pytest

import allm
from allm import models
from allm.adapters import speaker_turns
from allm.providers import (
    CohereTranscription,
    DeepgramTranscription,
    ElevenLabsTranscription,
    OpenAITranscription,
    XaiTranscription,
)
from allm.providers.openai.transcription import decode_transcription, encode_transcription
from allm.testing import Reply, WireServer, loopback_clock

WAV = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
KEY = "sk-audio-canary"
Part = allm.TranscriptionPart


@pytest.fixture
def clock():
    return loopback_clock()


async def heard(adapter_type, answer, audio=WAV, model="m", settings=None, **options):
    """The transcription that a server's answer becomes, and what it was asked."""
    async with WireServer() as server:
        server.add(Reply.json(answer, headers={"x-request-id": "r1"}))
        adapter = adapter_type(api_key=KEY, base_url=f"{server.base_url}/v1", **(settings or {}))
        engine = allm.Engine(transcription_adapter=adapter, transcription_model=model, retry=None)
        found = await allm.transcribe(engine, audio, **options)
        [seen] = server.requests
    return found, seen


def field(seen, name):
    """The values of a form's field."""
    parts = seen.body.split(f'name="{name}"\r\n\r\n'.encode())[1:]
    return [part.partition(b"\r\n")[0].decode() for part in parts]


WORDS = [
    Part(text="Guten", start=0.0, end=0.4, speaker="0"),
    Part(text="Tag.", start=0.4, end=0.8, speaker="0"),
    Part(text="Hallo!", start=1.0, end=1.3, speaker="1"),
    Part(text="Guten", start=1.5, end=1.8, speaker="0"),
]


def test_turns_of_speakers():
    """Are cut from the text, with its spaces and marks, also where a word comes again."""
    turns = speaker_turns("Guten  Tag. Hallo! Guten", WORDS)
    assert turns == (
        Part(text="Guten  Tag.", start=0.0, end=0.8, speaker="0"),
        Part(text="Hallo!", start=1.0, end=1.3, speaker="1"),
        Part(text="Guten", start=1.5, end=1.8, speaker="0"),
    )


def test_turns_of_words_that_the_text_has_not():
    """Are their words, and what follows is cut from the text again."""
    assert [turn.text for turn in speaker_turns("ahem Hallo! Guten", WORDS)] == ["Guten Tag.", "Hallo!", "Guten"]


def test_words_without_speakers_make_no_turns():
    """And no words neither."""
    assert speaker_turns("a b", [Part(text="a"), Part(text="b")]) == ()
    assert speaker_turns("", []) == ()


async def test_xai(clock):
    """No model, the file last, speakers by number."""
    words = [{"text": "Hi", "start": 0, "end": 0.5, "speaker": 0}, {"text": "you.", "start": 1, "end": 2, "speaker": 1}]
    answer = {"text": "Hi you.", "language": "en", "duration": 2.5, "words": words}
    found, seen = await heard(XaiTranscription, answer, model=None, diarize=True)
    assert seen.path == "/v1/stt"
    assert field(seen, "diarize") == ["true"]
    assert seen.body.rindex(b"; name=") == seen.body.index(b'; name="file"')
    assert [(part.text, part.speaker) for part in found.segments] == [("Hi", "0"), ("you.", "1")]
    assert found.words[1] == Part(text="you.", start=1.0, end=2.0, speaker="1")
    assert (found.language, found.duration) == ("en", 2.5)


async def test_elevenlabs(clock):
    """Spaces between words are no words; sounds are."""
    words = [
        {"text": "Ja", "start": 0, "end": 0.5, "type": "word", "speaker_id": "speaker_0"},
        {"text": " ", "start": 0.5, "end": 0.6, "type": "spacing", "speaker_id": "speaker_0"},
        {"text": "(laughs)", "start": 0.6, "end": 1, "type": "audio_event", "speaker_id": "speaker_1"},
    ]
    answer = {"language_code": "deu", "text": "Ja (laughs)", "words": words, "transcription_id": "t1"}
    found, seen = await heard(ElevenLabsTranscription, answer, diarize=True, timestamps="word", language="de")
    assert (seen.path, seen.headers["xi-api-key"]) == ("/v1/speech-to-text", KEY)
    assert "authorization" not in seen.headers
    asked = [field(seen, name) for name in ("model_id", "diarize", "timestamps_granularity", "language_code")]
    assert asked == [["m"], ["true"], ["word"], ["de"]]
    assert [part.text for part in found.words] == ["Ja", "(laughs)"]
    assert [(part.text, part.speaker) for part in found.segments] == [("Ja", "speaker_0"), ("(laughs)", "speaker_1")]
    assert (found.language, found.metadata) == ("deu", {"elevenlabs": {"transcription_id": "t1"}})


async def test_elevenlabs_fetches_a_url(clock):
    """It is told where the recording is; nothing is uploaded."""
    audio = allm.Audio.from_url("https://example.com/a.mp3")
    _, seen = await heard(ElevenLabsTranscription, {"text": ""}, audio)
    assert b"cloud_storage_url" in seen.body
    assert b"filename" not in seen.body


DEEPGRAM = {
    "metadata": {"request_id": "d1", "duration": 3.5},
    "results": {
        "channels": [
            {
                "detected_language": "en",
                "alternatives": [
                    {
                        "transcript": "Yes. No.",
                        "words": [
                            {"word": "yes", "punctuated_word": "Yes.", "start": 0, "end": 1, "speaker": 0},
                            {"word": "no", "start": 2, "end": 3, "speaker": 1},
                        ],
                    }
                ],
            }
        ],
        "utterances": [{"transcript": "Yes.", "start": 0, "end": 1, "speaker": 0}],
    },
}


async def test_deepgram(clock):
    """The file is the body, the settings are in the URL."""
    found, seen = await heard(DeepgramTranscription, DEEPGRAM, diarize=True, options={"keyterm": ["a b", "c"]})
    assert seen.path.startswith("/v1/listen?model=m&smart_format=true&detect_language=true&diarize=true")
    assert seen.path.endswith("utterances=true&keyterm=a+b&keyterm=c")
    assert (seen.body, seen.headers["content-type"]) == (WAV.data, "audio/wav")
    assert seen.headers["authorization"] == f"Token {KEY}"
    assert found.segments == (Part(text="Yes.", start=0.0, end=1.0, speaker="0"),)
    assert [word.text for word in found.words] == ["Yes.", "no"]
    assert (found.request_id, found.language, found.usage.extra) == ("d1", "en", {"seconds": 3.5})


async def test_deepgram_fetches_a_url(clock):
    """As JSON."""
    _, seen = await heard(DeepgramTranscription, DEEPGRAM, allm.Audio.from_url("https://example.com/a.mp3"))
    assert seen.body == b'{"url":"https://example.com/a.mp3"}'


async def test_cohere(clock):
    """Text only, in a language that it has to be told."""
    found, seen = await heard(CohereTranscription, {"text": " Hello."}, language="en")
    assert seen.path == "/v1/audio/transcriptions"
    assert field(seen, "language") == ["en"]
    assert found.text == " Hello."
    with pytest.raises(allm.ValidationError, match="such as 'en'"):
        await heard(CohereTranscription, {"text": ""})


async def test_mistral(clock):
    """Has a field for speakers, and counts sound beside the prompt."""
    answer = {
        "model": "voxtral-mini-2602",
        "text": "Hi.",
        "segments": [{"text": "Hi.", "start": 0.1, "end": 3.6, "speaker_id": "speaker_1"}],
        "usage": {
            "prompt_audio_seconds": 3,
            "prompt_tokens": 5,
            "completion_tokens": 20,
            "total_tokens": 400,
            "prompt_tokens_details": {"audio_tokens": 375},
        },
    }
    found, seen = await heard(OpenAITranscription, answer, settings={"preset": "mistral"}, diarize=True)
    assert (field(seen, "diarize"), field(seen, "timestamp_granularities[]")) == (["true"], ["segment"])
    assert field(seen, "response_format") == []
    assert found.segments == (Part(text="Hi.", start=0.1, end=3.6, speaker="speaker_1"),)
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (380, 20, 400)
    assert found.usage.extra == {"seconds": 3.0, "input_audio_tokens": 375}


def test_openai_tells_speakers_apart_with_one_model():
    """The others are refused by name; that one can be told not to."""
    diarizing = allm.TranscriptionRequest(WAV, model="gpt-4o-transcribe-diarize", diarize=True)
    assert encode_transcription(diarizing)["response_format"] == "diarized_json"
    plain = allm.TranscriptionRequest(WAV, model="gpt-4o-transcribe-diarize", diarize=False)
    assert encode_transcription(plain)["response_format"] == "json"
    with pytest.raises(allm.ValidationError, match="gpt-4o-transcribe-diarize does"):
        encode_transcription(allm.TranscriptionRequest(WAV, model="whisper-1", diarize=True))


def test_usage_by_tokens_by_seconds_and_with_its_cost():
    """Each as the service counts."""
    tokens = {"type": "tokens", "input_tokens": 37, "output_tokens": 12, "total_tokens": 49}
    sound = {**tokens, "input_token_details": {"text_tokens": 0, "audio_tokens": 37}}
    counted = decode_transcription({"text": "", "usage": sound}, provider="openai", model="m").usage
    assert (counted.input_tokens, counted.total_tokens, counted.extra) == (37, 49, {"input_audio_tokens": 37})
    timed = decode_transcription(
        {"text": "", "usage": {"type": "duration", "seconds": 4}}, provider="openai", model="m"
    )
    assert (timed.duration, timed.usage.extra, timed.usage.input_tokens) == (4.0, {"seconds": 4.0}, None)
    paid = decode_transcription({"text": "", "usage": {"cost": 0.01}}, provider="openrouter", model="m").usage
    assert paid.total_cost == 0.01


async def test_what_a_transcription_cost(clock):
    """Is known where the tokens' prices are."""
    usage = {"type": "tokens", "input_tokens": 1_000_000, "output_tokens": 1_000_000}
    answer = {"text": "Hi.", "usage": usage}
    models.put(models.ModelInfo(provider="openai", id="acme-hears", prices=models.Prices(input=2, output=3)))
    found, _ = await heard(OpenAITranscription, answer, model="acme-hears")
    assert (found.usage.input_cost, found.usage.output_cost, found.usage.total_cost) == (2.0, 3.0, 5.0)


@pytest.mark.parametrize(
    ("adapter_type", "options", "path"),
    [
        (XaiTranscription, {"prompt": "Trio"}, "prompt"),
        (XaiTranscription, {"timestamps": "segment"}, "timestamps"),
        (ElevenLabsTranscription, {"prompt": "Trio"}, "prompt"),
        (ElevenLabsTranscription, {"timestamps": "segment"}, "timestamps"),
        (DeepgramTranscription, {"temperature": 1}, "temperature"),
        (CohereTranscription, {"language": "en", "diarize": True}, "diarize"),
    ],
)
async def test_what_a_service_lacks(adapter_type, options, path):
    """Is refused by name, before anything is sent."""
    engine = allm.Engine(transcription_adapter=adapter_type(api_key=KEY), transcription_model="m")
    with pytest.raises(allm.ValidationError) as caught:
        await allm.transcribe(engine, WAV, **options)
    assert caught.value.errors[0][0] == (path,)


@pytest.mark.parametrize(
    "adapter_type", [XaiTranscription, ElevenLabsTranscription, DeepgramTranscription, CohereTranscription]
)
async def test_an_answer_without_text(clock, adapter_type):
    """Is an error that names the service."""
    with pytest.raises(allm.AdapterError, match="no text") as caught:
        await heard(adapter_type, {"x": 1}, language="en")
    assert caught.value.reason == "malformed_response"
    assert caught.value.provider == adapter_type(api_key=KEY).provider
