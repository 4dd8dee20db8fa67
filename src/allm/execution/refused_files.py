"""A request with files in results of tools that its adapter refuses: the model gets a text for each of them.

A result is what a tool made of its arguments, maybe a tool of somebody else, and it stays in the conversation: refusing
the request would end this turn and every one after it. The conversation keeps the file, for a model that takes it. A
file in a message of the user is refused, as whoever gave it can be told.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs

from allm.data.content import MediaPart, Part, TextPart, media_of
from allm.data.errors import Problem, ValidationError
from allm.data.request import Request

__all__ = ["prepare_otherwise"]

logger: logging.Logger = logging.getLogger("allm")

_PLACE = 4  # the length of `("messages", 2, "content", 0)`


def prepare_otherwise(adapter: Any, request: Request, options: Any, error: Exception) -> Any:
    """What the adapter prepares without the files of results that it has refused.

    Args:
        error: What `adapter.prepare` has raised.

    Raises:
        ValidationError: It refuses something else, or the request is nested too deeply.
    """
    while isinstance(error, ValidationError):
        changed = _without_refused(request, error)
        if changed is None:
            raise error
        request = changed  # with a file less, so that this ends
        try:
            return adapter.prepare(request, options)
        except (RecursionError, ValidationError) as again:
            error = again
    sentence = "the request is nested too deeply, or contains itself: check its options, schemas and format"
    raise ValidationError([Problem((), "nested_too_deep", sentence)], reason="invalid_request") from None


def _without_refused(request: Request, error: ValidationError) -> Request | None:
    """The request without the files that the error is about; None if it is about anything else."""
    messages = list(request.messages)
    changed = False
    for problem in error.problems:
        where, index, what, position = (*problem.path, None, None, None, None)[:_PLACE]
        if (where, what) != ("messages", "content") or not isinstance(index, int) or not isinstance(position, int):
            return None
        message = messages[index]
        parts: list[Part] = list(message.parts)
        part = parts[position]
        is_result = message.role == "tool" or message.metadata.get("tool_results") is True  # told to the model as text
        if not is_result or not isinstance(part, MediaPart):
            return None
        media = media_of(part)
        why = f"it {problem.sentence}" if problem.sentence.startswith("is ") else problem.sentence
        logger.warning("the result of tool %s has %s that the model does not get: %s", message.name, media.phrase, why)
        parts[position] = TextPart(f"[{media.phrase} that cannot be shown: {why}]")
        messages[index] = attrs.evolve(message, content=tuple(parts))
        changed = True
    return attrs.evolve(request, messages=tuple(messages)) if changed else None
