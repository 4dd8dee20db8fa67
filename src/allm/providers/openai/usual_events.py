"""What the events look like of which an answer has by far the most, in both formats: more text, or more arguments.

An event of exactly such a shape is decoded without looking at it key by key. So a shape has only keys that say nothing
besides, and only values that mean what they always mean; anything else is left to the rest of the decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from allm.adapters import Shape, shape_reader

__all__ = [
    "Arguments",
    "Text",
    "Thought",
    "read_argument_deltas",
    "read_arguments",
    "read_reasoning_deltas",
    "read_text_deltas",
    "read_texts",
    "read_thoughts",
]

# --- Chat Completions ------------------------------------------------------------------------------------------------


class _Function(Shape):
    arguments: str
    name: None = None


class _Call(Shape):
    index: int
    function: _Function
    id: None = None
    type: Literal["function"] | None = None


class _Delta(Shape):
    role: Literal["assistant"] | None = None
    refusal: None = None
    function_call: None = None


class Text(_Delta, kw_only=True):
    """More text."""

    content: str
    reasoning: None = None
    reasoning_content: None = None
    tool_calls: None = None


class Thought(_Delta, kw_only=True):
    """More reasoning."""

    reasoning: str | None = None
    reasoning_content: str | None = None
    content: Literal[""] | None = None
    tool_calls: None = None


class Arguments(_Delta, kw_only=True):
    """More arguments of one call."""

    tool_calls: tuple[_Call]
    content: None = None
    reasoning: None = None
    reasoning_content: None = None


DeltaT = TypeVar("DeltaT", bound=_Delta)


class _Choice(Shape, Generic[DeltaT]):
    delta: DeltaT
    index: Literal[0] = 0
    logprobs: None = None
    finish_reason: None = None


class _Chunk(Shape, Generic[DeltaT]):
    """A chunk with one delta."""

    choices: tuple[_Choice[DeltaT]]
    id: str | None = None
    object: Literal["chat.completion.chunk"] | None = None
    created: int = 0
    model: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage: None = None
    obfuscation: str | None = None


read_texts: Callable[[bytes], list[_Chunk[Text]] | None] = shape_reader(_Chunk[Text])
read_thoughts: Callable[[bytes], list[_Chunk[Thought]] | None] = shape_reader(_Chunk[Thought])
read_arguments: Callable[[bytes], list[_Chunk[Arguments]] | None] = shape_reader(_Chunk[Arguments])

# --- Responses -------------------------------------------------------------------------------------------------------


class _Place(Shape):
    """A delta of an item."""

    delta: str
    item_id: str
    output_index: int
    sequence_number: int = 0
    obfuscation: str | None = None


class _TextDelta(_Place, kw_only=True):
    type: Literal["response.output_text.delta"]
    content_index: int
    logprobs: list[Any] | None = None


class _ReasoningDelta(_Place, kw_only=True):
    type: Literal["response.reasoning_summary_text.delta", "response.reasoning_text.delta"]
    summary_index: int | None = None
    content_index: int | None = None


class _ArgumentsDelta(_Place, kw_only=True):
    type: Literal["response.function_call_arguments.delta"]


read_text_deltas: Callable[[bytes], list[_TextDelta] | None] = shape_reader(_TextDelta)
read_reasoning_deltas: Callable[[bytes], list[_ReasoningDelta] | None] = shape_reader(_ReasoningDelta)
read_argument_deltas: Callable[[bytes], list[_ArgumentsDelta] | None] = shape_reader(_ArgumentsDelta)
