"""JSON Schemas of users' types."""

from __future__ import annotations

import datetime as dt
import enum
import typing
from dataclasses import dataclass
from pathlib import Path

import attrs
import msgspec
import pydantic
import pytest

import allm
from allm.data.json.text import dumps
from allm.data.types.schema import schema_of, schemas_of


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@attrs.frozen
class AttrsPlace:
    city: typing.Annotated[str, "Without the country"]
    unit: Unit


@dataclass
class DataclassPlace:
    city: typing.Annotated[str, "Without the country"]
    unit: Unit


class DictPlace(typing.TypedDict):
    city: typing.Annotated[str, "Without the country"]
    unit: Unit


class StructPlace(msgspec.Struct):
    city: typing.Annotated[str, msgspec.Meta(description="Without the country")]
    unit: Unit


class PydanticPlace(pydantic.BaseModel):
    city: str = pydantic.Field(description="Without the country")
    unit: Unit


class Node(pydantic.BaseModel):
    name: str
    inner: list[Node]


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str


@attrs.frozen
class Holder:
    place: PydanticPlace
    node: Node
    struct: StructPlace


@attrs.frozen
class Optional:
    name: str = ""


def plain(schema):
    """The schema without titles, which differ, and with every reference resolved."""
    definitions = schema.get("$defs", {})

    def walk(node):
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return walk(definitions[node["$ref"].removeprefix("#/$defs/")])
        return {key: walk(value) for key, value in node.items() if key not in {"title", "$defs"}}

    return walk(schema)


def references(node):
    """Every reference in a schema."""
    if isinstance(node, dict):
        return {node["$ref"]} if "$ref" in node else set().union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


@pytest.mark.parametrize("cls", [AttrsPlace, DataclassPlace, DictPlace, StructPlace, PydanticPlace])
def test_every_kind_of_class_has_the_same_schema(cls):
    """Closed, with descriptions, and every property required."""
    schema = schema_of(cls)
    wanted = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Without the country"},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    found = plain(schema)
    found["properties"]["unit"].pop("type", None)  # pydantic says that the two are strings
    assert found == wanted


@pytest.mark.parametrize("cls", [Holder, Node, list[Node], dict[str, PydanticPlace]])
def test_references_lead_to_definitions(cls):
    """Also those of pydantic models, which have definitions of their own."""
    [schema], definitions = schemas_of([cls])
    found = references(schema) | references(definitions)
    assert found
    assert found <= {f"#/$defs/{name}" for name in definitions}
    assert "$defs" not in dumps([schema, *definitions.values()]).decode().replace("#/$defs", "")


def test_a_model_that_contains_itself():
    """It is the root, and can be referred to."""
    schema = schema_of(Node)
    assert (schema["type"], list(schema["$defs"])) == ("object", ["Node"])


def test_an_open_model_stays_open():
    """As it says."""
    assert schema_of(Loose)["additionalProperties"] is True


def test_what_has_a_default_is_not_required():
    """The schema has the default."""
    assert schema_of(Optional) == {
        "title": "Optional",
        "type": "object",
        "properties": {"name": {"type": "string", "default": ""}},
        "required": [],
        "additionalProperties": False,
    }


def test_types_beside_classes():
    """Including types that are written as text."""
    schemas, _ = schemas_of([int, Path, dt.date, typing.Literal["a", "b"], typing.Annotated[float, "In metres"]])
    assert schemas == [
        {"type": "integer"},
        {"type": "string", "format": "path"},
        {"type": "string", "format": "date"},
        {"enum": ["a", "b"]},
        {"type": "number", "description": "In metres"},
    ]


def test_two_types_of_one_name():
    """Each has its own definition."""
    first, second = pydantic.create_model("Same", a=(int, ...)), pydantic.create_model("Same", b=(int, ...))
    third = attrs.make_class("Same", {"c": attrs.field(type=int)})
    third.__annotations__ = {"c": int}
    schemas, definitions = schemas_of([first, second, third])
    found = [definitions[schema["$ref"].removeprefix("#/$defs/")]["properties"] for schema in schemas]
    assert [list(properties) for properties in found] == [["a"], ["b"], ["c"]]


def test_a_field_without_a_type():
    """It is a TypeError."""
    with pytest.raises(TypeError, match="the field 'x' has no type"):
        schemas_of([attrs.make_class("Same", ["x"])])


@pytest.mark.parametrize("cls", [complex, object(), typing.Callable[[], int]])
def test_what_has_no_schema(cls):
    """It is a TypeError."""
    with pytest.raises(TypeError):
        schema_of(cls)


@pytest.mark.parametrize("cls", [AttrsPlace, DataclassPlace, DictPlace, StructPlace, PydanticPlace, Holder, Node])
def test_classes_as_parameters_of_a_tool(cls):
    """The schema contains its definitions."""

    def place(where):
        """Looks."""

    place.__annotations__["where"] = cls
    schema = allm.tool(place).schema
    assert references(schema) <= {f"#/$defs/{name}" for name in schema["$defs"]}
