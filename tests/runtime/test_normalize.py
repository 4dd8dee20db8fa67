"""Repairs to a conversation before it is sent, the same for every vendor."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.request import call_name, results_in_place


def calls(*ids):
    return allm.assistant(*(allm.ToolCall(call_id, "f", {}) for call_id in ids))


def result(call_id):
    return allm.tool_result(call_id, "ok")


ASK = allm.user("?")


@pytest.mark.parametrize(
    ("messages", "order"),
    [
        ([ASK, calls("a"), result("a"), ASK], [0, 1, 2, 3]),
        ([calls("a", "b"), result("b"), ASK, result("a")], [0, 1, 3, 2]),
        ([calls("a"), ASK, calls("b"), result("a"), result("b")], [0, 3, 1, 2, 4]),
        ([calls("a"), result("a"), calls("a"), ASK, result("a")], [0, 1, 2, 4, 3]),
        ([result("a"), calls("a"), result("a"), result("a")], [0, 1, 2, 3]),
        ([], []),
    ],
)
def test_results_follow_their_calls(messages, order):
    """A result moves to the latest call with its id; one without a call stays in place."""
    placed = results_in_place(messages)
    assert [index for index, _ in placed] == order
    assert [message for _, message in placed] == [messages[index] for index in order]


@given(st.lists(st.sampled_from([ASK, calls("a"), calls("a", "b"), result("a"), result("b")])))
def test_nothing_is_lost_and_doing_it_twice_changes_nothing(messages):
    """Every message is there once, and the others keep their order."""
    placed = results_in_place(messages)
    assert sorted(index for index, _ in placed) == list(range(len(messages)))
    others = [index for index, message in placed if message.role != "tool"]
    assert others == sorted(others)
    again = [message for _, message in placed]
    assert [message for _, message in results_in_place(again)] == again


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("get_weather-2", "get_weather-2"),
        ("functions.get weather", "functions_get_weather"),
        ("fünf", "f_nf"),
        ("", "unnamed"),
        ("f" * 80, "f" * 64),
    ],
)
def test_names_that_models_make_up_can_be_sent(name, sent):
    """The error result for an unknown tool has to reach the model."""
    assert call_name(name) == sent
