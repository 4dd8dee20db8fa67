"""Values to JSON and back: tagged, versioned, an exact round trip.

A document is `{"v": 1, "type": "Thread", ...fields}`. Fields at their default are left out; unknown fields of a known
version are ignored on reading, so that a reader survives an added field. A value of a closed union carries its own
`"type"`. Open data (metadata, arguments, payloads) is plain JSON; what JSON has no form for is wrapped as
`{"$type": "tuple" | "bytes" | "float" | "mapping" | <class name>, ...}`. Functions, keys and engines have no form.

cattrs does the walking; this module is the only one that imports it for the library's own values. The converter is
built on first use, since building it costs more than importing it.
"""

from __future__ import annotations

import base64
import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, get_args, overload

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from allm.data.audio import Audio, Speech, SpeechRequest, Transcription, TranscriptionPart, TranscriptionRequest
from allm.data.content import Part
from allm.data.embedding import (
    Embedding,
    EmbeddingInput,
    EmbeddingRequest,
    EmbeddingResponse,
    dump_embedding,
    load_embedding,
)
from allm.data.errors import ERROR_TYPES, AllmError, ValidationError
from allm.data.events import Event
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse, ImageUsage
from allm.data.json_document import MAX_DEPTH, MAX_ITEMS, MAX_JSON_BYTES, json_problem, parse_document
from allm.data.message import Message
from allm.data.moderation import ModerationInput, ModerationRequest, ModerationResponse, ModerationResult
from allm.data.outcomes import AskUser, Halt
from allm.data.request import JsonSchema, Request, ResponseFormat, ToolChoice
from allm.data.response import Response, Usage
from allm.data.results import ChatResult, StepResult
from allm.data.session import AnswerEntry, Approval, ResultEntry, Session
from allm.data.thread import Thread
from allm.data.tool import Tool

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "MAX_JSON_BYTES", "VERSION", "from_json", "to_json"]

T = TypeVar("T")

VERSION = 1

PART_TAGS: dict[str, type] = {cls.__name__: cls for cls in get_args(Part)}
EVENT_TAGS: dict[str, type] = {cls.__name__: cls for cls in get_args(Event)}
VALUE_TAGS: dict[str, type] = {
    **PART_TAGS,
    **EVENT_TAGS,
    **{
        cls.__name__: cls
        for cls in (
            *(Message, Tool, Request, Response, Usage, Thread, StepResult, ChatResult, Image, JsonSchema),
            *(Session, Approval, AnswerEntry, ResultEntry, AskUser, Halt),
            *(ImageRequest, ImageResponse, ImageUsage),
            *(Audio, Speech, SpeechRequest, Transcription, TranscriptionPart, TranscriptionRequest),
            *(Embedding, EmbeddingRequest, EmbeddingResponse),
            *(ModerationRequest, ModerationResponse, ModerationResult),
        )
    },
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG_OF: dict[type, str] = {cls: tag for tag, cls in VALUE_TAGS.items()}


def to_json(value: Any) -> str:
    """Any value of the library as one JSON document.

    Raises:
        ValidationError: It holds something JSON has no form for: a handler, an engine, an open file.
    """
    tag = _tag(value)
    if tag is None:
        raise json_problem("not_serialisable", f"cannot serialise {type(value).__name__}; expected a value of allm")
    try:
        document = {"v": VERSION, "type": tag, **_converter().unstructure(value)}
        text = json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
        if not text.isascii() and _LONE_SURROGATE.search(text):  # has no UTF-8 form: only its escape can be stored
            text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise json_problem("too_deep", "cannot serialise a value that nests without end") from None
    return text


@overload
def from_json(text: str | bytes, as_: type[T]) -> T: ...
@overload
def from_json(text: str | bytes, as_: None = None) -> Any: ...
def from_json(text: str | bytes, as_: type[T] | None = None) -> T | Any:
    """The value that `to_json` wrote.

    Args:
        text: The document.
        as_: The type it has to be.

    Raises:
        ValidationError: Not JSON, no known tag or version, another type than `as_`, a field of the wrong type, or a
            document larger than `MAX_JSON_BYTES`, deeper than `MAX_DEPTH` or of more than `MAX_ITEMS` values.
    """
    document = parse_document(text)
    if not isinstance(document, dict) or "type" not in document:
        raise json_problem("missing_type_tag", 'expected a JSON object with "v" and "type", as to_json writes it')
    version = document.get("v")
    if type(version) is not int or version != VERSION:
        raise json_problem("unknown_version", f"document version {version!r} is not known; expected {VERSION}")
    tag = document["type"]
    cls = VALUE_TAGS.get(tag) or ERROR_TYPES.get(tag) if isinstance(tag, str) else None
    if cls is None:
        raise json_problem(
            "unknown_type_tag", f"unknown type {tag!r}; expected one of: {', '.join(sorted(VALUE_TAGS))}"
        )
    if as_ is not None and not issubclass(cls, as_):
        raise json_problem("unexpected_type", f"the document holds a {tag}; expected {as_.__name__}")
    return _structure(document, cls)


def _structure(document: Any, cls: type[T]) -> T:
    try:
        return _converter().structure(document, cls)
    except ValidationError:
        raise
    except Exception as error:
        details = "; ".join(cattrs.transform_error(error, format_exception=_describe))
        raise json_problem("malformed_value", f"not a valid {cls.__name__}: {details}") from error


def _describe(error: BaseException, _type: type | None) -> str:
    return f"missing field {error}" if isinstance(error, KeyError) else str(error)


def _tag(value: Any) -> str | None:
    if isinstance(value, AllmError):
        return type(value).__name__
    return _TAG_OF.get(type(value))


# --- open data: metadata, arguments, payloads --------------------------------------------------------------------


def _dump_open(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in {bool, int, str}:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$type": "float", "value": repr(value)}
    if kind is list:
        return [_dump_open(item) for item in value]
    if kind is tuple:
        return {"$type": "tuple", "items": [_dump_open(item) for item in value]}
    if kind is bytes:
        return {"$type": "bytes", "base64": base64.b64encode(value).decode("ascii")}
    if kind is dict:
        if "$type" not in value and all(type(key) is str for key in value):
            return {key: _dump_open(item) for key, item in value.items()}
        return {"$type": "mapping", "items": [[_dump_open(key), _dump_open(item)] for key, item in value.items()]}
    tag = _tag(value)
    if tag is None:
        raise json_problem(
            "not_serialisable", f"cannot serialise {kind.__name__}; expected JSON data or a value of allm"
        )
    return {"$type": tag, **_converter().unstructure(value)}


def _load_open(value: Any) -> Any:
    if isinstance(value, list):
        return [_load_open(item) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get("$type")
    if tag is None:
        return {key: _load_open(item) for key, item in value.items()}
    loader = _OPEN_LOADERS.get(tag)
    if loader is not None:
        return loader(value)
    cls = VALUE_TAGS.get(tag) or ERROR_TYPES.get(tag)
    if cls is None:
        raise json_problem("unknown_type_tag", f"unknown $type {tag!r} in open data")
    return _converter().structure(value, cls)


_OPEN_LOADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "tuple": lambda value: tuple(_load_open(item) for item in value["items"]),
    "bytes": lambda value: base64.b64decode(value["base64"], validate=True),
    "float": lambda value: float(value["value"]),
    "mapping": lambda value: {_load_open(key): _load_open(item) for key, item in value["items"]},
}


# --- the converter -----------------------------------------------------------------------------------------------


def _strict(expected: type, *accepted: type) -> Callable[[Any, Any], Any]:
    kinds = (expected, *accepted)

    def structure(value: Any, _: Any) -> Any:
        if type(value) not in kinds:
            raise TypeError(f"expected {expected.__name__}, got {type(value).__name__}")
        return value

    return structure


def _open_mapping(value: Any, _: Any) -> Any:
    loaded = _load_open(value)
    if not isinstance(loaded, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    return loaded


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(omit_if_default=True)
    for primitive in (str, int, bool):
        converter.register_structure_hook(primitive, _strict(primitive))
    converter.register_structure_hook(float, _strict(float, int))
    for mapping in (dict[str, Any], Mapping[str, Any]):
        _register(converter, mapping, _dump_open, _open_mapping)
    for anything in (Any, ToolChoice | None, ResponseFormat | None, EmbeddingInput, ModerationInput):
        _register(converter, anything, _dump_open, lambda value, _: _load_open(value))
    # Parts before events: an inner union has to be known before the classes that hold it.
    _register_union(converter, Part, PART_TAGS)
    _register_errors(converter)
    _register_content(converter)
    _register_image(converter)
    _register_tool(converter)
    _register_response(converter)
    converter.register_structure_hook(AskUser, _ask_user)
    _register(converter, Embedding, dump_embedding, load_embedding)
    # By class, since cattrs has hooks of its own for it that come before those by predicate.
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode("ascii"))
    converter.register_structure_hook(bytes, _bytes)
    _register_union(converter, Event, EVENT_TAGS)
    return converter


def _register(
    converter: cattrs.Converter, type_: Any, dump: Callable[[Any], Any], load: Callable[[Any, Any], Any]
) -> None:
    """Hooks for exactly `type_`, which may be a generic or a union."""
    converter.register_unstructure_hook_func(lambda cls: cls == type_, dump)
    converter.register_structure_hook_func(lambda cls: cls == type_, load)


def _register_union(converter: cattrs.Converter, union: Any, tags: dict[str, type]) -> None:
    names = {cls: tag for tag, cls in tags.items()}

    def unstructure(value: Any) -> dict[str, Any]:
        return {"type": names[type(value)], **converter.unstructure(value)}

    def structure(value: Any, _: Any) -> Any:
        tag = value.get("type") if isinstance(value, dict) else None
        cls = tags.get(tag) if isinstance(tag, str) else None
        if cls is None:
            raise ValueError(f"unknown type {tag!r}; expected one of: {', '.join(sorted(tags))}")
        return converter.structure(value, cls)

    _register(converter, union, unstructure, structure)


def _register_errors(converter: cattrs.Converter) -> None:
    def unstructure(error: AllmError) -> dict[str, Any]:
        fields = {name: _dump_open(getattr(error, name)) for name in error.fields}
        return {"type": type(error).__name__, **fields}

    def structure(value: Any, _: Any) -> AllmError:
        tag = value.get("type") or value.get("$type") if isinstance(value, dict) else None
        cls = ERROR_TYPES.get(tag) if isinstance(tag, str) else None
        if cls is None:
            raise ValueError(f"unknown error type; expected one of: {', '.join(sorted(ERROR_TYPES))}")
        return cls(**{name: _load_open(value[name]) for name in cls.fields if name in value})

    converter.register_unstructure_hook_func(_is_error, unstructure)
    converter.register_structure_hook_func(_is_error, structure)


def _is_error(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, AllmError)


def _register_content(converter: cattrs.Converter) -> None:
    content = str | tuple[Part, ...]

    def unstructure(value: Any) -> Any:
        return value if isinstance(value, str) else [converter.unstructure(part, unstructure_as=Part) for part in value]

    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise TypeError(f"expected text or a list of parts, got {type(value).__name__}")
        return tuple(converter.structure(part, cast("Any", Part)) for part in value)

    _register(converter, content, unstructure, structure)


def _bytes(value: Any, _: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"expected base64 text, got {type(value).__name__}")
    return base64.b64decode(value, validate=True)


def _register_image(converter: cattrs.Converter) -> None:
    source = attrs.fields(attrs.resolve_types(Image)).source.type
    kinds = {"bytes", "base64", "url", "file"}

    def unstructure(value: tuple[str, str | bytes]) -> dict[str, str]:
        kind, data = value
        return {"type": kind, "value": base64.b64encode(data).decode("ascii") if isinstance(data, bytes) else data}

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict) or value.get("type") not in kinds or not isinstance(value.get("value"), str):
            raise ValueError(f'expected {{"type": one of {", ".join(sorted(kinds))}, "value": text}}')
        kind, data = value["type"], value["value"]
        return (kind, base64.b64decode(data, validate=True) if kind == "bytes" else data)

    _register(converter, source, unstructure, structure)


def _register_response(converter: cattrs.Converter) -> None:
    """A response without its output type, which is the caller's class and no part of the value."""
    left_out = cattrs.override(omit=True)
    dump = make_dict_unstructure_fn(Response, converter, output_type=left_out, _cattrs_omit_if_default=True)
    converter.register_unstructure_hook(Response, dump)
    converter.register_structure_hook(Response, make_dict_structure_fn(Response, converter, output_type=left_out))


def _ask_user(value: Any, _: Any) -> AskUser:
    """Its hints are keyword arguments."""
    question, hints = value["question"], value.get("hints", {})
    if not isinstance(question, str):
        raise TypeError(f"expected str, got {type(question).__name__}")
    return AskUser(question, **_open_mapping(hints, None))


def _register_tool(converter: cattrs.Converter) -> None:
    """A tool without its handler; one that has a handler is refused: losing it would change what the tool does."""
    dump = make_dict_unstructure_fn(Tool, converter, handler=cattrs.override(omit=True), _cattrs_omit_if_default=True)

    def unstructure(tool: Tool) -> dict[str, Any]:
        if tool.handler is not None:
            raise json_problem(
                "not_serialisable",
                f"tool {tool.name!r} has a handler, which JSON cannot hold: evolve it with handler=None",
            )
        return dump(tool)

    converter.register_unstructure_hook(Tool, unstructure)
    converter.register_structure_hook(Tool, make_dict_structure_fn(Tool, converter, handler=cattrs.override(omit=True)))
