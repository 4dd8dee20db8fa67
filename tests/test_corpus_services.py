"""Recorded responses of the embedding and moderation APIs, replayed over loopback HTTP, give the expected result."""

from __future__ import annotations

import pytest

import allm
from allm.testing import Reply, WireServer
from recordings import USAGE
from wire_corpus import CORPUS, accepted, cases, error_of

CASES = cases("embeddings")


def adapter_of(case, server):
    """The adapter that would have made the recorded request."""
    if "googleapis" in case.url:
        return allm.providers.GeminiEmbeddings(api_key="test", base_url=server.url("gemini"))
    if "voyageai" in case.url:
        return allm.providers.VoyageEmbeddings(api_key="test", base_url=server.base_url + "/v1")
    return allm.providers.OpenAIEmbeddings(api_key="test", base_url=server.url("openai"))


def asked(case):
    """The texts and options of the recorded request."""
    body = case.request_body
    first = body["requests"][0] if "requests" in body else body
    dimensions = first.get("dimensions") or first.get("outputDimensionality") or first.get("output_dimension")
    count = len(body["requests"]) if "requests" in body else 1 if isinstance(body["input"], str) else len(body["input"])
    return [f"text {index}" for index in range(count)], {"model": first["model"], "dimensions": dimensions}


@pytest.mark.skipif(not CASES, reason=f"no recorded responses at {CORPUS}")
@pytest.mark.parametrize("cut", [None, 7])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.folder.name)
async def test_recorded_embeddings_give_the_expected_result(case, cut):
    """Count, length and first numbers of the vectors, usage and model; or the error."""
    expected = case.expected
    async with WireServer() as server:
        server.add(Reply.recorded(case.folder, chunks=cut))
        engine = allm.Engine(embedding_adapter=adapter_of(case, server), retry=None)
        texts, options = asked(case)
        if expected["error"] is not None:
            with pytest.raises(allm.EmbeddingAdapterError) as caught:
                await allm.embed(engine, texts, **options)
            assert accepted(expected, "error", error_of(caught.value)) == []
            assert expected["error"]["message_contains"] in caught.value.message
            assert caught.value.status == expected["status"]
            return
        response = await allm.embed(engine, texts, **options)
    wanted = expected["embeddings"]
    assert [embedding.index for embedding in response.embeddings] == list(range(wanted["count"]))
    assert {embedding.dimensions for embedding in response.embeddings} == {wanted["dimensions"]}
    assert response.vectors[0][:3] == pytest.approx(wanted["first_values"], abs=1e-6)
    assert accepted(expected, "usage", {name: getattr(response.usage, name) for name in USAGE}) == []
    assert response.model == expected["model"]
    assert allm.from_json(allm.to_json(response)) == response


MODERATION = cases("moderation")


def judged(case):
    """The input of the recorded request."""
    given = case.request_body["input"]
    if isinstance(given, str):
        return given
    return [item["text"] if item["type"] == "text" else allm.Image.from_url(item["image_url"]["url"]) for item in given]


@pytest.mark.skipif(not MODERATION, reason=f"no recorded responses at {CORPUS}")
@pytest.mark.parametrize("case", MODERATION, ids=lambda case: case.folder.name)
async def test_recorded_moderation_gives_the_expected_result(case):
    """Count, flags, categories, model and id; or the error."""
    expected = case.expected
    async with WireServer() as server:
        server.add(Reply.recorded(case.folder))
        adapter = allm.providers.OpenAIModeration(api_key="test", base_url=server.url("openai"))
        engine = allm.Engine(moderation_adapter=adapter, retry=None)
        model = case.request_body.get("model")
        if expected["error"] is not None:
            with pytest.raises(allm.AdapterError) as caught:
                await allm.moderate(engine, judged(case), model=model)
            assert accepted(expected, "error", error_of(caught.value)) == []
            assert expected["error"]["message_contains"] in caught.value.message
            return
        response = await allm.moderate(engine, judged(case), model=model)
    wanted = expected["moderation"]
    assert [result.flagged for result in response.results] == wanted["flagged"]
    assert [sorted(result.flagged_categories) for result in response.results] == wanted["true_categories"]
    assert all(result.scores.keys() == result.categories.keys() for result in response.results)
    assert (response.model, response.id) == (expected["model"], expected["response_id"])
    assert allm.from_json(allm.to_json(response)) == response
