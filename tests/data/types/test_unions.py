"""Unions: which member a value belongs to, and what is said if there is none."""

from __future__ import annotations

import dataclasses
import datetime as dt
import typing
import uuid
from decimal import Decimal

import annotated_types as at
import attrs
import msgspec
import pydantic
import pytest

from allm.data.types.encode import as_json
from allm.data.types.schema import schema_of
from allm.data.types.structure import NotStructured, structure


@dataclasses.dataclass
class Short:
    a: int


@dataclasses.dataclass
class Long:
    a: int
    b: int = 0


@dataclasses.dataclass
class Texts:
    a: str


class Loose(typing.TypedDict, total=False):
    c: int


class Cat(pydantic.BaseModel):
    kind: typing.Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: typing.Literal["dog"]
    name: str


@attrs.frozen
class Fish:
    kind: typing.Literal["fish", "shark"]
    length: float = 1.0


class One(msgspec.Struct, tag_field="n", tag=1):
    a: int = 0


class Two(msgspec.Struct, tag_field="n", tag=2):
    a: int = 0


@dataclasses.dataclass
class Left:
    inner: Left | Right | None
    v: int


@dataclasses.dataclass
class Right:
    inner: Left | Right | None
    v: str


class Numbers(pydantic.BaseModel):
    x: int


class Words(pydantic.BaseModel):
    x: str


FITS = [
    (Long | Short, {"a": 1}, Short(1)),
    (Short | Long, {"a": 1, "b": 2}, Long(1, 2)),
    (Short | Texts, {"a": "x"}, Texts("x")),
    (dict[str, int] | Short, {"a": 1}, Short(1)),
    (Short | dict[str, int], {"z": 1}, {"z": 1}),
    (Short | Loose, {}, {}),
    (Short | Cat, {"lives": 1}, Cat(lives=1)),
    (Cat | Dog | Fish, {"kind": "dog", "name": "Rex"}, Dog(kind="dog", name="Rex")),
    (Cat | Dog | Fish, {"kind": "shark"}, Fish("shark")),
    (Cat | Dog, {}, Cat()),
    (typing.Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], {"kind": "cat"}, Cat()),
    (One | Two, {"n": 2}, Two()),
    (Numbers | Words, {"x": "7"}, Words(x="7")),
    (Words | Numbers, {"x": 7}, Numbers(x=7)),
    (float | int, 3, 3),
    (int | float, 3.0, 3.0),
    (bool | int, 1, 1),
    (int | bool, True, True),
    (dt.date | str, "2024-01-31", "2024-01-31"),
    (dt.datetime | dt.date, "2024-01-31", dt.date(2024, 1, 31)),
    (dt.datetime | dt.date | dt.time, "12:30", dt.time(12, 30)),
    (uuid.UUID | dt.date, "00000000-0000-0000-0000-000000000001", uuid.UUID(int=1)),
    (float | Decimal, "1.10", Decimal("1.10")),
    (typing.Literal["a"] | int | None, "a", "a"),
    (list[int] | list[str], ["a"], ["a"]),
    (list[int] | list[float], [1, 2.5], [1.0, 2.5]),
    (list[dt.date] | list[str], ["2024-01-31", "x"], ["2024-01-31", "x"]),
    (list[dt.date | None] | int, ["2024-01-31", None], [dt.date(2024, 1, 31), None]),
    (tuple[int, int] | list[int], [1, 2], (1, 2)),
    (tuple[int, int] | list[int], [1], [1]),
    (Short | list[Short | str] | None, [{"a": 1}, "x"], [Short(1), "x"]),
    (typing.Annotated[int, at.Le(3)] | float, 4, 4.0),
    (Left | Right, {"inner": {"inner": None, "v": "x"}, "v": 1}, Left(Right(None, "x"), 1)),
]
WRONG = [
    (Short | str, 1, "expected an object or a string, got 1"),
    (int | str, None, "expected an integer or a string, got null"),
    (Short | Long, {"a": 1, "b": "x"}, "b: expected an integer, got 'x'"),
    (Short | list[int], {"a": "x"}, "a: expected an integer, got 'x'"),
    (
        Short | Texts,
        {"a": 1.5},
        "it fits none of the types; as Short: a: expected an integer, got 1.5; as Texts: a: expected a string, got 1.5",
    ),
    (Cat | Dog | Fish, {"kind": "fox"}, "kind: expected one of 'cat', 'dog', 'fish', 'shark', got 'fox'"),
    (Dog | Fish, {"name": "Rex"}, "kind: required field 'kind' is missing"),
    (Cat | Dog, {"kind": "dog", "lives": 1}, "unknown field 'lives'; name: required field 'name' is missing"),
    (One | Two, {"n": True}, "n: expected one of 1, 2, got true"),
    (typing.Annotated[int, at.Le(3)] | str, 4, "expected <= 3, got 4"),
    (uuid.UUID | dt.date, "x", "expected a UUID or a date such as '2024-01-31', got 'x'"),
    (typing.Literal["a", "b"], "c", "expected one of 'a', 'b', got 'c'"),
]


@pytest.mark.parametrize(("hint", "value", "expected"), FITS, ids=str)
def test_the_member_is_the_one_that_loses_nothing(hint, value, expected):
    """Of exactly its type, and what it becomes is read back as the same."""
    found = structure(value, hint)
    assert (found, type(found)) == (expected, type(expected))
    assert structure(as_json(found), hint) == expected
    assert "anyOf" in schema_of(hint) or "$ref" in schema_of(hint)


@pytest.mark.parametrize(("hint", "value", "problem"), WRONG, ids=str)
def test_what_fits_no_member(hint, value, problem):
    """The problem of the only member of its kind, or why each one did not fit."""
    with pytest.raises(NotStructured) as caught:
        structure(value, hint)
    assert str(caught.value) == problem


def test_work_and_message_do_not_double_with_each_level():
    """Of a union in which both members contain the union, where only the innermost value decides."""
    value = {"inner": None, "v": 1.5}
    for _ in range(60):
        value = {"inner": value, "v": "x"}
    with pytest.raises(NotStructured) as caught:
        structure(value, Left | Right)
    assert len(str(caught.value)) < 400


def test_an_error_names_at_most_five_members():
    """A union can have any number."""
    members = [dataclasses.make_dataclass(f"C{index}", [("a", int), (f"f{index}", int)]) for index in range(9)]
    with pytest.raises(NotStructured, match=r"as C4: .*; and 4 more$"):
        structure({"a": 1}, typing.Union[tuple(members)])  # noqa: UP007
