"""What a provider sends, as far as a conversation can keep it.

A conversation is saved as a document, which has limits (`data/json/measure.py`), while a provider may send any JSON. An
event passes here before anyone sees it, so that whatever an answer holds can be saved:

- Arguments beyond the limits are no arguments: the call keeps their text, as it does where they are no JSON, and the
  model is told so instead of the tool being run.
- Data that goes back to the provider, such as the result of a server-side tool, cannot be left out without making the
  next request invalid, so the answer fails.
- A note about the answer, which goes nowhere, is replaced by a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from allm.data.content import ToolCall
from allm.data.errors import AdapterError
from allm.data.events import (
    AdapterEvent,
    ImageCompleted,
    MessageCompleted,
    ProviderPartCompleted,
    ReasoningCompleted,
    TextCompleted,
    ToolCallCompleted,
    UsageReported,
)
from allm.data.json.measure import value_problem
from allm.data.json.text import dumps

__all__ = ["storable"]


def storable(event: Any) -> Any:
    """The event as it can be kept; the same one if it can be kept as it is, which most can.

    Raises:
        AdapterError: `answer_too_large`: it holds opaque data that cannot be kept.
    """
    step = _STEPS.get(type(event))
    return event if step is None else step(event)


def _call(event: ToolCallCompleted) -> AdapterEvent:
    if event.metadata:
        _check("fields of a tool call", event.metadata)
    changes = _without_arguments(event)
    return attrs.evolve(event, **changes) if changes else event


def _without_arguments(call: ToolCallCompleted | ToolCall) -> dict[str, Any]:
    if call.arguments is None or value_problem(call.arguments) is None:
        return {}
    raw = call.raw_arguments
    return {"arguments": None, "raw_arguments": dumps(dict(call.arguments)).decode() if raw is None else raw}


def _provider_part(event: ProviderPartCompleted) -> AdapterEvent:
    _check("an item", event.part.data)
    return event


def _text(event: TextCompleted | ReasoningCompleted) -> AdapterEvent:
    if event.metadata:
        _check("fields of a text", event.metadata)
    return event


def _image(event: ImageCompleted) -> AdapterEvent:
    if event.part.metadata:
        _check("fields of an image", event.part.metadata)
    return event


def _check(what: str, data: Mapping[str, Any]) -> None:
    problem = value_problem(data)
    if problem is not None:
        message = (
            f"the provider sent {what} that {problem}, more than a conversation can keep; without it the conversation "
            "could not be sent again, so the answer ends here, and what came before is kept"
        )
        raise AdapterError(message, reason="answer_too_large")


def _usage(event: UsageReported) -> AdapterEvent:
    extra = _notes(event.usage.extra)
    return event if extra is None else attrs.evolve(event, usage=attrs.evolve(event.usage, extra=extra))


def _completed(event: MessageCompleted) -> AdapterEvent:
    changes: dict[str, Any] = {}
    metadata = {key: _notes(value) if isinstance(value, Mapping) else None for key, value in event.metadata.items()}
    if any(notes is not None for notes in metadata.values()):
        kept = {key: value if metadata[key] is None else metadata[key] for key, value in event.metadata.items()}
        changes["metadata"] = kept
    parts = [(part, _without_arguments(part) if isinstance(part, ToolCall) else {}) for part in event.message.parts]
    if any(change for _, change in parts):
        content = [attrs.evolve(part, **change) if change else part for part, change in parts]
        changes["message"] = attrs.evolve(event.message, content=content)
    return attrs.evolve(event, **changes) if changes else event


def _notes(notes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The notes with a sentence in the place of each that cannot be kept; None: all can."""
    problems = {key: problem for key, value in notes.items() if (problem := value_problem(value)) is not None}
    if not problems:
        return None
    return {key: f"left out: it {problems[key]}" if key in problems else value for key, value in notes.items()}


_STEPS: dict[type, Callable[[Any], AdapterEvent]] = {
    ToolCallCompleted: _call,
    ProviderPartCompleted: _provider_part,
    TextCompleted: _text,
    ReasoningCompleted: _text,
    ImageCompleted: _image,
    UsageReported: _usage,
    MessageCompleted: _completed,
}
