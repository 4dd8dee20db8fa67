"""What the events look like of which an answer has by far the most, in both formats: more text, or more arguments.

An event of exactly such a shape is decoded without looking at it key by key. So a shape has only keys that say nothing
besides, and only values that mean what they always mean; anything else is left to the rest of the decoder.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from allm.adapters import JsonTextError, Shape, as_list, as_object, loads, shape_reader, wider_shape
from allm.data.events import ReasoningDelta, ToolCallDelta
from allm.providers.openai.chat_fields import keep_piece

__all__ = [
    "TAKE_RUN",
    "Arguments",
    "ChatShape",
    "Text",
    "Thought",
    "chat_reader",
    "chat_shape_of",
    "read_argument_deltas",
    "read_reasoning_deltas",
    "read_text_deltas",
    "texts_of",
]

# --- Chat Completions ------------------------------------------------------------------------------------------------
# Most services add fields of their own to every chunk. They are known from the first chunk that has them, and not read
# by the shape, so that the decoder can keep them as it keeps those of any chunk.

_Nothing = Literal[""] | None
_Nobody = tuple[()] | None


class _Function(Shape):
    arguments: str
    name: _Nothing = None


class _Call(Shape):
    index: int
    function: _Function
    id: _Nothing = None
    type: Literal["function"] | None = None


class _Delta(Shape):
    role: Literal["assistant", ""] | None = None
    refusal: _Nothing = None
    function_call: None = None


class Text(_Delta, kw_only=True):
    """More text."""

    content: str
    reasoning: _Nothing = None
    reasoning_content: _Nothing = None
    tool_calls: _Nobody = None


class Thought(_Delta, kw_only=True):
    """More reasoning."""

    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    content: _Nothing = None
    tool_calls: _Nobody = None


class Arguments(_Delta, kw_only=True):
    """More arguments of one call."""

    tool_calls: tuple[_Call]
    content: _Nothing = None
    reasoning: _Nothing = None
    reasoning_content: _Nothing = None


class _Choice(Shape):
    delta: Any
    index: Literal[0] = 0
    logprobs: None = None
    finish_reason: _Nothing = None


class _Chunk(Shape):
    """A chunk with one delta."""

    choices: tuple[Any]
    id: str | None = None
    object: Literal["chat.completion.chunk", "chat.completion", ""] | None = None
    created: int | float | str | None = None
    model: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage: dict[str, Any] | None = None
    obfuscation: str | None = None


class ChatShape(NamedTuple):
    """What the chunks of an answer look like: which delta they have, and the service's own keys in each place."""

    delta_type: type[_Delta] = Text
    chunk: frozenset[str] = frozenset()
    choice: frozenset[str] = frozenset()
    delta: frozenset[str] = frozenset()


_MOST_OWN = 12  # keys


def chat_shape_of(data: bytes, known: ChatShape) -> ChatShape | None:
    """The shape of a chunk, with the keys that earlier ones had; None: it is of no usual one."""
    try:
        chunk = as_object(loads(data))
    except JsonTextError:
        return None
    choices = as_list(chunk.get("choices"))
    choice = as_object(choices[0]) if len(choices) == 1 else {}
    delta = as_object(choice.get("delta"))
    if delta.get("tool_calls"):
        kind: type[_Delta] = Arguments
    elif delta.get("content"):
        kind = Text
    elif delta.get("reasoning") or delta.get("reasoning_content"):
        kind = Thought
    else:
        return None
    own = [
        known.chunk.union(chunk).difference(_Chunk.__struct_fields__),
        known.choice.union(choice).difference(_Choice.__struct_fields__),
        known.delta.union(delta).difference(kind.__struct_fields__),
    ]
    names = [name for level in own for name in level]
    plain = all(name.isidentifier() and name[0] != "_" for name in names)
    # One name in two places is one note, of which the last word counts.
    if not plain or len(names) > _MOST_OWN or len({*names, "system_fingerprint"}) != len(names) + 1:
        return None
    return ChatShape(kind, *own)


@functools.lru_cache(maxsize=64)
def chat_reader(shape: ChatShape) -> Callable[[bytes, int], list[_Chunk]]:
    """Reads chunks of this shape."""
    delta = wider_shape(shape.delta_type, {}, sorted(shape.delta))
    choice = wider_shape(_Choice, {"delta": delta}, sorted(shape.choice))
    return shape_reader(wider_shape(_Chunk, {"choices": tuple[choice]}, sorted(shape.chunk)))  # type: ignore[valid-type]


def texts_of(kind: type[_Delta], deltas: list[Any]) -> list[str]:
    """The text of each delta of a run; nothing where it is one of another call than the first is of."""
    if kind is Thought:
        return [delta.reasoning_content or delta.reasoning or "" for delta in deltas]
    calls = [delta.tool_calls[0] for delta in deltas]
    return [call.function.arguments if call.index == calls[0].index else "" for call in calls]


def _run_of_thinking(decoder: Any, texts: list[str], deltas: list[Thought]) -> bool:
    for detail in (detail for delta in deltas[: len(texts)] for detail in delta.reasoning_details or ()):
        keep_piece(decoder._reasoning.details, detail)
    if decoder._reasoning.field is None:
        decoder._reasoning.field = "reasoning_content" if deltas[0].reasoning_content else "reasoning"
    decoder.more(ReasoningDelta, "reasoning-0", texts)
    return True


def _run_of_arguments(decoder: Any, texts: list[str], deltas: list[Arguments]) -> bool:
    call_id = decoder._calls.more(deltas[0].tool_calls[0].index, texts)
    if call_id is None:
        return False
    decoder.more(ToolCallDelta, call_id, texts)
    return True


TAKE_RUN: dict[type, Callable[[Any, list[str], Any], bool]] = {
    Thought: _run_of_thinking,
    Arguments: _run_of_arguments,
}
"""For the chat decoder: take the texts of such deltas; False: they are no run."""


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


read_text_deltas: Callable[[bytes, int], list[_TextDelta]] = shape_reader(_TextDelta)
read_reasoning_deltas: Callable[[bytes, int], list[_ReasoningDelta]] = shape_reader(_ReasoningDelta)
read_argument_deltas: Callable[[bytes, int], list[_ArgumentsDelta]] = shape_reader(_ArgumentsDelta)
