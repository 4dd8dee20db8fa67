"""The suites for services: the bundled adapters pass, and one that breaks a rule is found."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest

import allm
from allm.providers import (
    Anthropic,
    CohereRerank,
    CohereTranscription,
    DeepgramTranscription,
    ElevenLabsSpeech,
    FakeModeration,
    FakeRerank,
    FakeSpeech,
    FakeTranscription,
    Gemini,
    OpenAI,
    OpenAIModeration,
    OpenAISpeech,
    OpenAITranscription,
    VoyageRerank,
)
from allm.testing import (
    FilesConformance,
    ModelListConformance,
    ModerationAdapterConformance,
    Reply,
    RerankAdapterConformance,
    SpeechAdapterConformance,
    TokenCountConformance,
    TranscriptionAdapterConformance,
)

IN_MEMORY = {"http": "works in memory", "api_key": "asks nobody"}


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE", "COHERE", "CO", "VOYAGE", "DEEPGRAM", "ELEVENLABS"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)


def ranked(scores, of):
    return Reply.json({of: [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]})


class TestCohereRerank(RerankAdapterConformance):
    def make_adapter(self, setup):
        return CohereRerank(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, scores):
        return ranked(scores, "results")


class TestVoyageRerank(RerankAdapterConformance):
    def make_adapter(self, setup):
        return VoyageRerank(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, scores):
        return ranked(scores, "data")


class TestFakeRerank(RerankAdapterConformance):
    lacks: ClassVar = IN_MEMORY

    def make_adapter(self, setup):
        return FakeRerank()


class TestOpenAIModeration(ModerationAdapterConformance):
    def make_adapter(self, setup):
        return OpenAIModeration(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, flags):
        return Reply.json({"results": [{"flagged": flag, "categories": {"violence": flag}} for flag in flags]})


class TestFakeModeration(ModerationAdapterConformance):
    lacks: ClassVar = IN_MEMORY

    def make_adapter(self, setup):
        return FakeModeration()


class TestOpenAISpeech(SpeechAdapterConformance):
    def make_adapter(self, setup):
        return OpenAISpeech(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, sound):
        return Reply(headers={"content-type": "audio/mpeg"}, body=sound)


class TestElevenLabsSpeech(TestOpenAISpeech):
    options: ClassVar = {"voice": "v1"}

    def make_adapter(self, setup):
        return ElevenLabsSpeech(api_key=setup.api_key, base_url=setup.base_url)


class TestFakeSpeech(SpeechAdapterConformance):
    lacks: ClassVar = IN_MEMORY

    def make_adapter(self, setup):
        return FakeSpeech()


class TestOpenAITranscription(TranscriptionAdapterConformance):
    def make_adapter(self, setup):
        return OpenAITranscription(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, text):
        return Reply.json({"text": text})

    def make_stream(self, pieces):
        events = [{"type": "transcript.text.delta", "delta": piece} for piece in pieces]
        events.append({"type": "transcript.text.done", "text": "".join(pieces)})
        return Reply.sse([(None, event) for event in events])


class TestCohereTranscription(TranscriptionAdapterConformance):
    lacks: ClassVar = {"streaming": "answers in one piece"}
    options: ClassVar = {"language": "en"}

    def make_adapter(self, setup):
        return CohereTranscription(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, text):
        return Reply.json({"text": text})


class TestDeepgramTranscription(TranscriptionAdapterConformance):
    lacks: ClassVar = {"streaming": "answers in one piece"}

    def make_adapter(self, setup):
        return DeepgramTranscription(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, text):
        return Reply.json({"results": {"channels": [{"alternatives": [{"transcript": text}]}]}})


class TestFakeTranscription(TranscriptionAdapterConformance):
    lacks: ClassVar = IN_MEMORY

    def make_adapter(self, setup):
        return FakeTranscription(["heard"] * 4)


class TestOpenAICounts(TokenCountConformance):
    def make_adapter(self, setup):
        return OpenAI(api_key=setup.api_key, base_url=setup.base_url, endpoint="responses")

    def make_reply(self, tokens):
        return Reply.json({"object": "response.input_tokens", "input_tokens": tokens})


class TestAnthropicCounts(TokenCountConformance):
    model = "claude-haiku-4-5"

    def make_adapter(self, setup):
        return Anthropic(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, tokens):
        return Reply.json({"input_tokens": tokens})


class TestGeminiCounts(TokenCountConformance):
    def make_adapter(self, setup):
        return Gemini(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, tokens):
        return Reply.json({"totalTokens": tokens})


class TestOpenAIModels(ModelListConformance):
    def make_adapter(self, setup):
        return OpenAI(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, ids, *, more):
        return Reply.json({"data": [{"id": id, "object": "model"} for id in ids], "has_more": more})


class TestAnthropicModels(ModelListConformance):
    def make_adapter(self, setup):
        return Anthropic(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, ids, *, more):
        return Reply.json({"data": [{"type": "model", "id": id} for id in ids], "has_more": more, "last_id": ids[-1]})


class TestGeminiModels(ModelListConformance):
    def make_adapter(self, setup):
        return Gemini(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, ids, *, more):
        listed = {"models": [{"name": f"models/{id}"} for id in ids]}
        return Reply.json({**listed, "nextPageToken": f"after {ids[-1]}"} if more else listed)


class TestOpenAIFiles(FilesConformance):
    def make_adapter(self, setup):
        return OpenAI(api_key=setup.api_key, base_url=setup.base_url)

    def document(self, file):
        return {"object": "file", "id": file.id, "filename": file.filename, "bytes": file.size}

    def make_reply(self, file):
        return Reply.json(self.document(file))

    def make_list(self, stored, *, more):
        return Reply.json({"data": [self.document(file) for file in stored], "has_more": more})


class TestAnthropicFiles(TestOpenAIFiles):
    def make_adapter(self, setup):
        return Anthropic(api_key=setup.api_key, base_url=setup.base_url)

    def document(self, file):
        known = {"filename": file.filename, "mime_type": file.mime_type, "size_bytes": file.size}
        return {"type": "file", "id": file.id, **known}

    def make_list(self, stored, *, more):
        page = {"data": [self.document(file) for file in stored]}
        return Reply.json({**page, "next_page": f"after {stored[-1].id}"} if more else page)


class TestGeminiFiles(FilesConformance):
    file_ids: ClassVar = ["files/a", "files/b", "files/c"]

    def make_adapter(self, setup):
        return Gemini(api_key=setup.api_key, base_url=setup.base_url)

    def document(self, file):
        known = {"displayName": file.filename, "mimeType": file.mime_type, "sizeBytes": str(file.size)}
        return {"name": file.id, **known, "uri": f"https://g/v1beta/{file.id}", "state": "ACTIVE"}

    def make_reply(self, file):
        return Reply.json(self.document(file))

    def make_list(self, stored, *, more):
        page = {"files": [self.document(file) for file in stored]}
        return Reply.json({**page, "nextPageToken": f"after {stored[-1].id}"} if more else page)

    def make_upload(self, file):
        begun = {"x-goog-upload-url": "https://g.example/upload/1", "x-goog-upload-status": "active"}
        ended = {"x-goog-upload-status": "final"}
        return [Reply.json({}, headers=begun), Reply.json({"file": self.document(file)}, headers=ended)]


def changed(suite, service=None, **methods):
    """A suite whose adapter, or the service beside it, has other methods."""

    class Other:
        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            if name in methods:
                return lambda *args: methods[name](self._inner, *args)
            if name == "companion" and service is not None:
                return lambda asked: Other(self._inner.companion(asked))
            return getattr(self._inner, name)

    class Suite(suite):
        def make_adapter(self, setup):
            return Other(super().make_adapter(setup))

    return Suite


async def tries_again(adapter, prepared):
    try:
        return await adapter.send(prepared)
    except allm.AdapterError:
        return await adapter.send(prepared)


async def first_only(adapter, prepared):
    response = await adapter.send(prepared)
    return attrs.evolve(response, results=response.results[:1])


async def by_half(adapter, prepared):
    found = await adapter.send(prepared)
    return attrs.evolve(found, tokens=found.tokens // 2)


async def one_page(adapter, prepared):
    return attrs.evolve(await adapter.send(prepared), next=None)


async def never_there(adapter, prepared):
    try:
        return await adapter.send(prepared)
    except allm.AdapterError as error:
        raise allm.AdapterError("gone", reason="provider_unavailable", retryable=error.retryable) from None


def without_tools(adapter, request, options):
    return adapter.prepare(attrs.evolve(request, tools=()), options)


def half_the_text(adapter, request, options):
    return adapter.prepare(attrs.evolve(request, text=request.text[:5]), options)


@pytest.mark.parametrize(
    ("suite", "service", "method", "function", "case"),
    [
        (TestCohereRerank, None, "send", tries_again, "errors_have_their_reason"),
        (TestCohereRerank, None, "send", first_only, "the_best_document_is_first"),
        (TestOpenAIModeration, None, "send", tries_again, "errors_have_their_reason"),
        (TestOpenAISpeech, None, "prepare", half_the_text, "the_audio_arrives"),
        (TestOpenAISpeech, None, "prepare", half_the_text, "a_text_that_is_still_arriving_is_said"),
        (TestOpenAITranscription, None, "send", tries_again, "errors_have_their_reason"),
        (TestAnthropicCounts, "counts", "send", by_half, "everything_that_would_be_sent_is_counted"),
        (TestAnthropicCounts, "counts", "prepare", without_tools, "everything_that_would_be_sent_is_counted"),
        (TestGeminiModels, "models", "send", one_page, "every_page_is_read"),
        (TestOpenAIFiles, "files", "send", one_page, "the_list_is_in_order"),
        (TestOpenAIFiles, "files", "send", never_there, "a_file_is_found"),
        (TestOpenAIFiles, "files", "send", never_there, "a_file_is_deleted"),
    ],
)
def test_an_adapter_that_breaks_a_rule_is_found(suite, service, method, function, case):
    """By the case of that rule."""
    getattr(suite(), f"test_{case}")()
    with pytest.raises((AssertionError, allm.AllmError)):
        getattr(changed(suite, service, **{method: function})(), f"test_{case}")()


@pytest.mark.parametrize(
    ("suite", "hooks"),
    [
        (RerankAdapterConformance, {"make_reply": [()]}),
        (ModerationAdapterConformance, {"make_reply": [()]}),
        (SpeechAdapterConformance, {"make_reply": [b""]}),
        (TranscriptionAdapterConformance, {"make_reply": [""], "make_stream": [()]}),
        (TokenCountConformance, {"make_reply": [1]}),
    ],
)
def test_what_has_to_be_defined(suite, hooks):
    """Is said by name, with the capability to declare instead."""
    for hook, arguments in hooks.items():
        with pytest.raises(NotImplementedError, match=rf"{hook}.*lacks"):
            getattr(suite(), hook)(*arguments)


def test_what_lists_and_files_have_to_define():
    """Is said by name."""
    file = allm.FileRef(provider="p", id="f")
    with pytest.raises(NotImplementedError, match="make_reply"):
        ModelListConformance().make_reply([], more=False)
    with pytest.raises(NotImplementedError, match="make_reply"):
        FilesConformance().make_upload(file)
    with pytest.raises(NotImplementedError, match="make_list"):
        FilesConformance().make_list([file], more=False)
