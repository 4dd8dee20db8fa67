"""The suite for adapters of embeddings: the bundled ones pass, and one that breaks a rule is found."""

from __future__ import annotations

from typing import ClassVar

import attrs
import pytest

import allm
from allm.providers import FakeEmbeddings, GeminiEmbeddings, OpenAIEmbeddings, VoyageEmbeddings
from allm.testing import EmbeddingAdapterConformance, Reply


class TestOpenAIEmbeddings(EmbeddingAdapterConformance):
    def make_adapter(self, setup):
        return OpenAIEmbeddings(api_key=setup.api_key, base_url=f"{setup.base_url}/v1")

    def make_reply(self, vectors):
        data = [{"index": index, "embedding": list(vector)} for index, vector in enumerate(vectors)]
        return Reply.json({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 3}})


class TestMistralEmbeddings(TestOpenAIEmbeddings):
    def make_adapter(self, setup):
        return OpenAIEmbeddings(preset="mistral", api_key=setup.api_key, base_url=setup.base_url)


class TestVoyageEmbeddings(TestOpenAIEmbeddings):
    def make_adapter(self, setup):
        return VoyageEmbeddings(api_key=setup.api_key, base_url=setup.base_url)


class TestGeminiEmbeddings(EmbeddingAdapterConformance):
    def make_adapter(self, setup):
        return GeminiEmbeddings(api_key=setup.api_key, base_url=setup.base_url)

    def make_reply(self, vectors):
        return Reply.json({"embeddings": [{"values": list(vector)} for vector in vectors]})


class TestFakeEmbeddings(EmbeddingAdapterConformance):
    lacks: ClassVar = {"http": "counts in memory", "api_key": "asks nobody"}

    def make_adapter(self, setup):
        return FakeEmbeddings()


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "MISTRAL_API_KEY", "VOYAGE_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


class Changed:
    """Passes everything on, but for one thing."""

    provider = "openai"

    def __init__(self, setup):
        self.inner = TestOpenAIEmbeddings().make_adapter(setup)

    def prepare(self, request, options):
        return self.inner.prepare(request, options)

    async def send(self, prepared):
        return await self.inner.send(prepared)


class TurnsAround(Changed):
    async def send(self, prepared):
        response = await self.inner.send(prepared)
        last = len(response.embeddings) - 1
        turned = [allm.Embedding(last - item.index, item.vector) for item in response.embeddings]
        return attrs.evolve(response, embeddings=turned)


class SendsOneText(Changed):
    def prepare(self, request, options):
        return self.inner.prepare(attrs.evolve(request, inputs=request.inputs[:1]), options)


class FillsUp(Changed):
    async def send(self, prepared):
        response = await self.inner.send(prepared)
        return attrs.evolve(response, embeddings=[*response.embeddings, allm.Embedding(1, [1.0])][:2])


class TriesAgain(Changed):
    async def send(self, prepared):
        try:
            return await self.inner.send(prepared)
        except allm.AdapterError:
            return await self.inner.send(prepared)


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (TurnsAround, "each_text_has_its_vector"),
        (SendsOneText, "each_text_has_its_vector"),
        (FillsUp, "wrong_number_of_vectors_is_an_error"),
        (TriesAgain, "errors_have_their_reason"),
    ],
)
def test_an_adapter_that_breaks_a_rule_is_found(adapter, case):
    """By the case of that rule."""

    class Suite(TestOpenAIEmbeddings):
        def make_adapter(self, setup):
            return adapter(setup)

    with pytest.raises(AssertionError):
        getattr(Suite(), f"test_{case}")()


def test_what_has_to_be_defined():
    """Is said by name."""

    class Suite(EmbeddingAdapterConformance):
        pass

    with pytest.raises(NotImplementedError, match="make_adapter"):
        Suite().make_adapter(None)
    with pytest.raises(NotImplementedError, match="make_reply"):
        Suite().make_reply([])
