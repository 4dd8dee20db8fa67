"""Tool results with images in them, as an encoder of the engine makes them: sent where the vendor takes them."""

from __future__ import annotations

import pytest

import allm
from allm import fake
from allm.testing import Reply, WireServer

IMAGE = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png")


class Encoder:
    def encode(self, value):
        return allm.TextPart("a fox"), allm.ImagePart(value)


def engine(server, name, **fields):
    adapters = {
        "anthropic": (allm.providers.Anthropic, "claude-x"),
        "gemini": (allm.providers.Gemini, "gemini-x"),
        "openai": (allm.providers.OpenAI, "model-x"),
        "openai_responses": (allm.providers.OpenAI, "gpt-9"),
    }
    adapter, model = adapters[name]
    if name.startswith("openai"):
        fields["endpoint"] = "responses" if name == "openai_responses" else "chat_completions"
    made = adapter(api_key="k", base_url=server.url(name), **fields)
    look = allm.Tool("look", "Looks.", handler=lambda _arguments: IMAGE)
    return allm.Engine(adapter=made, model=model, tools=[look], tool_result_encoder=Encoder())


def answers(name):
    return Reply.script(name, [fake.tool_call("look", {})]), Reply.script(name, [fake.text("Red.")])


@pytest.mark.parametrize("name", ["anthropic", "gemini", "openai_responses"])
async def test_the_image_reaches_the_model(name):
    """In the same request as the text."""
    async with WireServer() as server:
        server.add(*answers(name))
        result = await allm.chat(engine(server, name), "What colour is the fox?")
    assert result.final_response.output_text == "Red."
    assert IMAGE.to_base64() in server.requests[1].body.decode()
    assert "a fox" in server.requests[1].body.decode()


async def test_an_api_that_takes_text_only():
    """The turn ends before the second request, with what was wrong."""
    async with WireServer() as server:
        server.add(*answers("openai"))
        result = await allm.chat(engine(server, "openai"), "What colour is the fox?")
    assert len(server.requests) == 1
    assert "takes only text from a tool" in repr(result)
