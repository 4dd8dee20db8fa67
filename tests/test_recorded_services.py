"""What vendors really answered to calls beside chat, where these recordings are there."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from urllib.parse import urlsplit

import attrs
import pytest

import allm
from allm.providers import (
    CohereTranscription,
    DeepgramTranscription,
    ElevenLabsTranscription,
    OpenAISpeech,
    OpenAITranscription,
    XaiSpeech,
    XaiTranscription,
)
from allm.runtime import costs
from allm.testing import Reply, WireServer
from recorded_calls import chat_adapter, model_of
from recordings import RECORDINGS, every_folder, folders

WAV = allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
pytestmark = pytest.mark.skipif(not every_folder(), reason="the recordings are not here")


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def cases(check, *kinds):
    """The folders and expectations of a check, of these kinds if any are named."""
    found = [(folder, read(folder, "expected.json")) for folder in folders(check)]
    return [
        pytest.param(folder, expected, id=f"{folder.parent.name}/{folder.name}")
        for folder, expected in found
        if not kinds or expected["kind"] in kinds
    ]


async def answered(folder, ask, *replies):
    """What a call to a chat adapter's companion makes of the recorded answer, after the replies before it."""
    async with WireServer() as server:
        server.add(*(reply(server) for reply in replies), Reply.recorded(folder))
        server.default = Reply.json({"data": [], "models": []})
        adapter = chat_adapter(read(folder, "request.json")["url"], server.base_url)
        return await ask(allm.Engine(adapter=adapter, model=model_of(folder), retry=None))


async def failure(folder, ask):
    """The error that a recorded answer becomes."""
    with pytest.raises(allm.AdapterError) as caught:
        await answered(folder, ask)
    return caught.value


async def count(engine):
    return await allm.count_tokens(engine, "Hello", retry=None)


@pytest.mark.parametrize(("folder", "expected"), cases("counts", "token_count"))
async def test_counts(folder, expected):
    """Are those in the body."""
    counted = await answered(folder, count)
    assert (counted.tokens, counted.exact) == (expected["input_tokens"], True)


@pytest.mark.parametrize(("folder", "expected"), cases("counts", "error"))
async def test_counts_that_are_refused(folder, expected):
    """Are errors of the tree, with the service's words; a model that the service cannot count is estimated."""
    if "doesn't support counting" in expected["message"]:
        assert not (await answered(folder, count)).exact
        return
    error = await failure(folder, count)
    assert error.status == expected["status"]
    assert expected["message"] in error.message


@pytest.mark.parametrize(("folder", "expected"), cases("models"))
async def test_model_lists(folder, expected):
    """Have each model of the body once."""
    models = await answered(folder, lambda engine: allm.list_models(engine, retry=None))
    document = json.loads((folder / "response.body").read_bytes())
    items = document["data"] if "data" in document else document["models"]
    ids = [item["id"] if "id" in item else item["name"].removeprefix("models/") for item in items]
    assert [model.id for model in models] == list(dict.fromkeys(ids))
    assert len(ids) == expected["count"]


@pytest.mark.parametrize(("folder", "expected"), cases("files", "file"))
async def test_files(folder, expected):
    """Are what the body says."""
    file = await answered(folder, lambda engine: allm.files.get(engine, "x", retry=None))
    got = (file.id, file.size, file.filename, file.uri, file.expires_at is not None)
    wanted = [expected.get(name) for name in ("id", "bytes", "filename", "uri")]
    assert got[:2] == tuple(wanted[:2])
    if "filename" in expected:
        assert got[2:] == (*wanted[2:], expected["expires"] is not None)


@pytest.mark.parametrize(("folder", "expected"), cases("files", "upload_session"))
async def test_uploads_in_two_calls(folder, expected):
    """The first answer names the address that the bytes go to."""

    def first(server):
        path = urlsplit(expected["upload_url"])
        own = {"x-goog-upload-url": f"{server.base_url}{path.path}?{path.query}"}
        recorded = Reply.recorded(folder)
        return attrs.evolve(recorded, headers={**recorded.headers, **own})

    after = folder.with_name("gemini_upload_finalize")
    document = allm.Document.from_bytes(b"%PDF-1.4 small")
    file = await answered(after, lambda engine: allm.files.upload(engine, document, retry=None), first)
    assert file.id == read(after, "expected.json")["id"]


@pytest.mark.parametrize(("folder", "expected"), cases("files", "file_list"))
async def test_file_lists(folder, expected):
    """Have all files of the body."""
    files = await answered(folder, lambda engine: allm.files.list(engine, retry=None))
    assert len(files) == expected["count"]


@pytest.mark.parametrize(("folder", "expected"), cases("files", "file_deleted"))
async def test_files_are_deleted(folder, expected):
    """Each service says so in its own way, one of them with an empty object."""
    assert expected["status"] == 200
    assert await answered(folder, lambda engine: allm.files.delete(engine, "x", retry=None)) is None


@pytest.mark.parametrize(("folder", "expected"), cases("files", "error"))
async def test_files_that_are_not_given(folder, expected):
    """Are errors of the tree."""
    error = await failure(folder, lambda engine: allm.files.read(engine, "x", retry=None))
    assert (error.status, error.reason) == (expected["status"], "invalid_request")
    assert expected["message"] in error.message


# --- audio ---

TRANSCRIPTION = {
    "cohere": CohereTranscription,
    "deepgram": DeepgramTranscription,
    "elevenlabs": ElevenLabsTranscription,
    "xai": XaiTranscription,
}


async def heard(folder, cut, vendor):
    async with WireServer() as server:
        server.add(Reply.recorded(folder, chunks=cut))
        settings = {"api_key": "test", "base_url": f"{server.base_url}/v1"}
        if vendor in TRANSCRIPTION:
            adapter = TRANSCRIPTION[vendor](**settings)
        else:
            adapter = OpenAITranscription(**settings, **({} if vendor == "openai" else {"preset": vendor}))
        engine = allm.Engine(transcription_adapter=adapter, transcription_model=model_of(folder), retry=None)
        if not read(folder, "expected.json")["stream"]:
            return await allm.transcribe(engine, WAV, language="en"), []
        async with allm.stream_transcribe(engine, WAV) as events:
            deltas = [event.text async for event in events if isinstance(event, allm.TranscriptionDelta)]
        return events.result(), deltas


@pytest.mark.parametrize("cut", [None, 1, 7])
@pytest.mark.parametrize(("folder", "expected"), cases("transcription"))
async def test_transcriptions(folder, expected, cut):
    """Text, segments with speakers, and what was used, in tokens or seconds."""
    vendor = folder.name.partition("_")[0]
    found, deltas = await heard(folder, cut, vendor)
    assert found.complete
    assert found.text == expected["text"]
    if expected.get("segments"):
        told = [(part.text, part.start, part.end, part.speaker) for part in found.segments]
        assert told == [
            tuple(part[name] for name in ("text", "start", "end", "speaker")) for part in expected["segments"]
        ]
    if expected.get("deltas"):
        assert deltas == expected["deltas"]
    usage = expected.get("usage") or {}
    if "output_tokens" in usage:
        assert (found.usage.input_tokens, found.usage.output_tokens) == (usage["input_tokens"], usage["output_tokens"])
    if "input_token_details" in usage:
        assert found.usage.extra["input_audio_tokens"] == usage["input_token_details"]["audio_tokens"]
    if "prompt_tokens_details" in usage:
        assert found.usage.extra["input_audio_tokens"] == usage["prompt_tokens_details"]["audio_tokens"]
        assert found.usage.total_tokens == usage["total_tokens"]
    if "seconds" in usage:
        assert found.usage.extra["seconds"] == usage["seconds"]
    if "cost" in usage:
        assert found.usage.total_cost == usage["cost"]


@pytest.mark.parametrize(("folder", "expected"), cases("speech"))
async def test_speech(folder, expected):
    """Is the audio, whether it is the body or inside JSON."""
    async with WireServer() as server:
        server.add(Reply.recorded(folder))
        vendor = folder.name.partition("_")[0]
        settings = {"api_key": "test", "base_url": f"{server.base_url}/v1"}
        own = {} if vendor == "openai" else {"preset": vendor}
        adapter = XaiSpeech(**settings) if vendor == "xai" else OpenAISpeech(**settings, **own)
        engine = allm.Engine(speech_adapter=adapter, speech_model=model_of(folder), retry=None)
        speech = await allm.synthesize(engine, "Hello", voice="alloy")
    audio = speech.audio.data
    body = (folder / "response.body").read_bytes()
    assert audio == (base64.b64decode(json.loads(body)["audio_data"]) if body.startswith(b"{") else body)
    assert (len(audio), audio[:3].hex(), speech.audio.mime_type) == (expected["bytes"], expected["magic"], "audio/mpeg")


# --- tokens of clouds ---


@pytest.mark.parametrize(("folder", "expected"), cases("tokens_of_clouds"))
async def test_tokens_of_google(folder, expected, monkeypatch):
    """google-auth reads the answer; the token goes into the header of the call."""
    credentials = pytest.importorskip("google.oauth2.credentials")
    requests = pytest.importorskip("google.auth.transport.requests")
    body = (folder / "response.body").read_bytes()

    class Request:
        def __call__(self, **_):
            return type("Answer", (), {"status": 200, "headers": {}, "data": body})

    monkeypatch.setattr(requests, "Request", Request)
    user = credentials.Credentials(None, refresh_token="r", token_uri="https://x", client_id="c", client_secret="s")
    async with WireServer(default=Reply.script("gemini", [allm.fake.text("Hello")])) as server:
        adapter = allm.providers.Gemini(project="p", base_url=server.base_url, api_key=allm.keys.google(user))
        response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "Hi")
        [request] = server.requests
    assert response.output_text == "Hello"
    assert request.headers["authorization"] == f"{expected['token_type']} {json.loads(body)['access_token']}"


@pytest.mark.parametrize(
    ("folder", "expected"), [case for case in cases("caches", "cached_content") if case.values[1]["name"]]
)
async def test_caches(folder, expected):
    """Are what the body says."""
    cache = await answered(folder, lambda engine: allm.caches.get(engine, "x", retry=None))
    assert (cache.name, cache.tokens, cache.model) == (expected["name"], expected["tokens"], "gemini-2.5-flash")
    assert cache.expires_at == pytest.approx(datetime.fromisoformat(expected["expire_time"]).timestamp())
    assert 0 < cache.expires_at - cache.created_at <= 603


@pytest.mark.parametrize(
    ("name", "dollars"),
    [("openai_web_search", 0.01), ("anthropic_web_search", 0.01), ("gemini_google_search", 0.042)],
)
async def test_searches_cost(name, dollars, monkeypatch):
    """By the call, or by each of Gemini's three queries."""
    monkeypatch.setattr(costs, "_genai_prices", lambda: None)
    async with WireServer() as server:
        folder = RECORDINGS / "server_tools" / name
        server.add(Reply.recorded(folder))
        adapter = chat_adapter(read(folder, "request.json")["url"], server.base_url)
        engine = allm.Engine(adapter=adapter, model="m", retry=None)
        usage = (await allm.generate(engine, "x")).usage
    assert usage.total_cost - usage.input_cost - usage.output_cost == pytest.approx(dollars)


async def test_a_deleted_cache():
    """Is answered with an empty object."""
    [[folder, _]] = [case.values for case in cases("caches", "cached_content") if not case.values[1]["name"]]
    assert await answered(folder, lambda engine: allm.caches.delete(engine, "x", retry=None)) is None
