"""`stream_transcribe`: the blocks' manners, and the fold of what arrived."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
import trio

import allm
from allm.providers import FakeTranscription, OpenAITranscription
from allm.testing import Cut, Reply, Stall, WireServer, loopback_clock

WAV = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
KEY = "sk-audio-canary"
SPEAKERS = (
    allm.TranscriptionPart(text=" Ja.", start=0.0, end=1.0, speaker="A"),
    allm.TranscriptionPart(text=" Nein.", start=1.5, end=2.0, speaker="B"),
)
USAGE = {"type": "tokens", "input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


@pytest.fixture
def clock():
    return loopback_clock()


def engine(adapter, **fields):
    return allm.Engine(transcription_adapter=adapter, transcription_model="m", **{"retry": None, **fields})


def at(server, model="gpt-4o-transcribe"):
    adapter = OpenAITranscription(api_key=KEY, base_url=f"{server.base_url}/v1")
    return allm.Engine(transcription_adapter=adapter, transcription_model=model, retry=None)


def wire(*events, done=True):
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def sse(body, **fields):
    return Reply(body=body, headers={"content-type": "text/event-stream", "x-request-id": "r1"}, **fields)


DELTAS = ({"type": "transcript.text.delta", "delta": text} for text in ("Größe", " war", " alles."))
TEXT = wire(*DELTAS, {"type": "transcript.text.done", "text": "Größe war alles.", "usage": USAGE})
SEGMENTS = wire(
    {"type": "transcript.text.segment", "text": " Ja.", "speaker": "A", "start": 0, "end": 1.0, "id": "seg_0"},
    {"type": "transcript.text.segment", "text": " Nein.", "speaker": "B", "start": 1.5, "end": 2.0, "id": "seg_1"},
    {"type": "transcript.text.done", "text": "Ja. Nein.", "usage": USAGE},
)


async def read(stream_of, audio=WAV, **options):
    async with allm.stream_transcribe(stream_of, audio, **options) as events:
        seen = [event async for event in events]
    return seen, events.result()


@pytest.mark.parametrize("entry", ["", "one", " one  two ", allm.Transcription(text="Ja. Nein.", segments=SPEAKERS)])
async def test_the_fold_is_what_transcribe_returns(entry):
    """For every answer; the last event has it too."""
    whole = await allm.transcribe(engine(FakeTranscription([entry])), WAV)
    seen, folded = await read(engine(FakeTranscription([entry])))
    assert folded == whole
    assert seen[-1] == allm.TranscriptionCompleted(whole)
    texts = "".join(event.text for event in seen if isinstance(event, allm.TranscriptionDelta))
    assert whole.segments or texts == whole.text


async def test_an_adapter_that_does_not_stream():
    """Gives its answer all at once, in the same events."""

    class Whole:
        provider, requires_model = "acme", False

        def prepare(self, request, _options):
            return request

        async def send(self, _prepared):
            await trio.lowlevel.checkpoint()
            return allm.Transcription(text="Ja. Nein.", segments=SPEAKERS, request_id="w1")

    seen, folded = await read(engine(Whole()))
    assert [type(event).__name__ for event in seen] == [
        "TranscriptionSegment",
        "TranscriptionSegment",
        "TranscriptionCompleted",
    ]
    assert (folded.text, folded.request_id, folded.complete) == ("Ja. Nein.", "w1", True)


async def test_deltas_over_http(clock):
    """The form asks for a stream, and its events have no names."""
    async with WireServer() as server:
        server.add(sse(TEXT))
        seen, folded = await read(at(server))
        [asked] = server.requests
    assert b'name="stream"\r\n\r\ntrue' in asked.body
    assert [event.text for event in seen[:-1]] == ["Größe", " war", " alles."]
    assert (folded.text, folded.usage.total_tokens, folded.request_id) == ("Größe war alles.", 7, "r1")


async def test_segments_with_speakers_over_http(clock):
    """Whole ones, which the end has too."""
    async with WireServer() as server:
        server.add(sse(SEGMENTS))
        seen, folded = await read(at(server, "gpt-4o-transcribe-diarize"))
    assert [event.segment for event in seen[:-1]] == list(SPEAKERS)
    assert (folded.segments, folded.text) == (SPEAKERS, "Ja. Nein.")


MISTRAL = wire(
    {"type": "transcription.language", "audio_language": "de"},
    {"type": "transcription.text.delta", "text": "Ja."},
    {"type": "transcription.segment", "text": " Ja.", "start": 0.0, "end": 1.0, "speaker_id": "A"},
    {"type": "transcription.done", "model": "v", "text": "Ja.", "usage": {"prompt_audio_seconds": 3}},
    done=False,
)


async def test_events_of_mistral_over_http(clock):
    """Have names of their own."""
    async with WireServer() as server:
        server.add(sse(MISTRAL))
        adapter = OpenAITranscription(preset="mistral", api_key=KEY, base_url=server.base_url)
        seen, folded = await read(engine(adapter), diarize=True)
        assert b'name="stream"' in server.requests[0].body
    assert [type(event).__name__ for event in seen] == [
        "TranscriptionDelta",
        "TranscriptionSegment",
        "TranscriptionCompleted",
    ]
    assert (folded.text, folded.segments, folded.language) == ("Ja.", SPEAKERS[:1], "de")
    assert (folded.model, folded.usage.extra) == ("v", {"seconds": 3.0})


async def test_a_service_that_is_not_known_to_stream(clock):
    """Is asked as for any other call."""
    async with WireServer() as server:
        server.add(Reply.json({"text": "Hi."}))
        adapter = OpenAITranscription(preset="groq", api_key=KEY, base_url=server.base_url)
        _, folded = await read(engine(adapter))
        assert b'name="stream"' not in server.requests[0].body
    assert folded.text == "Hi."


@pytest.mark.parametrize("body", [TEXT, SEGMENTS], ids=["deltas", "segments"])
async def test_any_split_into_reads(clock, body):
    """Gives the same events."""
    async with WireServer() as server:
        server.add(sse(body), sse(body, chunks=len(body)))
        whole = await read(at(server))
        assert await read(at(server)) == whole


async def test_a_model_that_ignores_stream(clock):
    """Answers with a document, which is read as one."""
    async with WireServer() as server:
        server.add(Reply.json({"text": "Hi.", "usage": {"type": "duration", "seconds": 4}}))
        seen, folded = await read(at(server, "whisper-1"))
    assert [type(event).__name__ for event in seen] == ["TranscriptionDelta", "TranscriptionCompleted"]
    assert (folded.text, folded.usage.extra) == ("Hi.", {"seconds": 4.0})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (sse(wire({"type": "transcript.text.delta", "delta": "Hi"}, done=False)), "stream_truncated"),
        (sse(wire({"type": "transcript.text.delta", "delta": "Hi"})), "stream_truncated"),
        (sse(TEXT, fault=Cut(100)), "stream_truncated"),
        (sse(wire({"type": "transcript.text.delta", "delta": "Hi"}) + b"data: {oops\n\n"), "malformed_response"),
        (
            sse(
                wire(
                    {"type": "transcript.text.delta", "delta": "Hi"},
                    {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow down"}},
                )
            ),
            "rate_limited",
        ),
    ],
    ids=["no end", "done only", "cut", "no JSON", "error"],
)
async def test_a_failure_in_the_middle(clock, reply, reason):
    """Is raised, after what came before it; the result has that and says that it is not all."""
    async with WireServer() as server:
        server.add(reply)
        texts = []
        with pytest.raises(allm.AdapterError) as caught:
            async with allm.stream_transcribe(at(server), WAV) as events:
                async for event in events:
                    texts.append(event.text)
    assert (caught.value.reason, caught.value.provider) == (reason, "openai")
    assert texts
    result = events.result()
    assert (result.text, result.complete, result.model) == ("".join(texts), False, "gpt-4o-transcribe")


async def test_an_empty_answer(clock):
    """Is no transcription."""
    async with WireServer() as server:
        server.add(sse(b""))
        with pytest.raises(allm.AdapterError) as caught:
            await read(at(server))
    assert caught.value.reason == "stream_truncated"


@pytest.mark.parametrize("way", ["break", "exception", "cancel"])
async def test_every_exit_closes_the_connection(clock, way):
    """Before the statement after the block."""
    async with WireServer() as server:
        server.add(sse(TEXT, fault=Stall(120)))
        with trio.move_on_after(5), suppress(KeyError):
            async with allm.stream_transcribe(at(server), WAV) as events:
                async for _ in events:
                    if way == "break":
                        break
                    if way == "exception":
                        {}["an error of the block"]
        await server.wait_idle()
        assert server.requests[0].outcome != "completed"
    assert events.result().text == "Größe"
    with pytest.raises(allm.StreamError, match="has been left"):
        await anext(events)


async def test_the_call_is_checked_before_anything_is_sent():
    """By the function itself."""
    with pytest.raises(allm.ValidationError):
        allm.stream_transcribe(engine(FakeTranscription(["x"])), WAV, timestamps="hour")


async def test_a_failed_request_is_retried_before_the_first_event(autojump_clock):
    """And the script goes on."""
    busy = allm.AdapterError("busy", reason="overloaded", retryable=True)
    adapter = FakeTranscription([busy, "Hi."])
    policy = allm.RetryPolicy(max_attempts=2)
    _, folded = await read(engine(adapter, retry=policy))
    assert folded.text == "Hi."


async def test_silence_is_bounded(clock):
    """By the longest wait for the next event."""
    async with WireServer() as server:
        server.add(sse(TEXT, fault=Stall(120)))
        with pytest.raises(allm.AdapterError) as caught:
            await read(at(server), first_event_timeout=3)
    assert caught.value.reason == "timeout"
