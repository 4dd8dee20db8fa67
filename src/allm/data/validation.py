"""`validate`: check a value of any kind. The check of each type is in the type's own module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from allm.data.embedding import EmbeddingRequest
from allm.data.embedding_check import request_problems as embedding_problems
from allm.data.errors import Problem
from allm.data.image_request import ImageRequest, image_problems
from allm.data.message import Message, Thread, message_problems, thread_problems
from allm.data.moderation import ModerationRequest, moderation_problems
from allm.data.problems import refuse
from allm.data.request import Request, request_problems
from allm.data.rerank import RerankRequest, rerank_problems
from allm.data.session import Session, session_problems
from allm.data.speech import SpeechRequest, TranscriptionRequest, speech_problems, transcription_problems
from allm.data.tool import Tool, tool_problems

__all__ = ["validate"]

_CHECKS: dict[type, tuple[Callable[[Any], Sequence[Problem]], str]] = {
    Message: (message_problems, "invalid_message"),
    Tool: (tool_problems, "invalid_tool"),
    Request: (request_problems, "invalid_request"),
    Thread: (thread_problems, "invalid_thread"),
    Session: (session_problems, "invalid_session"),
    EmbeddingRequest: (embedding_problems, "invalid_request"),
    ImageRequest: (image_problems, "invalid_request"),
    ModerationRequest: (moderation_problems, "invalid_request"),
    RerankRequest: (rerank_problems, "invalid_request"),
    SpeechRequest: (speech_problems, "invalid_request"),
    TranscriptionRequest: (transcription_problems, "invalid_request"),
}
"""The check of each type, and the `reason` of its error."""


def validate(value: Any) -> None:
    """Check a `Message`, `Tool`, `Thread` or `Session`, or any kind of request.

    Raises:
        ValidationError: With every problem, as a `(path, tag)` pair in `errors`, and with its sentence in `problems`.
        TypeError: The value has another type.
    """
    for cls, (check, reason) in _CHECKS.items():
        if isinstance(value, cls):
            refuse(check(value), reason=reason)
            return
    known = ", ".join(cls.__name__ for cls in _CHECKS)
    raise TypeError(f"cannot validate {type(value).__name__}; expected one of: {known}")
