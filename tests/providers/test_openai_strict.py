"""Which schemas `strict: true` takes, and how one is closed for it."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import annotated_types
import attrs
import pytest

import allm
from allm.data.json.text import loads
from allm.data.types.output import answer_schema
from allm.execution.options import resolve
from allm.providers.openai.strict import closed, fits_strict


def an_object(required=None, **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
FITS = {
    "nothing in it": an_object(),
    "described": {
        **an_object(a={"type": "string", "description": "d", "title": "A"}),
        "title": "T",
        "description": "d",
    },
    "nullable": an_object(a={"type": ["string", "null"]}),
    "enumeration": an_object(a={"enum": ["x", "y"]}, b={"const": 1}),
    "numbers": an_object(a={"type": "integer", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 3}),
    "text": an_object(a={"type": "string", "format": "date-time"}, b={"type": "string", "pattern": "^(a|b)$"}),
    "list": an_object(a={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 3}),
    "choice": an_object(a={"anyOf": [TEXT, an_object(b=TEXT), {"type": "null"}]}),
    "references": {**an_object(a={"$ref": "#/$defs/A"}, b={"$ref": "#"}), "$defs": {"A": an_object(x=TEXT)}},
}
DOES_NOT_FIT = {
    "no schema": None,
    "not an object": TEXT,
    "choice at the root": {**an_object(), "anyOf": [an_object()]},
    "open": {"type": "object", "properties": {}, "required": []},
    "open inside": an_object(a={"type": "object", "properties": {}, "required": []}),
    "open in a list": an_object(a={"type": "array", "items": {"type": "object"}}),
    "open in a choice": an_object(a={"anyOf": [{"type": "object"}]}),
    "open in a definition": {**an_object(), "$defs": {"A": {"type": "object"}}},
    "open to some": {**an_object(), "additionalProperties": TEXT},
    "optional": an_object([], a=TEXT),
    "required unsaid": {"type": "object", "properties": {}, "additionalProperties": False},
    "nullable and open": an_object(a={"type": ["object", "null"]}),
    "default": an_object(a={"type": "string", "default": "x"}),
    "length": an_object(a={"type": "string", "minLength": 1}),
    "format": an_object(a={"type": "string", "format": "path"}),
    "look-around": an_object(a={"type": "string", "pattern": "^(?=x)"}),
    "one of": an_object(a={"oneOf": [TEXT]}),
    "all of": an_object(a={"allOf": [TEXT]}),
    "no type": an_object(a={}),
    "only described": an_object(a={"description": "anything"}),
    "anything": an_object(a=True),
    "list of anything": an_object(a={"type": "array", "items": {}}),
    "list of what": an_object(a={"type": "array"}),
    "reference with company": an_object(a={"$ref": "#/$defs/A", "description": "d"}),
    "reference elsewhere": an_object(a={"$ref": "https://x.example/schema"}),
    "many values": an_object(a={"enum": list(range(1001))}),
    "many properties": an_object(**{f"p{n}": TEXT for n in range(5001)}),
}


@pytest.mark.parametrize("schema", FITS.values(), ids=FITS)
def test_what_strict_mode_takes(schema):
    """As OpenAI documents it."""
    assert fits_strict(schema)


@pytest.mark.parametrize("schema", DOES_NOT_FIT.values(), ids=DOES_NOT_FIT)
def test_what_strict_mode_refuses(schema):
    """Each would be a 400."""
    assert not fits_strict(schema)


def nested(depth):
    schema = TEXT
    for _ in range(depth):
        schema = an_object(a=schema)
    return schema


def test_depth_has_a_limit():
    """Ten levels; a schema of any depth is judged without going through all of it."""
    assert fits_strict(nested(9))
    assert not fits_strict(nested(10))
    assert not fits_strict(nested(500))


class Unit(enum.Enum):
    """Of temperature."""

    CELSIUS = "c"
    KELVIN = "k"


@attrs.frozen
class Place:
    """Where."""

    name: str
    unit: Unit


@allm.tool
def weather(place: Place, days: list[int], detail: Literal["low", "high"]) -> str:
    """The weather."""
    return f"{place} {days} {detail}"


@allm.tool
def forecast(city: str, days: int = 1) -> str:
    """The weather of some days."""
    return f"{city} {days}"


def test_tools_made_of_functions_fit_when_nothing_is_optional():
    """Strict mode has no optional arguments."""
    assert fits_strict(weather.schema)
    assert not fits_strict(forecast.schema)


def test_objects_that_say_nothing_are_closed():
    """At every depth; what an object says of itself stays, and the schema that was given too."""
    open_object = {"type": "object", "properties": {"x": TEXT}}
    schema = {
        "type": "object",
        "properties": {
            "a": open_object,
            "b": {"type": "array", "items": open_object},
            "c": {"anyOf": [open_object, TEXT]},
            "d": {"type": "object", "additionalProperties": TEXT},
            "e": {"enum": ["properties"]},
            "f": True,
        },
        "$defs": {"A": {"properties": {}}},
    }
    shut = {**open_object, "additionalProperties": False}
    assert closed(schema) == {
        "type": "object",
        "properties": {
            "a": shut,
            "b": {"type": "array", "items": shut},
            "c": {"anyOf": [shut, TEXT]},
            "d": {"type": "object", "additionalProperties": TEXT},
            "e": {"enum": ["properties"]},
            "f": True,
        },
        "$defs": {"A": {"properties": {}, "additionalProperties": False}},
        "additionalProperties": False,
    }
    assert "additionalProperties" not in open_object
    assert closed({"properties": 7, "items": 7, "anyOf": 7}) == {
        "properties": 7,
        "items": 7,
        "anyOf": 7,
        "additionalProperties": False,
    }


@attrs.frozen
class Counts:
    counts: dict[str, int]


@attrs.frozen
class City:
    name: str


@attrs.frozen
class Stay:
    """Has what strict mode does not know: a default, a length, places of a list, a type that contains itself."""

    city: Annotated[str, annotated_types.MinLen(2)]
    nights: int = 1
    room: tuple[int, int] = (1, 1)
    then: Stay | None = None


MINE = allm.json_schema("n", {"type": "object", "patternProperties": {}})


@pytest.mark.parametrize("endpoint", ["responses", "chat_completions"])
@pytest.mark.parametrize(
    ("wanted", "strict"),
    [
        (City, True),
        (Stay, True),
        (list[Stay], True),
        (Counts, False),
        (tuple[int, str], False),
        (Any, False),
        (MINE, True),
    ],
)
def test_answers_are_strict_where_the_class_allows_it(endpoint, wanted, strict):
    """An open mapping in a class would be a 400; a schema written by hand is sent as its author says."""
    adapter = allm.providers.OpenAI(api_key="key-of-a-test", endpoint=endpoint)
    call = resolve(allm.Engine(adapter=adapter, model="m"), "hi", {"response_format": wanted})
    body = loads(adapter.prepare(call.request, call.adapter_options).body)
    sent = body["text"]["format"] if endpoint == "responses" else body["response_format"]["json_schema"]
    assert sent["strict"] is strict
    assert not strict or not isinstance(wanted, type) or fits_strict(sent["schema"])


def test_another_server_gets_all_of_a_type():
    """It may enforce more than OpenAI does; `strict` is asked for where the type fits as it is."""
    adapter = allm.providers.OpenAI(api_key="key-of-a-test", base_url="https://llm.example/v1")
    for wanted, strict in ((City, True), (Stay, False)):
        call = resolve(allm.Engine(adapter=adapter, model="m"), "hi", {"response_format": wanted})
        sent = loads(adapter.prepare(call.request, call.adapter_options).body)["response_format"]["json_schema"]
        assert (sent["schema"], sent["strict"]) == (answer_schema(wanted), strict)
