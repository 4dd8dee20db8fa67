"""Reranking, over HTTP and with the fake."""

from __future__ import annotations

import json

import pytest

import allm
from allm import models
from allm.providers import CohereRerank, FakeRerank, VoyageRerank
from allm.testing import Reply, WireServer, loopback_clock

KEY = "sk-rank-canary"
TEXTS = ["a cow", "a fox", "the wood of the fox"]
RANKED = [{"index": 2, "relevance_score": 0.9}, {"index": 1, "relevance_score": 0.5}]


@pytest.fixture
def clock():
    return loopback_clock()


async def ranked(adapter_type, answer, settings=None, documents=TEXTS, model="m", **options):
    """The ranking that a server's answer becomes, and what it was asked."""
    async with WireServer() as server:
        server.add(Reply.json(answer, headers={"x-request-id": "r1"}))
        adapter = adapter_type(api_key=KEY, base_url=f"{server.base_url}/v1", **(settings or {}))
        engine = allm.Engine(rerank_adapter=adapter, rerank_model=model, retry=None)
        found = await allm.rerank(engine, "fox wood", documents, **options)
        [seen] = server.requests
    return found, seen


async def test_cohere(clock):
    """It counts searches; the texts are those that were passed."""
    answer = {"id": "c1", "results": RANKED, "meta": {"billed_units": {"search_units": 1}}}
    found, seen = await ranked(CohereRerank, answer, top_n=2, options={"max_tokens_per_doc": 100})
    assert seen.path == "/v1/rerank"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    body = {"model": "m", "query": "fox wood", "documents": TEXTS, "top_n": 2, "max_tokens_per_doc": 100}
    assert json.loads(seen.body) == body
    assert [(result.index, result.score, result.document) for result in found.results] == [
        (2, 0.9, TEXTS[2]),
        (1, 0.5, TEXTS[1]),
    ]
    assert found.documents == (TEXTS[2], TEXTS[1])
    assert (found.id, found.request_id, found.model, found.usage.extra) == ("c1", "r1", "m", {"search_units": 1.0})


async def test_voyage(clock):
    """Its word for how many is another one, and it counts tokens, which have a price."""
    models.put(models.ModelInfo(provider="voyage", id="acme-ranks", prices=models.Prices(input=2, output=0)))
    answer = {"object": "list", "data": RANKED, "model": "acme-ranks", "usage": {"total_tokens": 1_000_000}}
    found, seen = await ranked(VoyageRerank, answer, model="acme-ranks", top_n=2)
    assert json.loads(seen.body) == {"model": "acme-ranks", "query": "fox wood", "documents": TEXTS, "top_k": 2}
    assert [result.index for result in found.results] == [2, 1]
    assert (found.usage.total_tokens, found.usage.total_cost) == (1_000_000, 2.0)


async def test_jina(clock):
    """As Cohere, with tokens."""
    answer = {"model": "jina-x", "results": RANKED, "usage": {"total_tokens": 12}}
    found, _ = await ranked(CohereRerank, answer, {"preset": "jina"})
    assert (found.model, found.usage.input_tokens) == ("jina-x", 12)


async def test_openrouter(clock):
    """As Cohere, with the cost."""
    answer = {"model": "x", "results": RANKED, "usage": {"cost": 0.002, "search_units": 1}}
    found, _ = await ranked(CohereRerank, answer, {"preset": "openrouter"})
    assert (found.usage.total_cost, found.usage.extra) == (0.002, {"search_units": 1.0})


async def test_the_best_come_first(clock):
    """Also from a service that sends another order, or more than it was asked for."""
    found, _ = await ranked(CohereRerank, {"results": RANKED[::-1]}, top_n=1)
    assert [result.index for result in found.results] == [2]


@pytest.mark.parametrize(
    "results",
    [
        None,
        [],
        [{"index": 3, "relevance_score": 1}],
        [{"index": -1, "relevance_score": 1}],
        [RANKED[0], RANKED[0]],
        [{"index": 0}],
        [{"relevance_score": 0.5}],
        ["x"],
    ],
)
@pytest.mark.parametrize(("adapter_type", "field"), [(CohereRerank, "results"), (VoyageRerank, "data")])
async def test_a_ranking_of_other_documents(clock, adapter_type, field, results):
    """Is no ranking of these."""
    with pytest.raises(allm.AdapterError) as caught:
        await ranked(adapter_type, {field: results})
    assert caught.value.reason == "malformed_response"


@pytest.mark.parametrize(
    ("query", "documents", "options", "path"),
    [
        (" ", TEXTS, {}, "query"),
        (3, TEXTS, {}, "query"),
        ("x", [], {}, "documents"),
        ("x", "one text", {}, "documents"),
        ("x", ["a", 3], {}, "documents"),
        ("x", TEXTS, {"top_n": 0}, "top_n"),
        ("x", TEXTS, {"top_n": True}, "top_n"),
    ],
)
async def test_what_cannot_be_ranked(query, documents, options, path):
    """Is refused by name."""
    adapter = FakeRerank()
    with pytest.raises(allm.ValidationError) as caught:
        await allm.rerank(allm.Engine(rerank_adapter=adapter), query, documents, **options)
    assert caught.value.errors[0][0][0] == path
    assert adapter.requests == []


async def test_the_fake_ranks_by_words():
    """And a whole request can be passed, and a generator."""
    engine = allm.Engine(rerank_adapter=FakeRerank())
    found = await allm.rerank(engine, "fox wood", (text for text in TEXTS), top_n=2)
    assert found.documents == (TEXTS[2], TEXTS[1])
    request = allm.RerankRequest("fox wood", TEXTS, top_n=1, metadata={"who": "me"})
    found = await allm.rerank(engine, request)
    assert (found.documents, found.metadata) == ((TEXTS[2],), {"who": "me"})


async def test_a_ranking_survives_json():
    """As every value."""
    found = await allm.rerank(allm.Engine(rerank_adapter=FakeRerank()), "fox", TEXTS)
    assert allm.from_json(allm.to_json(found)) == found


def test_a_service_that_ranks_in_another_way():
    """Has no preset."""
    with pytest.raises(allm.EngineError, match="jina"):
        CohereRerank(preset="acme")


@pytest.mark.parametrize("provider", ["cohere", "voyage", "jina", "openrouter", "fake"])
def test_models_by_name(provider):
    """Each service has its adapter."""
    engine = allm.Engine().with_services(rerank_model=f"{provider}:m")
    assert (engine.rerank_adapter.provider, engine.rerank_model) == (provider, "m")
