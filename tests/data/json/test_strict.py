"""The converter makes no implicit conversions, and gives the path of each problem."""

from __future__ import annotations

import attrs
import pytest

from allm.data.json.tags import problems_of, strict_converter


@attrs.frozen
class Range:
    low: int
    high: int

    def __attrs_post_init__(self):
        if self.low > self.high:
            raise ValueError("low is above high")


@attrs.frozen
class Scale:
    name: str
    ranges: tuple[Range, ...]


CASES = {
    "a field": ({"name": 3, "ranges": []}, [(("name",), "expected str, got int")]),
    "a field that is missing": ({"name": "x"}, [(("ranges",), "missing")]),
    "no list": ({"name": "x", "ranges": {}}, [(("ranges",), "expected a list, got dict")]),
    "no object": ({"name": "x", "ranges": [3]}, [(("ranges", 0), "expected an object, got int")]),
    "a class that refuses": (
        {"name": "x", "ranges": [{"low": 1, "high": 2}, {"low": 2, "high": 1}]},
        [(("ranges", 1), "low is above high")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit(case):
    """The error has its path, also if the class itself rejects it."""
    document, problems = CASES[case]
    with pytest.raises(Exception) as caught:  # noqa: PT011  cattrs raises what its hooks raise
        strict_converter({}).structure(document, Scale)
    assert list(problems_of(caught.value)) == problems
