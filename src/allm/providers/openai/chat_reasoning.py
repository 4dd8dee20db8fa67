"""Thinking in Chat Completions, which OpenAI does not show and every other service puts somewhere else.

It is `reasoning` (Groq, OpenRouter), `reasoning_content` (DeepSeek, llama.cpp), the same text in both (vLLM), parts of
the content (Mistral), or `reasoning_details` (OpenRouter, beside `reasoning` or alone), which hold what the vendor
behind it signed or encrypted and go back as they came:
https://openrouter.ai/docs/guides/best-practices/reasoning-tokens#preserving-reasoning-blocks
"""

from __future__ import annotations

from typing import Any

import attrs

from allm.adapters import as_objects, as_text
from allm.data.events import ReasoningCompleted

__all__ = ["DETAILS", "HOLDERS", "Reasoning"]

DETAILS = "reasoning_details"

_FIELDS = ("reasoning_content", "reasoning")
_GROWING = ("text", "summary")
HOLDERS = frozenset({DETAILS, *_FIELDS})
"""The fields of a delta that hold a thought; so may a `content` that is a list."""


@attrs.define(eq=False)
class Reasoning:
    """The thinking of one answer.

    Attributes:
        details: What goes back, each item put together from its pieces.
    """

    details: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)

    def take(self, delta: dict[str, Any]) -> str:
        """The text in a delta, or in a whole message."""
        details = as_objects(delta.get(DETAILS))
        for detail in details:
            self._keep(detail)
        text = next((text for name in _FIELDS if (text := as_text(delta.get(name)))), None)
        if text is not None:
            return text
        shown = [text for detail in details for key in _GROWING if (text := as_text(detail.get(key)))]
        return "".join(shown) or "".join(_thinking(part.get("thinking")) for part in as_objects(delta.get("content")))

    def completed(self, event: ReasoningCompleted, provider: str) -> ReasoningCompleted:
        """The end of the block, with what has to go back."""
        event = attrs.evolve(event, provider=provider)
        if not self.details:
            return event
        return attrs.evolve(
            event,
            signature=self._last("signature"),
            encrypted_content=self._last("data"),
            metadata={provider: {DETAILS: self.details}},
        )

    def _keep(self, detail: dict[str, Any]) -> None:
        last = self.details[-1] if self.details else {}
        grows = any(key in detail for key in _GROWING) or "signature" in detail
        if not grows or (last.get("type"), last.get("index")) != (detail.get("type"), detail.get("index")):
            self.details.append(dict(detail))
            return
        for key, value in detail.items():
            if key in _GROWING and isinstance(last.get(key), str) and isinstance(value, str):
                last[key] += value
            elif value is not None:
                last[key] = value

    def _last(self, key: str) -> str | None:
        return next((text for detail in reversed(self.details) if (text := as_text(detail.get(key)))), None)


def _thinking(value: Any) -> str:
    """The text of a part of the content that is a thought: a string, or parts of its own."""
    return as_text(value) or "".join(as_text(part.get("text")) or "" for part in as_objects(value))
