"""Fields of a message and of a call that only the service knows: kept, and sent back to it as they came.

Gemini 3 behind its own compatible endpoint, Vertex AI, LiteLLM and other gateways refuses a conversation whose
signatures are missing: `tool_calls[].extra_content.google.thought_signature`, the same at the message,
`provider_specific_fields`, `thinking_blocks`. Which name it is nobody can know for all of them, so every field goes
back that is not known to be about the answer alone. Sources: https://ai.google.dev/gemini-api/docs/thought-signatures,
https://docs.litellm.ai/docs/reasoning_content.

In a stream the fields come in pieces, some of them after the rest of the call: objects are merged key by key, and the
items of a list that have one type and one index are one item. While they grow, texts are lists of their pieces and
lists know what they hold; `settled` makes plain data of them at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from allm.adapters import MessageBuilder, as_object, as_text, dumps
from allm.data.content import TextPart

__all__ = [
    "FIELDS",
    "GROWING",
    "MESSAGE_FIELDS",
    "OF_THE_ANSWER",
    "keep_piece",
    "merge_fields",
    "settled",
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
            items = known if isinstance(known, _Items) else _Items(known if isinstance(known, list) else ())
            items.add(value)
            if items:
                kept[key] = items
        elif key in GROWING and isinstance(known, _Text) and isinstance(value, str):
            known.append(value)
        elif key in GROWING and isinstance(known, str) and isinstance(value, str):
            kept[key] = _Text((known, value))
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


class _Text(list[str]):
    """The pieces of a text."""


class _Items(list[Any]):
    """A list to which more is added; of what is no object, each item once."""

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        self._known = {_key(item) for item in self if not isinstance(item, dict)}

    def add(self, more: Iterable[Any]) -> None:
        for item in more:
            if isinstance(item, dict):
                keep_piece(self, cast("dict[str, Any]", item))
            elif (key := _key(item)) not in self._known:
                self._known.add(key)
                self.append(item)


def _key(item: Any) -> Any:
    return dumps(item) if isinstance(item, list) else item


def settled(kept: Any) -> Any:
    """What was kept, as plain data."""
    if isinstance(kept, _Text):
        return "".join(kept)
    if isinstance(kept, list):
        return [settled(item) for item in kept]
    return {key: settled(value) for key, value in kept.items()} if isinstance(kept, dict) else kept


def rest_of_message(message: dict[str, Any], said: set[str], pieces: MessageBuilder) -> dict[str, Any]:
    """What a whole message says beyond what has these names, and beyond the text that has come in pieces."""
    rest = {key: value for key, value in message.items() if key not in said}
    if not pieces.length("text"):
        return rest
    text = "".join(part.text for part in pieces.content() if isinstance(part, TextPart))
    whole = as_text(message.get("content"))
    rest = {key: value for key, value in rest.items() if key not in {"content", "refusal"}}
    return rest if whole is None or not whole.startswith(text) else {**rest, "content": whole[len(text) :]}
