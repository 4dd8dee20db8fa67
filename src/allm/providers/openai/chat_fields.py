"""Fields of a message and of a call that only the service knows: kept, and sent back to it as they came.

Gemini 3 behind its own compatible endpoint, Vertex AI, LiteLLM and other gateways refuses a conversation whose
signatures are missing: `tool_calls[].extra_content.google.thought_signature`, the same at the message,
`provider_specific_fields`, `thinking_blocks`. Which name it is nobody can know for all of them, so every field goes
back that is not known to be about the answer alone. Sources: https://ai.google.dev/gemini-api/docs/thought-signatures,
https://docs.litellm.ai/docs/reasoning_content.

In a stream the fields come in pieces, some of them after the rest of the call: objects are merged key by key, and the
items of a list that have one type and one index are one item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from allm.adapters import as_object

__all__ = [
    "FIELDS",
    "GROWING",
    "MESSAGE_FIELDS",
    "OF_THE_ANSWER",
    "keep_piece",
    "merge_fields",
    "thinks_aloud",
]

FIELDS = "fields"
"""The key under which the fields stand in the metadata of a call."""

MESSAGE_FIELDS = "message_fields"
"""`type` of the `ProviderPart` that holds the fields of a message."""

GROWING = frozenset({"text", "summary", "thinking", "reasoning", "reasoning_content"})
"""Texts that come in pieces."""

OF_THE_ANSWER = frozenset(
    {
        "annotations",
        "audio",
        "channel",
        "citations",
        "content",
        "content_filter_results",
        "context",
        "end_turn",
        "executed_tools",
        "function_call",
        "id",
        "images",
        "index",
        "logprobs",
        "name",
        "obfuscation",
        "parsed",
        "reasoning_details",
        "refusal",
        "related_questions",
        "role",
        "search_results",
        "stop_reason",
        "token_ids",
        "tool_call_id",
        "tool_calls",
        "tool_responses",
        "type",
        "usage",
        "videos",
    }
)
"""Fields of a message that have a place of their own, or say something of the answer that no later request needs."""


def thinks_aloud(delta: Mapping[str, Any]) -> bool:
    """Whether the content of a delta is a thought (Gemini with `include_thoughts`)."""
    return bool(as_object(as_object(delta.get("extra_content")).get("google")).get("thought"))


def merge_fields(kept: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what a later piece says to what is known; None says nothing."""
    for key, value in more.items():
        if value is None:
            continue
        known = kept.get(key)
        if isinstance(value, dict):
            inner: dict[str, Any] = cast("dict[str, Any]", known) if isinstance(known, dict) else {}
            merge_fields(inner, cast("dict[str, Any]", value))
            if inner:
                kept[key] = inner
        elif isinstance(value, list):
            items: list[Any] = known if isinstance(known, list) else []
            _extend(items, value)
            if items:
                kept[key] = items
        elif key in GROWING and isinstance(known, str) and isinstance(value, str):
            kept[key] = known + value
        else:
            kept[key] = value


def keep_piece(items: list[Any], piece: Mapping[str, Any]) -> None:
    """Add a piece of an item to the last one if it is more of that, else as another."""
    last: dict[str, Any] = as_object(items[-1]) if items else {}
    grows = "signature" in piece or not GROWING.isdisjoint(piece)
    if grows and last and (last.get("type"), last.get("index")) == (piece.get("type"), piece.get("index")):
        merge_fields(last, piece)
    else:
        items.append(dict(piece))


def _extend(items: list[Any], more: Iterable[Any]) -> None:
    for item in more:
        if isinstance(item, dict):
            keep_piece(items, cast("dict[str, Any]", item))
        elif item not in items:
            items.append(item)
