"""Tools from functions: for all annotations, the schema and the structured arguments agree."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import sys
import uuid
from collections.abc import Collection, Mapping, MutableSequence, Sequence
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest

import allm
from allm.data.types.structure import NotStructured, structure

T = TypeVar("T")


@attrs.frozen
class Place:
    city: str
    zip: int = 0


def positive(_instance, _attribute, value):
    if value < 0:
        raise ValueError("it must not be negative")


@attrs.frozen
class Price:
    amount: int = attrs.field(validator=positive)


@attrs.frozen
class Tree:
    value: int
    children: list[Tree] = attrs.field(factory=list)


@attrs.define
class Counted:
    start: int
    now: int = attrs.field(default=0, init=False)


@attrs.frozen
class Box(Generic[T]):
    item: T


class Point(NamedTuple):
    x: int
    y: int = 7


class BoxDict(TypedDict, Generic[T]):
    item: T
    more: NotRequired[list[T]]


class BoxTuple(NamedTuple, Generic[T]):
    item: T
    more: tuple[T, ...] = ()


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Colour(enum.StrEnum):
    RED = "red"


class Record(msgspec.Struct):
    a: int


class Options(TypedDict, total=False):
    fast: bool


UserId = NewType("UserId", int)

FITS = [
    (Optional[Place], {"city": "Zug"}, Place("Zug")),  # noqa: UP045
    (Place | None, None, None),
    (Place | str, "Zug", "Zug"),
    (int | list[int], [1], [1]),
    (float | int, 3, 3),
    (Literal["auto"] | int, 3, 3),
    (Level, 1, Level.LOW),
    (Colour, "red", Colour.RED),
    (Colour | None, "red", Colour.RED),
    (dict[int, str], {"1": "one"}, {1: "one"}),
    (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
    (Mapping[str, Place], {"a": {"city": "Zug"}}, {"a": Place("Zug")}),
    (Collection[int], [1], [1]),
    (MutableSequence[int], [1], [1]),
    (Point, {"x": 1}, Point(1, 7)),
    (tuple[()], [], ()),
    (Box[int], {"item": 1}, Box(1)),
    (BoxDict[int], {"item": 1, "more": [2]}, {"item": 1, "more": [2]}),
    (BoxDict, {"item": "any"}, {"item": "any"}),
    (BoxTuple[int], {"item": 1, "more": [2]}, BoxTuple(1, (2,))),
    (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
    (Counted, {"start": 1}, Counted(1)),
    (Options, {}, {}),
    (UserId, 1, 1),
    (None, None, None),
    (dt.time, "12:30:00", dt.time(12, 30)),
    (dt.timedelta, "PT90S", dt.timedelta(seconds=90)),
    (PurePath, "/a", PurePath("/a")),
    (Decimal, 1.5, Decimal("1.5")),
    (Literal["a", 1], 1, 1),
    (float, 1, 1.0),
    (int, 1.0, 1),
    (bytearray, "aGk=", bytearray(b"hi")),
    (Record | None, {"a": 1}, Record(1)),
    (dict[str, Record], {"r": {"a": 1}}, {"r": Record(1)}),
    (Annotated[list[int], "numbers"] | None, [1], [1]),
]
WRONG = [
    (list, "abc", "expected a list, got 'abc'"),
    (set, "abc", "expected a list, got 'abc'"),
    (Sequence[int], "abc", "expected a list, got 'abc'"),
    (dict[str, int], [1], "expected an object, got [1]"),
    (dict, "abc", "expected an object, got 'abc'"),
    (int | str, None, "expected an integer or a string, got null"),
    (int, True, "expected an integer, got true"),
    (Level, 3, "expected one of 1, 2, got 3"),
    (Level, True, "expected one of 1, 2, got true"),
    (Colour, "blue", "expected one of 'red', got 'blue'"),
    (Literal[1], True, "expected one of 1, got true"),
    (bytes, "!", "expected bytes in base64, got '!'"),
    (dt.date, 1, "expected a date such as '2024-01-31', got 1"),
    (Decimal, "x", "expected a decimal number, got 'x'"),
    (uuid.UUID, 1, "expected a UUID, got 1"),
    (Path, None, "expected a path, got null"),
    (dict[int, str], {"x": "one"}, "['x']: as a key: expected an integer, got 'x'"),
    (list[Place], [{"city": 1}, {}], "[0].city: expected a string, got 1; [1].city: required field 'city' is missing"),
    (dict[str, list[int]], {"a": ["b"]}, "['a'][0]: expected an integer, got 'b'"),
    (Tree, {"value": 1, "children": [{"value": "2"}]}, "children[0].value: expected an integer, got '2'"),
    (list[Record], [{"a": "1"}], "[0].a: expected an integer, got '1'"),
    (Point, {"y": 1}, "x: required field 'x' is missing"),
    (Point, [1], "expected an object, got [1]"),
    (Place | str, 1, "expected an object or a string, got 1"),
    (Place | list[int], {"city": 1}, "city: expected a string, got 1"),
    (Counted, {"start": 1, "now": 2}, "unknown field 'now'"),
    (Annotated[int, "number"] | Point, "x", "expected an integer or an object, got 'x'"),
    (Level | Decimal, "x", "expected one of 1, 2 or a decimal number, got 'x'"),
    (BoxDict[int], {"item": 1, "more": ["x"]}, "more[0]: expected an integer, got 'x'"),
    (BoxTuple[int], {"item": "x"}, "item: expected an integer, got 'x'"),
    (Point, "x", "expected an object, got 'x'"),
    (None, 1, "expected null, got 1"),
    (Price, {"amount": -1}, "it must not be negative"),
    (Place, 1, "expected an object, got 1"),
    (Place, {}, "city: required field 'city' is missing"),
    (float, "1", "expected a number, got '1'"),
]


@pytest.mark.parametrize(("hint", "value", "expected"), FITS, ids=str)
def test_arguments_have_the_annotated_type(hint, value, expected):
    """Every type that can be structured also has a schema."""
    found = structure(value, hint)
    assert found == expected
    assert type(found) is type(expected)
    annotated(hint)


@pytest.mark.parametrize(("hint", "value", "problem"), WRONG, ids=str)
def test_invalid_arguments_are_described_for_the_model(hint, value, problem):
    """With the place in the JSON, and without Python types or exception texts."""
    with pytest.raises(NotStructured) as caught:
        structure(value, hint)
    assert str(caught.value) == problem


def annotated(hint, **options):
    def handler(value):
        return value

    handler.__annotations__ = {"value": hint}
    return allm.tool(**options)(handler)


def test_fields_with_init_false_are_not_in_the_schema():
    """A model that sent one would be told that the field is unknown."""
    assert list(annotated(Counted).schema["$defs"]["Counted"]["properties"]) == ["start"]


def test_descriptions_are_found_in_optional_parameters_too():
    """`Annotated[int, "text"] | None` describes the parameter like `Annotated[int | None, "text"]`."""
    assert annotated(Annotated[int, "how many"] | None).schema["properties"]["value"]["description"] == "how many"


def test_descriptions_of_fields_are_in_the_definitions():
    """For attrs classes as for any other class."""

    @attrs.frozen
    class Trip:
        days: Annotated[int, "how long"]

    assert annotated(Trip).schema["$defs"]["Trip"]["properties"]["days"]["description"] == "how long"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: allm.tool(3), "got int"),
        (lambda: allm.tool(annotated(int)), "got Tool"),
        (lambda: annotated(complex), "complex has no JSON Schema"),
        (lambda: annotated(list[complex]), "complex has no JSON Schema"),
    ],
)
def test_an_invalid_tool_is_one_clear_error(make, words):
    """It is a ValidationError, raised when the tool is made."""
    with pytest.raises(allm.ValidationError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def local_classes():
    """Two classes of which one names the other; only this function knows it, while it runs."""

    @attrs.frozen
    class Inner:
        a: int
        outer: Outer | None = None

    @attrs.frozen
    class Outer:
        inner: Inner

    return Outer, annotated(Outer).handler


def test_local_classes_may_name_each_other():
    """While the function that defines them runs; from then on their shape is known."""
    outer, handler = local_classes()
    value = {"inner": {"a": 1, "outer": {"inner": {"a": 2}}}}
    found = structure(value, outer)
    assert (found.inner.a, found.inner.outer.inner.a) == (1, 2)
    assert handler.fields["value"].shape is not None


def test_a_local_class_with_unresolvable_annotations_is_a_clear_error():
    """When only a function knows `Inner` that has returned."""

    def make():
        @attrs.frozen
        class Inner:
            a: int

        @attrs.frozen
        class Outer:
            inner: Inner

        return Outer

    with pytest.raises(allm.ValidationError, match="define the type at module level"):
        annotated(make())


def test_a_schema_that_is_not_a_mapping_is_refused_before_sending():
    """Whatever its type."""
    with pytest.raises(allm.ValidationError, match="expected a JSON Schema") as caught:
        allm.validate(allm.tool("name", "text", "schema"))
    assert caught.value.errors == ((("schema",), "not_a_mapping"),)


def test_callable_object_is_named_after_its_class():
    """`__call__` would tell the model nothing."""

    class Adder:
        def __call__(self, a: int) -> int:
            return a

    assert allm.tool(Adder()).name == "Adder"
    assert allm.tool(functools.partial(Adder(), 1)).name == "Adder"


def test_defaults_without_a_json_form_are_not_in_the_schema():
    """JSON has no infinity."""

    def handler(limit: float = float("inf"), other: Any = object()):  # noqa: B008
        return limit

    assert not [schema for schema in allm.tool(handler).schema["properties"].values() if "default" in schema]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is that of Python 3.12")
def test_type_statements():
    """An alias means the type it stands for, which may be itself."""
    names: dict[str, Any] = {}
    exec("type Ints = list[int]\ntype Pair[T] = tuple[T, T]\ntype Endless = dict[str, Endless] | int", names)  # noqa: S102
    assert structure([1], names["Ints"] | None) == [1]
    assert annotated(names["Ints"]).schema["properties"]["value"] == {"type": "array", "items": {"type": "integer"}}
    assert structure([1, 2], names["Pair"][int]) == (1, 2)
    assert structure({"a": {"b": 1}}, names["Endless"]) == {"a": {"b": 1}}
    with pytest.raises(NotStructured, match=r"\['a'\]"):
        structure({"a": "x"}, names["Endless"])
    endless = annotated(names["Endless"]).schema
    assert endless["properties"]["value"] == {"$ref": "#/$defs/Endless"}


class Desk:
    """With a method that is decorated before there is an instance."""

    def look(self, days: int) -> int:
        return days


def unresolved(where: Nowhere) -> None:  # noqa: F821
    """Its annotation is the name of nothing."""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (Desk.look, "decorate the bound method instead"),
        (unresolved, "define the type at module level"),
        (int, "built in"),
    ],
)
def test_function_that_cannot_be_a_tool_says_what_to_do(function, words):
    """The error comes when the function is decorated."""
    with pytest.raises(allm.ValidationError, match=words):
        allm.tool(function)


async def test_arguments_are_all_checked_and_null_stands_for_a_default_of_none():
    """The model is told of every problem at once, and null is accepted for a default of None."""
    given = []

    def look(city: str, days: int = None, weeks: int = 1) -> str:  # noqa: RUF013  (as people write it)
        given.append((city, days, weeks))
        return "seen"

    calls = [
        allm.fake.tool_call("look", {"city": "Zug", "days": None}),
        allm.fake.tool_call("look", {"weeks": None, "street": "x"}),
    ]
    adapter = allm.providers.Fake(scripts=[calls, [allm.fake.text("done")]])
    result = await allm.chat(allm.Engine(adapter=adapter, tools=[allm.tool(look)]), "?")
    assert given == [("Zug", None, 1)]
    refused = result.thread.messages[3].text
    assert "street: unknown argument" in refused
    assert "city: required argument is missing" in refused
    assert "weeks: expected an integer, got null" in refused


async def test_a_tool_is_called_like_the_function_it_was_made_of():
    """With the function's own arguments, sync and async, so that it can be tested and used."""

    @allm.tool
    def weather(city: str, *, unit: str = "C") -> str:
        """Tell the weather."""
        return f"{city}: 20 {unit}"

    @allm.tool
    async def later(city: str) -> str:
        """Tell the weather later."""
        return city

    assert weather("Zug", unit="F") == "Zug: 20 F"
    assert await later("Zug") == "Zug"
    assert allm.Tool("plain", "A tool.", handler=lambda arguments: arguments["a"])({"a": 1}) == 1
    with pytest.raises(TypeError, match="has no handler"):
        allm.Tool("manual", "A tool.", manual=True)()


def quoted(one, two, n):
    """Return what the library fills in."""
    return (one, two, n)


quoted.__annotations__ = {
    "one": Optional["allm.ToolContext"],
    "two": "Annotated['allm.ToolContext | None', 'The call']",
    "n": "'int'",
}


async def test_a_context_is_found_in_types_that_are_written_as_text():
    """Also inside of `Optional` and `Annotated`, and where the annotation is text twice."""
    tool = allm.tool(quoted)
    assert list(tool.schema["properties"]) == ["n"]
    one, two, n = await tool.run({"n": 1})
    assert isinstance(one, allm.ToolContext)
    assert one is two
    assert n == 1


@dataclasses.dataclass
class Room:
    beds: Annotated[int, pydantic.Field(ge=1)]


@dataclasses.dataclass
class Suite(Room):
    view: str = "lake"


@attrs.define
class Guest:
    _age: int


class Order:
    """Order a meal."""

    def __init__(self, meal: Literal["soup", "cake"], count: int = 1) -> None:
        self.meal, self.count = meal, count


async def test_a_class_is_a_tool_whose_parameters_have_the_types_of_its_fields():
    """Those of inherited fields, private ones, and of an `__init__` that was written by hand."""
    assert allm.tool(Suite).schema["properties"]["beds"] == {"type": "integer", "minimum": 1}
    with pytest.raises(allm.ToolError, match="beds: expected >= 1"):
        await allm.tool(Suite).run({"beds": 0})
    assert await allm.tool(Suite).run({"beds": 2}) == Suite(2)
    assert allm.tool(Guest).schema["properties"] == {"age": {"type": "integer"}}
    assert allm.tool(Order).schema["properties"]["meal"] == {"enum": ["soup", "cake"]}
    assert (await allm.tool(Order).run({"meal": "soup"})).count == 1


def described(
    n: int = pydantic.Field(5, ge=1, description="how many"),
    plain: int = attrs.field(default=3),
    items: list[int] = dataclasses.field(default_factory=list),  # noqa: B008
    more: list[int] = attrs.Factory(list),  # noqa: B008
    record: int = msgspec.field(default=7),
    shared: list[int] = pydantic.Field([], max_length=2),  # noqa: B008
    nothing: int = None,  # noqa: RUF013  (as people write it)
    *,
    needed: int = attrs.field(),
    also_needed: str = pydantic.Field(min_length=1),
) -> tuple[Any, ...]:
    """Return what it was given."""
    return (n, plain, items, more, record, shared, nothing, needed, also_needed)


MADE = (5, 3, [], [], 7, [], None, 1, "x")


def called(tool, **arguments):
    """What a model's call of the tool returns."""
    call = allm.ToolCall(id="c1", name=tool.name, arguments=arguments)
    return tool.handler(arguments, allm.ToolContext(tool_call=call, report=None))


def test_descriptors_as_defaults_stand_for_what_they_describe():
    """Whether a model or the program calls the function; lists are new ones each time."""
    tool = allm.tool(described)
    assert called(tool, needed=1, also_needed="x") == tool(needed=1, also_needed="x") == MADE
    first, second = (called(tool, needed=1, also_needed="x") for _ in range(2))
    assert not [index for index in (2, 3, 5) if first[index] is second[index]]
    schema = tool.schema
    assert schema["required"] == ["needed", "also_needed"]
    assert schema["properties"]["n"] == {"type": "integer", "minimum": 1, "description": "how many", "default": 5}
    shown = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    names = ("n", "plain", "items", "more", "record", "shared", "nothing")
    assert shown == dict(zip(names, MADE, strict=False))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"n": 0}, "n: expected >= 1, got 0"),
        ({"shared": [1, 2, 3]}, "shared: expected at most 2 items, got [1, 2, 3]"),
        ({"also_needed": ""}, "also_needed: expected at least 1 character, got ''"),
        ({"needed": None}, "needed: expected an integer, got null"),
    ],
)
def test_constraints_of_descriptors_hold(arguments, problem):
    """For what the model passes."""
    with pytest.raises(allm.ToolError) as caught:
        called(allm.tool(described), **{"needed": 1, "also_needed": "x", **arguments})
    assert caught.value.message == problem


@attrs.define
class Fields:
    """With defaults that other libraries describe."""

    n: Annotated[int, "how many"] = pydantic.Field(5, ge=1)
    items: list[int] = pydantic.Field(default_factory=list)  # noqa: RUF009
    given: int = attrs.field(default=3, metadata={"description": "the given one"})


def test_descriptors_as_defaults_of_fields():
    """The instance has the value, never the descriptor."""
    assert structure({}, Fields) == Fields(5, [], 3)
    with pytest.raises(NotStructured, match="n: expected >= 1, got 0"):
        structure({"n": 0}, Fields)
    properties = annotated(Fields).schema["$defs"]["Fields"]["properties"]
    assert properties["n"] == {"type": "integer", "minimum": 1, "description": "how many", "default": 5}
    assert properties["given"]["description"] == "the given one"


def only_checked() -> OnlyForTypeCheckers:  # noqa: F821
    """Returns a type that exists for type checkers only."""


def test_a_return_type_that_exists_for_type_checkers_only():
    """Nobody needs it; a parameter's would be needed, and the error says what to do."""
    assert allm.tool(only_checked).schema["properties"] == {}
    with pytest.raises(allm.ValidationError, match=r"parameter where .*'Nowhere' is not defined.*TYPE_CHECKING"):
        allm.tool(unresolved)


@pytest.mark.parametrize("hint", [Annotated[bool, msgspec.Meta(ge=1)], Annotated[Place, pydantic.Field(min_length=1)]])
def test_a_constraint_that_says_nothing_about_its_type_is_an_error(hint):
    """When the tool is made: it would neither be told nor hold."""
    with pytest.raises(allm.ValidationError, match="says nothing about"):
        annotated(hint)
