"""Classes that a program makes for each request are freed; those it uses again and again are looked at once."""

from __future__ import annotations

import dataclasses
import enum
import gc
import linecache
import typing
import weakref
from typing import Annotated, Generic, TypeVar

import attrs
import msgspec
import pydantic
import pytest

import allm
from allm import fake
from allm.data.json.text import dumps
from allm.data.types.describe import shape_of
from allm.data.types.encode import encode_result
from allm.data.types.output import is_wrapped
from allm.data.types.structure import structure

T = TypeVar("T")
MADE = 300  # classes of each kind
MOST = 256  # of them that may be kept


def generic():
    @dataclasses.dataclass
    class Box(Generic[T]):
        a: T

    return Box


def nested(make):
    """A class with fields of another new class."""
    inner = attrs.make_class("Inner", {"x": attrs.field(type=int)})
    fields = {
        "one": inner,
        "many": list[inner],
        "maybe": inner | None,
        "by": dict[str, inner],
        "told": Annotated[inner, "x"],
    }
    return make(fields)


NESTED = {"one": {"x": 1}, "many": [{"x": 1}], "maybe": None, "by": {"k": {"x": 1}}, "told": {"x": 1}}
KINDS = {
    "attrs": (lambda: attrs.make_class("C", {"a": attrs.field(type=int)}), {"a": 1}),
    "dataclass": (lambda: dataclasses.make_dataclass("C", [("a", int)]), {"a": 1}),
    "TypedDict": (lambda: typing.TypedDict("C", {"a": int}), {"a": 1}),
    "NamedTuple": (lambda: typing.NamedTuple("C", [("a", int)]), {"a": 1}),
    "Struct": (lambda: msgspec.defstruct("C", [("a", int)]), {"a": 1}),
    "pydantic": (lambda: pydantic.create_model("C", a=(int, ...)), {"a": 1}),
    "enum": (lambda: enum.Enum("C", {"A": "x"}), "x"),
    "enum of texts": (lambda: enum.StrEnum("C", {"A": "x"}), "x"),
    "generic": (generic, {"a": 1}),
    "nested dataclass": (lambda: nested(lambda f: dataclasses.make_dataclass("C", f.items())), NESTED),
    "nested TypedDict": (lambda: nested(lambda f: typing.TypedDict("C", f)), NESTED),
}


class Kept:
    """Counts what is alive of the classes that were made."""

    def __init__(self):
        self.made = []

    def make(self, kind):
        cls = KINDS[kind][0]()
        self.made.append(weakref.ref(cls))
        hints = getattr(cls, "__annotations__", {})
        if "one" in hints:
            self.made.append(weakref.ref(hints["one"]))
        return cls[int] if kind == "generic" else cls

    def alive(self):
        gc.collect()
        return sum(ref() is not None for ref in self.made)


@pytest.mark.parametrize("kind", KINDS)
async def test_of_tools_that_are_made_for_each_request(kind):
    """The schema, the arguments and the result keep no more than the last ones."""
    kept, value = Kept(), KINDS[kind][1]

    async def turn():
        hint = kept.make(kind)

        async def echo(x):
            return x

        echo.__annotations__ = {"x": hint, "return": hint}
        scripts = [[fake.tool_call("echo", {"x": value})], [fake.text("done")]]
        engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=[allm.tool(echo)])
        result = await allm.chat(engine, "go")
        assert not result.steps[0].tool_results[0].is_error

    for _ in range(MADE):
        await turn()
    assert kept.alive() <= MOST


@pytest.mark.parametrize("kind", KINDS)
async def test_of_response_formats(kind):
    """Neither the call nor `parsed` keeps them, also as the items of a list."""
    kept, value = Kept(), KINDS[kind][1]

    async def call():
        cls = kept.make(kind)
        for hint, found in ((cls, value), (list[cls], [value])):
            text = dumps({"value": found} if is_wrapped(hint) else found).decode()
            engine = allm.Engine(adapter=allm.providers.Fake(script=[fake.text(text)]))
            response = await allm.generate(engine, "go", response_format=hint, validation_retries=1)
            assert response.parsed() is not None

    for _ in range(MADE):
        await call()
    assert kept.alive() <= MOST


AROUND = {
    "list": (lambda cls: list[cls], lambda value: [value]),
    "typing.List": (lambda cls: typing.List[cls], lambda value: [value]),  # noqa: UP006  it has a cache of its own
    "optional": (lambda cls: cls | None, lambda value: value),
    "typing.Optional": (lambda cls: typing.Optional[cls], lambda value: value),  # noqa: UP045  same
    "union": (lambda cls: cls | int, lambda value: value),
    "annotated": (lambda cls: Annotated[cls, "a note"], lambda value: value),
    "dict": (lambda cls: dict[str, cls], lambda value: {"k": value}),
    "inside": (lambda cls: list[cls | None], lambda value: [value]),
}


@pytest.mark.parametrize("kind", ["dataclass", "pydantic", "enum"])
@pytest.mark.parametrize("around", AROUND)
async def test_of_types_around_them(around, kind):
    """As the format of an answer, and as the parameter of a tool."""
    hint_of, wrap = AROUND[around]
    kept, value = Kept(), wrap(KINDS[kind][1])
    text = dumps(value if isinstance(value, dict) else {"value": value}).decode()

    async def call():
        hint = hint_of(kept.make(kind))

        async def echo(x):
            """Echo."""
            return x

        echo.__annotations__ = {"x": hint, "return": hint}
        scripts = [[fake.tool_call("echo", {"x": value})], [fake.text(text)]]
        engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=[allm.tool(echo)])
        assert (await allm.chat(engine, "go", response_format=hint, structured_finalize=False)).parsed() is not None

    for _ in range(MADE):
        await call()
    assert kept.alive() <= MOST


async def test_of_choices():
    """Enums in the questions of a classification."""
    kept = Kept()

    async def call():
        engine = allm.Engine(adapter=allm.providers.Fake(script=[fake.text('{"q": "x"}')]))
        assert (await allm.classify(engine, "go", {"q": kept.make("enum")}))["q"].value == "x"

    for _ in range(MADE):
        await call()
    assert kept.alive() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_of_values(kind):
    """Structured, as an item of a list, and encoded again."""
    kept, value = Kept(), KINDS[kind][1]
    for _ in range(MADE):
        [made] = structure([value], list[kept.make(kind)])
        assert encode_result(made)
    del made
    assert kept.alive() <= MOST


def test_of_errors_that_are_written_as_json():
    """An error of a user's class is written as the library's class that it derives from."""
    kept = Kept()
    for _ in range(MADE):
        error = type("Mine", (allm.ToolError,), {})("x", reason="timeout")
        kept.made.append(weakref.ref(type(error)))
        for value in (error, allm.user("x"), allm.ToolFailed(error), allm.Message("user", "x", metadata={"e": error})):
            assert allm.from_json(allm.to_json(value)) is not None
    del error, value
    assert kept.alive() == 0


@pytest.mark.parametrize("kind", ["attrs", "TypedDict", "NamedTuple", "Struct", "pydantic", "nested dataclass"])
def test_a_class_that_is_used_again_is_looked_at_once(kind):
    """However many other types are used in between."""
    make, value = KINDS[kind]
    cls = make()
    first = shape_of(cls)
    for _ in range(MADE):
        structure(value, make())
    assert shape_of(cls) is first


def test_a_derived_class_has_its_own_shape():
    """Though it inherits the attribute in which that of its base is kept."""
    base = attrs.make_class("Base", {"a": attrs.field(type=int)})
    assert structure({"a": 1}, base) == base(1)
    derived = attrs.make_class("Derived", {"b": attrs.field(type=int)}, bases=(base,))
    assert structure({"a": 1, "b": 2}, derived) == derived(1, 2)


def test_no_source_is_kept():
    """The source of a hook would stay in linecache for ever."""
    before = set(linecache.cache)
    for number in range(3):
        structure({f"a{number}": 1}, typing.TypedDict("Sourceless", {f"a{number}": int}))
        structure({f"a{number}": 1}, dataclasses.make_dataclass("Sourceless", [(f"a{number}", int)]))
    assert not [name for name in set(linecache.cache) - before if "Sourceless" in name]
