"""What a value measures is what a document needs for it, and nothing within the limits is refused by a document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.json import document
from allm.data.json.text import MAX_VALUE_DEPTH, MAX_VALUES, dumps, is_plain, measure, parse_arguments, value_problem

TAGGED = {"$type": 1}


def nested(depth, kind=dict):
    """A value of so many levels."""
    value = 1
    for _ in range(depth):
        value = {"a": value} if kind is dict else {"$type": value} if kind is TAGGED else [value]
    return value


@pytest.mark.parametrize(
    ("value", "depth", "values", "size"),
    [
        (None, 0, 1, 8),
        ("é", 0, 1, 2),
        (2**300, 0, 1, 100),
        ([1, "abc"], 1, 3, 11),
        ({"key": [True, []]}, 3, 4, 11),
        ((1,), 2, 2, 8),
        ({"$type": 1}, 3, 2, 13),
        (b"1234", 0, 1, 4),
        ([object()], 1, 2, 8),
    ],
)
def test_measures(value, depth, values, size):
    """Levels, values and bytes, as the document form has them."""
    found = measure(value)
    assert (found.depth, found.values, found.size) == (depth, values, size)


def test_a_value_in_itself_has_an_end():
    """Measuring stops at the limits, and such a value is not plain."""
    circle = []
    circle += [circle, circle]
    assert value_problem(circle) == "nests deeper than 200 levels"
    assert not is_plain(circle)


@pytest.mark.parametrize("kind", [dict, list])
def test_the_deepest_arguments_fit_into_a_session(kind):
    """Arguments at the limit can be saved in a session, in a result of a turn in it, and read again."""
    arguments = {"x": nested(MAX_VALUE_DEPTH - 1, kind)}
    assert parse_arguments(dumps(arguments).decode()) == arguments
    call = allm.ToolCall("c", "f", arguments, dumps(arguments).decode())
    message = allm.assistant(call)
    response = allm.Response(message=message, finish_reason="tool_calls")
    thread = allm.Thread((allm.user("hi"), message, allm.tool_result("c", "done")))
    step = allm.StepResult(thread=thread, response=response, tool_results=(thread.messages[-1],))
    chat = allm.ChatResult(thread=thread, final_response=response, steps=(step,), halted_reason="stop")
    for value in (thread, response, step, chat, allm.ToolCallCompleted("c", "f", arguments), allm.StepCompleted(step)):
        assert allm.from_json(allm.to_json(value)) == value


def test_keys_of_documents_in_the_deepest_arguments():
    """A key that documents use themselves takes more levels, and they are counted."""
    most = MAX_VALUE_DEPTH // 3
    arguments = nested(most, TAGGED)
    assert value_problem(arguments) is None
    assert value_problem({"a": {"b": {"c": arguments}}}) == "nests deeper than 200 levels"
    thread = allm.Thread((allm.assistant(allm.ToolCall("c", "f", arguments)),))
    assert allm.from_json(allm.to_json(thread)) == thread


def test_arguments_beyond_a_limit_are_none():
    """One level or one value too many."""
    assert parse_arguments(dumps(nested(MAX_VALUE_DEPTH)).decode()) is not None
    assert parse_arguments(dumps(nested(MAX_VALUE_DEPTH + 1)).decode()) is None
    assert parse_arguments('{"a":' + "[" * 100_000) is None
    assert parse_arguments(json.dumps({"a": [0] * (MAX_VALUES - 2)})) is not None
    assert parse_arguments(json.dumps({"a": [0] * (MAX_VALUES - 1)})) is None


def test_a_document_has_room_for_what_is_around_a_value():
    """The limits of a value are below those of the document."""
    assert MAX_VALUE_DEPTH + 30 <= document.MAX_DEPTH
    assert MAX_VALUES * 2 < document.MAX_ITEMS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("$type"), inner, max_size=3)
    ),
)


@given(json_values)
def test_depth_is_that_of_the_document(value):
    """No more and no less than the levels that the written form has."""
    levels, layer = 0, [json.loads(allm.to_json(allm.RawChunk("x", value))).get("payload")]
    while layer := [v for v in layer if isinstance(v, (dict, list))]:
        levels += 1
        layer = [item for v in layer for item in (v.values() if isinstance(v, dict) else v)]
    assert measure(value).depth >= levels
    assert "$type" in json.dumps(value) or measure(value).depth == levels
