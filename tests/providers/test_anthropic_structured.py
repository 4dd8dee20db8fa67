"""Structured output on Anthropic: the native form, and the tool that stands in for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import attrs
import pytest

import allm
from allm import Request, Tool, ValidationError, fake, json_schema, user
from allm.providers import Anthropic
from allm.providers.anthropic.encode import Settings, encode
from allm.providers.anthropic.structured import native_schema
from allm.runtime.adapters import AdapterOptions
from allm.testing import Reply, WireServer
from request_types import check_anthropic

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = json_schema("place", PLACE)
CLOCK = Tool("clock", "Tells the time.")
OLD = "claude-sonnet-4-0"


def ways(name, setting="auto", effort=None, **fields):
    """The ways to structured output that the adapter knows for a model."""
    request = Request((user("hi"),), model=name, **{"response_format": FORMAT, **fields})
    adapter = Anthropic(api_key="test", structured_output=setting)
    return adapter.output_modes(request, AdapterOptions(reasoning_effort=effort))


@pytest.mark.parametrize(
    ("name", "setting", "first"),
    [
        ("claude-haiku-4-5", "auto", "native"),
        ("claude-opus-5-5", "auto", "native"),
        ("claude-latest", "auto", "native"),
        ("claude-opus-4-1", "auto", "tool"),
        ("claude-3-5-haiku-latest", "auto", "tool"),
        ("kimi-k3", "auto", "tool"),
        ("kimi-k3", "native", "native"),
        ("claude-haiku-4-5", "tool", "tool"),
    ],
)
def test_native_where_the_model_has_it(name, setting, first):
    """The adapter may be told otherwise, for a service that it does not know."""
    assert ways(name, setting)[0] == first


def test_no_tool_while_it_thinks():
    """Claude refuses to be forced then; a model of someone else may do both."""
    assert ways(OLD, effort="low") == ways(OLD, options={"thinking": {"type": "enabled"}}) == ("prompted",)
    assert ways("claude-haiku-4-5", effort="low") == ("native", "prompted")
    assert ways(OLD, effort="none") == ways("kimi-k3", effort="low") == ("tool", "prompted")


def test_the_native_form():
    """With the schema as the API takes it."""
    body = encode(Request((user("hi"),), model=OLD, response_format=FORMAT), AdapterOptions(), Settings())
    assert body["output_config"] == {
        "format": {"type": "json_schema", "schema": {**PLACE, "additionalProperties": False}}
    }
    check_anthropic(body, "2023-06-01")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (PLACE, {**PLACE, "additionalProperties": False}),
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
                "items": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
                "minItems": 1,
                "description": "{maxItems: 3}",
            },
        ),
        (
            {"type": "array", "minItems": 2, "items": {"type": "null"}},
            {"type": "array", "items": {"type": "null"}, "description": "{minItems: 2}"},
        ),
        (
            {
                "oneOf": [{"type": "null"}, {"$ref": "#/$defs/A", "description": "kept"}],
                "discriminator": {"mapping": {}},
                "$defs": {"A": PLACE},
            },
            {
                "anyOf": [{"type": "null"}, {"anyOf": [{"$ref": "#/$defs/A"}], "description": "kept"}],
                "$defs": {"A": {**PLACE, "additionalProperties": False}},
            },
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, None),
        ({"type": "object", "properties": {}, "additionalProperties": True}, None),
        ({"type": "array", "items": True}, None),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}}, None),
    ],
)
def test_schemas_as_structured_output_takes_them(given, sent):
    """Objects are closed, what the API does not know becomes a hint to the model, and the given one stays as it is."""
    before = repr(given)
    assert native_schema(json_schema("x", given)) == sent
    assert repr(given) == before


@pytest.mark.parametrize("hint", [dict[str, int], "Tree", Any])
async def test_a_type_that_structured_output_does_not_have(hint):
    """It is asked for as a tool; natively, it is refused before anything is sent."""
    hint = Tree if hint == "Tree" else hint
    async with WireServer() as server:
        server.add(Reply.script("anthropic", [fake.text("{}")]))
        engine = allm.Engine(
            adapter=Anthropic(api_key="test", base_url=server.url("anthropic")), model="claude-haiku-4-5"
        )
        with pytest.raises(ValidationError, match="cannot hold its answer to this JSON Schema"):
            await allm.generate(engine, "hi", response_format=hint, output_mode="native")
        await allm.generate(engine, "hi", response_format=hint)
    [request] = server.requests
    assert request.json()["tool_choice"]["name"].startswith("answer_")


def test_the_adapter_alone():
    """Whoever encodes a request without the option gets an error as well."""
    request = Request((user("hi"),), model=OLD, response_format=json_schema("map", {"type": "object"}))
    with pytest.raises(ValidationError, match="no objects of any keys") as caught:
        encode(request, AdapterOptions(), Settings())
    assert caught.value.errors == ((("response_format", "schema"), "unsupported_schema"),)


@attrs.frozen
class Tree:
    """A type that contains itself."""

    children: list[Tree]


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
