"""Services that speak OpenAI's wire format: what differs between them is data."""

from __future__ import annotations

import itertools

import attrs
import pytest

import allm
from allm import fake
from allm.data.json.text import loads
from allm.providers import OpenAI, Preset
from allm.providers.openai.adapter import endpoint_for
from allm.providers.openai.connection import is_openai
from allm.providers.openai.presets import OPENAI, PRESETS
from allm.runtime.registry import COMPATIBLE
from allm.testing import Reply, WireServer
from openai_wire import prepare
from prepared_calls import headers_of

ROWS = {"openai": OPENAI, **PRESETS}
FORMATS = {"chat_completions": "openai", "responses": "openai_responses"}
PATHS = {"chat_completions": "/chat/completions", "responses": "/responses"}


def variables(row):
    """Every environment variable that a row looks at."""
    fields = itertools.chain.from_iterable(field.env for field in row.url_fields.values())
    return [name for name in (row.base_url_env, *row.key_env, *fields) if name is not None]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for row in ROWS.values():
        for name in variables(row):
            monkeypatch.delenv(name, raising=False)


def test_every_preset_is_a_provider_name():
    """The two tables agree, and each row knows its name."""
    assert set(PRESETS) == COMPATIBLE
    assert all(row.name == name for name, row in PRESETS.items())


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_a_call_carries_what_the_service_wants(name):
    """URL, key, headers, output limit, usage option: each as its row says, over a real connection."""
    row = PRESETS[name]
    async with WireServer() as server:
        server.add(Reply.script(FORMATS[row.endpoint], [fake.text("hi"), fake.usage(input_tokens=1)]))
        adapter = OpenAI(preset=name, api_key="k1", base_url=server.url("openai"))
        response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "hello", max_tokens=7)
    assert response.output_text == "hi"
    assert adapter.provider == name
    [request] = server.requests
    body = request.json()
    assert request.path == f"/v1{PATHS[row.endpoint]}"
    assert request.headers[row.key_header] == ("Bearer k1" if row.key_header == "authorization" else "k1")
    assert {"authorization", "api-key"} & request.headers.keys() == {row.key_header}
    if row.endpoint == "responses":
        assert body["max_output_tokens"] == 7
    else:
        assert {"max_tokens", "max_completion_tokens"} & body.keys() == {row.max_tokens_field}
        assert body[row.max_tokens_field] == 7
        assert ("stream_options" in body) == row.stream_usage


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_either_endpoint_can_be_asked_for(name):
    """Many of these services have both."""
    for endpoint, wire_format in FORMATS.items():
        async with WireServer() as server:
            server.add(Reply.script(wire_format, [fake.text("hi")]))
            adapter = OpenAI(preset=name, api_key="k", base_url=server.url("openai"), endpoint=endpoint)
            response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "hello")
            assert response.output_text == "hi"
            version = "" if (name, endpoint) == ("deepseek", "responses") else "/v1"
            assert server.requests[0].path == f"{version}{PATHS[endpoint]}"


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_model_name_makes_an_engine_with_the_presets_own_key(name, monkeypatch):
    """`Engine.from_model("groq:...")`; the key by the preset's name or variable, never OpenAI's."""
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    monkeypatch.setenv("AZURE_OPENAI_RESOURCE", "mine")
    engine = allm.Engine.from_model(f"{name}:some/model:tag")
    assert (engine.adapter.provider, engine.model) == (name, "some/model:tag")
    with allm.keys.override(**{name: "own"}):
        call = prepare(adapter=engine.adapter)
    assert call.credential.source.reveal() == "own"
    assert call.provider == name
    assert call.url.startswith(PRESETS[name].base_url.replace("{endpoint}", "https://mine.openai.azure.com"))
    for variable in PRESETS[name].key_env:
        with monkeypatch.context() as patch:
            patch.setenv(variable, "from-env")
            assert prepare(adapter=engine.adapter).credential.source.reveal() == "from-env"


@pytest.mark.parametrize("name", sorted(name for name, row in PRESETS.items() if row.key_required))
def test_missing_key_names_the_presets_variable(name, monkeypatch):
    """And the preset, for `allm.keys`."""
    monkeypatch.setenv("AZURE_OPENAI_RESOURCE", "mine")
    with pytest.raises(allm.EngineError, match=rf"{PRESETS[name].key_env[0]}.*override\({name}=") as caught:
        allm.stream_generate(allm.Engine.from_model(f"{name}:m"), "hi")
    assert caught.value.reason == "missing_key"


@pytest.mark.parametrize("name", sorted(name for name, row in PRESETS.items() if not row.key_required))
def test_local_servers_need_no_key(name):
    """And get no header for one; a key that is there is sent, and one that no header can carry is refused."""
    call = prepare(adapter=OpenAI(preset=name))
    assert call.credential is None
    assert "authorization" not in call.headers
    assert headers_of(prepare(adapter=OpenAI(preset=name, api_key="k")))["authorization"] == "Bearer k"
    with pytest.raises(allm.EngineError) as caught:
        prepare(adapter=OpenAI(preset=name, api_key="k\n"))
    assert caught.value.reason == "invalid_key"


def test_headers_of_ones_own_can_take_the_place_of_the_key():
    """A token of Entra ID, or a gateway that asks for something else."""
    adapter = OpenAI(headers={"Authorization": "Bearer token"})
    assert headers_of(prepare(adapter=adapter))["authorization"] == "Bearer token"
    azure = OpenAI(preset="azure", resource="mine", headers={"API-Key": "k"})
    assert headers_of(prepare(adapter=azure))["api-key"] == "k"
    with pytest.raises(allm.EngineError, match="OPENAI_API_KEY"):
        prepare(adapter=OpenAI(headers={"x-other": "1"}))


@pytest.mark.parametrize("name", sorted(name for name, row in ROWS.items() if row.base_url_env))
def test_base_url_comes_from_the_services_variable(name, monkeypatch):
    """As its own SDK takes it; `base_url=` wins over it."""
    row = ROWS[name]
    adapter = OpenAI(preset=None if name == "openai" else name, api_key="k", endpoint="chat_completions")
    assert prepare(adapter=adapter).url == f"{row.base_url}/chat/completions"
    monkeypatch.setenv(row.base_url_env, "https://proxy.example/here/")
    here = f"https://proxy.example/here{row.base_url_env_path}/chat/completions"
    assert prepare(adapter=adapter).url == here
    given = OpenAI(preset=adapter.preset, api_key="k", base_url="http://h/v1", endpoint="chat_completions")
    assert prepare(adapter=given).url == "http://h/v1/chat/completions"


def test_client_of_the_wrong_kind_is_refused_before_anything_is_sent():
    """Wherever it comes from."""
    for adapter, asked in (
        (OpenAI(api_key="k", http_client="client"), None),
        (OpenAI(api_key="k"), allm.adapters.AdapterOptions(http_client="client")),
    ):
        with pytest.raises(allm.EngineError, match="http_client is str"):
            prepare(adapter=adapter, asked=asked)


def azure(**fields):
    return prepare(adapter=OpenAI(preset="azure", api_key="k", **fields), model="gpt-4o")


def test_azure_by_resource():
    """Version 1 of the API: no date in the URL, the deployment is the model."""
    call = azure(resource="contoso")
    assert call.url == "https://contoso.openai.azure.com/openai/v1/chat/completions"
    assert headers_of(call)["api-key"] == "k"
    assert loads(call.body)["model"] == "gpt-4o"
    assert loads(azure(resource="contoso", deployment="prod").body)["model"] == "prod"
    assert azure(resource="contoso", endpoint="responses").url.endswith(".com/openai/v1/responses")
    assert azure(resource="a/b?").url.startswith("https://a%2Fb%3F.openai.azure.com/")


def test_azure_with_a_dated_version():
    """The deployment is in the URL of Chat Completions, and not in that of Responses."""
    here = {"resource": "contoso", "api_version": "2025-04-01-preview"}
    base = "https://contoso.openai.azure.com/openai"
    dated = "?api-version=2025-04-01-preview"
    assert azure(**here).url == f"{base}/deployments/gpt-4o/chat/completions{dated}"
    assert azure(**here, deployment="prod").url == f"{base}/deployments/prod/chat/completions{dated}"
    assert azure(**here, deployment="prod", endpoint="responses").url == f"{base}/responses{dated}"


def test_azure_from_the_environment(monkeypatch):
    """The variables of Microsoft's and OpenAI's SDKs; an argument wins over each."""
    monkeypatch.setenv("AZURE_OPENAI_RESOURCE", "other")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://contoso.cognitiveservices.azure.com/")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "from-env")
    adapter = OpenAI(preset="azure")
    call = prepare(adapter=adapter, model="gpt-4o")
    assert call.url == "https://contoso.cognitiveservices.azure.com/openai/v1/chat/completions"
    assert headers_of(call)["api-key"] == "from-env"
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
    monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "default")
    assert "/deployments/gpt-4o/" in prepare(adapter=adapter, model="gpt-4o").url
    assert prepare(adapter=adapter, model=None).url.endswith(
        "/deployments/default/chat/completions?api-version=2024-10-21"
    )
    assert azure(resource="mine", api_version="2025-01-01").url == (
        "https://mine.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2025-01-01"
    )


async def test_azure_needs_no_model_where_a_deployment_is_known(monkeypatch):
    """The deployment is one."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "http://127.0.0.1:9")
    nameless = allm.Engine(adapter=OpenAI(preset="azure", api_key="k"))
    with pytest.raises(allm.EngineError, match="no model"):
        allm.stream_generate(nameless, "hi")
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("hi")]), Reply.script("openai", [fake.text("hi")]))
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.base_url)
        await allm.generate(allm.Engine(adapter=OpenAI(preset="azure", api_key="k", deployment="prod")), "hi")
        monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "from-env")
        await allm.generate(nameless, "hi")
        assert [request.json()["model"] for request in server.requests] == ["prod", "from-env"]


def test_azure_without_a_place_says_what_is_missing():
    """Argument and variables."""
    with pytest.raises(allm.EngineError, match=r"resource=.*AZURE_OPENAI_RESOURCE.*AZURE_OPENAI_ENDPOINT") as caught:
        azure()
    assert caught.value.reason == "invalid_base_url"


def test_azures_base_url_can_be_given_whole():
    """Then nothing else may say where it is."""
    url = "https://x.example/openai/deployments/d?api-version=2024-10-21"
    assert azure(base_url=url).url == "https://x.example/openai/deployments/d/chat/completions?api-version=2024-10-21"
    for field in ("resource", "api_version"):
        with pytest.raises(allm.EngineError, match="base_url") as caught:
            azure(base_url=url, **{field: "x"})
        assert caught.value.reason == "invalid_engine"
    with pytest.raises(allm.EngineError, match="deployment= is a part of Azure's URLs"):
        OpenAI(preset="groq", deployment="d")


MINE = Preset(
    name="mine",
    base_url="https://llm.mine.example/v2",
    key_env=("MINE_KEY",),
    key_header="x-mine-key",
    headers={"X-Team": "red"},
)


def test_a_preset_of_ones_own(monkeypatch):
    """A row like the others."""
    monkeypatch.setenv("MINE_KEY", "k")
    adapter = OpenAI(preset=MINE, headers={"x-more": "1"})
    call = prepare(adapter=adapter, model="gpt-5.4", max_tokens=3)
    assert (adapter.provider, call.provider) == ("mine", "mine")
    assert call.url == "https://llm.mine.example/v2/chat/completions"
    assert (headers_of(call)["x-mine-key"], call.headers["x-team"], call.headers["x-more"]) == ("k", "red", "1")
    assert loads(call.body)["max_tokens"] == 3
    assert prepare(adapter=OpenAI(preset=attrs.evolve(MINE, endpoint=None))).url.endswith("/chat/completions")
    with pytest.raises(allm.EngineError, match="mine has no address"):
        prepare(adapter=OpenAI(preset=Preset(name="mine"), api_key="k"))


async def test_a_stream_without_an_end_marker():
    """A finish reason and the end of the body are the end, unless the row says that `[DONE]` always comes."""
    answer = Reply.script("openai", [fake.text("hi"), fake.usage(input_tokens=1)])
    whole = answer.body.removesuffix(b"data: [DONE]\n\n")
    unfinished = whole[: whole.index(b'"finish_reason":"stop"')]
    strict = attrs.evolve(MINE, sends_done=True)
    bodies = [(strict, whole, "error"), (MINE, whole, "stop"), (MINE, whole.rstrip(), "stop")]
    for row, body, finish in [*bodies, (MINE, unfinished, "error"), (strict, answer.body, "stop")]:
        async with WireServer() as server:
            server.add(attrs.evolve(answer, body=body))
            adapter = OpenAI(preset=row, api_key="k", base_url=server.url("openai"))
            response = await allm.generate(allm.Engine(adapter=adapter, model="m", retry=None), "hi")
        assert (response.output_text, response.finish_reason) == ("hi", finish)


async def test_xai_is_asked_for_encrypted_reasoning():
    """Whatever its models are called; at OpenAI only those that think."""
    sent = loads(prepare(adapter=OpenAI(preset="xai", api_key="k"), model="grok-4").body)
    assert sent["include"] == ["reasoning.encrypted_content"]
    never = attrs.evolve(MINE, endpoint="responses", encrypted_reasoning=None)
    assert "include" not in loads(prepare(adapter=OpenAI(preset=never, api_key="k"), model="gpt-5.4").body)


def test_unknown_preset_and_endpoint_are_told_at_once():
    """With the nearest name."""
    with pytest.raises(allm.EngineError, match="did you mean 'groq'") as caught:
        OpenAI(preset="grok")
    assert caught.value.reason == "unknown_provider"
    with pytest.raises(allm.EngineError, match="expected a Preset or one of"):
        OpenAI(preset="?")
    with pytest.raises(allm.EngineError, match="chat_completions") as caught:
        OpenAI(endpoint="chat")
    assert caught.value.reason == "invalid_engine"


@pytest.mark.parametrize(
    ("model", "endpoint"),
    [
        ("gpt-3.5-turbo", "chat_completions"),
        ("gpt-4o", "chat_completions"),
        ("gpt-4o-search-preview", "chat_completions"),
        ("gpt-4.1-mini", "chat_completions"),
        ("chatgpt-4o-latest", "chat_completions"),
        ("gpt-audio-mini", "chat_completions"),
        ("gpt-oss-120b", "chat_completions"),
        ("gpt-5-search-api", "chat_completions"),
        ("ft:gpt-4o-mini:me::1", "chat_completions"),
        ("someone-elses", "chat_completions"),
        ("o1", "responses"),
        ("o3-mini", "responses"),
        ("o4-mini-deep-research", "responses"),
        ("ft:o4-mini:me::1", "responses"),
        ("gpt-5", "responses"),
        ("gpt-5-chat-latest", "responses"),
        ("gpt-5.6-sol", "responses"),
        ("gpt-6-luna", "responses"),
        ("gpt-10", "responses"),
        ("codex-mini-latest", "responses"),
        ("computer-use-preview", "responses"),
    ],
)
def test_endpoint_is_chosen_by_model_at_openai_itself(model, endpoint):
    """Elsewhere it is Chat Completions unless told otherwise."""
    assert endpoint_for(model) == endpoint
    assert prepare(adapter=OpenAI(api_key="k"), model=model).url == f"https://api.openai.com/v1{PATHS[endpoint]}"
    elsewhere = prepare(adapter=OpenAI(api_key="k", base_url="http://h/v1"), model=model)
    assert elsewhere.url == "http://h/v1/chat/completions"
    told = OpenAI(api_key="k", base_url="http://h/v1", endpoint="responses")
    assert prepare(adapter=told, model=model).url == "http://h/v1/responses"


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.openai.com/v1", True),
        ("https://API.openai.com/v1/", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://api.openai.com.evil.example/v1", False),
        ("https://notapi.openai.com/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_openai_itself_is_known_by_its_host(url, own):
    """Its regions are itself."""
    assert is_openai(url) == own
