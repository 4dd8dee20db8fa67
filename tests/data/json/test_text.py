"""JSON as providers send it, which is a little more than the C codec takes."""

from __future__ import annotations

import json

import pytest

from allm.data.json.text import JsonTextError, as_count, dumps, loads, loads_pieces, loads_strict, parse_arguments

LONE = json.loads('"\\ud83d"')


READ = {
    "a first half": (b'"a \\ud83d"', "a �"),
    "a second half": ('"\\ude00 b"', "� b"),
    "both, escaped": (b'"\\ud83d\\ude00"', "\U0001f600"),
    "both, the wrong way around": (b'"\\ude00\\ud83d"', "��"),
    "in a key and deep inside": (b'[{"\\ud83d": ["\\ud83dx"]}]', [{"�": ["�x"]}]),
    "in a str": ('"' + LONE + '"', "�"),
}


@pytest.mark.parametrize("case", READ)
def test_half_of_a_character_is_read_as_one(case):
    """A provider may cut a text in the middle of a character; U+FFFD stands for what is left of it."""
    text, value = READ[case]
    assert loads(text) == value


def test_half_of_a_character_is_written_as_one():
    """What is sent is UTF-8, so that no server fails at it; halves that stand side by side are joined."""
    assert dumps({"a": LONE, LONE: [LONE + "\ude00"]}) == '{"a":"�","�":["\U0001f600"]}'.encode()


def test_pieces_of_a_character():
    """They are left as they are for whoever gets the other one too; the C codec takes none."""
    assert loads_pieces(b'"\\ud83d"') == LONE
    with pytest.raises(JsonTextError):
        loads_strict(b'"\\ud83d"')


@pytest.mark.parametrize("depth", [1, 100, 900, 100_000])
def test_half_of_a_character_deep_inside(depth):
    """It is replaced, or the document is nested too deep, which is how deep Python says; no recursion is let out."""
    text = b"[" * depth + b'"\\ud83d"' + b"]" * depth
    value, words = None, ""
    try:
        value = loads(text)
    except JsonTextError as error:
        words = str(error)
    if value is None:
        assert words == "nested too deep"
        assert depth > 100
    else:
        for _ in range(depth):
            [value] = value
        assert value == "\ufffd"
        assert depth < 100_000


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
    assert parse_arguments("null") == parse_arguments('""') == parse_arguments('"null"') == {}
    assert parse_arguments('"{\\"a\\": 1}"') == {"a": 1}  # encoded twice
    assert parse_arguments('"text"') is None
    assert parse_arguments('{"a": ') is None
    assert parse_arguments('{"a": "\\ud83d"}') == {"a": "\ufffd"}


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
