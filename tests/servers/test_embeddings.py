"""Embeddings of third-party servers: made-up ones from llmock, real ones from llama.cpp."""

from __future__ import annotations

import gc
import math
import platform
import sys

import pytest

import allm
from allm.providers import OpenAIEmbeddings
from servers.vendors import KEY

TEXTS = ["hello", "I am a tiny model", "bye", "hello"]


def asking(url, *, model="any-model", **fields):
    return allm.Engine(embedding_adapter=OpenAIEmbeddings(base_url=url, api_key=KEY), embedding_model=model, **fields)


@pytest.fixture(scope="module")
def llmock():
    testing = pytest.importorskip("llmock.testing", reason="llmock is installed by `nox -s servers`")
    with testing.LLMockServer(host="127.0.0.1") as server:
        yield server


async def test_lists_instead_of_base64(llmock):
    """The server only knows lists; the vectors of concurrent requests are put in order."""
    engine = asking(llmock.base_url("openai"))
    seen = []
    response = await allm.embed(engine, TEXTS, batch_size=1, on_progress=lambda done, total: seen.append((done, total)))
    assert [embedding.index for embedding in response.embeddings] == [0, 1, 2, 3]
    assert {embedding.buffer.format for embedding in response.embeddings} == {"d"}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert response.usage.input_tokens > 0
    [alone] = (await allm.embed(engine, TEXTS[1])).vectors
    assert alone == response.vectors[1]


async def test_a_rate_limit_is_waited_for(llmock):
    """All requests of the call wait together."""
    from llmock.scenarios import Fail

    llmock.state.reset()
    llmock.state.scenarios.add(Fail(429, retry_after=1))
    response = await allm.embed(asking(llmock.base_url("openai")), TEXTS, batch_size=2)
    assert len(response.vectors) == 4


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The server's address. It runs in its own threads and stops when it is garbage-collected."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("xllamacpp, the llama.cpp of these tests, is built for x86_64 Linux")
    xllamacpp = pytest.importorskip("xllamacpp", reason="xllamacpp is installed by `nox -s servers`")
    from servers import tiny_model

    settings = xllamacpp.CommonParams()
    settings.model.path = str(tiny_model.write(tmp_path_factory.mktemp("model") / "tiny.gguf"))
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.api_keys = [KEY]
    settings.n_ctx = tiny_model.CONTEXT
    settings.n_batch = settings.n_ubatch = 256
    settings.cpuparams.n_threads = 1
    settings.embedding = True
    settings.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    settings.warmup = False
    settings.verbosity = -1
    server = xllamacpp.Server(settings)
    yield f"{server.listening_address}/v1"
    del server
    gc.collect()


async def test_both_encodings_give_the_same_vectors(llama):
    """32-bit floats in base64, and lists."""
    engine = asking(llama, model="tiny")
    packed = await allm.embed(engine, allm.EmbeddingRequest(TEXTS, encoding_format="base64"))
    listed = await allm.embed(engine, allm.EmbeddingRequest(TEXTS, encoding_format="float"))
    assert {embedding.buffer.format for embedding in packed.embeddings} == {"f"}
    assert {embedding.buffer.format for embedding in listed.embeddings} == {"d"}
    for one, other in zip(packed.vectors, listed.vectors, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
        assert math.hypot(*one) == pytest.approx(1, abs=1e-4)
    assert packed.vectors[0] == packed.vectors[3]
    assert len(set(packed.vectors)) == 3
    assert packed.to_numpy().shape == (4, len(packed.vectors[0]))
    assert str(packed.to_numpy().dtype) == "float32"
    assert packed.usage.input_tokens == listed.usage.input_tokens > 0


async def test_a_stream_of_batches(llama):
    """They come in the order of the texts, with the same vectors as in one request."""
    engine = asking(llama, model="tiny")
    together = await allm.embed(engine, TEXTS)
    async with allm.stream_embed(engine, iter(TEXTS), batch_size=1) as batches:
        vectors = [vector async for batch in batches for vector in batch.vectors]
    for one, other in zip(vectors, together.vectors, strict=True):
        assert one == pytest.approx(other, abs=1e-3)  # its own batching changes the last digits


async def test_a_wrong_key(llama):
    """It ends the call at the first response."""
    adapter = OpenAIEmbeddings(base_url=llama, api_key="some-other-key")
    with pytest.raises(allm.EmbeddingAdapterError) as caught:
        await allm.embed(allm.Engine(embedding_adapter=adapter, embedding_model="tiny"), TEXTS)
    assert caught.value.reason == "authentication_failed"
    assert caught.value.completed_inputs == 0
