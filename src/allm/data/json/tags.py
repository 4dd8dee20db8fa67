"""The types that can be serialized, their tags, and the strict converter for them.

Error messages show the types in a document and not its values, which may be long or private.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn

from allm.data import structuring as core
from allm.data.audio import Audio
from allm.data.bulk import BulkError, BulkItem, T_co
from allm.data.cache import Cache, CacheContents
from allm.data.citation import Citation, SourcePlace
from allm.data.content import Part
from allm.data.document import Document, Video
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
    BudgetExceeded,
    EngineError,
    ImageAdapterError,
    OptionError,
    Path,
    Problem,
    SessionError,
    StreamError,
    ToolError,
    ValidationError,
)
from allm.data.events import Event
from allm.data.file_ref import FileRef
from allm.data.hosted_tool import HostedTool
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse, ImageUsage
from allm.data.json.document import json_problem
from allm.data.logprobs import TokenLogprob
from allm.data.media import Source, SourceKind
from allm.data.message import Message, Thread
from allm.data.moderation import ModerationInput, ModerationRequest, ModerationResponse, ModerationResult
from allm.data.problems import shown
from allm.data.request import JsonSchema, Request, ResponseFormat, ToolChoice
from allm.data.rerank import RerankRequest, RerankResponse, RerankResult
from allm.data.response import Response, UnwrapError, Usage
from allm.data.results import (
    CallHalt,
    ChatResult,
    FinalizeReport,
    HaltCause,
    HaltedReason,
    PendingQuestion,
    StepResult,
    ToolOutcome,
)
from allm.data.session import AnswerEntry, Approval, JoinedEntry, Session, SessionConflict
from allm.data.speech import Speech, SpeechRequest, Transcription, TranscriptionRequest
from allm.data.step_changes import StepChanges
from allm.data.structuring import Misfit, sequence
from allm.data.token_count import TokenCount
from allm.data.tool import Tool
from allm.data.tool_control import AskUser, Halt
from allm.data.toolset import Toolset
from allm.data.transcript_parts import TranscriptionPart
from allm.data.transcription_events import TranscriptionCompleted, TranscriptionDelta, TranscriptionSegment

__all__ = [
    "ERROR_TYPES",
    "EVENT_TAGS",
    "LEFT_OUT",
    "OPEN_FIELDS",
    "PART_TAGS",
    "TAG_OF",
    "VALUE_TAGS",
    "error_arguments",
    "known_error",
    "load_bytes",
    "problems_of",
    "register",
    "register_classes",
    "register_union",
    "strict_converter",
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
            *(Message, Tool, HostedTool, Request, Response, Usage, Thread, StepResult, ChatResult, JsonSchema),
            *(Image, Document, Video, FileRef, TokenCount, Cache, CacheContents),
            *(Problem, TokenLogprob, StepChanges, Citation, SourcePlace),
            *(Session, Approval, AnswerEntry, JoinedEntry, ToolOutcome, AskUser, Halt, PendingQuestion, FinalizeReport),
            *get_args(HaltCause),
            *(ImageRequest, ImageResponse, ImageUsage),
            *(Audio, Speech, SpeechRequest, Transcription, TranscriptionPart, TranscriptionRequest),
            *(TranscriptionDelta, TranscriptionSegment, TranscriptionCompleted),
            *(Embedding, EmbeddingRequest, EmbeddingResponse),
            *(ModerationRequest, ModerationResponse, ModerationResult),
            *(RerankRequest, RerankResponse, RerankResult),
            BulkItem,
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
        BudgetExceeded,
        BulkError,
    )
}
LEFT_OUT: dict[type, tuple[str, ...]] = {Response: ("output_type",), JsonSchema: ("output_type",)}
LEFT_OUT[Tool] = ("handler", "manual_when", "limit")
LEFT_OUT[HostedTool] = (*LEFT_OUT[Tool], "secrets")
"""Fields with live objects of the caller, which are not part of the serialized value."""
OPEN_FIELDS: dict[Any, tuple[type, ...]] = {
    Any: (object,),
    ToolChoice | None: (str, dict, NoneType),
    ResponseFormat | None: (JsonSchema, str, dict, NoneType),
    EmbeddingInput: (str, Image, tuple),
    ModerationInput: (str, Image),
    T_co | None: (object,),
}
"""Types of fields that are written as open data, with the types of their values."""
TAG_OF: dict[type, str] = {cls: tag for tag, cls in VALUE_TAGS.items()}


def tag_of(value: Any) -> str | None:
    """The tag of the value's type, or None if it is not serializable."""
    if isinstance(value, AllmError):
        return known_error(value).__name__
    return TAG_OF.get(type(value))


def known_error(error: AllmError) -> type[AllmError]:
    """The class of an error; for a class of another package, the nearest base class here that has the same reason."""
    return next(
        cls
        for cls in type(error).__mro__
        if issubclass(cls, AllmError)
        and ERROR_TYPES.get(cls.__name__) is cls
        and (not cls.reasons or error.reason in cls.reasons)
    )


def error_arguments(cls: type[AllmError]) -> dict[str, tuple[Any, Any]]:
    """The arguments of an error class: for each field its type and default, or `inspect.Parameter.empty`."""
    found: dict[str, tuple[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, AllmError) and "__init__" in vars(base):
            hints = get_type_hints(base.__init__)
            signature = inspect.signature(base.__init__)
            found |= {name: (hints[name], signature.parameters[name].default) for name in hints if name in cls.fields}
    return found


def problems_of(error: BaseException) -> Iterator[tuple[Path, str]]:
    """The path and the message of every problem in an exception from the converter."""
    for path, what in core.problems_of(error, _tell):
        yield tuple(str(step) if isinstance(step, str) else step for step in path), what


def _tell(error: BaseException, path: Path) -> str:
    if isinstance(error, Misfit):
        if get_origin(error.expected) is Literal:
            return f"expected one of {', '.join(get_args(error.expected))}; got {shown(error.value)}"
        return f"expected {_name(error.expected)}, got {type(error.value).__name__}"
    if isinstance(error, KeyError):
        return "missing" if path[-1:] == error.args else f"{error.args[0]!r} is missing"
    return str(error)


def _name(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    if core.origin_of(hint) in (list, dict):
        return "a list" if core.origin_of(hint) is list else "an object"
    return " or ".join(_name(inner) for inner in get_args(hint)) or getattr(hint, "__name__", str(hint))


def strict_converter(left_out: Mapping[type, tuple[str, ...]]) -> cattrs.Converter:
    """A converter for frozen classes, tuples, dictionaries with text keys, literals, texts, numbers and booleans.

    Args:
        left_out: Fields of classes that are not serialized.
    """
    converter = core.strict_converter(left_out)

    def dump_class(cls: Any) -> Callable[[Any], Any]:
        omitted: Any = core.omitted_fields(cls, left_out)
        return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **omitted)

    converter.register_unstructure_hook_factory(attrs.has, dump_class)
    return converter


def register(
    converter: cattrs.Converter, type_: Any, dump: Callable[[Any], Any], load: Callable[[Any, Any], Any]
) -> None:
    """Register hooks for exactly `type_`, which may be a generic or a union."""
    converter.register_unstructure_hook_func(lambda cls: cls == type_, dump)
    converter.register_structure_hook_func(lambda cls: cls == type_, load)


def register_union(converter: cattrs.Converter, union: Any, tags: Mapping[str, type]) -> None:
    """Register hooks for a closed union whose values have their tag in `type`; None is allowed if the union has it."""
    names = {cls: tag for tag, cls in tags.items()}
    optional = NoneType in get_args(union)

    def unstructure(value: Any) -> dict[str, Any]:
        return {"type": names[type(value)], **converter.unstructure(value)}

    def structure(value: Any, _: Any) -> Any:
        if value is None and optional:
            return None
        tag = value.get("type") if isinstance(value, dict) else None
        cls = tags.get(tag) if isinstance(tag, str) else None
        if cls is None:
            raise ValueError(f"unknown type {tag!r:.60}; expected one of: {', '.join(sorted(tags))}")
        return converter.structure(value, cls)

    register(converter, union, unstructure, structure)


# --- classes whose fields say too little for cattrs ------------------------------------------------------------------


def register_classes(converter: cattrs.Converter) -> None:
    """Register the hooks of these classes; those of `Part` have to be there before."""
    for register_one in (_content, _media, _tool, _halts):
        register_one(converter)


def load_bytes(value: Any, _: Any = None) -> bytes:
    """Bytes, which are base64 where they come from a text."""
    if type(value) is bytes:
        return value
    if not isinstance(value, str):
        raise Misfit("base64 text", value)
    return base64.b64decode(value, validate=True)


def _content(converter: cattrs.Converter) -> None:
    content = str | tuple[Part, ...]

    def unstructure(value: Any) -> Any:
        return value if isinstance(value, str) else [converter.unstructure(part, unstructure_as=Part) for part in value]

    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, str):
            return value
        return tuple(sequence(value, lambda part: converter.structure(part, cast("Any", Part))))

    register(converter, content, unstructure, structure)


def _media(converter: cattrs.Converter) -> None:
    kinds = get_args(SourceKind)

    def unstructure(value: tuple[str, str | bytes | FileRef]) -> dict[str, Any]:
        kind, data = value
        if not isinstance(data, {"bytes": bytes, "upload": FileRef}.get(kind, str)):
            raise TypeError(f"the source of a file is {kind!r:.60} with {type(data).__name__}")
        return {"type": kind, "value": converter.unstructure(data) if isinstance(data, FileRef) else data}

    def structure(value: Any, _: Any) -> Any:
        kind, data = (value.get("type"), value.get("value")) if isinstance(value, dict) else (None, None)
        if kind == "upload":
            return (kind, converter.structure(data, FileRef))
        if kind not in kinds or not isinstance(data, bytes if type(data) is bytes and kind == "bytes" else str):
            raise ValueError(f'expected {{"type": one of {", ".join(sorted(kinds))}, "value": text}}')
        return (kind, load_bytes(data) if kind == "bytes" else data)

    register(converter, Source, unstructure, structure)


def _halts(converter: cattrs.Converter) -> None:
    for cause in (HaltCause | None, CallHalt | None):
        register_union(converter, cause, {cls.__name__: cls for cls in get_args(cause) if cls is not NoneType})
    # A union of literals and str, which cattrs cannot tell apart.
    register(converter, HaltedReason, lambda reason: reason, lambda value, _: converter.structure(value, str))


def _tool(converter: cattrs.Converter) -> None:
    """A tool with a live object is rejected: without it the tool that is read would behave differently."""
    dump = converter.get_unstructure_hook(Tool)
    dump_hosted = converter.get_unstructure_hook(HostedTool)
    load, load_hosted = converter.get_structure_hook(Tool), converter.get_structure_hook(HostedTool)

    def unstructure(tool: Tool) -> Any:
        given: Any = tool  # a request may have sets among its tools
        if isinstance(given, Toolset):
            what = "a set of tools cannot be serialised; expected tools, as `await toolset.load()` gives them"
            raise json_problem("not_serialisable", what)
        for field in LEFT_OUT[type(given)]:
            if getattr(tool, field) is not None:
                what = f"tool {tool.name!r} has a {field}, which cannot be serialised: evolve it with {field}=None"
                raise json_problem("not_serialisable", what)
        return dump_hosted(tool) if isinstance(given, HostedTool) else dump(tool)

    def structure(value: Any, _: Any) -> Any:
        hosted = isinstance(value, dict) and "kind" in value
        return load_hosted(value, HostedTool) if hosted else load(value, Tool)

    for cls in (Tool, HostedTool):
        converter.register_unstructure_hook(cls, unstructure)
    converter.register_structure_hook_func(lambda cls: cls is Tool, structure)
