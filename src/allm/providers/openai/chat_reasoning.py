"""Thinking in Chat Completions, which OpenAI does not show and every other service puts somewhere else.

It is `reasoning` (Groq, OpenRouter), `reasoning_content` (DeepSeek, llama.cpp), the same text in both (vLLM), parts of
the content (Mistral), `thinking_blocks` (LiteLLM), or `reasoning_details` (OpenRouter, beside `reasoning` or alone),
which hold what the vendor behind it signed or encrypted and go back as they came:
https://openrouter.ai/docs/guides/best-practices/reasoning-tokens#preserving-reasoning-blocks. A text goes back in the
field it came in, whose name is kept with it.
"""

from __future__ import annotations

from typing import Any

import attrs

from allm.adapters import as_objects, as_text
from allm.data.events import ReasoningCompleted
from allm.providers.openai.chat_fields import keep_piece, settled, thinks_aloud

__all__ = ["DETAILS", "FIELD", "HOLDERS", "REASONING_FIELDS", "Reasoning", "thought_in"]

DETAILS = "reasoning_details"

FIELD = "field"
"""The key under which the name of the field stands in the metadata of a thought."""

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
_SHOWN = ("text", "summary")
_BLOCKS = "thinking_blocks"
HOLDERS = frozenset({DETAILS, _BLOCKS, *REASONING_FIELDS})
"""The fields of a delta that hold a thought; so may a `content` that is a list."""


@attrs.define(eq=False)
class Reasoning:
    """The thinking of one answer.

    Attributes:
        details: What goes back, each item put together from its pieces.
        field: Where the text came in, if it has a field of its own.
    """

    details: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    field: str | None = attrs.field(default=None, init=False)

    def take(self, delta: dict[str, Any]) -> str:
        """The text in a delta, or in a whole message."""
        details = as_objects(delta.get(DETAILS))
        for detail in details:
            keep_piece(self.details, detail)
        for name in REASONING_FIELDS:
            if text := as_text(delta.get(name)):
                self.field = self.field or name
                return text
        shown = [text for detail in details for key in _SHOWN if (text := as_text(detail.get(key)))]
        parts = (*as_objects(delta.get(_BLOCKS)), *as_objects(delta.get("content")))
        return "".join(shown) or "".join(_thinking(part.get("thinking")) for part in parts)

    def completed(self, event: ReasoningCompleted, provider: str) -> ReasoningCompleted:
        """The end of the block, with what has to go back."""
        kept: dict[str, Any] = {} if self.field is None else {FIELD: self.field}
        if self.details:
            self.details = kept[DETAILS] = settled(self.details)
        return attrs.evolve(
            event,
            provider=provider,
            signature=self._last("signature"),
            encrypted_content=self._last("data"),
            metadata={provider: kept} if kept else {},
        )

    def _last(self, key: str) -> str | None:
        return next((text for detail in reversed(self.details) if (text := as_text(detail.get(key)))), None)


def thought_in(delta: dict[str, Any]) -> str | None:
    """The content of a delta that is a thought as a whole."""
    return as_text(delta.get("content")) if "extra_content" in delta and thinks_aloud(delta) else None


def _thinking(value: Any) -> str:
    """The text of a part that is a thought: a string, or parts of its own."""
    return as_text(value) or "".join(as_text(part.get("text")) or "" for part in as_objects(value))
