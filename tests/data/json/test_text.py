"""JSON as providers send it, which is a little more than the C codec takes."""

from __future__ import annotations

import json

import pytest

from allm.data.json.text import JsonTextError, dumps, loads, parse_arguments

LONE = json.loads('"\\ud83d"')


@pytest.mark.parametrize("text", ['"\\ud83d"', b'"\\ud83d"'])
def test_half_of_a_surrogate_pair_goes_both_ways(text):
    """A lone surrogate survives, since a provider may split a pair."""
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
    """It is one error, with the position."""
    text, words = NOT_JSON[case]
    with pytest.raises(JsonTextError, match=words):
        loads(text)


def test_integers_keep_their_digits():
    """However many they have."""
    assert loads(b"123456789012345678901234567890") == 123456789012345678901234567890


def test_numbers_that_json_has_no_form_for():
    """NaN and infinity are rejected, also beside a lone surrogate."""
    with pytest.raises(ValueError, match="JSON"):
        dumps([LONE, float("nan")])


def test_arguments_of_a_call():
    """An object, or None; an empty text is an empty object."""
    assert parse_arguments('{"a": 1}') == {"a": 1}
    assert parse_arguments(" ") == {}
    assert parse_arguments("[1]") is None
    assert parse_arguments('{"a": ') is None
