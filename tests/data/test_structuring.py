"""The strict core: both front ends accept and reject the same values, each with its own messages."""

from __future__ import annotations

import enum
import typing
from dataclasses import dataclass

import attrs
import pytest

from allm.data.json.tags import problems_of, strict_converter
from allm.data.structuring import MAX_PROBLEMS, origin_of
from allm.data.types.structure import NotStructured, structure


class Unit(enum.Enum):
    CELSIUS = "C"
    ONE = 1


@attrs.frozen
class Point:
    x: int
    y: int = 0


@dataclass(frozen=True)
class Line:
    points: tuple[Point, ...]
    names: dict[str, str] | None = None


FITS = [
    (str, "a", "a"),
    (int, 3, 3),
    (bool, False, False),
    (float, 1.5, 1.5),
    (Unit, "C", Unit.CELSIUS),
    (typing.Literal["a", 1], 1, 1),
    (list[int], [1], [1]),
    (set[str], ["a", "a"], {"a"}),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (int | None, None, None),
    (str | Point, {"x": 1}, Point(1)),
    (str | Point, "x", "x"),
    (float | int, 1, 1),
    (Line, {"points": [{"x": 1}], "names": {"a": "b"}}, Line((Point(1),), {"a": "b"})),
]
# The type, a value that does not fit, the path of the only problem, and what a document's reader and a model are told.
WRONG = [
    (str, 7, (), "expected str, got int", "expected a string, got 7"),
    (int, True, (), "expected int, got bool", "expected an integer, got true"),
    (bool, 0, (), "expected bool, got int", "expected true or false, got 0"),
    (float, "1", (), "expected float, got str", "expected a number, got '1'"),
    (list[int], "12", (), "expected a list, got str", "expected a list, got '12'"),
    (tuple[int, str], [1], (), "expected 2 items, got 1", "expected 2 items, got 1"),
    (list[Point], [{"x": 1}, 3], (1,), "expected an object, got int", "expected an object, got 3"),
    (
        Line,
        {"points": [{"x": 1}, {"x": "1"}]},
        ("points", 1, "x"),
        "expected int, got str",
        "expected an integer, got '1'",
    ),
    (Line, {}, ("points",), "missing", "required field 'points' is missing"),
    (dict[str, int], {"a": "b"}, ("a",), "expected int, got str", "expected an integer, got 'b'"),
    (dict[int, int], {"a": 1}, ("a",), "as a key: expected int, got str", "as a key: expected an integer, got 'a'"),
    (int | None, "x", (), "expected int, got str", "expected an integer, got 'x'"),
    (int | str, [], (), "expected int or str, got list", "expected an integer or a string, got []"),
    (str | Point, {"x": "1"}, ("x",), "expected int, got str", "expected an integer, got '1'"),
    (typing.Literal["a", "b"], "c", (), "expected one of a, b; got 'c'", "expected one of 'a', 'b', got 'c'"),
]


def for_documents(value, hint):
    return strict_converter({}).structure(value, hint)


@pytest.mark.parametrize("front_end", [for_documents, structure])
@pytest.mark.parametrize(("hint", "value", "wanted"), FITS, ids=str)
def test_what_fits(front_end, hint, value, wanted):
    """A fitting value becomes an instance of exactly the type, in both front ends."""
    found = front_end(value, hint)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(("hint", "value", "path", "for_reader", "for_model"), WRONG, ids=str)
def test_what_does_not_fit(hint, value, path, for_reader, for_model):
    """Both reject it at the same path; one message has types, the other values."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  cattrs raises what its hooks raise
        for_documents(value, hint)
    assert list(problems_of(caught.value)) == [(path, for_reader)]
    with pytest.raises(NotStructured) as refused:
        structure(value, hint)
    assert refused.value.found == [(path, for_model)]


def test_unknown_fields():
    """They are ignored in a document, and an error in a model's output."""
    value = {"x": 1, "z": 2}
    assert for_documents(value, Point) == Point(1)
    with pytest.raises(NotStructured, match="unknown field 'z'"):
        structure(value, Point)


@pytest.mark.parametrize("hint", [list[int], dict[str, int], tuple[int, ...]])
def test_a_list_that_is_wrong_all_over_is_given_up(hint):
    """Problems are collected up to a limit."""
    value = {str(index): "x" for index in range(1000)} if origin_of(hint) is dict else ["x"] * 1000
    with pytest.raises(NotStructured) as refused:
        structure(value, hint)
    assert len(refused.value.found) == MAX_PROBLEMS
