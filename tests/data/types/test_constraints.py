"""Constraints that are told in other ways than the table shows, and what pydantic knows alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing
from decimal import Decimal
from typing import Annotated, Literal

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest
from attrs import validators

from allm.data.types.schema import schema_of
from allm.data.types.structure import NotStructured, structure


@attrs.define
class Checked:
    """Its validators are told; the class enforces what no schema has a word for."""

    count: int = attrs.field(default=3, validator=[validators.ge(1), validators.lt(9)])
    word: str = attrs.field(default="x", validator=validators.matches_re("[a-z]+"))
    maybe: int | None = attrs.field(default=None, validator=validators.optional(validators.ge(1)))
    items: list[int] = attrs.field(factory=list, validator=validators.max_len(2))
    deep: list[int] = attrs.field(
        factory=list, validator=validators.deep_iterable(validators.ge(0), validators.max_len(1))
    )
    unit: str = attrs.field(default="m", validator=validators.in_(["m", "km"]))
    step: int | None = attrs.field(default=None, validator=validators.optional(validators.in_({4, 2})))
    part: str = attrs.field(default="a", validator=validators.in_("abc"))
    yes: bool = attrs.field(default=True, validator=validators.instance_of(bool))
    turned: int = attrs.field(default=1, converter=abs, validator=validators.ge(1))
    _hidden: Decimal = attrs.field(default=Decimal(1), validator=validators.ge(0))


def problem(hint, value):
    with pytest.raises(NotStructured) as caught:
        structure(value, hint)
    return str(caught.value)


def test_validators_of_attrs_are_told():
    """And named with the place of the value."""
    properties = schema_of(Checked)["properties"]
    assert properties["count"] == {"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "default": 3}
    assert properties["word"]["pattern"] == "^(?:[a-z]+)$"
    assert properties["maybe"]["anyOf"] == [{"type": "integer", "minimum": 1}, {"type": "null"}]
    assert properties["items"]["maxItems"] == 2
    assert properties["_hidden"]["description"] == ">= 0"
    assert properties["deep"]["maxItems"] == 1
    assert properties["unit"] == {"type": "string", "enum": ["m", "km"], "default": "m"}
    assert properties["step"]["anyOf"][0] == {"type": "integer", "enum": [2, 4]}
    assert "enum" not in properties["part"]
    assert problem(Checked, {"unit": "mm", "step": 3}) == (
        "unit: expected one of 'm', 'km', got 'mm'; step: expected one of 2, 4, got 3"
    )
    assert problem(Checked, {"count": 0, "maybe": 0}) == "count: expected >= 1, got 0; maybe: expected >= 1, got 0"
    assert problem(Checked, {"word": "a1"}) == "word: expected a string that matches '^(?:[a-z]+)$', got 'a1'"


def test_a_validator_behind_a_converter_is_the_class_s_own():
    """It checks what the converter makes of the value."""
    assert structure({"turned": -3}, Checked).turned == 3
    assert "minimum" not in schema_of(Checked)["properties"]["turned"]
    assert problem(Checked, {"turned": 0}) == "'turned' must be >= 1: 0"


CONSTRAINTS = [
    (Annotated[int | str, at.Ge(1), at.MinLen(2)], {"anyOf": [{"minimum": 1}, {"minLength": 2}]}, [0, "a"], [1, "ab"]),
    (Annotated[Annotated[int, at.Ge(1)], at.Ge(5), at.Le(9), at.Le(7)], {"minimum": 5, "maximum": 7}, [4, 8], [5, 7]),
    (
        Annotated[str, msgspec.Meta(pattern="^a"), msgspec.Meta(pattern="z$")],
        {"pattern": "^a", "allOf": [{"pattern": "z$"}]},
        ["a", "z"],
        ["az"],
    ),
    (Annotated[dict[str, int], at.Len(1, 2)], {"minProperties": 1, "maxProperties": 2}, [{}], [{"a": 1}]),
    (dict[Annotated[str, at.MinLen(4)], int], {"propertyNames": {"minLength": 4}}, [{"ab": 1}], [{'"ab"': 1}]),
    (Annotated[tuple[int, ...], at.MinLen(1)], {"minItems": 1}, [[]], [[1]]),
    (Annotated[bytes, at.MinLen(2)], {"description": "at least 2 bytes"}, ["YQ=="], ["YWI="]),
    (Annotated[dt.datetime, at.Timezone(...)], {"description": "with a time zone"}, ["2024-01-31T12:00"], []),
    (
        Annotated[dt.datetime, msgspec.Meta(tz=False, description="Local.")],
        {"description": "Local. without a time zone"},
        ["2024-01-31T12:00Z"],
        ["2024-01-31T12:00"],
    ),
    (at.LowerCase[str], {"description": "a value for which str.islower is true"}, ["A"], ["a"]),
    (Annotated[int, at.doc("how many")], {"description": "how many"}, ["x"], [1]),
    (
        Annotated[int, pydantic.Field(title="N", examples=[1], json_schema_extra={"x-unit": "m"})],
        {"title": "N", "examples": [1], "x-unit": "m"},
        ["x"],
        [1],
    ),
    (Annotated[typing.Any, at.Ge(1)], {"minimum": 1}, [0], [1, "a", True]),
    (Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=2)], {"minLength": 2}, [" a "], []),
    (Annotated[Decimal, pydantic.Field(max_digits=3)], {}, ["1234"], []),
    (pydantic.StrictInt, {"type": "integer"}, ["1"], [1]),
    (pydantic.FiniteFloat, {"type": "number"}, ["1"], [1.5]),
    (pydantic.conlist(int, min_length=1), {"minItems": 1}, [[], ["x"]], [[1]]),
]


def holds(schema, part):
    """Whether a schema says all that `part` says, and perhaps more."""
    if isinstance(part, dict):
        return isinstance(schema, dict) and all(key in schema and holds(schema[key], part[key]) for key in part)
    if isinstance(part, list):
        return len(schema) == len(part) and all(map(holds, schema, part))
    return schema == part


@pytest.mark.parametrize(("hint", "told", "refused", "taken"), CONSTRAINTS, ids=str)
def test_what_is_told_holds(hint, told, refused, taken):
    """In whichever way it is written."""
    assert holds(schema_of(hint), told)
    for value in refused:
        assert problem(hint, value)
    for value in taken:
        assert structure([value], list[hint])


class Inner(pydantic.BaseModel):
    kind: Literal["inner"] = "inner"
    size: int = pydantic.Field(1, le=9)


class Other(pydantic.BaseModel):
    kind: Literal["other"]


class Outer(pydantic.BaseModel):
    one: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}
    pair: tuple[int, Inner] | None = None
    either: Inner | Other | None = None


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    one: Inner | None = None


@pydantic.dataclasses.dataclass
class Checks:
    a: int = pydantic.Field(5, ge=1)


@dataclasses.dataclass
class Holder:
    model: Outer | None = None


@pytest.mark.parametrize(
    ("cls", "value", "text"),
    [
        (Outer, {"more": 1}, "unknown field 'more'"),
        (Outer, {"one": {"more": 1}}, "one: unknown field 'more'"),
        (Outer, {"many": [{}, {"more": 1}]}, "many[1]: unknown field 'more'"),
        (Outer, {"named": {"x": {"more": 1}}}, "named.x: unknown field 'more'"),
        (Outer, {"pair": [1, {"more": 1}]}, "pair[1]: unknown field 'more'"),
        (Outer, {"either": {"kind": "inner", "more": 1}}, "either: unknown field 'more'"),
        (Open, {"one": {"more": 1}}, "one: unknown field 'more'"),
        (Checks, {"more": 1}, "unknown field 'more'"),
        (
            Holder,
            {"model": {"one": {"more": 1, "size": 10}}},
            "model.one: unknown field 'more'; model.one.size: expected",
        ),
        (Inner, {"size": "x"}, "size: expected an integer, got 'x'"),
        (Checks, {"a": 0}, "a: expected >= 1, got 0"),
        (Other, {}, "kind: required field 'kind' is missing"),
        (Other, {"kind": "x"}, "kind: expected 'other', got 'x'"),
        (Outer, {"many": {}}, "many: expected a list, got {}"),
        (Outer, [], "expected an object, got []"),
    ],
)
def test_models_of_pydantic_refuse_unknown_fields(cls, value, text):
    """At any depth, unless one is open; the errors are worded like those of other classes."""
    assert text in problem(cls, value)


def test_an_open_model_takes_them():
    """It is declared like that."""
    assert structure({"more": {"x": 1}}, Open).model_extra == {"more": {"x": 1}}


def test_models_that_are_not_there_yet():
    """Are an error that says so."""
    unfinished = pydantic.create_model("Unfinished", a=(list["Nowhere"], ...))  # noqa: F821
    with pytest.raises(TypeError, match=r"Unfinished has no JSON Schema: .*not fully defined"):
        schema_of(unfinished)
