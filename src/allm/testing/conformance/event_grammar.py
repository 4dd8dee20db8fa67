"""The grammar of an answer's events: one start, blocks that open before they close, one end."""

from __future__ import annotations

from collections.abc import Iterable

from allm.data.events import (
    Event,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
)
from allm.testing.conformance.checks import holds, same

__all__ = ["check_order"]


def check_order(events: Iterable[Event]) -> None:
    """Check the events of a clean answer.

    Raises:
        AssertionError: They break the grammar.
    """
    events = list(events)
    names = [type(event).__name__ for event in events]
    same(names[:1], ["MessageStarted"], f"the first event of an answer; all of them: {names}")
    same(names[-1:], ["MessageCompleted"], f"the last event of an answer; all of them: {names}")
    for once in ("MessageStarted", "MessageCompleted"):
        same(names.count(once), 1, f"how often {once} comes: {names}")
    pieces: dict[str, list[str]] = {}
    complete: set[str] = set()
    for event in events:
        _check_block(event, pieces, complete)
    same(sorted(pieces.keys() - complete), [], "blocks without a completion")


def _check_block(event: Event, pieces: dict[str, list[str]], complete: set[str]) -> None:
    """One event: `pieces` of the blocks so far, and the blocks that are complete."""
    match event:
        case TextDelta() | TextCompleted():
            block = f"text {event.id!r}"
        case ReasoningDelta() | ReasoningCompleted():
            block = f"reasoning {event.id!r}"
        case ToolCallStarted() | ToolCallDelta() | ToolCallCompleted():
            block = f"tool call {event.id!r}"
        case _:
            return
    name = type(event).__name__
    holds(block not in complete, f"{name} of {block} comes after the completion of the block")
    match event:
        case TextDelta(delta=text) | ReasoningDelta(delta=text):
            pieces.setdefault(block, []).append(text)
        case TextCompleted(text=text) | ReasoningCompleted(text=text):
            same("".join(pieces.setdefault(block, [text])), text, f"the deltas of {block} against its completion")
            complete.add(block)
        case ToolCallStarted(name=tool):
            holds(tool and block not in pieces, f"{block} starts once, with a name: {event!r}")
            pieces[block] = []
        case ToolCallDelta(arguments_delta=text):
            holds(block in pieces, f"ToolCallDelta of {block} comes before ToolCallStarted")
            pieces[block].append(text)
        case _:
            holds(block in pieces, f"{name} of {block} comes before ToolCallStarted")
            complete.add(block)
