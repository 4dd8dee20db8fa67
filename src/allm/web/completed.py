"""The parts that completed events become, which a page sends back with their opaque data."""

from __future__ import annotations

from collections.abc import Iterable

from allm.data.citation import Citation
from allm.data.content import ReasoningPart, TextPart, ToolCall
from allm.data.events import ReasoningCompleted, TextCompleted, ToolCallCompleted

__all__ = ["reasoning_part", "text_part", "tool_call"]


def text_part(event: TextCompleted, citations: Iterable[Citation] = ()) -> TextPart:
    """The part of the message that a completed text with these citations becomes."""
    return TextPart(
        event.text, refusal=event.refusal, citations=tuple(citations), metadata=event.metadata, made_at=event.made_at
    )


def reasoning_part(event: ReasoningCompleted) -> ReasoningPart:
    """The part of the message that completed reasoning becomes."""
    return ReasoningPart(
        event.text,
        provider=event.provider,
        id=event.item_id,
        signature=event.signature,
        encrypted_content=event.encrypted_content,
        metadata=event.metadata,
        made_at=event.made_at,
    )


def tool_call(event: ToolCallCompleted) -> ToolCall:
    """The part of the message that a completed call becomes."""
    return ToolCall(
        event.id, event.name, event.arguments, event.raw_arguments, metadata=event.metadata, made_at=event.made_at
    )
