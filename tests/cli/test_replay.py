"""`allm replay`: the responses in a cassette."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.testing import Reply, record

ENGINES = {
    "openai": lambda url: allm.providers.OpenAI(api_key="k0123456789", base_url=url, endpoint="chat_completions"),
    "openai_responses": lambda url: allm.providers.OpenAI(api_key="k0123456789", base_url=url, endpoint="responses"),
    "anthropic": lambda url: allm.providers.Anthropic(api_key="k0123456789", base_url=url),
    "gemini": lambda url: allm.providers.Gemini(api_key="k0123456789", base_url=url),
}


@pytest.mark.parametrize("vendor", ENGINES)
async def test_a_chat(allm_main, server, tmp_path, vendor):
    """Responses go to standard output, requests and calls to standard error."""
    server.add(
        Reply.script(vendor, [fake.text("Let me see."), fake.tool_call("weather", {"city": "Zug"})]),
        Reply.script(vendor, [fake.text("Wa"), fake.text("rm.")]),
    )
    engine = allm.Engine(adapter=ENGINES[vendor](server.url(vendor)), model="m")
    with record(tmp_path / "a.json"):
        await allm.generate(engine, "Is it warm?", max_tokens=9)
        await allm.generate(engine, "And now?", max_tokens=9)

    code, output, beside = await allm_main("replay", str(tmp_path / "a.json"))

    assert (code, output) == (0, "Let me see.\nWarm.\n")
    assert beside.count(": 200\n") == 2
    assert '* weather(city="Zug")' in beside


async def test_failures_and_other_answers(allm_main, server, tmp_path):
    """An error is one line; other responses are summarized."""
    server.add(Reply(status=401, body=b'{"error": {"message": "bad key"}}'))
    server.add(Reply(body=b'data: {"choices": [{"delta": {"content": "so f"}}]}\n\n'))
    server.add(Reply(body=b'{"data": [{"index": 0, "embedding": [1.0]}]}'))
    adapter = ENGINES["openai"](server.url("openai"))
    embeddings = allm.providers.OpenAIEmbeddings(api_key="k0123456789", base_url=server.url("openai"))
    engine = allm.Engine(adapter=adapter, model="m", embedding_adapter=embeddings, embedding_model="e", retry=None)
    with record(tmp_path / "a.json"):
        await allm.generate(engine, "1")
        await allm.generate(engine, "2")
        await allm.embed(engine, "3")

    code, output, beside = await allm_main("replay", str(tmp_path / "a.json"))

    assert (code, output) == (0, "so f\n")
    assert "Error: " in beside
    assert "bad key" in beside
    assert "[DONE]" in beside
    assert "44 bytes of " in beside


@pytest.mark.parametrize("content", [None, "", "{}"])
async def test_no_cassette(allm_main, tmp_path, content):
    """Another file is a usage error."""
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    code, output, beside = await allm_main("replay", str(tmp_path / "a.json"))
    assert (code, output) == (2, "")
    assert "a.json" in beside
