"""Embeddings of images by Voyage's multimodal models."""

from __future__ import annotations

import json

import pytest

import allm
from allm.providers import VoyageEmbeddings
from allm.testing import Reply, WireServer, loopback_clock

PNG = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png")


@pytest.fixture
def clock():
    return loopback_clock()


async def test_texts_and_images(clock):
    """Each input is a list of contents, at an address of its own."""
    answer = {"data": [{"index": index, "embedding": [0.5, 1.0]} for index in range(3)], "usage": {"total_tokens": 9}}
    inputs = ["a fox", PNG, ("both", allm.Image.from_url("https://example.com/a.png"))]
    async with WireServer() as server:
        server.add(Reply.json(answer))
        adapter = VoyageEmbeddings(api_key="k", base_url=f"{server.base_url}/v1")
        engine = allm.Engine(embedding_adapter=adapter, embedding_model="voyage-multimodal-3", retry=None)
        found = await allm.embed(engine, inputs, task_type="document")
        [seen] = server.requests
    assert seen.path == "/v1/multimodalembeddings"
    assert json.loads(seen.body) == {
        "model": "voyage-multimodal-3",
        "inputs": [
            {"content": [{"type": "text", "text": "a fox"}]},
            {"content": [{"type": "image_base64", "image_base64": PNG.to_data_uri()}]},
            {
                "content": [
                    {"type": "text", "text": "both"},
                    {"type": "image_url", "image_url": "https://example.com/a.png"},
                ]
            },
        ],
        "input_type": "document",
        "output_encoding": "base64",
    }
    assert found.vectors == ((0.5, 1.0),) * 3
    assert found.usage.total_tokens == 9


async def test_an_image_for_a_model_of_texts():
    """Is refused, and the message names a model that takes it."""
    engine = allm.Engine(embedding_adapter=VoyageEmbeddings(api_key="k"), embedding_model="voyage-3.5")
    with pytest.raises(allm.ValidationError, match="voyage-multimodal-3"):
        await allm.embed(engine, [PNG])
