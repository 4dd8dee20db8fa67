"""JSON Schemas of users' types."""

from __future__ import annotations

import abc
import datetime as dt
import enum
import typing
from dataclasses import dataclass
from pathlib import Path

import attrs
import msgspec
import pydantic
import pytest
import typing_extensions

import allm
from allm.data.json.text import dumps
from allm.data.types.schema import schema_of, schemas_of
from allm.data.types.structure import structure


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


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (Size, ["1", "2"]),
        (typing.Annotated[Size, "of the box"], ["1", "2"]),
        (bool, ["true", "false"]),
        (typing.Literal[1, False, "x"], ["1", "false", "x"]),
    ],
)
def test_keys_that_are_no_texts_are_told_as_they_are_written(key, names):
    """The schema asks for keys that the type takes."""
    kind = dict[key, int]
    assert schema_of(kind)["propertyNames"] == {"enum": names}
    assert len(structure(dict.fromkeys(names, 1), kind)) == len(names)


Count = typing.Annotated[int, pydantic.Field(default=3, ge=1)]


@dataclass
class Order:
    name: str
    count: Count
    tags: typing.Annotated[list[str], pydantic.Field(default_factory=list)]
    note: typing.Annotated[str, pydantic.Field(default=None)]


class Pair(typing.NamedTuple):
    first: int
    second: Count


async def test_a_default_in_the_annotation_counts():
    """For fields and parameters, as it does in a pydantic model."""
    assert structure({"name": "a"}, Order) == Order("a", 3, [], None)
    assert structure({"first": 1}, Pair) == Pair(1, 3)
    schema = schema_of(Order)
    assert schema["required"] == ["name"]
    assert schema["properties"]["count"] == {"type": "integer", "minimum": 1, "default": 3}
    assert schema["properties"]["note"]["anyOf"][1] == {"type": "null"}

    def order(count: Count, size: Count = 5):
        """Order it."""
        return count, size

    assert await allm.tool(order).run({}) == (3, 5)
    with pytest.raises(allm.ToolError, match="count: expected >= 1"):
        await allm.tool(order).run({"count": 0})


Item = typing_extensions.TypeVar("Item", default=str)


@attrs.frozen
class Box(typing.Generic[Item]):
    item: Item


def test_a_type_variable_without_a_type_has_its_default():
    """As type checkers see it."""
    assert schema_of(Box)["properties"]["item"] == {"type": "string"}
    assert schema_of(Box[int])["properties"]["item"] == {"type": "integer"}


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


@attrs.frozen
class Unfinished(abc.ABC):
    name: str

    @abc.abstractmethod
    def finish(self): ...


@pytest.mark.parametrize("cls", [complex, object(), typing.Callable[[], int], Unfinished])
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
