"""Services that speak OpenAI's wire format: what differs between them is data."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.providers.openai.presets import PRESETS
from allm.runtime.registry import COMPATIBLE
from allm.testing import Reply, WireServer


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for row in PRESETS.values():
        for name in (*row.key_env, row.base_url_env):
            monkeypatch.delenv(name or "UNUSED", raising=False)


def test_every_preset_is_a_provider_name():
    """The two tables agree."""
    assert set(PRESETS) == COMPATIBLE


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_a_call_carries_what_the_service_wants(name):
    """URL, key, output limit, usage option: each as its row says, over a real connection."""
    row = PRESETS[name]
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("hi")]))
        adapter = allm.providers.OpenAI(preset=name, api_key="k1", base_url=server.url("openai"))
        response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "hello", max_tokens=7)
    assert response.output_text == "hi"
    [request] = server.requests
    assert request.path == "/v1/chat/completions"
    expected = "k1" if row.key_header == "api-key" else "Bearer k1"
    assert request.headers[row.key_header] == expected
    assert request.json()[row.max_tokens_field] == 7
    assert ("stream_options" in request.json()) == row.stream_usage
    assert adapter.provider == name


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_model_name_makes_an_engine_with_the_presets_own_key(name):
    """`Engine.from_model("groq:...")`; `keys.override` by the preset's name."""
    engine = allm.Engine.from_model(f"{name}:some/model:tag")
    assert engine.model == "some/model:tag"
    with allm.keys.override(**{name: "own"}):
        call = engine.adapter.prepare(allm.request("hi", model="m"), allm.AdapterOptions()) if name != "azure" else None
    if call is not None:
        assert call.secret.reveal() == "own"
        assert call.url.startswith(PRESETS[name].base_url)


@pytest.mark.parametrize("name", sorted(name for name in PRESETS if PRESETS[name].key_required and name != "azure"))
def test_missing_key_names_the_presets_variable(name):
    """Not OpenAI's."""
    with pytest.raises(allm.EngineError, match=PRESETS[name].key_env[0]):
        allm.stream_generate(allm.Engine.from_model(f"{name}:m"), "hi")


@pytest.mark.parametrize("name", ["ollama", "vllm", "llamacpp"])
def test_local_servers_need_no_key(name):
    """And get no header for one."""
    call = allm.providers.OpenAI(preset=name).prepare(allm.request("hi", model="m"), allm.AdapterOptions())
    assert call.secret is None
    assert "authorization" not in call.headers


def test_azure_takes_its_resource_from_the_environment(monkeypatch):
    """The endpoint as the portal shows it; an API version stays in a `base_url` of your own."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    adapter = allm.providers.OpenAI(preset="azure")
    with pytest.raises(allm.EngineError, match="AZURE_OPENAI_ENDPOINT"):
        adapter.prepare(allm.request("hi", model="deployment"), allm.AdapterOptions())
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://mine.openai.azure.com/")
    call = adapter.prepare(allm.request("hi", model="deployment"), allm.AdapterOptions())
    assert call.url == "https://mine.openai.azure.com/openai/v1/chat/completions"
    own = allm.providers.OpenAI(
        preset="azure", base_url="https://x.example/openai/deployments/d?api-version=2024-10-21"
    )
    call = own.prepare(allm.request("hi", model="d"), allm.AdapterOptions())
    assert call.url == "https://x.example/openai/deployments/d/chat/completions?api-version=2024-10-21"


def test_unknown_preset_and_endpoint_are_told_at_once():
    """With the nearest name."""
    with pytest.raises(allm.EngineError, match="did you mean 'groq'"):
        allm.providers.OpenAI(preset="grok")
    with pytest.raises(allm.EngineError, match="chat_completions"):
        allm.providers.OpenAI(endpoint="chat")


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt-4o", "/chat/completions"),
        ("gpt-4.1-mini", "/chat/completions"),
        ("gpt-5-chat-latest", "/chat/completions"),
        ("o3-mini", "/responses"),
        ("gpt-5", "/responses"),
        ("gpt-5.6-sol", "/responses"),
    ],
)
def test_endpoint_is_chosen_by_model_at_openai_itself(model, path):
    """Elsewhere it is Chat Completions unless told otherwise."""
    request = allm.request("hi", model=model)
    at_openai = allm.providers.OpenAI(api_key="k").prepare(request, allm.AdapterOptions())
    assert at_openai.url == f"https://api.openai.com/v1{path}"
    elsewhere = allm.providers.OpenAI(api_key="k", base_url="http://h/v1").prepare(request, allm.AdapterOptions())
    assert elsewhere.url == "http://h/v1/chat/completions"
    told = allm.providers.OpenAI(api_key="k", base_url="http://h/v1", endpoint="responses")
    assert told.prepare(request, allm.AdapterOptions()).url == "http://h/v1/responses"
