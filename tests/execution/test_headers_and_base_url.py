"""The call options `headers` and `base_url`, of chats and of every service."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Gemini, OpenAI, OpenAIEmbeddings, OpenAIImages
from allm.testing import Reply, WireServer, deny_network

SECRET = "canary-header-0123456789-secret"
NOWHERE = "http://localhost:9"
CHATS = {
    "openai": lambda: OpenAI(base_url=NOWHERE, api_key="k", endpoint="chat_completions", headers={"X-Team": "a"}),
    "openai_responses": lambda: OpenAI(base_url=NOWHERE, api_key="k", endpoint="responses", headers={"X-Team": "a"}),
    "anthropic": lambda: Anthropic(base_url=NOWHERE, api_key="k", headers={"X-Team": "a"}),
    "gemini": lambda: Gemini(base_url=NOWHERE, api_key="k", headers={"X-Team": "a"}),
}


@pytest.mark.parametrize("wire", CHATS)
async def test_a_chat_goes_where_the_call_says(wire):
    """With its headers, which replace the adapter's and the engine's of the same name in any case."""
    async with WireServer() as server:
        server.add(*[Reply.script(wire, [fake.text("hi")])] * 2)
        engine = allm.Engine(adapter=CHATS[wire](), model="m").with_params(headers={"x-team": "b", "X-Trace": "1"})
        options = {"base_url": server.url(wire), "headers": {"X-TRACE": "2", "x-token": SECRET}}
        assert (await allm.generate(engine, "x", **options)).output_text == "hi"
        assert (await allm.chat(engine, "x", **options)).output_text == "hi"
        for sent in server.requests:
            assert (sent.headers["x-team"], sent.headers["x-trace"], sent.headers["x-token"]) == ("b", "2", SECRET)


async def test_services_and_companions_take_them():
    """Embeddings, images, lists of models, counts of tokens."""
    async with WireServer() as server:
        url = server.url("openai")
        server.add(
            Reply.json({"data": [{"index": 0, "embedding": [1.0]}], "model": "e", "usage": {"prompt_tokens": 1}})
        )
        engine = allm.Engine(
            adapter=Anthropic(base_url=NOWHERE, api_key="k"),
            model="m",
            embedding_adapter=OpenAIEmbeddings(base_url=NOWHERE, api_key="k"),
            embedding_model="e",
        )
        await allm.embed(engine, "a", base_url=url, headers={"x-trace": "7"})
        server.add(Reply.json({"data": [], "has_more": False}))
        await allm.list_models(engine, base_url=server.url("anthropic"), headers={"x-trace": "7"})
        server.add(Reply.json({"input_tokens": 3}))
        await allm.count_tokens(engine, "a", base_url=server.url("anthropic"), headers={"x-trace": "7"})
        assert [sent.headers["x-trace"] for sent in server.requests] == ["7"] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "1\r\nx-b: 2"},
        {"x-a\r\nx-b": "1"},
        {"x-token": f"{SECRET}\nx: 1"},
        {"x-token": 7},
        {"": "1"},
        {"x-a": "\u00e9"},
    ],
)
async def test_a_header_that_cannot_be_sent_is_refused(headers):
    """Before anything is sent, wherever it is given, and without its value."""
    with deny_network():
        engine = allm.Engine(adapter=CHATS["openai"](), model="m")
        images = allm.Engine(image_adapter=OpenAIImages(api_key="k"), image_model="i")
        for call in (
            lambda: allm.generate(engine, "x", headers=headers),
            lambda: allm.generate_image(images, "x", headers=headers),
            lambda: allm.generate(engine.with_params(headers=headers), "x"),
        ):
            with pytest.raises(allm.ValidationError) as caught:
                await call()
            assert caught.value.errors == ((("headers",), "invalid_format"),)
            assert SECRET not in str(caught.value)
    with pytest.raises(allm.OptionError, match="a mapping of names to strings"):
        await allm.generate(engine, "x", headers=[SECRET])


@pytest.mark.parametrize("status", [200, 401])
async def test_a_secret_is_never_shown(status, caplog):
    """Not in an error, its traceback with all variables, the log, or the repr of an engine."""
    caplog.set_level("DEBUG")
    async with WireServer() as server:
        body = {"error": {"message": f"wrong token {SECRET}", "code": "x"}}
        server.add(*[Reply.json(body, status=status)] * 2)
        engine = allm.Engine(adapter=CHATS["openai"](), model="m").with_params(
            headers={"authorization": f"Bearer {SECRET}"}
        )
        url = server.url("openai").replace("http://", f"http://user:{SECRET}@")
        response = await allm.generate(engine, "x", retry=None)
        assert response.error is not None
        response = await allm.generate(
            allm.Engine(adapter=CHATS["openai"](), model="m"),
            "x",
            base_url=url,
            headers={"x-api-token": SECRET},
            retry=None,
        )
        assert response.error is not None
        assert SECRET not in repr(response) + repr(engine) + allm.to_json(response) + caplog.text
        with pytest.raises(allm.AllmError) as caught:
            await allm.embed(engine, "x", base_url=url, headers={"x-api-token": SECRET})
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        own = [frame for frame in frames.stack if frame.filename.startswith(str(Path(allm.__file__).parent))]
        assert own
        assert SECRET not in str([frame.locals for frame in own])


async def test_a_group_shares_harmless_headers_only():
    """A secret for one provider is not sent to another."""
    group = allm.fallback(
        allm.Engine(adapter=CHATS["openai"](), model="m"), allm.Engine(adapter=CHATS["anthropic"](), model="c")
    )
    with pytest.raises(allm.EngineError, match="authorization"):
        await allm.generate(group, "x", headers={"Authorization": SECRET})
    with pytest.raises(allm.EngineError, match="base_url"):
        await allm.generate(group, "x", base_url=NOWHERE)
    async with WireServer() as server:
        server.add(Reply.script("openai", [fake.text("hi")]))
        first = OpenAI(base_url=server.url("openai"), api_key="k", endpoint="chat_completions")
        group = allm.fallback(allm.Engine(adapter=first, model="m"), group.members[1])
        assert (await allm.generate(group, "x", headers={"x-trace": "1"})).output_text == "hi"
        assert server.requests[0].headers["x-trace"] == "1"
