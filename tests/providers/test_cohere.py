"""Cohere's own Chat API: what is sent, what its answers become, and the suite that authors of adapters use."""

from __future__ import annotations

import base64
import json
from typing import ClassVar

import pytest

import allm
from allm.adapters import AdapterOptions
from allm.data.content import DocumentPart, ReasoningPart
from allm.providers import Cohere
from allm.testing import Reply, StreamAdapterConformance, WireServer, loopback_clock

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
FACTS = DocumentPart(allm.Document.from_text("Zürich lies on the Limmat."), title="facts", source="https://e.org/z")


CALL = allm.ToolCall("c1", "f", None, "[1]")


@pytest.fixture
def clock():
    return loopback_clock()


@allm.tool
def weather(city: str) -> str:
    """Tell the weather."""
    return city


def body_of(*messages, reasoning_effort=None, **fields):
    request = allm.request(list(messages), model="command-a-plus", **fields)
    prepared = Cohere(api_key="k").prepare(request, AdapterOptions(reasoning_effort=reasoning_effort))
    assert str(prepared.url) == "https://api.cohere.com/v2/chat"
    return json.loads(prepared.body)


def tags_of(*messages, **fields):
    with pytest.raises(allm.ValidationError) as caught:
        body_of(*messages, **fields)
    return [tag for _, tag, *_ in caught.value.errors]


def line(kind, **fields):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def content(index, **fields):
    return line("content-delta", index=index, delta={"message": {"content": fields}})


def stream(*lines):
    return Reply(body=b"".join(lines), headers={"content-type": "text/event-stream"})


def ended(reason="COMPLETE", **more):
    return line("message-end", delta={"finish_reason": reason, **more})


async def ask(reply, *messages, **fields):
    async with WireServer() as server:
        server.add(reply)
        engine = allm.Engine(adapter=Cohere(api_key="k", base_url=f"{server.base_url}/v2"), model="m", retry=None)
        return await allm.generate(engine, list(messages) or "Hi", **fields)


def test_a_request_with_everything():
    """Turns, calls with their results, pictures, settings and tools, each in its place; documents stand beside."""
    body = body_of(
        allm.system("Be brief."),
        allm.user("Weather?", allm.Image.from_bytes(PNG), FACTS),
        allm.assistant(allm.ToolCall("c1", "weather", {"city": "Zug"})),
        allm.tool_result("c1", "it broke", is_error=True),
        tools=[weather],
        tool_choice="required",
        max_tokens=50,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop="END",
        reasoning_effort="low",
        options={"safety_mode": "STRICT", "documents": ["more"]},
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Weather?"},
                {"type": "image_url", "image_url": {"url": DATA_URL}},
            ],
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zug"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "The tool failed. it broke"},
    ]
    data = {"text": "Zürich lies on the Limmat.", "title": "facts", "url": "https://e.org/z"}
    assert body["documents"] == [{"id": "doc:0", "data": data}, "more"]
    [tool] = body["tools"]
    assert (tool["type"], tool["function"]["name"]) == ("function", "weather")
    settings = {
        "stream": True,
        "tool_choice": "REQUIRED",
        "max_tokens": 50,
        "temperature": 0.5,
        "p": 0.9,
        "seed": 7,
        "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "token_budget": 1024},
        "safety_mode": "STRICT",
    }
    assert settings.items() <= body.items()


def test_documents_in_results_and_without_citations():
    """A result keeps its own; citations are off where no document wants them."""
    quiet = DocumentPart(allm.Document.from_text("Quiet."), citations=False)
    body = body_of(
        allm.user("Hi", quiet), allm.assistant(allm.ToolCall("c1", "f", {})), allm.tool_result("c1", [FACTS])
    )
    assert body["citation_options"] == {"mode": "OFF"}
    [item] = body["messages"][-1]["content"]
    assert (item["type"], item["document"]["id"]) == ("document", "doc:1")


def test_files_that_are_gone_are_errors_before(tmp_path):
    """Both at once."""
    picture, text = tmp_path / "a.png", tmp_path / "a.txt"
    picture.write_bytes(PNG)
    text.write_text("Zug", encoding="utf-8")
    parts = [allm.Image.from_file(picture), allm.Document.from_file(text)]
    picture.unlink()
    text.unlink()
    assert len(tags_of(allm.user("Hi", *parts))) == 2


def test_what_is_rare_has_its_place_too():
    """Pictures at an address, thinking that is off, results that failed, parts of others, formats in Cohere's words."""
    body = body_of(
        allm.user("Hi", allm.Image.from_url("https://e.org/a.png")),
        allm.assistant(ReasoningPart("Hm.", provider="elsewhere"), allm.HostedCall("h", "web_search"), CALL),
        allm.tool_result("c1", [FACTS], is_error=True),
        response_format={"type": "text"},
        reasoning_effort="none",
    )
    assert body["messages"][0]["content"][1]["image_url"]["url"] == "https://e.org/a.png"
    assert json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"INVALID_JSON": "[1]"}
    assert [item["type"] for item in body["messages"][2]["content"]] == ["text", "document"]
    assert (body["thinking"], body["response_format"]) == ({"type": "disabled"}, {"type": "text"})


async def test_answers_that_are_none(clock):
    """A document without a message is malformed; a text may come as it is."""
    response = await ask(Reply.json({"id": "r1", "message": "Hi"}))
    assert response.error.reason == "malformed_response"
    response = await ask(Reply.json({"message": {"content": "Hi"}, "finish_reason": "COMPLETE"}))
    assert response.output_text == "Hi"
    failed = allm.AdapterError("it broke", reason="provider_unavailable")
    response = await ask(Reply.script("cohere", [allm.fake.text("So"), allm.fake.error(failed)]))
    assert (response.output_text, response.error.message) == ("So", "it broke")


def test_a_choice_by_name_leaves_that_tool_alone():
    """And none leaves the tools where they are."""

    @allm.tool
    def other() -> str:
        """Do."""
        return ""

    body = body_of(allm.user("Hi"), tools=[weather, other], tool_choice="other")
    assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]) == (["other"], "REQUIRED")
    assert body_of(allm.user("Hi"), tools=[weather], tool_choice="none")["tool_choice"] == "NONE"


def test_a_schema_is_an_object_of_json():
    """Beside tools and documents it is asked for in another way."""
    wanted = allm.json_schema("trip", {"type": "object", "properties": {"city": {"type": "string"}}})
    body = body_of(allm.user("Hi"), response_format=wanted)
    assert (body["response_format"]["type"], "properties" in body["response_format"]["json_schema"]) == (
        "json_object",
        True,
    )
    assert body_of(allm.user("Hi"), response_format="json")["response_format"] == {"type": "json_object"}
    modes = Cohere(api_key="k").output_modes
    assert modes(allm.request("Hi", model="m"), AdapterOptions())[0] == "native"
    assert modes(allm.request("Hi", model="m", tools=[weather]), AdapterOptions())[0] == "tool"
    assert modes(allm.request([allm.user("Hi", FACTS)], model="m"), AdapterOptions())[0] == "tool"


@pytest.mark.parametrize(
    ("messages", "fields", "tag"),
    [
        ([allm.user("Hi", allm.Document.from_bytes(b"%PDF-1.4"))], {}, "unsupported_document_format"),
        ([allm.user("Hi", allm.Audio.from_bytes(b"RIFF\x24\0\0\0WAVEfmt "))], {}, "unsupported_part"),
        ([allm.user("Hi")], {"tool_choice": "required"}, "requires_tools"),
        ([allm.user("Hi")], {"tool_choice": "unknown"}, "unknown_tool"),
        ([allm.user("Hi")], {"service_tier": "flex"}, "unsupported_option"),
        ([allm.user("Hi")], {"reasoning_effort": "hardly"}, "unknown"),
        ([allm.user("Hi")], {"response_format": "json", "tools": [weather]}, "unsupported_capability"),
        ([allm.user(" ")], {}, "empty"),
        ([allm.user("Hi")], {"tool_choice": {"type": "function"}}, "wrong_type"),
        (
            [allm.user("Hi"), allm.assistant(CALL), allm.tool_result("c1", [allm.Image.from_bytes(PNG)])],
            {},
            "unsupported_part",
        ),
        ([allm.user(FACTS)], {}, "empty"),
    ],
)
def test_what_cohere_would_refuse_is_an_error_before(messages, fields, tag):
    """Nothing is sent."""
    assert tags_of(*messages, **fields) == [tag]


SOURCE = {
    "type": "document",
    "id": "doc:0",
    "document": {"id": "doc:0", "text": "Zürich lies on the Limmat.", "title": "facts", "url": "https://e.org/z"},
}


def citation(start, end, index, kind="TEXT_CONTENT"):
    return {"start": start, "end": end, "text": "x", "sources": [SOURCE], "type": kind, "content_index": index}


async def test_an_answer_with_everything_and_what_is_sent_back(clock):
    """Thinking, a plan, text with citations behind letters of several bytes, calls and counts."""
    cited = citation(5, 11, 1)
    told = {"message": {"citations": cited}}
    response = await ask(
        stream(
            line("message-start", id="r1", delta={"message": {"role": "assistant"}}),
            line("content-start", index=0, delta={"message": {"content": {"type": "thinking", "thinking": ""}}}),
            content(0, thinking="Hm."),
            line("content-end", index=0),
            line("citation-start", index=0, delta={"message": {"citations": citation(0, 1, 0, "THINKING_CONTENT")}}),
            line("content-start", index=1, delta={"message": {"content": {"type": "text", "text": ""}}}),
            content(1, text="🏙 In "),
            content(1, text="Zürich."),
            line("citation-start", index=1, delta=told),
            line("citation-end", index=1),
            line("content-end", index=1),
            line("tool-plan-delta", delta={"message": {"tool_plan": "I look."}}),
            line(
                "tool-call-start",
                index=0,
                delta={"message": {"tool_calls": {"id": "c1", "function": {"name": "f", "arguments": ""}}}},
            ),
            line("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": '{"a":'}}}}),
            line("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": "1}"}}}}),
            line("tool-call-end", index=0),
            line("something-new", index=0),
            ended(
                "TOOL_CALL",
                usage={
                    "billed_units": {"input_tokens": 3},
                    "tokens": {"input_tokens": 10, "output_tokens": 5, "reasoning_tokens": 2},
                    "cached_tokens": 4,
                },
            ),
            b"data: [DONE]\n\n",
        )
    )
    assert (response.id, response.finish_reason, response.raw_finish_reason) == ("r1", "tool_calls", "TOOL_CALL")
    [found] = response.citations
    assert response.output_text[found.start : found.end] == "Zürich"
    assert (found.quote, found.title, found.url, found.file_id) == (
        "Zürich lies on the Limmat.",
        "facts",
        "https://e.org/z",
        "doc:0",
    )
    thought, text, plan, call = response.message.parts
    assert (thought.text, plan.text, text.text) == ("Hm.", "I look.", "🏙 In Zürich.")
    assert (call.id, call.name, call.arguments) == ("c1", "f", {"a": 1})
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.cached_input_tokens) == (10, 5, 2, 4)
    assert usage.extra == {"billed_input_tokens": 3}
    message = allm.from_json(allm.to_json(response.message))
    request = allm.request([allm.user("Hi"), message, allm.tool_result("c1", "ok")], model="m")
    place = message.parts[0].made_at
    prepared = Cohere(api_key="k", base_url=f"http://{place}").prepare(request, AdapterOptions())
    assert json.loads(prepared.body)["messages"][1] == {
        "role": "assistant",
        "tool_plan": "I look.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "🏙 In Zürich."}],
        "citations": [cited],
    }
    elsewhere = Cohere(api_key="k").prepare(request, AdapterOptions())
    assert "Hm." not in elsewhere.body.decode()


async def test_an_answer_in_one_piece(clock):
    """The same as a stream of it."""
    message = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "In Zürich."}],
        "tool_plan": "I look.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        "citations": [citation(3, 9, 1)],
    }
    response = await ask(Reply.json({"id": "r1", "message": message, "finish_reason": "TOOL_CALL", "usage": {}}))
    assert isinstance(response.message.parts[0], ReasoningPart)
    assert (response.output_text, response.reasoning_text) == ("In Zürich.", "Hm.I look.")
    assert [call.id for call in response.tool_calls] == ["c1"]
    [found] = response.citations
    assert response.output_text[found.start : found.end] == "Zürich"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([content(0, text="So"), ended("ERROR", error="it broke")], "provider_unavailable"),
        ([content(0, text="So"), ended("TIMEOUT")], "timeout"),
        ([content(0, text="So")], "stream_truncated"),
    ],
)
async def test_failures_inside_a_stream(clock, lines, reason):
    """What had come is kept."""
    response = await ask(stream(*lines))
    assert (response.error.reason, response.output_text) == (reason, "So")


class TestCohere(StreamAdapterConformance):
    """The suite, over answers as Cohere writes them."""

    wire_format = "cohere"
    error_reasons = tuple(reason for reason in StreamAdapterConformance.error_reasons if reason != "overloaded")
    lacks: ClassVar = {
        "stream_errors": "they have no kinds: see test_failures_inside_a_stream",
        "hosted_calls": "Cohere runs no tools",
        "images": "its models make none",
    }
    model = "command-a-plus"

    def make_adapter(self, setup):
        """At the test's server."""
        return Cohere(api_key=setup.api_key, base_url=setup.base_url)
