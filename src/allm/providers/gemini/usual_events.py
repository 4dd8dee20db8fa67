"""What the chunks look like of which an answer has by far the most: more text, or more of a thought.

A chunk of exactly such a shape is decoded without looking at it key by key. So a shape has only keys that say nothing
besides, and only values that mean what they always mean; anything else is left to the rest of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from allm.adapters import Shape, shape_reader

__all__ = ["read_chunks"]


class _Part(Shape):
    text: str
    thought: bool | None = None


class _Content(Shape):
    parts: tuple[_Part]
    role: str | None = None


class _Candidate(Shape):
    content: _Content
    index: Literal[0] = 0
    finishReason: None = None  # noqa: N815  (its name on the wire)


class _Chunk(Shape):
    candidates: tuple[_Candidate]
    usageMetadata: dict[str, Any] | None = None  # noqa: N815
    modelVersion: str | None = None  # noqa: N815
    responseId: str | None = None  # noqa: N815
    createTime: str | None = None  # noqa: N815


read_chunks: Callable[[bytes, int], list[_Chunk]] = shape_reader(_Chunk)
