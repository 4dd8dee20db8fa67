"""Replies to embedding requests, in the format of each vendor."""

from __future__ import annotations

import sys

import pytest

import allm
from allm.providers import FakeEmbeddings, GeminiEmbeddings, OpenAIEmbeddings, VoyageEmbeddings
from allm.testing import Reply, WireServer
from allm.testing.wire_formats import embeddings

PATHS = {OpenAIEmbeddings: "/v1", VoyageEmbeddings: "/v1", GeminiEmbeddings: ""}


@pytest.mark.parametrize("adapter", PATHS)
@pytest.mark.parametrize("encoding", ["float", "base64", None])
@pytest.mark.parametrize("dimensions", [None, 5])
async def test_each_vendors_requests_are_answered(adapter, encoding, dimensions):
    """The vectors are those of the fake for these texts."""
    texts = ["a", "ü"]
    async with WireServer(default=Reply.embeddings) as server:
        engine = allm.Engine(embedding_adapter=adapter(api_key="k", base_url=server.base_url + PATHS[adapter]))
        request = allm.EmbeddingRequest(texts, model="m", dimensions=dimensions, encoding_format=encoding)
        response = await allm.embed(engine, request)
    fake = allm.Engine(embedding_adapter=FakeEmbeddings())
    expected = await allm.embed(fake, texts, dimensions=dimensions)
    for vector, other in zip(response.vectors, expected.vectors, strict=True):
        assert vector == pytest.approx(other, abs=1e-7)
    assert (response.usage.input_tokens or response.usage.total_tokens) == 2


async def test_length_and_a_single_text():
    """A single text that is not in a list is accepted."""
    body = embeddings.encode_embeddings("/v1/embeddings", {"input": "a", "model": "m"}, 3)
    assert len(body["data"]) == 1
    assert len(body["data"][0]["embedding"]) == 3


async def test_on_a_big_endian_machine(monkeypatch):
    """Base64 is little-endian on every machine."""
    asked = {"input": ["a"], "encoding_format": "base64"}
    here = embeddings.encode_embeddings("/v1/embeddings", asked, 3)
    monkeypatch.setattr(sys, "byteorder", "big")
    there = embeddings.encode_embeddings("/v1/embeddings", asked, 3)
    assert here["data"] != there["data"]  # swapped, from what are little-endian numbers here
