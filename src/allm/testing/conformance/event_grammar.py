"""The grammar of a response's events: one start, blocks that open before they close, one end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from allm.data.citation import Citation
from allm.data.events import (
    CitationAdded,
    Event,
    Failed,
    HostedCallCompleted,
    HostedCallStarted,
    ImageCompleted,
    MessageCompleted,
    MessageStarted,
    OrchestrationEvent,
    ProviderPartCompleted,
    RawChunk,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from allm.testing.conformance.checks import holds, same

__all__ = ["check_order"]


def check_order(events: Iterable[Event]) -> None:
    """Check the order of the events of a complete response.

    Raises:
        AssertionError: They violate the grammar.
    """
    events = list(events)
    names = [type(event).__name__ for event in events]
    same(names[:1], ["MessageStarted"], f"the first event of a response; all of them: {names}")
    same(names[-1:], ["MessageCompleted"], f"the last event of a response; all of them: {names}")
    for once in ("MessageStarted", "MessageCompleted"):
        same(names.count(once), 1, f"the number of {once} events: {names}")
    pieces: dict[str, list[str]] = {}
    complete: set[str] = set()
    for event in events:
        _check_block(event, pieces, complete)
    # The result of a hosted call may come in the next response.
    unfinished = [block for block in pieces.keys() - complete if not block.startswith("hosted call")]
    same(sorted(unfinished), [], "blocks without a completion")


def _check_block(event: Event, pieces: dict[str, list[str]], complete: set[str]) -> None:  # noqa: C901, PLR0912
    """Check one event against the `pieces` of the blocks so far, and the `complete` blocks."""
    if isinstance(event, OrchestrationEvent):
        return
    match event:
        case TextDelta(id, text):
            _grow(f"text {id!r}", text, pieces, complete)
        case ReasoningDelta(id, text):
            _grow(f"reasoning {id!r}", text, pieces, complete)
        case TextCompleted(id, text):
            _complete(f"text {id!r}", text, pieces, complete)
        case ReasoningCompleted(id, text):
            _complete(f"reasoning {id!r}", text, pieces, complete)
        case CitationAdded(id, citation):
            _cite(f"text {id!r}", citation, pieces)
        case ToolCallStarted(id):
            _start(f"tool call {id!r}", event, pieces)
        case ToolCallDelta(id, text):
            block = f"tool call {id!r}"
            holds(block in pieces, f"ToolCallDelta of {block} comes before ToolCallStarted")
            _grow(block, text, pieces, complete)
        case ToolCallCompleted(id):
            block = f"tool call {id!r}"
            holds(block in pieces, f"ToolCallCompleted of {block} comes before ToolCallStarted")
            _complete(block, None, pieces, complete)
        case HostedCallStarted(id):
            block = f"hosted call {id!r}"
            holds(block not in pieces, f"{block} must start once: {event!r}")
            pieces[block] = []
        case HostedCallCompleted(id):
            block = f"hosted call {id!r}"
            holds(block in pieces, f"HostedCallCompleted of {block} comes before HostedCallStarted")
            _complete(block, None, pieces, complete)
        case (
            ProviderPartCompleted()
            | ImageCompleted()
            | MessageStarted()
            | UsageReported()
            | RawChunk()
            | MessageCompleted()
            | Failed()
        ):
            pass  # whole in themselves
        case _:
            assert_never(event)


def _start(block: str, event: ToolCallStarted, pieces: dict[str, list[str]]) -> None:
    holds(event.name and block not in pieces, f"{block} must start once, with a name: {event!r}")
    pieces[block] = []


def _grow(block: str, text: str, pieces: dict[str, list[str]], complete: set[str]) -> None:
    holds(block not in complete, f"a delta of {block} comes after the completion of the block")
    pieces.setdefault(block, []).append(text)


def _cite(block: str, citation: Citation, pieces: dict[str, list[str]]) -> None:
    holds(block in pieces, f"CitationAdded of {block} comes before the block")
    length = len("".join(pieces[block]))
    holds(citation.within(length) is citation, f"{citation!r} has no place in the {length} characters of {block}")


def _complete(block: str, text: str | None, pieces: dict[str, list[str]], complete: set[str]) -> None:
    """Complete a block; `text` must equal its deltas, if there are any."""
    holds(block not in complete, f"a second completion of {block} comes after the completion of the block")
    if text is not None:
        same("".join(pieces.setdefault(block, [text])), text, f"the deltas of {block} against its completion")
    complete.add(block)
