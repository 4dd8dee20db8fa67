"""Structured output on Anthropic: the native form, and the tool that stands in for it."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
import pytest

import allm
from allm import Request, TextCompleted, TextDelta, Tool, ToolCall, ValidationError, fake, json_schema, user
from allm.providers import Anthropic
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.anthropic.encode import Settings, encode
from allm.providers.anthropic.structured import closed_schema, tool_answer_name
from allm.runtime.adapters import AdapterOptions
from allm.testing import Reply, WireServer
from anthropic_wire import answer, block, call, decode, fold, sse, started, stopped, text
from request_types import check_anthropic

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = json_schema("place", PLACE)
CLOCK = Tool("clock", "Tells the time.")
OLD = "claude-sonnet-4-0"
ANSWER_TOOL = {
    "name": "answer_place",
    "description": "Give the final answer with this tool, once, as soon as it is known.",
    "input_schema": PLACE,
}
FORCED = {"type": "tool", "name": "answer_place", "disable_parallel_tool_use": True}
ANY = {"type": "any", "disable_parallel_tool_use": True}


def chat(name, **fields):
    """A request with a schema."""
    return Request((user("hi"),), model=name, **{"response_format": FORMAT, **fields})


def body_of(name, mode="auto", **fields):
    """Its body."""
    return encode(chat(name, **fields), AdapterOptions(), Settings(structured_output=mode))


@pytest.mark.parametrize(
    ("name", "mode", "native"),
    [
        ("claude-haiku-4-5", "auto", True),
        ("claude-opus-5-5", "auto", True),
        ("claude-latest", "auto", True),
        ("claude-opus-4-1", "auto", False),
        ("claude-3-5-haiku-latest", "auto", False),
        ("kimi-k3", "auto", False),
        ("kimi-k3", "native", True),
        ("claude-haiku-4-5", "tool", False),
    ],
)
def test_native_where_the_model_has_it(name, mode, native):
    """The adapter may be told otherwise, for a service that it does not know."""
    body = body_of(name, mode)

    assert ("output_config" in body) == native
    assert ("tools" in body) != native
    check_anthropic(body, "2023-06-01")


@pytest.mark.parametrize(
    ("fields", "tools", "choice"),
    [
        ({}, [], FORCED),
        ({"tools": (CLOCK,)}, ["clock"], ANY),
        ({"tools": (CLOCK,), "tool_choice": "auto"}, ["clock"], ANY),
        ({"tools": (CLOCK,), "tool_choice": "required"}, ["clock"], ANY),
        ({"tools": (CLOCK,), "tool_choice": "none"}, ["clock"], FORCED),
        ({"tools": (CLOCK,), "tool_choice": "clock"}, ["clock"], {"type": "tool", "name": "clock"}),
    ],
)
def test_the_tool_that_takes_the_answer(fields, tools, choice):
    """It has to be called, after the tools that are needed before it."""
    body = body_of(OLD, **fields)

    assert [tool["name"] for tool in body["tools"]] == [*tools, "answer_place"]
    assert body["tools"][-1] == ANSWER_TOOL
    assert body["tool_choice"] == choice
    check_anthropic(body, "2023-06-01")


def test_its_name_is_free_and_short_enough():
    """A tool of the caller's may have the same name."""
    long = json_schema("x" * 64, PLACE)
    assert tool_answer_name(chat(OLD, tools=(Tool("answer_place", ""),)), "auto") == "_answer_place"
    assert len(tool_answer_name(chat(OLD, response_format=long), "auto")) == 64
    assert tool_answer_name(chat(OLD, response_format="text"), "auto") is None


def test_it_takes_objects_only():
    """Arguments are an object."""
    with pytest.raises(ValidationError, match="has to be an object"):
        body_of(OLD, response_format=json_schema("list", {"type": "array"}))


def decoder():
    """For an answer that comes as a call."""
    return MessagesDecoder(answer_tool="answer_place")


def test_the_answer_is_text():
    """In the stream and in the fold: no call is seen, and the answer is a clean stop."""
    events = decode(
        sse(started(), call(0, "toolu_1", "answer_place", "", '{"city"', ': "Ulm"}'), stopped("tool_use")),
        decoder=decoder(),
    )
    response = fold(events)

    assert [event for event in events if isinstance(event, TextDelta)] == [
        TextDelta("text-0", '{"city"'),
        TextDelta("text-0", ': "Ulm"}'),
    ]
    assert TextCompleted("text-0", '{"city": "Ulm"}') in events
    assert (response.output_text, response.tool_calls) == ('{"city": "Ulm"}', ())
    assert (response.finish_reason, response.raw_finish_reason) == ("stop", "tool_use")


def test_an_answer_that_comes_whole():
    """In a plain JSON document, or of a server that does not stream arguments."""
    whole = answer(
        started(), call(0, "t", "answer_place", input={"city": "Ulm"}), stopped("tool_use"), decoder=decoder()
    )
    empty = answer(started(), call(0, "t", "answer_place", ""), stopped("tool_use"), decoder=decoder())

    assert (whole.output_text, whole.finish_reason) == ('{"city":"Ulm"}', "stop")
    assert (empty.output_text, empty.finish_reason) == ("{}", "stop")


def test_what_an_answer_does_not_know_is_passed_over():
    """A delta of another kind changes nothing of it."""
    lost = {"type": "text_delta", "text": "lost"}
    start = {"type": "tool_use", "id": "t", "name": "answer_place", "input": {}}
    events = decode(sse(started(), block(0, start, lost), stopped("tool_use")), decoder=decoder())

    assert fold(events).output_text == "{}"


def test_an_answer_that_is_cut_off():
    """As far as it came."""
    response = answer(started(), call(0, "t", "answer_place", '{"ci'), stopped("max_tokens"), decoder=decoder())

    assert (response.output_text, response.finish_reason, response.tool_calls) == ('{"ci', "length", ())


def test_other_calls_stay_calls():
    """The model asks for a tool first; the answer comes in a later turn."""
    response = answer(started(), text(0, "Hm."), call(1, "t", "clock", "{}"), stopped("tool_use"), decoder=decoder())

    assert (response.finish_reason, response.tool_calls) == ("tool_calls", (ToolCall("t", "clock", {}, "{}"),))


@pytest.mark.parametrize(
    ("given", "closed"),
    [
        (PLACE, {**PLACE, "additionalProperties": False}),
        ({"type": "object", "additionalProperties": True}, {"type": "object", "additionalProperties": True}),
        (
            {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
            {
                "type": "object",
                "additionalProperties": {"type": "integer", "description": "{minimum: 1}"},
            },
        ),
        (
            {"type": "integer", "minimum": 1, "maximum": 9, "description": "A number."},
            {"type": "integer", "description": "A number.\n\n{minimum: 1, maximum: 9}"},
        ),
        (
            {"type": "string", "format": "date-time", "title": "When"},
            {"type": "string", "format": "date-time", "title": "When"},
        ),
        (
            {"type": "string", "format": "path", "pattern": "^/"},
            {"type": "string", "description": "{format: path, pattern: ^/}"},
        ),
        (
            {"type": "array", "items": {"type": "object", "properties": {}}, "minItems": 1, "maxItems": 3},
            {
                "type": "array",
                "items": {"type": "object", "properties": {}, "additionalProperties": False},
                "minItems": 1,
                "description": "{maxItems: 3}",
            },
        ),
        (
            {"type": "array", "minItems": 2, "items": True},
            {"type": "array", "items": True, "description": "{minItems: 2}"},
        ),
        (
            {
                "oneOf": [{"type": "null"}, {"$ref": "#/$defs/A", "description": "lost"}],
                "discriminator": {"mapping": {}},
            },
            {
                "anyOf": [{"type": "null"}, {"$ref": "#/$defs/A"}],
                "description": '{discriminator: {"mapping":{}}}',
            },
        ),
        ({"allOf": [{"const": 1}], "enum": ["a", None]}, {"allOf": [{"const": 1}], "enum": ["a", None]}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": PLACE}},
            {"$ref": "#/$defs/A", "$defs": {"A": {**PLACE, "additionalProperties": False}}},
        ),
        (
            {"anyOf": [{"type": "string"}], "definitions": {"A": PLACE}},
            {"anyOf": [{"type": "string"}], "definitions": {"A": {**PLACE, "additionalProperties": False}}},
        ),
    ],
)
def test_schemas_as_structured_output_takes_them(given, closed):
    """Objects are closed, and what the API does not know becomes a hint to the model; the given one stays as it is."""
    before = repr(given)

    assert closed_schema(given) == closed
    assert repr(given) == before


@attrs.frozen
class Stop:
    """A stop of the train."""

    city: Annotated[str, "Where."]
    minutes: int = 1


@attrs.frozen
class Train:
    """A train."""

    kind: Literal["ICE", "RE"]
    stops: list[Stop]


TRAIN = '{"kind": "ICE", "stops": [{"city": "Ulm"}]}'


@pytest.mark.parametrize("name", ["claude-haiku-4-5", OLD])
async def test_a_class_as_the_format(name):
    """The same call and the same result, whichever way the model has."""
    native = name != OLD
    script = [fake.text(TRAIN)] if native else [fake.tool_call("answer_Train", raw_arguments=TRAIN)]
    async with WireServer() as server:
        server.add(Reply.script("anthropic", script))
        adapter = Anthropic(api_key="test", base_url=server.url("anthropic"))
        response = await allm.generate(allm.Engine(adapter=adapter, model=name), "hi", response_format=Train)

    assert response.parsed(Train) == Train("ICE", [Stop("Ulm")])
    assert response.finish_reason == "stop"
    check_anthropic(server.requests[0].json(), "2023-06-01")


@pytest.mark.parametrize(("name", "calls"), [("claude-haiku-4-5", 2), (OLD, 3)])
async def test_a_chat_with_tools_and_a_format(name, calls):
    """At once where the model can do both; else the answer is asked for in the end, and the calls before it stay."""
    clock = Tool("clock", "Tells the time.", handler=lambda _: "12:00")
    tools = [fake.tool_call("clock", {})]
    final = [fake.text(TRAIN)] if calls == 2 else [fake.tool_call("answer_Train", raw_arguments=TRAIN)]
    middle = [] if calls == 2 else [[fake.text("It is noon.")]]
    async with WireServer() as server:
        server.add(*(Reply.script("anthropic", script) for script in (tools, *middle, final)))
        adapter = Anthropic(api_key="test", base_url=server.url("anthropic"))
        engine = allm.Engine(adapter=adapter, model=name, tools=[clock])
        result = await allm.chat(engine, "hi", response_format=Train)

    assert result.final_response.parsed(Train) == Train("ICE", [Stop("Ulm")])
    assert (result.halted_reason, len(server.requests)) == ("completed", calls)
    for request in server.requests:
        check_anthropic(request.json(), "2023-06-01")
