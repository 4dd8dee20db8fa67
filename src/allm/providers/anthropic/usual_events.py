"""What the events look like of which an answer has by far the most: more of a block.

An event of exactly such a shape is decoded without looking at it key by key. So a shape has only keys that say nothing
besides, and only values that mean what they always mean; anything else is left to the rest of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from allm.adapters import Shape, shape_reader

__all__ = ["Input", "Text", "Thought", "read_deltas"]


class Text(Shape, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class Thought(Shape, tag_field="type", tag="thinking_delta", rename={"text": "thinking"}):
    """More thinking."""

    text: str


class Input(Shape, tag_field="type", tag="input_json_delta", rename={"text": "partial_json"}):
    """More of the arguments of a call."""

    text: str


class _Event(Shape):
    type: Literal["content_block_delta"]
    index: int
    delta: Text | Thought | Input


read_deltas: Callable[[bytes, int], list[_Event]] = shape_reader(_Event)
