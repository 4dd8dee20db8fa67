"""Cohere's embeddings of texts and images."""

from __future__ import annotations

import json

import pytest

import allm
from allm.providers import CohereEmbeddings
from allm.testing import Reply, WireServer, loopback_clock

PNG = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png")


@pytest.fixture
def clock():
    return loopback_clock()


async def embedded(answer, inputs, **options):
    """The embeddings that a server's answer becomes, and what it was asked."""
    async with WireServer() as server:
        server.add(Reply.json(answer))
        adapter = CohereEmbeddings(api_key="k", base_url=f"{server.base_url}/v2")
        engine = allm.Engine(embedding_adapter=adapter, embedding_model="embed-v4.0", retry=None)
        found = await allm.embed(engine, inputs, **options)
        [seen] = server.requests
    return found, seen


async def test_texts_and_images(clock):
    """Each input is a list of contents; tokens of images are part of the total and told apart."""
    units = {"input_tokens": 4, "image_tokens": 5, "images": 2}
    answer = {"id": "e1", "embeddings": {"float": [[0.5, 1.0]] * 3}, "meta": {"billed_units": units}}
    inputs = ["a fox", PNG, ("both", allm.Image.from_url("https://example.com/a.png"))]
    found, seen = await embedded(answer, inputs, task_type="document", dimensions=2)
    assert seen.path == "/v2/embed"
    assert json.loads(seen.body) == {
        "model": "embed-v4.0",
        "inputs": [
            {"content": [{"type": "text", "text": "a fox"}]},
            {"content": [{"type": "image_url", "image_url": {"url": PNG.to_data_uri()}}]},
            {
                "content": [
                    {"type": "text", "text": "both"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ]
            },
        ],
        "input_type": "search_document",
        "embedding_types": ["float"],
        "output_dimension": 2,
    }
    assert found.vectors == ((0.5, 1.0),) * 3
    assert (found.usage.input_tokens, found.usage.total_tokens) == (9, 9)
    assert found.usage.extra == {"input_image_tokens": 5, "images": 2}


@pytest.mark.parametrize(
    ("task", "sent"), [("query", "search_query"), ("CLUSTERING", "clustering"), ("search_query", "search_query")]
)
async def test_tasks_have_cohere_s_words(clock, task, sent):
    """Its own are understood too."""
    _, seen = await embedded({"embeddings": {"float": [[1.0]]}}, ["x"], task_type=task)
    assert json.loads(seen.body)["input_type"] == sent


@pytest.mark.parametrize(("task", "tag"), [(None, "missing"), ("poetry", "unsupported")])
async def test_a_task_has_to_be_given(task, tag):
    """Cohere refuses a request without one; the message has those that there are."""
    engine = allm.Engine(embedding_adapter=CohereEmbeddings(api_key="k"), embedding_model="embed-v4.0")
    with pytest.raises(allm.ValidationError, match="clustering, document, query") as caught:
        await allm.embed(engine, ["x"], task_type=task)
    assert caught.value.errors[0][1] == tag


async def test_an_answer_without_vectors_is_malformed(clock):
    """As of a gateway that answers something else."""
    with pytest.raises(allm.AdapterError) as caught:
        await embedded({"embeddings": [[1.0]]}, ["x"], task_type="query")
    assert caught.value.reason == "malformed_response"
