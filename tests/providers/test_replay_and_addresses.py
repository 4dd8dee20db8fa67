"""Opaque data goes back to the address that made it, and to no other one; what can be read goes everywhere."""

from __future__ import annotations

import pytest

import allm
from allm.adapters import AdapterOptions, loads
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import Reply, WireServer

FORMATS = ["anthropic", "gemini", "openai_responses"]
SECRETS = {  # a text of each format's answers that only the service that made it can read
    "anthropic": "signed-here",
    "gemini": "signed-here",
    "openai_responses": "sealed-here",
}


def answer(wire_format):
    """An answer with thinking, a text and a call, and opaque data with each of them where the format has it."""
    if wire_format == "anthropic":
        return {
            "type": "message",
            "id": "msg_1",
            "model": "m",
            "stop_reason": "tool_use",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "signed-here"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
                {"type": "text", "text": "I look.", "citations": [{"encrypted_index": "signed-here"}]},
                {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}, "caller": {"tool_id": "signed-here"}},
            ],
        }
    if wire_format == "gemini":
        parts = [
            {"text": "Hm.", "thought": True, "thoughtSignature": "signed-here"},
            {"executableCode": {"code": "signed-here"}},
            {"text": "I look.", "thoughtSignature": "signed-here"},
            {"functionCall": {"name": "now", "args": {}, "id": "signed-here-1"}, "thoughtSignature": "signed-here"},
        ]
        return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    return {
        "id": "resp_1",
        "object": "response",
        "model": "m",
        "status": "completed",
        "output": [
            {"type": "reasoning", "id": "rs_sealed-here", "summary": [], "encrypted_content": "sealed-here"},
            {"type": "web_search_call", "id": "ws_sealed-here", "status": "completed"},
            {
                "type": "message",
                "id": "msg_sealed-here",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
            },
            {"type": "function_call", "id": "fc_sealed-here", "call_id": "call_1", "name": "now", "arguments": "{}"},
        ],
    }


def adapter_of(wire_format, base_url, **options):
    if wire_format == "openai_responses":
        return OpenAI(api_key="k", base_url=base_url, endpoint="responses", **options)
    return {"anthropic": Anthropic, "gemini": Gemini}[wire_format](api_key="k", base_url=base_url, **options)


def family(wire_format):
    return "openai" if wire_format.startswith("openai") else wire_format


async def answered(wire_format, server):
    """The answer that comes from a server."""
    server.add(Reply.json(answer(wire_format)))
    adapter = adapter_of(wire_format, server.url(family(wire_format)))
    message = (await allm.generate(allm.Engine(adapter=adapter, model="gemini-3-flash"), "hi", retry=None)).message
    assert all(part.made_at for part in message.parts)
    return message


def sent(adapter, *messages):
    """The body in which a conversation goes out."""
    request = allm.Request([allm.user("hi"), *messages], model="gemini-3-flash")
    return loads(adapter.prepare(request, AdapterOptions()).body)


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_it_goes_back_to_where_it_came_from(wire_format):
    """Also after a journey through JSON, and with the version of the API at the end of the address or not."""
    async with WireServer() as server:
        message = allm.from_json(allm.to_json(await answered(wire_format, server)))
        url = server.url(family(wire_format))
        for base_url in (url, url + "/", url.removesuffix("/v1"), f"{url.removesuffix('/v1')}/v1"):
            body = sent(adapter_of(wire_format, base_url), message, allm.tool_result(message.tool_calls[0].id, "12:00"))
            assert str(body).count(SECRETS[wire_format]) >= 3


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_it_goes_nowhere_else(wire_format):
    """To no other address of the format, nor to the vendor itself; the text, the call and its result do."""
    async with WireServer() as server, WireServer() as other:
        message = await answered(wire_format, server)
        result = allm.tool_result(message.tool_calls[0].id, "12:00")
        for base_url in (other.url(family(wire_format)), server.url(family(wire_format)) + "/team", None):
            body = str(sent(adapter_of(wire_format, base_url), message, result))
            assert SECRETS[wire_format] not in body
            assert all(text in body for text in ("I look.", "'now'", "12:00"))


def test_a_variable_is_an_address_as_well(monkeypatch):
    """It does not matter who says where the service is."""
    thought = allm.ReasoningPart("Hm.", provider="anthropic", signature="S")
    conversation = allm.assistant(thought, allm.TextPart("y")), allm.user("z")
    assert "'S'" in str(sent(Anthropic(api_key="k"), *conversation))
    assert "'S'" in str(sent(Anthropic(api_key="k", base_url="https://API.anthropic.com:443/v1/"), *conversation))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://gateway.example/anthropic")
    assert "'S'" not in str(sent(Anthropic(api_key="k"), *conversation))


def test_what_a_user_wrote_by_hand_goes_to_every_address():
    """A document in the words of the format is for whoever speaks it."""
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "the contract"}}
    message = allm.user("Is it valid?", allm.ProviderPart("anthropic", document))
    assert "the contract" in str(sent(Anthropic(api_key="k", base_url="https://gateway.example"), message))


def test_at_azure_the_resource_is_the_address():
    """Whatever deployment of it is asked, through either API version."""

    def at(resource, deployment, **options):
        return OpenAI(
            preset="azure", api_key="k", resource=resource, deployment=deployment, endpoint="responses", **options
        )

    assert at("one", "a").origin(at("one", "a").find_base_url(AdapterOptions(), "responses")) == at("one", "b").origin(
        at("one", "b", api_version="2025-03-01-preview").find_base_url(AdapterOptions(), "responses")
    )
    assert at("one", "a").origin("https://one.openai.azure.com") != at("two", "a").origin(
        "https://two.openai.azure.com"
    )


def test_thinking_in_chat_completions_goes_back_to_its_own_address():
    """`reasoning_details` hold what the vendor behind a gateway signed."""
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "S"}]
    part = allm.ReasoningPart(
        "Hm.", provider="openrouter", metadata={"openrouter": {"reasoning_details": details}}, made_at="gw.example/api"
    )
    message = allm.assistant(part, allm.TextPart("y"))
    own = OpenAI(preset="openrouter", api_key="k", base_url="https://gw.example/api/v1", endpoint="chat_completions")
    assert sent(own, message)["messages"][1]["reasoning_details"] == details
    assert "'S'" not in str(sent(OpenAI(preset="openrouter", api_key="k", endpoint="chat_completions"), message))


# --- ids and the order of Responses items ---

LONG = "x" * 65


def items(*parts, **options):
    options = {"api_key": "k", "endpoint": "responses", **options}
    return sent(OpenAI(**options), allm.assistant(*parts))["input"][1:]


def thought(item_id="rs_1"):
    return allm.ReasoningPart("", provider="openai", id=item_id, encrypted_content="E")


def text(item_id):
    return allm.TextPart("y", metadata={"openai": {"id": item_id}})


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        ((thought(), text("msg_1")), [("reasoning", "rs_1"), ("message", "msg_1")]),
        ((thought(LONG), text("msg_1")), [("message", None)]),
        ((thought(), text(LONG)), [("message", None)]),
        ((thought(), allm.ToolCall("c", "f", {}, metadata={"openai": {"id": LONG}})), [("function_call", None)]),
        ((thought(LONG), allm.ToolCall("c", "f", {}, metadata={"openai": {"id": "fc_1"}})), [("function_call", None)]),
        (
            (allm.ProviderPart("openai", {"type": "web_search_call", "id": LONG}), text("msg_1")),
            [("message", "msg_1")],
        ),
        (
            (thought(LONG), text("msg_1"), thought("rs_2"), text("msg_2")),
            [("message", None), ("reasoning", "rs_2"), ("message", "msg_2")],
        ),
    ],
)
def test_an_id_that_is_too_long_is_left_out_with_its_pair(parts, kinds):
    """64 characters are the limit; reasoning and what follows it stand or fall together."""
    assert [(item["type"], item.get("id")) for item in items(*parts)] == kinds


def test_a_service_with_longer_ids_gets_them_back():
    """XAI's have up to 100 characters."""
    item = {"type": "web_search_call", "id": LONG, "status": "completed"}
    thinking = allm.ReasoningPart("", provider="xai", id="rs_1", encrypted_content="E")
    sent_items = items(thinking, allm.ProviderPart("xai", item), allm.TextPart("y"), preset="xai")
    assert [found["type"] for found in sent_items] == ["reasoning", "web_search_call", "message"]
    assert sent_items[1] == item


def test_reasoning_that_comes_last_is_kept():
    """OpenRouter puts it there; OpenAI itself refuses reasoning that nothing follows."""
    parts = allm.TextPart("y"), allm.ReasoningPart("", provider="openrouter", id="rs_1", encrypted_content="E")
    assert [item["type"] for item in items(*parts, preset="openrouter")] == ["message", "reasoning"]
    assert [item["type"] for item in items(text("msg_1"), thought())] == ["message"]
    last = allm.ReasoningPart("", provider="openai", id="rs_1", encrypted_content="E", made_at="openrouter.ai/api")
    sent_to = items(allm.TextPart("y"), last, base_url="https://openrouter.ai/api/v1")
    assert [item["type"] for item in sent_to] == ["message", "reasoning"]
