"""What has a form in JSON, under which name, and of which parts of it."""

from __future__ import annotations

import inspect
from types import NoneType
from typing import Any, get_args, get_type_hints

from allm.data.audio import Audio, Speech, SpeechRequest, Transcription, TranscriptionPart, TranscriptionRequest
from allm.data.content import Part
from allm.data.embedding import (
    Embedding,
    EmbeddingAdapterError,
    EmbeddingInput,
    EmbeddingRequest,
    EmbeddingResponse,
)
from allm.data.errors import (
    AdapterError,
    AllmError,
    EngineError,
    ImageAdapterError,
    OptionError,
    Problem,
    SessionError,
    StreamError,
    ToolError,
    UnwrapError,
    ValidationError,
)
from allm.data.events import Event
from allm.data.halt import HaltCause, PendingQuestion, ToolOutcome
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse, ImageUsage
from allm.data.logprobs import TokenLogprob
from allm.data.message import Message
from allm.data.moderation import ModerationInput, ModerationRequest, ModerationResponse, ModerationResult
from allm.data.request import JsonSchema, Request, ResponseFormat, ToolChoice
from allm.data.response import Response, Usage
from allm.data.results import ChatResult, FinalizeReport, StepResult
from allm.data.session import AnswerEntry, Approval, Session, SessionConflict
from allm.data.thread import Thread
from allm.data.tool import Tool
from allm.data.tool_control import AskUser, Halt

__all__ = [
    "ERROR_TYPES",
    "EVENT_TAGS",
    "LEFT_OUT",
    "OPEN_FIELDS",
    "PART_TAGS",
    "VALUE_TAGS",
    "error_arguments",
    "known_error",
    "tag_of",
]

PART_TAGS: dict[str, type] = {cls.__name__: cls for cls in get_args(Part)}
EVENT_TAGS: dict[str, type] = {cls.__name__: cls for cls in get_args(Event)}
VALUE_TAGS: dict[str, type] = {
    **PART_TAGS,
    **EVENT_TAGS,
    **{
        cls.__name__: cls
        for cls in (
            *(Message, Tool, Request, Response, Usage, Thread, StepResult, ChatResult, Image, JsonSchema),
            *(Problem, TokenLogprob),
            *(Session, Approval, AnswerEntry, ToolOutcome, AskUser, Halt, PendingQuestion, FinalizeReport),
            *get_args(HaltCause),
            *(ImageRequest, ImageResponse, ImageUsage),
            *(Audio, Speech, SpeechRequest, Transcription, TranscriptionPart, TranscriptionRequest),
            *(Embedding, EmbeddingRequest, EmbeddingResponse),
            *(ModerationRequest, ModerationResponse, ModerationResult),
        )
    },
}
ERROR_TYPES: dict[str, type[AllmError]] = {
    cls.__name__: cls
    for cls in (
        AllmError,
        ValidationError,
        OptionError,
        EngineError,
        AdapterError,
        ImageAdapterError,
        EmbeddingAdapterError,
        StreamError,
        ToolError,
        SessionError,
        SessionConflict,
        UnwrapError,
    )
}
LEFT_OUT: dict[type, tuple[str, ...]] = {Response: ("output_type",), JsonSchema: ("output_type",), Tool: ("handler",)}
"""Fields that are live objects of the caller's and no part of the value."""
OPEN_FIELDS: dict[Any, tuple[type, ...]] = {
    Any: (object,),
    ToolChoice | None: (str, dict, NoneType),
    ResponseFormat | None: (JsonSchema, str, dict, NoneType),
    EmbeddingInput: (str, Image, tuple),
    ModerationInput: (str, Image),
}
"""Fields that are written as open data, and what may be in them."""
_TAG_OF: dict[type, str] = {cls: tag for tag, cls in VALUE_TAGS.items()}


def tag_of(value: Any) -> str | None:
    """The name of the value's type in a document, or None if it has no form."""
    if isinstance(value, AllmError):
        return known_error(value).__name__
    return _TAG_OF.get(type(value))


def known_error(error: AllmError) -> type[AllmError]:
    """Its class; of a class of someone else's the nearest one here that has such a reason."""
    return next(
        cls
        for cls in type(error).__mro__
        if issubclass(cls, AllmError)
        and ERROR_TYPES.get(cls.__name__) is cls
        and (not cls.reasons or error.reason in cls.reasons)
    )


def error_arguments(cls: type[AllmError]) -> dict[str, tuple[Any, Any]]:
    """What an error's class is made of: for each field its type and its default, `inspect.Parameter.empty` for none."""
    found: dict[str, tuple[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, AllmError) and "__init__" in vars(base):
            hints = get_type_hints(base.__init__)
            signature = inspect.signature(base.__init__)
            found |= {name: (hints[name], signature.parameters[name].default) for name in hints if name in base.fields}
    return found
