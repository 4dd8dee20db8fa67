"""Arguments from pieces: which place a path names, and what the pieces add up to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from allm.providers.gemini.partial_args import MAX_DEPTH, MAX_INDEX, PartialArguments, parse_path

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: (
        st.lists(children, min_size=1, max_size=3) | st.dictionaries(st.text(), children, min_size=1, max_size=3)
    ),
    max_leaves=12,
)
KINDS = {str: "stringValue", bool: "boolValue", int: "numberValue", type(None): "nullValue"}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("$", ()),
        ("$.a", ("a",)),
        ("$.a.b_c-1", ("a", "b_c-1")),
        ("$.foo.bar[0].data", ("foo", "bar", 0, "data")),
        ("$.ключ", ("ключ",)),
        ("$['a.b'][\"c d\"]", ("a.b", "c d")),
        (r"$['it\'s'].x", ("it's", "x")),
        (r"$['say \"a\"\\'].x", ('say "a"\\', "x")),
        (r'$["a\"b\\c\n\u0041\ud83d\ude00"]', ('a"b\\c\nA😀',)),
        (r"$['\q']", None),
        (f"$[{MAX_INDEX}]", (MAX_INDEX,)),
        (f"$[{MAX_INDEX + 1}]", None),
        ("$" + ".a" * MAX_DEPTH, ("a",) * MAX_DEPTH),
        ("$" + ".a" * (MAX_DEPTH + 1), None),
        ("", None),
        ("a", None),
        ("$a", None),
        ("$.", None),
        ("$..a", None),
        ("$.a[]", None),
        ("$.a[*]", None),
        ("$.a[-1]", None),
        ("$.a[0:2]", None),
        ("$['a", None),
        ("$[a]", None),
    ],
)
def test_paths(path, place):
    """A path names one place, or it is not one that arguments can arrive at."""
    assert parse_path(path) == place


def assembled(*pieces, whole=()):
    """What pieces add up to."""
    arguments = PartialArguments()
    arguments.update(dict(whole))
    for piece in pieces:
        arguments.extend([piece])
    return arguments


@pytest.mark.parametrize(
    ("pieces", "result"),
    [
        ([], {}),
        ([{"jsonPath": "$.a", "stringValue": "x"}, {"jsonPath": "$.a", "stringValue": "y"}], {"a": "xy"}),
        ([{"jsonPath": "$.a", "stringValue": ""}], {"a": ""}),
        ([{"jsonPath": "$.a"}, {"jsonPath": "$.b[]"}, {}], {}),
        ([{"jsonPath": "$.a", "numberValue": 1.5}, {"jsonPath": "$.b", "boolValue": False}], {"a": 1.5, "b": False}),
        ([{"jsonPath": "$.a", "nullValue": "NULL_VALUE"}], {"a": None}),
        (
            [{"jsonPath": "$.a", "structValue": {"b": 1}}, {"jsonPath": "$.a.c", "numberValue": 2}],
            {"a": {"b": 1, "c": 2}},
        ),
        ([{"jsonPath": "$.a", "listValue": [1]}], {"a": [1]}),
        ([{"jsonPath": "$", "structValue": {"a": 1}}], {"a": 1}),
        ([{"jsonPath": "$.a[1]", "numberValue": 2}, {"jsonPath": "$.a[0]", "numberValue": 1}], {"a": [1, 2]}),
        ([{"jsonPath": "$.a[1].b", "stringValue": "x"}], {"a": [None, {"b": "x"}]}),
        ([{"jsonPath": "$.a", "numberValue": 1}, {"jsonPath": "$.a", "stringValue": "x"}], {"a": "x"}),
    ],
)
def test_pieces_add_up(pieces, result):
    """Strings of one path are appended, other values are whole, and pieces without a value end something."""
    assert assembled(*pieces).result() == result
    assert json.loads(assembled(*pieces).raw()) == result


@pytest.mark.parametrize(
    "piece",
    [
        {"jsonPath": "$..a", "stringValue": "x"},
        {"jsonPath": 1, "stringValue": "x"},
        {"stringValue": "x"},
        {"jsonPath": "$[0]", "stringValue": "x"},
        {"jsonPath": "$", "stringValue": "x"},
        {"jsonPath": "$.whole.deeper", "stringValue": "x"},
        {"jsonPath": "$.whole[0]", "stringValue": "x"},
        {"jsonPath": "$.list.deeper", "stringValue": "x"},
    ],
)
def test_a_piece_that_has_no_place_spoils_the_arguments(piece):
    """Nobody runs a tool with a part of its arguments: there are none, and the pieces stay as text."""
    arguments = assembled(piece, whole={"whole": 1, "list": []})

    assert arguments.result() is None
    assert json.loads(arguments.raw()) == [piece]


def test_the_arguments_may_be_asked_for_at_any_time():
    """Looking does not change what comes next."""
    arguments = assembled({"jsonPath": "$.a[0]", "stringValue": "x"}, whole={"b": {"c": 1}})
    first = arguments.result()
    first["a"].append("y")
    arguments.extend([{"jsonPath": "$.a[0]", "stringValue": "z"}])

    assert arguments.result() == {"a": ["xz"], "b": {"c": 1}}


def leaves(value, path="$"):
    """The pieces of a JSON value, strings in halves."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}[{json.dumps(key)}]")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    elif isinstance(value, str):
        yield {"jsonPath": path, "stringValue": value[: len(value) // 2], "willContinue": True}
        yield {"jsonPath": path, "stringValue": value[len(value) // 2 :]}
    else:
        yield {"jsonPath": path, KINDS[type(value)]: value}


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_any_arguments_survive_their_pieces(arguments):
    """Whatever names and values there are: taken apart and put together again."""
    assert assembled(*leaves(arguments)).result() == arguments


def test_many_pieces_cannot_ask_for_a_huge_list():
    """The items that fill lists up to an index are counted over all lists; the pieces are kept as they came."""
    pieces = [{"jsonPath": f"$.a{n}[{MAX_INDEX}]", "numberValue": 1} for n in range(26)]
    assert assembled(*pieces[:24]).result() is not None
    arguments = assembled(*pieces)
    assert arguments.result() is None
    assert json.loads(arguments.raw()) == pieces


def test_a_text_that_is_no_object():
    """It is kept as it came, whatever pieces there are."""
    arguments = assembled({"jsonPath": "$.a", "stringValue": "x"})
    arguments.update("{oops")
    assert (arguments.result(), arguments.raw()) == (None, "{oops")


def test_a_piece_that_no_session_could_keep():
    """Then there are no arguments."""
    deep = json.loads('{"a":' * 250 + "1" + "}" * 250)
    assert assembled({"jsonPath": "$.a", "structValue": deep}).result() is None
    assert assembled({"jsonPath": "$.a", "stringValue": "x"}, whole=deep).result() is None
