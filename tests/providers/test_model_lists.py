"""Lists of models: whole, whatever the pages, and joined with the catalog."""

from __future__ import annotations

from datetime import date

import pytest

import allm
from allm.adapters import AdapterOptions
from allm.providers import Anthropic, Bedrock, Gemini, OpenAI
from allm.testing import Reply, WireServer

MAKE = {
    "openai": lambda url: OpenAI(api_key="k", base_url=f"{url}/v1"),
    "openrouter": lambda url: OpenAI(preset="openrouter", api_key="k", base_url=f"{url}/v1"),
    "mistral": lambda url: OpenAI(preset="mistral", api_key="k", base_url=f"{url}/v1"),
    "perplexity": lambda url: OpenAI(preset="perplexity", api_key="k", base_url=url),
    "anthropic": lambda url: Anthropic(api_key="k", base_url=url),
    "gemini": lambda url: Gemini(api_key="k", base_url=url),
    "bedrock": lambda url: Bedrock(api_key="k", base_url=url, region="us-east-1"),
}


async def listed(provider, *documents):
    """The models, and the paths that were asked for."""
    async with WireServer() as server:
        server.add(*map(Reply.json, documents))
        engine = allm.Engine(adapter=MAKE[provider](server.base_url))
        models = await allm.list_models(engine, retry=None)
        assert {request.method for request in server.requests} == {"GET"}
        assert all(not request.body for request in server.requests)
        return models, [request.path for request in server.requests]


async def test_a_service_that_gives_names():
    """What else is known of them is in the catalog; a day is a date."""
    documents = {
        "object": "list",
        "data": [
            {"id": "gpt-5.4", "object": "model", "created": 1671217299, "owned_by": "openai"},
            {"id": "new-model", "object": "model", "created": 0, "shutdown_date": "2027-01-14"},
        ],
    }
    models, paths = await listed("openai", documents)
    assert paths == ["/v1/models"]
    known = allm.models.lookup("openai", "gpt-5.4")
    assert models[0].created == date(2022, 12, 16)
    assert (models[0].context_window, models[0].prices) == (known.context_window, known.prices)
    assert models[1] == allm.models.ModelInfo(provider="openai", id="new-model", shutdown=date(2027, 1, 14))


async def test_bedrock_gives_models_and_profiles():
    """The models of the region first, then all pages of the profiles, which are what newer models are called by."""
    models = {
        "modelSummaries": [
            {
                "modelId": "amazon.nova-2-lite-v1:0",
                "modelName": "Nova 2 Lite",
                "inputModalities": ["TEXT", "IMAGE"],
                "modelLifecycle": {"status": "LEGACY", "endOfLifeTime": "2027-05-01T00:00:00Z"},
            },
            {"modelId": "meta.llama-x", "modelLifecycle": {"endOfLifeTime": "soon"}},
            {"modelName": "nameless"},
        ]
    }
    first = {
        "inferenceProfileSummaries": [{"inferenceProfileId": "us.meta.llama-x", "inferenceProfileName": "US X"}],
        "nextToken": "t/1",
    }
    last = {"inferenceProfileSummaries": [{"inferenceProfileId": "eu.meta.llama-x"}, {}]}
    found, paths = await listed("bedrock", models, first, last)
    assert paths == [
        "/foundation-models",
        "/inference-profiles?maxResults=1000",
        "/inference-profiles?maxResults=1000&nextToken=t%2F1",
    ]
    assert [model.id for model in found] == [
        "amazon.nova-2-lite-v1:0",
        "meta.llama-x",
        "us.meta.llama-x",
        "eu.meta.llama-x",
    ]
    assert (found[0].name, found[0].vision, found[0].shutdown) == ("Nova 2 Lite", True, date(2027, 5, 1))
    assert (found[1].vision, found[1].shutdown, found[2].name) == (None, None, "US X")


def test_bedrock_has_its_models_at_another_address(monkeypatch):
    """That of the region, unless an address is set."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", raising=False)
    adapter = Bedrock(api_key="k", region="eu-west-1")
    assert adapter.find_control_url(AdapterOptions()) == "https://bedrock.eu-west-1.amazonaws.com"
    elsewhere = Bedrock(api_key="k", region="eu-west-1", base_url="https://proxy.test/x")
    assert elsewhere.find_control_url(AdapterOptions()) == "https://proxy.test/x"


async def test_anthropic_gives_pages():
    """All of them are read, and none twice."""
    first = {
        "data": [{"type": "model", "id": "claude-x", "display_name": "Claude X", "created_at": "2025-11-24T00:00:00Z"}],
        "has_more": True,
        "last_id": "claude-x",
    }
    able = {"image_input": {"supported": True}, "thinking": {"supported": False}}
    last = {
        "data": [
            {
                "type": "model",
                "id": "claude-y",
                "created_at": "1970-01-01T00:00:00Z",
                "max_input_tokens": 5,
                "max_tokens": 3,
                "capabilities": able,
                "retires_at": "2027-05-01T00:00:00Z",
            }
        ],
        "has_more": False,
        "last_id": "claude-y",
    }
    models, paths = await listed("anthropic", first, last)
    assert paths == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=claude-x"]
    assert [model.id for model in models] == ["claude-x", "claude-y"]
    assert (models[0].name, models[0].created) == ("Claude X", date(2025, 11, 24))
    assert (models[1].vision, models[1].reasoning, models[1].context_window) == (True, False, 5)
    assert (models[1].created, models[1].shutdown) == (None, date(2027, 5, 1))


async def test_gemini_gives_pages():
    """Names without the folder that they are in."""
    limits = {"inputTokenLimit": 7, "outputTokenLimit": 5}
    found = {"name": "models/gemini-x", "displayName": "X", "thinking": True, **limits}
    first = {"models": [found], "nextPageToken": "a+b/c="}
    models, paths = await listed("gemini", first, {})
    assert paths == ["/v1beta/models?pageSize=1000", "/v1beta/models?pageSize=1000&pageToken=a%2Bb%2Fc%3D"]
    [model] = models
    assert (model.id, model.name, model.context_window, model.output_limit) == ("gemini-x", "X", 7, 5)
    assert model.reasoning


async def test_services_that_say_more():
    """Abilities, limits and prices, in each one's own words."""
    able = {"function_calling": True, "vision": False}
    mistral = {"id": "m", "capabilities": able, "max_context_length": 9, "aliases": ["m-latest"], "name": "m-2508"}
    [model], _ = await listed("mistral", {"data": [mistral, mistral]})
    assert (model.tools, model.vision, model.context_window) == (True, False, 9)
    assert (model.aliases, model.name) == (("m-latest",), "m-2508")

    priced = {"input": 3, "output": 15, "cache_write": 3.75, "cache_read": 0.3, "unit": "usd_per_1m_tokens"}
    [model], paths = await listed("perplexity", {"data": [{"id": "x/y", "created": 0, "pricing": priced}]})
    assert paths == ["/v1/models"]
    assert model.prices == (allm.models.Prices(input=3, output=15, cached_input=0.3, cache_write=3.75),)

    router = {
        "id": "x/z",
        "name": "Z",
        "context_length": 11,
        "supported_parameters": ["tools", "temperature"],
        "architecture": {"input_modalities": ["text", "image"]},
        "top_provider": {"max_completion_tokens": 6},
        "pricing": {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000025"},
    }
    auto = {"id": "x/auto", "pricing": {"prompt": "-1", "completion": "-1"}}
    models, _ = await listed("openrouter", {"data": [router, auto]})
    assert (models[0].tools, models[0].json_schema, models[0].vision) == (True, False, True)
    assert (models[0].context_window, models[0].output_limit) == (11, 6)
    assert models[0].prices == (allm.models.Prices(input=2.5, output=10, cached_input=0.25),)
    assert models[1].prices == ()


async def test_what_a_program_put_in_stands():
    """The list adds what it leaves open."""
    own = allm.models.ModelInfo(provider="mistral", id="m", context_window=5)
    allm.models.put(own)
    try:
        [model], _ = await listed("mistral", {"data": [{"id": "m", "max_context_length": 9, "name": "M"}]})
    finally:
        allm.models.clear()
    assert (model.context_window, model.name) == (5, "M")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("document", [{}, {"data": None}, {"data": "x"}, {"object": "list"}])
async def test_an_answer_that_is_no_list(provider, document):
    """A malformed response, and not the end of the list."""
    with pytest.raises(allm.AdapterError) as caught:
        await listed(provider, document)
    assert caught.value.reason == "malformed_response"


async def test_a_list_that_goes_in_circles_ends():
    """With an error."""
    page = {"models": [], "nextPageToken": "again"}
    with pytest.raises(allm.AdapterError, match="circles") as caught:
        await listed("gemini", page, page, page)
    assert caught.value.reason == "malformed_response"


async def test_items_that_are_odd_are_left_out():
    """Whatever a service writes into its list, the rest is there."""
    odd = [None, {}, {"id": 5}, {"id": "a", "created": 1e300, "pricing": {"prompt": "x"}, "capabilities": []}]
    [model], _ = await listed("openai", {"data": odd})
    assert model.id == "a"


async def test_a_page_is_asked_for_again():
    """After a failure that may pass, with the retries of the call."""
    async with WireServer() as server:
        server.add(Reply.json({"error": {"message": "busy"}}, status=503), Reply.json({"data": []}))
        engine = allm.Engine(adapter=MAKE["openai"](server.base_url))
        assert await allm.list_models(engine, retry=allm.RetryPolicy(max_attempts=2, base_delay=0)) == ()
        assert len(server.requests) == 2


async def test_no_list():
    """A provider without one, and an engine without a provider, are errors."""
    with pytest.raises(allm.AdapterError) as caught:
        await allm.list_models(allm.Engine(adapter=Anthropic(api_key="k", project="p")))
    assert caught.value.reason == "unsupported_feature"
    with pytest.raises(allm.EngineError):
        await allm.list_models(allm.Engine())
    with pytest.raises(allm.OptionError):
        await allm.list_models(allm.Engine(adapter=OpenAI(api_key="k")), max_turns=3)
