"""Types that name themselves, each other, or types that are written below them, in every spelling."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Generic, NamedTuple, NotRequired, Optional, TypedDict, TypeVar, Union

import attrs
import msgspec
import pydantic
import pytest

import allm
from allm.data.types.describe import shape_of
from allm.data.types.schema import schema_of, schemas_of
from allm.data.types.structure import NotStructured, structure

T = TypeVar("T")
K = TypeVar("K")


@attrs.define
class AsText:
    v: int
    kids: list[AsText] = attrs.field(factory=list)


Quoted = dataclasses.make_dataclass(
    "Quoted",
    [("v", int), ("kid", Optional["Quoted"], None), ("by", dict[str, "Quoted"] | None, None)],
)
Quoted.__module__ = __name__


@dataclasses.dataclass
class Employee:
    name: str
    department: Department | None = None


@dataclasses.dataclass
class Department:
    title: str
    staff: list[Employee] = dataclasses.field(default_factory=list)


class Typed(TypedDict):
    v: int
    kids: NotRequired[list[Typed]]


class Named(NamedTuple):
    v: int
    kid: Named | None = None


class Struct(msgspec.Struct):
    v: int
    kids: dict[str, Struct] = {}


class Model(pydantic.BaseModel):
    v: int
    kids: list[Model] = []


@dataclasses.dataclass
class Mine:
    v: int
    kid: typing.Self | None = None


@dataclasses.dataclass
class Linked(Generic[T]):
    item: T
    next: Linked[T] | None = None


@dataclasses.dataclass
class Numbers(Linked[int]):
    """Derived from a generic class with a type for its variable."""


@dataclasses.dataclass
class Pair(Generic[K, T]):
    key: K
    items: dict[str, tuple[K, T]]


@dataclasses.dataclass
class Swapped(Pair[T, K], Generic[K, T]):
    """Names the variables of its base the other way round."""


@dataclasses.dataclass
class Growing(Generic[T]):
    inner: Growing[list[T]] | None = None


Json = Union[None, bool, int, float, str, list["Json"], dict[str, "Json"]]  # noqa: UP007  `|` does not take a text
Endless = Union["Endless", None]

VALUES = [
    (AsText, {"v": 1, "kids": [{"v": 2, "kids": []}]}, AsText(1, [AsText(2)])),
    (Quoted, {"v": 1, "kid": {"v": 2}, "by": {"x": {"v": 3}}}, Quoted(1, Quoted(2), {"x": Quoted(3)})),
    (Employee, {"name": "n", "department": {"title": "t"}}, Employee("n", Department("t"))),
    (Department, {"title": "t", "staff": [{"name": "n"}]}, Department("t", [Employee("n")])),
    (Typed, {"v": 1, "kids": [{"v": 2}]}, {"v": 1, "kids": [{"v": 2}]}),
    (Named, {"v": 1, "kid": {"v": 2}}, Named(1, Named(2))),
    (Struct, {"v": 1, "kids": {"x": {"v": 2}}}, Struct(1, {"x": Struct(2)})),
    (Model, {"v": 1, "kids": [{"v": 2}]}, Model(v=1, kids=[Model(v=2)])),
    (Mine, {"v": 1, "kid": {"v": 2}}, Mine(1, Mine(2))),
    (Linked[str], {"item": "a", "next": {"item": "b"}}, Linked("a", Linked("b"))),
    (Numbers, {"item": 1, "next": {"item": 2}}, Numbers(1, Linked(2))),
    (Json, {"a": [1, None, {"b": True}]}, {"a": [1, None, {"b": True}]}),
]


def references(node):
    """Every reference in a schema."""
    if isinstance(node, dict):
        return {node["$ref"]} if "$ref" in node else set().union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


@pytest.mark.parametrize(("hint", "value", "expected"), VALUES, ids=str)
def test_in_every_spelling(hint, value, expected):
    """As such, in a list, as a parameter; every reference leads somewhere."""
    assert structure(value, hint) == expected
    assert structure([value], list[hint]) == [expected]

    def look(where):
        """Looks."""

    look.__annotations__ = {"where": hint}
    for schema in (schema_of(hint), schema_of(list[hint]), allm.tool(look).schema):
        found = references(schema)
        assert found
        assert found <= {f"#/$defs/{name}" for name in schema["$defs"]}


WRONG = [
    (AsText, {"v": 1, "kids": [{"v": 2, "kids": [{"v": "x"}]}]}, "kids[0].kids[0].v: expected an integer, got 'x'"),
    (Linked[int], {"item": 1, "next": {"item": "b"}}, "next.item: expected an integer, got 'b'"),
    (Numbers, {"item": "b"}, "item: expected an integer, got 'b'"),
    (Model, {"v": 1, "kids": [{"v": 2, "more": 1}]}, "kids[0]: unknown field 'more'"),
]


@pytest.mark.parametrize(("hint", "value", "problem"), WRONG, ids=str)
def test_a_problem_deep_inside_has_its_path(hint, value, problem):
    """As deep as the value goes."""
    with pytest.raises(NotStructured) as caught:
        structure(value, hint)
    assert str(caught.value) == problem


GENERIC = [
    (Pair[int, str], {"key": 1, "items": {"x": [1, "a"]}}, "Pair[int, str]"),
    (Swapped[int, str], {"key": "a", "items": {"x": ["a", 1]}}, "Swapped[int, str]"),
    (Pair[Annotated[int, ["not hashable"]], str], {"key": 1, "items": {}}, "Pair[int, str]"),
    (Linked[list[Linked[int]] | None], {"item": [{"item": 1}]}, "Linked[list[Linked[int]] | None]"),
    (Linked, {"item": "anything"}, "Linked"),
]


@pytest.mark.parametrize(("hint", "value", "title"), GENERIC, ids=str)
def test_generic_classes_have_the_types_they_are_given(hint, value, title):
    """Each variable its own, and a title that says so."""
    assert schema_of(hint)["title"] == title
    structure(value, hint)


@pytest.mark.parametrize("hint", [Pair[str, int], Swapped[int, str]], ids=str)
def test_a_variable_of_another_type_is_a_problem(hint):
    """The types are those of the class that was asked for."""
    with pytest.raises(NotStructured, match=r"key: expected a string, got 1; items\['x'\]\[0\]: expected a string"):
        structure({"key": 1, "items": {"x": [1, 2]}}, hint)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Endless, "stands for itself only"),
        (Growing[int], "ever larger types"),
        (list["Nowhere"], "'Nowhere' is not defined"),  # noqa: F821
        (list["len()"], "is no type"),
    ],
    ids=str,
)
def test_what_has_no_schema_is_one_clear_error(hint, words):
    """Whatever it refers to."""
    with pytest.raises(TypeError, match=words):
        schema_of(hint)


def test_a_name_means_what_its_user_sees():
    """A type that does not say where it is from, such as `list["Local"]`, is looked up anew each time."""

    def with_field(name):
        Local = dataclasses.make_dataclass("Local", [(name, int)])  # noqa: N806
        return structure([{name: 1}], list["Local"]) == [Local(1)]

    assert with_field("a")
    assert with_field("b")


def test_two_types_of_one_name_are_two_definitions():
    """Also generic ones with different arguments, and a class beside a pydantic model."""
    first = dataclasses.make_dataclass("Model", [("a", int)])
    second = attrs.make_class("Model", {"b": attrs.field(type=int)})
    schemas, definitions = schemas_of([first, second, Model, Linked[first], Linked[second]])
    assert len({schema["$ref"] for schema in schemas}) == len(schemas)
    found = [definitions[schema["$ref"].removeprefix("#/$defs/")]["properties"] for schema in schemas[:3]]
    assert [list(properties) for properties in found] == [["a"], ["b"], ["v", "kids"]]
    assert references([schemas, definitions]) <= {f"#/$defs/{name}" for name in definitions}


@pytest.mark.parametrize("hint", [Json, AsText, Linked[int], Model], ids=str)
def test_json_that_is_nested_too_deeply(hint):
    """It is an error like any other, not one of the interpreter."""
    value = {"v": 1, "item": 1}
    for _ in range(100_000):
        value = {"v": 1, "kids": [value]} if hint in (AsText, Model) else {"item": 1, "next": value}
    with pytest.raises(NotStructured, match="nested too deeply"):
        structure(value, hint)


def test_a_long_chain_of_classes():
    """Has no limit of its own."""
    inner = int
    for index in range(60):
        inner = dataclasses.make_dataclass(f"C{index}", [("x", list[inner] | None, None)])
    assert len(schema_of(inner)["$defs"]) == 59


def test_a_type_is_walked_once():
    """A class keeps what was found out about it, and so do the classes in it."""
    assert shape_of(Employee) is shape_of(Employee)
    assert shape_of(list[Department]) is shape_of(list[Department])
