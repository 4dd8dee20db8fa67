"""What is asked for as the whole answer: an object, in which a type that is none stands as `value`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar

import pydantic
import pytest
from typing_extensions import TypeAliasType

import allm
from allm.data.types.hints import is_type
from allm.data.types.output import answer_name, answer_schema, is_wrapped
from allm.data.types.schema import schema_of
from allm.data.types.structure import parse_text

T = TypeVar("T")
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | int")


@dataclass
class Trip:
    city: str


@dataclass
class Held:
    value: int


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Tree:
    children: list[Tree]


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict):
    fast: bool


class Unit(enum.Enum):
    CELSIUS = "C"


class Model(pydantic.BaseModel):
    size: int


OBJECTS = [Trip, Box[int], Tree, Point, Options, Model, dict[str, int], dict[Literal["a"], Trip]]
OTHERS = [
    (list[Trip], '[{"city": "Zug"}]', [Trip("Zug")]),
    (Literal["yes", "no"], '"no"', "no"),
    (Unit, '"C"', Unit.CELSIUS),
    (Optional[Trip], "null", None),  # noqa: UP045  a spelling
    (Trip | None, '{"city": "Zug"}', Trip("Zug")),
    (Trip | Tree, '{"children": []}', Tree([])),
    (int, "3", 3),
    (float, "3", 3.0),
    (bool, "true", True),
    (str, '"a"', "a"),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (set[int], "[1, 1]", {1}),
    (list[Tree], '[{"children": []}]', [Tree([])]),
    (Json, '{"a": [1]}', {"a": [1]}),
    (Any, "[1]", [1]),
    (Annotated[int, pydantic.Field(ge=1)], "1", 1),
    (NewType("UserId", int), "1", 1),
    (pydantic.RootModel[list[int]], "[1]", pydantic.RootModel[list[int]]([1])),
    (list[Model], '[{"size": 1}]', [Model(size=1)]),
    (list[Box[int]] | int, '[{"item": 1}]', [Box(1)]),
]


@pytest.mark.parametrize("hint", OBJECTS)
def test_an_object_is_asked_for_as_it_is(hint):
    """With nothing around it."""
    assert not is_wrapped(hint)
    assert answer_schema(hint) == schema_of(hint)
    assert answer_schema(hint)["type"] == "object"


@pytest.mark.parametrize(("hint", "text", "made"), OTHERS)
def test_anything_else_is_the_value_of_an_object(hint, text, made):
    """The schema is a closed object with one required property, and its definitions are at the root."""
    assert is_wrapped(hint)
    schema = answer_schema(hint)
    inner = schema["properties"]["value"]
    assert {**schema, "properties": 1, "$defs": 1} == {
        "type": "object",
        "properties": 1,
        "required": ["value"],
        "additionalProperties": False,
        "$defs": 1,
    }
    assert "$defs" not in inner
    for answer in (f'{{"value": {text}}}', text):
        found = parse_text(answer, hint)
        assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(
    ("hint", "text", "path", "sentence"),
    [
        (list[Trip], '{"value": [{"city": 1}]}', ("value", 0, "city"), "expected a string, got 1"),
        (list[Trip], '[{"city": 1}]', (0, "city"), "expected a string, got 1"),
        (list[Trip], "{}", ("value",), "required field 'value' is missing"),
        (int, '{"value": 1, "unit": "C"}', (), "unknown field 'unit'"),
        (int, '"1"', (), "expected an integer, got '1'"),
        (Trip | Tree, '{"city": 1}', ("city",), "expected a string, got 1"),
        (Literal["yes", "no"], '{"value": "maybe"}', ("value",), "expected one of 'yes', 'no', got 'maybe'"),
    ],
)
def test_problems_have_their_place_in_the_answer(hint, text, path, sentence):
    """As the model wrote it, so that it finds them."""
    with pytest.raises(allm.ValidationError) as caught:
        parse_text(text, hint)
    assert (caught.value.problems[0].path, caught.value.problems[0].sentence) == (path, sentence)


def test_a_class_with_a_value_of_its_own():
    """It is found with and without the object around it."""
    assert parse_text('{"value": 3}', Held | Trip) == parse_text('{"value": {"value": 3}}', Held | Trip) == Held(3)
    assert parse_text('{"value": 3}', Held) == Held(3)
    with pytest.raises(allm.ValidationError):
        parse_text('{"value": {"value": 3}}', Held)


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (Trip, "Trip"),
        (list[Trip], "list_Trip"),
        (Box[int], "Box_int"),
        (Trip | None, "Trip_None"),
        (Literal["ja", "né"], "Literal_ja_n"),
        (tuple[tuple[int, int, int, int, int, int, int], tuple[int, int, int, int, int, int, int]], None),
        (Literal["é"], "Literal"),
    ],
)
def test_the_name_of_a_format(hint, name):
    """It is made of what vendors take: up to 64 letters, digits, `_` and `-`."""
    found = answer_name(hint)
    assert name in {None, found}
    assert allm.request("hi", response_format=allm.json_schema(found, {})) is not None
    allm.validate(allm.request("hi", response_format=allm.json_schema(found, {})))


def test_what_is_a_type():
    """Annotations of any kind; a value is none."""
    assert all(map(is_type, [*OBJECTS, *(hint for hint, _, _ in OTHERS)]))
    assert not any(map(is_type, [None, 3, "Trip", {}, len, allm, allm.json_schema("a", {})]))


async def test_a_call_with_any_type():
    """`parsed()` of its response gives the value; the schema of the answer went out."""
    for hint, text, made in OTHERS:
        adapter = allm.providers.Fake(script=[allm.fake.text(f'{{"value": {text}}}')])
        response = await allm.generate(allm.Engine(adapter=adapter), "?", response_format=hint)
        assert response.parsed() == made
        assert adapter.requests[0].response_format.schema == answer_schema(hint)
