"""What vendors really answered to calls beside chat, where these recordings are there."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

import allm
from allm.providers import Anthropic, Gemini, OpenAI
from allm.runtime import costs
from allm.testing import Reply, WireServer
from recordings import RECORDINGS

CASES = {path.parent for path in RECORDINGS.glob("*/*/expected.json")}
VENDORS = {
    "anthropic": lambda url: Anthropic(api_key="k", base_url=url),
    "gemini": lambda url: Gemini(api_key="k", base_url=url),
    "openai": lambda url: OpenAI(api_key="k", base_url=f"{url}/v1", endpoint="responses"),
    "mistral": lambda url: OpenAI(preset="mistral", api_key="k", base_url=f"{url}/v1"),
    "perplexity": lambda url: OpenAI(preset="perplexity", api_key="k", base_url=url),
    "xai": lambda url: OpenAI(preset="xai", api_key="k", base_url=f"{url}/v1"),
    "bedrock": lambda url: OpenAI(api_key="k", base_url=f"{url}/v1"),
}
pytestmark = pytest.mark.skipif(not CASES, reason="the recordings are not here")


def cases(kind):
    """The folders of a kind of answer that one of the adapters reads."""
    found = []
    for folder in sorted(CASES):
        expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        url = json.loads((folder / "request.json").read_text(encoding="utf-8"))["url"]
        if expected["kind"] == kind and "bedrock-runtime" not in url and "aiplatform" not in url:
            found.append(pytest.param(folder, expected, id=folder.name))
    return found


async def answered(folder, ask):
    """What a call makes of the recorded answer."""
    async with WireServer() as server:
        document = json.loads((folder / "response.body").read_bytes())
        status = json.loads((folder / "response.json").read_text(encoding="utf-8"))["status"]
        server.add(Reply.json(document, status=status))
        server.default = Reply.json({"data": [], "models": []})
        adapter = VENDORS[folder.name.partition("_")[0]](server.base_url)
        return await ask(allm.Engine(adapter=adapter, model="m"))


@pytest.mark.parametrize(("folder", "expected"), cases("token_count"))
async def test_counts(folder, expected):
    """Are those in the body."""
    counted = await answered(folder, lambda engine: allm.count_tokens(engine, "Hello", retry=None))
    assert (counted.tokens, counted.exact) == (expected["input_tokens"], True)


@pytest.mark.parametrize(("folder", "expected"), cases("model_list"))
async def test_model_lists(folder, expected):
    """Have each model of the body once."""
    models = await answered(folder, lambda engine: allm.list_models(engine, retry=None))
    document = json.loads((folder / "response.body").read_bytes())
    items = document["data"] if "data" in document else document["models"]
    ids = [item["id"] if "id" in item else item["name"].removeprefix("models/") for item in items]
    assert [model.id for model in models] == list(dict.fromkeys(ids))
    assert len(ids) == expected["count"]


@pytest.mark.parametrize(("folder", "expected"), cases("file"))
async def test_files(folder, expected):
    """Are what the body says."""
    file = await answered(folder, lambda engine: allm.files.get(engine, "x", retry=None))
    got = (file.id, file.size, file.filename, file.uri, file.expires_at is not None)
    wanted = [expected.get(name) for name in ("id", "bytes", "filename", "uri")]
    assert got[:2] == tuple(wanted[:2])
    if "filename" in expected:
        assert got[2:] == (*wanted[2:], expected["expires"] is not None)


@pytest.mark.parametrize(("folder", "expected"), cases("file_list"))
async def test_file_lists(folder, expected):
    """Have all files of the body."""
    files = await answered(folder, lambda engine: allm.files.list(engine, retry=None))
    assert len(files) == expected["count"]


@pytest.mark.parametrize(("folder", "expected"), [case for case in cases("cached_content") if case.values[1]["name"]])
async def test_caches(folder, expected):
    """Are what the body says."""
    cache = await answered(folder, lambda engine: allm.caches.get(engine, "x", retry=None))
    assert (cache.name, cache.tokens, cache.model) == (expected["name"], expected["tokens"], "gemini-2.5-flash")
    assert cache.expires_at == pytest.approx(datetime.fromisoformat(expected["expire_time"]).timestamp())
    assert 0 < cache.expires_at - cache.created_at <= 603


@pytest.mark.parametrize(
    ("name", "dollars"),
    [("openai_web_search", 0.01), ("anthropic_web_search", 0.01), ("gemini_google_search", 0.042)],
)
async def test_searches_cost(name, dollars, monkeypatch):
    """By the call, or by each of Gemini's three queries."""
    monkeypatch.setattr(costs, "_genai_prices", lambda: None)
    async with WireServer() as server:
        server.add(Reply.json(json.loads((RECORDINGS / "server_tools" / name / "response.body").read_bytes())))
        engine = allm.Engine(adapter=VENDORS[name.partition("_")[0]](server.base_url), model="m", retry=None)
        usage = (await allm.generate(engine, "x")).usage
    assert usage.total_cost - usage.input_cost - usage.output_cost == pytest.approx(dollars)


async def test_a_deleted_cache():
    """Is answered with an empty object."""
    [[folder, _]] = [case.values for case in cases("cached_content") if not case.values[1]["name"]]
    assert await answered(folder, lambda engine: allm.caches.delete(engine, "x", retry=None)) is None
