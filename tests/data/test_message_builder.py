"""A message grows from events, and any prefix of them is a message."""

from __future__ import annotations

import allm
from allm.data.events import ReasoningDelta, TextCompleted, TextDelta, ToolCallDelta, ToolCallStarted
from allm.data.message_builder import MessageBuilder


def message_of(*events):
    assembly = MessageBuilder()
    for event in events:
        assert assembly.add(event)
    return assembly.message()


def test_a_block_that_nothing_arrived_for_is_left_out():
    """A part without text would be sent back, and providers refuse those; a call that began is kept, and says so."""
    begun = message_of(
        TextDelta("t", ""), ReasoningDelta("r", ""), ToolCallStarted("c", "add"), ToolCallDelta("c", "{")
    )
    assert begun.content == (allm.ToolCall("c", "add", None, "{", metadata={"incomplete": True}),)


def test_a_completed_block_wins_over_its_deltas():
    """In its place."""
    message = message_of(TextDelta("a", "x"), TextDelta("b", "y"), TextCompleted("a", "z"))
    assert message.content == (allm.TextPart("z"), allm.TextPart("y"))


def test_what_is_no_content_changes_nothing():
    """It is said so."""
    assembly = MessageBuilder()
    assert not assembly.add(object())
    assert assembly.content() == ()


def test_open_blocks_are_completed_in_order():
    """Once: then there is nothing open."""
    assembly = MessageBuilder()
    for event in (TextDelta("t", "hi"), ToolCallStarted("c", "add"), ToolCallDelta("c", '{"a": 1}')):
        assembly.add(event)
    assert [type(event).__name__ for event in assembly.complete()] == ["TextCompleted", "ToolCallCompleted"]
    assert assembly.complete() == []
    assert assembly.message().tool_calls[0].arguments == {"a": 1}
