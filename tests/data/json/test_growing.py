"""JSON that arrives in pieces: wherever it is cut, what is read is what a parser reads of the whole."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given, strategies as st

from allm.data.json import growing_list
from allm.data.json.growing import NOTHING, GrowingValue, Nesting
from allm.data.json.growing_list import GrowingList
from allm.data.json.text import JsonTextError

TEXTS = st.text() | st.text('[]{}",:\\/\n ab1é\U0001f600`', max_size=8)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
LISTS = st.lists(VALUES, max_size=6)
AROUND = st.sampled_from(
    [
        ("%s", None),
        (" \n%s\r\n", None),
        ('{"value": %s}', None),
        ('{"value": %s}', "value"),
        ('{"items": %s, "value": [1], "n": 1}', None),
        ('{"n": -1.5, "a\\"]": "[[{", "o": {"value": [1], "x": []}, "value" : %s, "more": "["}', "value"),
        ('{"other": [[1], "]"], "value": %s}', "value"),
        ("```json\n%s\n```", None),
        ('Here [1] are "some {trips}":\n\n```json\n{"value":%s}\n```\nThat is "all of [them', None),
    ]
)


@st.composite
def written(draw, values):
    """A JSON value and a text for it."""
    value = draw(values)
    indent, ascii_only = draw(st.sampled_from([None, 2])), draw(st.booleans())
    return value, json.dumps(value, indent=indent, ensure_ascii=ascii_only)


def cut(text, places):
    """The pieces of `text` when it is cut at `places`."""
    bounds = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(bounds)]


PLACES = st.lists(st.integers(0, 10_000), max_size=30)


def read(pieces, key=None):
    """The items of the pieces, and the list."""
    growing = GrowingList(key and {key})
    return [item for piece in pieces for item in growing.add(piece)], growing


def nested(size):
    return {"a": [{"b": '"]}\\'}] * size}


@given(written(LISTS), AROUND, PLACES)
def test_items_are_those_of_the_whole(case, around, places):
    """Whatever the items are, what stands around the list, and where the text is cut: each item comes once."""
    value, text = case
    form, key = around
    items, growing = read(cut(form.replace("%s", text), places), key)
    assert items == json.loads(text) == value
    assert growing.is_closed
    assert growing.problem is None


@given(st.lists(VALUES, max_size=5), st.booleans())
def test_an_item_comes_with_its_last_character(values, ascii_only):
    """A list, an object and a text are whole at their end; a number and a name at the comma or bracket behind it."""
    texts = [json.dumps(value, ensure_ascii=ascii_only) for value in values]
    growing = GrowingList()
    growing.add("[")
    for index, text in enumerate(texts):
        given_now = [len(growing.add(character)) for character in text]
        separator = len(growing.add("]" if index == len(texts) - 1 else ","))
        at_end = isinstance(values[index], (str, list, dict))
        assert given_now[:-1] == [0] * (len(text) - 1)
        assert (given_now[-1], separator) == ((1, 0) if at_end else (0, 1))


@given(st.text('[]{},:"\\ 1ae-\n'), PLACES)
def test_any_text_is_read_however_it_is_cut(text, places):
    """None raises; the pieces make a whole list where the text is one, and have no items that it has not."""
    (whole, at_once), (items, growing) = read(["[1,", text, "]"]), read(["[1,", *cut(text, places), "]"])
    length = min(len(whole), len(items))
    assert whole[:length] == items[:length]
    is_list = at_once.is_closed and at_once.problem is None
    assert is_list == (growing.is_closed and growing.problem is None)
    if is_list:
        assert whole == items


def test_a_list_behind_other_properties_is_found_at_once():
    """However long they are, its items come with their last character; a property is read once, not at each piece."""
    before = json.dumps({"title": 'a "[' * 5000, "n": 12, "other": nested(500), "s": "}"})[:-1]
    growing = GrowingList({"trips", "all"})
    assert not [item for character in before + ', "trips" : [' for item in growing.add(character)]
    assert growing.has_begun
    assert [growing.add(piece) for piece in ("1", ",", '{"a": 2', "}", "]")] == [[], [1], [], [{"a": 2}], []]


DEEP = "[" * 60_000
BROKEN = {
    f"[1, {DEEP}{DEEP.replace('[', ']')}]": [1],
    "[1, 2": [1],
    '[1, "a': [1],
    "[1 2]": [1],
    '["a" "b"]': ["a"],
    "[1,,2]": [1],
    "[1,2,]": [1, 2],
    "[1, ]": [1],
    "[1, nope, 3]": [1],
    "[1, NaN, 3]": [1],
    "[1, 2}": [1, 2],
    '[{"a": 1}, {a: 2}, {"b": 3}]': [{"a": 1}],
    '[{"a": 1}, {"b": }, {"b": 3}]': [{"a": 1}],
    '["a\n", "b"]': [],
    '{"a": 1, "b": {"c": []}}': [],
    '{"a" 1, "b": [1]}': [],
    "Hello [1, 2]": [],
    '"[1]"': [],
    "": [],
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:40])
def test_what_is_no_list_is_never_closed(text):
    """The whole items before what is wrong are given; the list is not said to be whole and right."""
    for pieces in ([text], list(text)):
        items, growing = read(pieces)
        assert items == BROKEN[text]
        assert not growing.is_closed or growing.problem


def test_halves_of_a_character_and_long_integers():
    """What the C codec refuses is read as in a whole answer."""
    pieces = ['["\\ud83d', '", "\\ud83d\\u', 'de00", ', "1" * 30, ', "\ud83d', '"]']
    assert read(pieces)[0] == ["�", "\U0001f600", int("1" * 30), "�"]


@pytest.mark.parametrize(
    "items",
    [[nested(3)] * 500, [nested(4000)], ['x\\"[' * 8000], [[1, [2, "a"]]] * 2000, list(range(5000))],
    ids=["objects", "one object", "one text", "lists", "numbers"],
)
@pytest.mark.parametrize("length", [7, 1000])
def test_each_character_is_parsed_once(items, length, monkeypatch):
    """The unfinished tail is not parsed before it is whole, and what was parsed never again."""
    text = json.dumps(items)
    parsed, scanned = [], []
    monkeypatch.setattr(
        growing_list, "loads", lambda piece, loads=growing_list.loads: (parsed.append(len(piece) - 2), loads(piece))[1]
    )
    monkeypatch.setattr(
        Nesting, "read", lambda self, piece, read=Nesting.read: (scanned.append(len(piece)), read(self, piece))[1]
    )
    assert read([text[start : start + length] for start in range(0, len(text), length)])[0] == items
    assert sum(parsed) <= len(text)
    assert sum(scanned) <= len(text)


# --- snapshots --------------------------------------------------------------------------------------------------------


def snapshots(pieces):
    """The snapshots after each piece that has one, and the value."""
    growing = GrowingValue()
    found = []
    for piece in pieces:
        growing.add(piece)
        if (snapshot := growing.snapshot()) is not NOTHING:
            found.append(snapshot)
    return found, growing


def has_grown(before, after):
    """Whether `after` has all that `before` has, in its place."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(
            key in after and has_grown(value, after[key]) for key, value in before.items()
        )
    if isinstance(before, list):
        return isinstance(after, list) and len(before) <= len(after) and all(map(has_grown, before, after))
    if isinstance(before, str):
        return isinstance(after, str) and after.startswith(before)
    return type(before) is type(after) and before == after


@given(written(LISTS | st.dictionaries(TEXTS, VALUES, max_size=5)), PLACES)
def test_snapshots_grow_up_to_the_whole(case, places):
    """What one snapshot has, the later ones have; numbers and names are never seen half."""
    value, text = case
    for pieces in (cut(text, places), list(text)):
        found, growing = snapshots(pieces)
        assert all(itertools.starmap(has_grown, itertools.pairwise(found)))
        assert growing.final() == value
        assert found[-1] == value


def test_snapshots_of_unfinished_values():
    """Texts grow; a number, a name and a key are left out until they are whole, and so is half of a character."""
    shown = {
        '{"city': {},
        '{"city": "Z': {"city": "Z"},
        '{"n": 12': {},
        '{"n": 12,': {"n": 12},
        '["call 12': ["call 12"],
        "[t": [],
        "[1, tr": [1],
        '["\\ud83d': [""],
        '["a\\': ["a"],
        '["\\ud83d\\ude00': ["\U0001f600"],
        "Here:\n```json\n[[1], [2": [[1], []],
    }
    for text, value in shown.items():
        assert snapshots([text])[0] == [value]
    assert snapshots(["No JSON [at", " all]"])[0] == []


def test_snapshots_are_few():
    """Each parses all the text: one for each piece up to 4 KB, then one for each 6 % of growth."""
    text = json.dumps([nested(3)] * 2000)
    found, growing = snapshots([text[start : start + 100] for start in range(0, len(text), 100)])
    most = 4096 / 100 + math.log(len(text) / 4096) / math.log(1.06) + 2
    assert len(found) == growing.parses <= most
    assert growing.final() == json.loads(text)


def test_a_value_that_is_cut_off():
    """The last snapshot has all that came, however little is new; there is no final value."""
    pieces = ['["' + "a" * 5000, "b" * 10]
    found, growing = snapshots(pieces)
    assert found == [["a" * 5000]]
    assert growing.snapshot(at_last=True) == ["a" * 5000 + "b" * 10]
    with pytest.raises(JsonTextError):
        growing.final()


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ('"a"', "a"), ("null", None), ("[1] \n", [1]), ('x\n[1]\n```\n"', [1]), ("[" * 150 + "]" * 150, None)],
)
def test_the_final_value(text, value):
    """Scalars have no snapshots, and what follows the JSON is no part of it."""
    expected = json.loads(text) if value is None else value
    assert snapshots(list(text))[1].final() == expected
