"""Structuring a model's JSON into users' types, and encoding results of handlers."""

from __future__ import annotations

import datetime as dt
import enum
import json
import typing
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import attrs
import msgspec
import pydantic
import pytest

import allm
from allm.data.types.encode import encode_result
from allm.data.types.structure import NotStructured, parse_text, structure


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@attrs.frozen
class AttrsPlace:
    city: str
    zip: int = 0


@dataclass
class DataclassPlace:
    city: str
    zip: int = 0


class DictPlace(typing.TypedDict):
    city: str
    zip: typing.NotRequired[int]


class TuplePlace(typing.NamedTuple):
    city: str
    zip: int = 0


class StructPlace(msgspec.Struct):
    city: str
    zip: int = 0


class PydanticPlace(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    city: str
    zip: int = 0


@attrs.frozen
class Trip:
    places: list[AttrsPlace]
    model: PydanticPlace
    struct: StructPlace
    named: dict[str, AttrsPlace]
    unit: Unit


class Day(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    date: dt.date
    corner: tuple[int, int]


PLACES = [AttrsPlace, DataclassPlace, DictPlace, TuplePlace, StructPlace, PydanticPlace]


@pytest.mark.parametrize("cls", PLACES)
def test_every_kind_of_class(cls):
    """From an object, with its defaults."""
    found = structure({"city": "Zug"}, cls)
    assert found == (cls(city="Zug") if cls is not DictPlace else {"city": "Zug"})
    assert isinstance(found, dict if cls is DictPlace else cls)
    assert encode_result(structure({"city": "Zug", "zip": 6300}, cls)) == '{"city":"Zug","zip":6300}'


@pytest.mark.parametrize("cls", PLACES)
@pytest.mark.parametrize(
    ("value", "where"),
    [({"city": 7}, ".city"), ({"city": "Zug", "zip": "6300"}, ".zip"), ([], ""), ("Zug", ""), (None, "")],
)
def test_a_problem_has_its_place(cls, value, where):
    """The same path for each kind of class; wrong types are not converted."""
    with pytest.raises(NotStructured) as caught:
        structure(value, cls)
    assert [place for place, _ in caught.value.problems] == [where]


def test_all_problems_are_told_at_once():
    """At any depth, through every kind of class."""
    value = {
        "places": [{"city": "Zug"}, {"city": 1, "zip": "x"}, {"zip": 2}],
        "model": {"city": 1, "more": 2},
        "struct": {"zip": None},
        "named": {"home": {"city": None}},
        "unit": "K",
        "what": 1,
    }
    with pytest.raises(NotStructured) as caught:
        structure(value, Trip)
    problems = dict(caught.value.problems)
    assert set(problems) == {
        ".places[1].city",
        ".places[1].zip",
        ".places[2].city",
        ".model.city",
        ".model",
        ".struct.city",
        ".struct.zip",
        ".named['home'].city",
        ".unit",
        "",
    }
    assert problems[".unit"] == "expected one of 'C', 'F', got 'K'"
    assert problems[".places[2].city"] == "required field 'city' is missing"
    assert problems[""] == "unknown field 'what'"
    assert "places[1].city: expected a string, got 1; " in str(caught.value)


def test_json_has_no_dates_and_no_tuples():
    """A strict pydantic model accepts their JSON form."""
    assert structure({"date": "2026-01-02", "corner": [1, 2]}, Day) == Day(date=dt.date(2026, 1, 2), corner=(1, 2))


@pytest.mark.parametrize(
    ("value", "hint", "wanted"),
    [
        (1.0, int, 1),
        (1, float, 1.0),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 1], set[int], {1}),
        ([1], Sequence[int], [1]),
        ("YQ==", bytes, b"a"),
        ("a/b", Path, Path("a/b")),
        ("1.10", Decimal, Decimal("1.10")),
        (None, int | None, None),
        ("2026-01-02", dt.date, dt.date(2026, 1, 2)),
        ("2026-01-02T03:04:05+00:00", dt.datetime, dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
        ("12345678-1234-5678-1234-567812345678", uuid.UUID, uuid.UUID("12345678-1234-5678-1234-567812345678")),
        ("C", Unit, Unit.CELSIUS),
        ("b", typing.Literal["a", "b"], "b"),
        ({"x": [1]}, dict[str, list[int]], {"x": [1]}),
        ({"a": [None]}, typing.Any, {"a": [None]}),
    ],
)
def test_types_beside_classes(value, hint, wanted):
    """From their JSON form."""
    found = structure(value, hint)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("7", int),
        (7, str),
        (True, int),
        (1, bool),
        (1.5, int),
        ("1.5", float),
        ("abc", list[str]),
        ({"a": 1}, list[str]),
        ([1, 2, 3], tuple[int, int]),
        ([1], dict[str, int]),
        ("c", typing.Literal["a", "b"]),
        ("not a date", dt.date),
        ("not base64!", bytes),
        ("no uuid", uuid.UUID),
        ("x", Decimal),
        ([], Decimal),
        (None, int),
        ({}, complex),
    ],
)
def test_what_does_not_fit(value, hint):
    """The error is in plain words, without a library's internals."""
    with pytest.raises(NotStructured) as caught:
        structure(value, hint)
    assert all(what and "\n" not in what for _, what in caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Zug"}',
        '```json\n{"city": "Zug"}\n```',
        '\n```\n{\n"city": "Zug"\n}\n```\n',
        'Sure [1]!\n```json\n{"city": "Zug"}\n```\nIs it {right}?',
        'Here it is:\n\n {"city": "Zug"} \n\nAnything else?',
    ],
)
def test_an_answer(text):
    """A response is parsed, also inside a code fence and between sentences."""
    assert parse_text(text, AttrsPlace) == AttrsPlace("Zug")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the response is not JSON for AttrsPlace"),
        ('Sure, {"city": "Zug"}', "It begins with 'Sure,"),
        ('Sure!\n```json\n{"city": "Zu', "It begins with 'Sure!"),
        ('{"city": "Zug"}\n{"city": "Bern"}', "the response is not JSON"),
        ('{"city": "Zug"}}', "the response is not JSON"),
        ("{'city': 1}", "It begins with \"{'city': 1}\""),
        ('{"city": 1}', "the response is JSON but not a valid AttrsPlace: city: expected a string, got 1"),
    ],
)
def test_an_answer_that_does_not_fit(text, message):
    """One error says what is wrong."""
    with pytest.raises(allm.ValidationError) as caught:
        parse_text(text, AttrsPlace)
    assert message in caught.value.message
    assert caught.value.reason == "invalid_output"


def test_the_problems_of_an_answer_have_paths():
    """Through lists, fields and keys of mappings, each with its sentence."""
    answer = (
        '{"places": [{"city": 1}], "model": {"city": "a"}, "struct": {"city": "b"}, "named": {"x": []}, "unit": "C"}'
    )
    with pytest.raises(allm.ValidationError) as caught:
        parse_text(answer, Trip)
    assert caught.value.problems == (
        allm.Problem(("places", 0, "city"), "malformed_value", "expected a string, got 1"),
        allm.Problem(("named", "x"), "malformed_value", "expected an object, got []"),
    )
    assert allm.from_json(allm.to_json(caught.value)) == caught.value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (Unit.CELSIUS, '"C"'),
        ({"a": {1}, Unit.CELSIUS: (None, True)}, '{"a":[1],"C":[null,true]}'),
        (b"a", '"YQ=="'),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), '"2026-01-02T00:00:00+00:00"'),
        (dt.timedelta(minutes=1), '"PT60S"'),
        (Path("a/b"), '"a/b"'),
        (Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Day(date=dt.date(2026, 1, 2), corner=(1, 2)), '{"date":"2026-01-02","corner":[1,2]}'),
        ([pydantic.HttpUrl("http://a.b"), pydantic.SecretStr("key")], '["http://a.b/","**********"]'),
        ([AttrsPlace("Zug"), StructPlace("Zug")], '[{"city":"Zug","zip":0},{"city":"Zug","zip":0}]'),
        (
            Trip([], PydanticPlace(city="a"), StructPlace("b"), {}, Unit.CELSIUS),
            '{"places":[],"model":{"city":"a","zip":0},"struct":{"city":"b","zip":0},"named":{},"unit":"C"}',
        ),
    ],
)
def test_results_of_handlers(value, text):
    """They are encoded as JSON."""
    assert encode_result(value) == text


def test_the_items_of_a_set_have_one_order():
    """The order of texts in a set differs from process to process, and a prompt cache needs the same bytes."""
    words = [f"word {number}" for number in range(50)]
    for items in (words, [1, 10, 2, "b", "a", None]):
        forms = {encode_result(kind(items)) for kind in (set, frozenset)}
        assert len(forms) == 1
    assert json.loads(encode_result(set(words))) == sorted(words)
    assert encode_result({10, 9, 1}) == "[1,9,10]"
    assert encode_result(dict.fromkeys("ba").keys()) == '["b","a"]'


@pytest.mark.parametrize("value", [float("nan"), object(), 1j, [lambda: None], {"a": float("inf")}])
def test_results_without_a_json_form(value):
    """They are rejected."""
    with pytest.raises((TypeError, ValueError)):
        encode_result(value)


@pytest.mark.parametrize("cls", [type("Plain", (), {}), 3, "Place"], ids=str)
def test_what_is_no_type_to_parse_into(cls):
    """The error is in the library's own words."""
    with pytest.raises(allm.ValidationError, match="cannot be written as JSON"):
        parse_text('{"a": 1}', cls)
