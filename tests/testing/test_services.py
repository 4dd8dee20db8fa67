"""What a server replies to everything beside chat, asked by the adapters of the vendors."""

from __future__ import annotations

import pytest

import allm
from allm import fake, providers
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import RecordedRequest, Reply, Services, WireServer

CHATS = {
    "openai": lambda url: OpenAI(api_key="k", base_url=f"{url}/v1", endpoint="responses"),
    "anthropic": lambda url: Anthropic(api_key="k", base_url=url),
    "gemini": lambda url: Gemini(api_key="k", base_url=url),
}
SOUND = allm.Audio.from_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav")
MIB = 1024 * 1024


@pytest.mark.parametrize("vendor", CHATS)
async def test_a_file_lives_until_it_is_deleted(vendor, tmp_path):
    """Uploaded from disk, found, listed, read and deleted; what is not there is `not_found`."""
    services = Services()
    async with WireServer(default=services) as server:
        engine = allm.Engine(adapter=CHATS[vendor](server.base_url), retry=None)
        (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 a")
        first = await allm.files.upload(engine, tmp_path / "a.pdf")
        second = await allm.files.upload(engine, b"b", filename="b.txt")
        assert (first.filename, first.mime_type, first.size) == ("a.pdf", "application/pdf", 10)
        assert [kept.content for kept in services.files.values()] == [b"%PDF-1.4 a", b"b"]
        assert [file.id for file in await allm.files.list(engine)] == [first.id, second.id] == [*services.files]
        assert (await allm.files.get(engine, second)).filename == "b.txt"
        assert await allm.files.read(engine, first) == b"%PDF-1.4 a"
        await allm.files.delete(engine, first)
        assert [file.id for file in await allm.files.list(engine)] == [second.id]
        for call in (allm.files.get, allm.files.read, allm.files.delete):
            with pytest.raises(allm.AdapterError) as caught:
                await call(engine, first)
            assert caught.value.reason == "not_found"


async def test_a_large_file_comes_in_pieces():
    """As Gemini takes it, in their order."""
    services = Services()
    content = bytes(range(256)) * (9 * MIB // 256) + b"rest"
    async with WireServer(default=services) as server:
        engine = allm.Engine(adapter=CHATS["gemini"](server.base_url), retry=None)
        file = await allm.files.upload(engine, content, filename="a.bin")
        assert len(server.requests) == 3
    assert services.files[file.id].content == content


def test_what_is_no_upload_is_refused():
    """No form, a piece in the wrong place, the end of an upload that is not whole, and one that nobody began."""

    def asked(path, body=b"", **headers):
        headers = {"host": "h"} | {f"x-goog-upload-{name}": value for name, value in headers.items()}
        return services(RecordedRequest(method="POST", path=path, headers=headers, body=body, connection=0))

    services = Services()
    at = "/upload/v1beta/files"
    assert asked("/v1/files").status == 400
    begun = asked(at, b'{"file": {"display_name": "a"}}', **{"header-content-length": "3"})
    there = begun.headers["x-goog-upload-url"].removeprefix("http://h")
    assert asked(there, b"ab", command="upload", offset="1").status == 400
    assert asked(there, b"ab", command="upload", offset="0").headers["x-goog-upload-status"] == "active"
    assert asked(there, command="query").headers["x-goog-upload-size-received"] == "2"
    assert asked(there, command="finalize").status == 400
    assert asked(f"{at}?upload_id=other", command="query").status == 404
    assert services.files == {}


@pytest.mark.parametrize("vendor", CHATS)
async def test_models_and_counts(vendor):
    """The models that are given, and the tokens; else as many as the request is long."""
    services = Services(models=["m1", "m2"], tokens=1234)
    async with WireServer(default=services) as server:
        engine = allm.Engine(adapter=CHATS[vendor](server.base_url), model="m1", retry=None)
        options = {"options": {}, "max_tokens": 10}
        assert [model.id for model in await allm.list_models(engine)] == ["m1", "m2"]
        counted = await allm.count_tokens(engine, "hi", **options)
        services.tokens = None
        short, long = [await allm.count_tokens(engine, "hi " * times, **options) for times in (1, 1000)]
    assert (counted.tokens, counted.exact) == (1234, True)
    assert short.tokens < long.tokens


SERVICES = {
    "openai": {
        "image_adapter": providers.OpenAIImages,
        "embedding_adapter": providers.OpenAIEmbeddings,
        "moderation_adapter": providers.OpenAIModeration,
        "rerank_adapter": providers.CohereRerank,
        "speech_adapter": providers.OpenAISpeech,
        "transcription_adapter": providers.OpenAITranscription,
    },
    "gemini": {
        "image_adapter": providers.GeminiImages,
        "embedding_adapter": providers.GeminiEmbeddings,
        "rerank_adapter": providers.VoyageRerank,
        "speech_adapter": providers.GeminiSpeech,
        "transcription_adapter": providers.GeminiTranscription,
    },
}


@pytest.mark.parametrize("vendor", SERVICES)
async def test_every_service_answers(vendor):
    """As the fakes do: the same for the same."""
    async with WireServer(default=Services(transcript="It is said.", flagged=["bad"])) as server:
        url = server.base_url + ("/v1" if vendor == "openai" else "")
        made = {slot: adapter(api_key="k", base_url=url) for slot, adapter in SERVICES[vendor].items()}
        models = {slot.replace("_adapter", "_model"): "m" for slot in made}
        engine = allm.Engine(**made, **models, retry=None)
        image = (await allm.generate_image(engine, "a fox")).image
        assert image.to_bytes() == (await allm.generate_image(engine, "a fox")).image.to_bytes()
        assert len((await allm.embed(engine, ["a", "b"])).vectors) == 2
        ranked = await allm.rerank(engine, "a fox", ["a cow", "a fox"], top_n=1)
        assert ranked.documents == ("a fox",)
        assert (await allm.synthesize(engine, "Hello you", voice="v")).audio.to_bytes()
        assert (await allm.transcribe(engine, SOUND)).text == "It is said."
        async with allm.stream_transcribe(engine, SOUND) as events:
            seen = [event async for event in events]
        assert events.result().text == "It is said."
        if vendor == "openai":
            assert len(seen) == 4
            assert len((await allm.edit_image(engine, image, "red", n=2)).images) == 2
            verdicts = await allm.moderate(engine, ["good", "a BAD one"])
            assert [verdict.flagged for verdict in verdicts.results] == [False, True]
            assert (await allm.moderate(engine, ["bad", image], model="omni-moderation-latest")).flagged


async def test_queued_replies_go_first():
    """Such as a chat, or a failure of one service; what is none of them is an error that says so."""
    async with WireServer(default=Services()) as server:
        engine = allm.Engine(adapter=CHATS["openai"](server.base_url), model="m", retry=None)
        server.add(Reply.script("openai_responses", [fake.text("Hello")]), path="/responses")
        server.add(Reply.error("openai", 503), path="/models")
        file = await allm.files.upload(engine, b"%PDF-1.4 a", filename="a.pdf")
        asked = allm.user("Summarise", allm.Document.from_upload(file))
        assert (await allm.generate(engine, asked)).output_text == "Hello"
        with pytest.raises(allm.AdapterError):
            await allm.list_models(engine)
        assert await allm.list_models(engine)
        failed = await allm.generate(engine, asked)
    assert "Services has no POST /v1/responses" in str(failed.error)
