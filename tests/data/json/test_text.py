"""JSON as providers send it, which is a little more than the C codec takes."""

from __future__ import annotations

import json

import pytest

from allm.data.json.text import JsonTextError, as_count, dumps, loads, parse_arguments

LONE = json.loads('"\\ud83d"')


@pytest.mark.parametrize("text", ['"\\ud83d"', b'"\\ud83d"'])
def test_half_of_a_surrogate_pair_goes_both_ways(text):
    """A provider may cut a text between the two."""
    assert loads(text) == LONE
    assert dumps(LONE) == b'"\\ud83d"'


NOT_JSON = {
    "nothing": (b"", "line 1"),
    "a word": (b"NaN", "NaN is not JSON"),
    "bytes that are no text": (b'"\xff"', "invalid UTF-8 at byte 1"),
    "without end": (b"[" * 100_000, "nested too deep"),
    "a number without end": (b"1" * 5000 + b"x", "integer|JSON|Extra"),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_what_is_not_json(case):
    """One error, with the place."""
    text, words = NOT_JSON[case]
    with pytest.raises(JsonTextError, match=words):
        loads(text)


def test_integers_keep_their_digits():
    """However many they have."""
    assert loads(b"123456789012345678901234567890") == 123456789012345678901234567890


def test_numbers_that_json_has_no_form_for():
    """They are refused beside half a surrogate pair too."""
    with pytest.raises(ValueError, match="JSON"):
        dumps([LONE, float("nan")])


def test_arguments_of_a_call():
    """An object, or None; no text at all is an empty object."""
    assert parse_arguments('{"a": 1}') == {"a": 1}
    assert parse_arguments(" ") == {}
    assert parse_arguments("[1]") is None
    assert parse_arguments("null") == parse_arguments('""') == parse_arguments('"null"') == {}
    assert parse_arguments('"{\\"a\\": 1}"') == {"a": 1}  # encoded twice
    assert parse_arguments('"text"') is None
    assert parse_arguments('{"a": ') is None


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (12, 12),
        (12.0, 12),
        ("12", 12),
        ("0", 0),
        (12.5, None),
        ("12.5", None),
        ("-1", None),
        ("", None),
        ("\u0663", None),
        ("9" * 5000, None),
        (True, None),
        (None, None),
        ([12], None),
    ],
)
def test_counts(value, count):
    """Whole numbers, as some servers write them too: with a point, or as text."""
    assert as_count(value) == count
