"""`to_json` and `from_json`: serialize values, tagged and versioned, with an exact round trip.

A document is `{"v": 1, "type": "Thread", ...fields}`. Fields at their default are left out; unknown fields of a known
version are ignored on reading, so that a field can be added. A value of a closed union has its own `"type"`. Open data
(metadata, arguments, payloads) is plain JSON; values that JSON cannot express are wrapped as
`{"$type": "tuple" | "bytes" | "float" | "mapping" | <class name>, ...}`. Functions, keys and engines are rejected.

A strict cattrs converter does the conversion (`data/json/tags.py`), and the text has limits (`data/json/document.py`).
The converter is built on first use, since building it takes longer than the import.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import NoneType
from typing import Any, TypeVar, get_args, overload

import attrs
import cattrs

from allm.data.content import Part
from allm.data.embedding import (
    Embedding,
    dump_embedding,
    load_embedding,
)
from allm.data.errors import AllmError, Path, Problem, ValidationError
from allm.data.events import Event
from allm.data.hosted_tool import HostedTool
from allm.data.json.compiled import Compiled
from allm.data.json.document import (
    MAX_JSON_BYTES,
    check_depth,
    json_problem,
    parse_document,
    parse_text,
    put_back,
    take_out,
    write_document,
    write_exact,
)
from allm.data.json.tags import (
    ERROR_TYPES,
    EVENT_TAGS,
    LEFT_OUT,
    OPEN_FIELDS,
    PART_TAGS,
    TAG_OF,
    VALUE_TAGS,
    error_arguments,
    known_error,
    load_bytes,
    problems_of,
    register,
    register_classes,
    register_union,
    strict_converter,
    tag_of,
)
from allm.data.json.text import is_plain
from allm.data.results import CallHalt, HaltCause
from allm.data.structuring import MAX_PROBLEMS, Misfit, each, sequence
from allm.data.tool import Tool
from allm.data.tool_control import AskUser

__all__ = ["MAX_JSON_BYTES", "VERSION", "check_readable", "from_json", "plain", "structured", "to_json"]

T = TypeVar("T")

VERSION = 1
MAX_SAME_HASH = 100
"""Most keys of one mapping that may share a hash. Python's text hashes are random, but numbers can be chosen to
collide, and filling a dictionary with n colliding keys takes O(n²) time."""


def to_json(value: Any) -> str:
    """Serialize any value of the library as one JSON document.

    An error of your own class is written as the library's class that it derives from.

    Raises:
        ValidationError: It contains something that cannot be serialised (a handler, an engine, an open file) or a field
            of the wrong type (`malformed_value`, with its path), or it exceeds the limits of `from_json`.
    """
    document, unread = plain(value)
    if unread is None:
        return write_exact(document)
    text = write_document(document)
    check_readable(document, unread)
    return text


def plain(value: Any) -> tuple[dict[str, Any], type | None]:
    """The document of a value, of plain JSON data but for bytes, which are as they are.

    Returns:
        The document; and None if it is known to be readable and exact, else the class to read it as.
    """
    with suppress(Exception):  # whatever it is, the converter tells it better
        return _compiled().dump(value, {"v": VERSION, "type": TAG_OF[type(value)]}), None
    tag = tag_of(value)
    if tag is None:
        raise json_problem("not_serialisable", f"cannot serialise {type(value).__name__}; expected a value of allm")
    try:
        document = {"v": VERSION, "type": tag, **_dump(value, tag)}
    except RecursionError:
        raise json_problem("too_deep", "cannot serialise a value that contains itself or nests too deep") from None
    except ValidationError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise json_problem("not_serialisable", f"a field of the {tag} has the wrong type: {error}") from error
    return document, VALUE_TAGS.get(tag) or ERROR_TYPES[tag]


def _dump(value: Any, tag: str) -> dict[str, Any]:
    # As the class of the tag, since the converter keeps every class it sees, and an error may be of a user's class.
    document: dict[str, Any] = _converter().unstructure(value, unstructure_as=VALUE_TAGS.get(tag) or ERROR_TYPES[tag])
    return document


def check_readable(document: dict[str, Any], cls: type) -> None:
    """Reject a value with a field of the wrong type, which Python does not check: it could not be read again."""
    try:
        _converter().structure(document, cls)
    except Exception:  # a subclass, such as the texts of an enum, becomes the plain type once it is text
        texts, leaves = take_out(document, lambda leaf: isinstance(leaf, bytes))
        again = parse_document(write_document(texts))
        put_back(again, leaves)
        _structure(again, cls)


@overload
def from_json(text: str | bytes, as_: type[T]) -> T: ...
@overload
def from_json(text: str | bytes, as_: None = None) -> Any: ...
def from_json(text: str | bytes, as_: type[T] | None = None) -> T | Any:
    """Read a value that `to_json` wrote.

    Args:
        text: The document.
        as_: The expected type.

    Raises:
        ValidationError: Not JSON, an unknown tag or version, another type than `as_`, fields that are missing or of the
            wrong type (`malformed_value`, each with its path), or more than 64 MiB, 240 levels or a million values.
    """
    return structured(parse_text(text), as_)


def structured(document: Any, as_: type[T] | None = None) -> T | Any:
    """The value of a document that is parsed already; its bytes may be base64 text, or as they are.

    Raises:
        ValidationError: As `from_json`.
    """
    with suppress(Exception):  # whatever it is, the converter tells it better
        if document["v"] == VERSION and type(document["v"]) is int:
            known = VALUE_TAGS[document["type"]]
            if as_ is None or issubclass(known, as_):
                return _compiled().load(document, known, extra=2)
    check_depth(document)
    if not isinstance(document, dict) or "type" not in document:
        raise json_problem("missing_type_tag", 'expected a JSON object with "v" and "type", as to_json writes it')
    version = document.get("v")
    if type(version) is not int or version != VERSION:
        raise json_problem("unknown_version", f"document version {version!r:.60} is not known; expected {VERSION}")
    tag = document["type"]
    cls = VALUE_TAGS.get(tag) or ERROR_TYPES.get(tag) if isinstance(tag, str) else None
    if cls is None:
        raise json_problem(
            "unknown_type_tag", f"unknown type {tag!r:.60}; expected one of: {', '.join(sorted(VALUE_TAGS))}"
        )
    if as_ is not None and not issubclass(cls, as_):
        raise json_problem("unexpected_type", f"the document holds a {tag}; expected {getattr(as_, '__name__', as_)}")
    return _structure(document, cls)


def _structure(document: Any, cls: type[T]) -> T:
    try:
        return _converter().structure(document, cls)
    except Exception as error:  # cattrs raises what its hooks raise
        found = list(itertools.islice(problems_of(error), MAX_PROBLEMS))
        problems = [Problem(path, "malformed_value", what) for path, what in found]
        raise ValidationError(
            [problem if problem.path else problem.under("json") for problem in problems],
            reason="invalid_json",
            message=f"not a valid {cls.__name__}: {'; '.join(map(str, problems))}",
        ) from error


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
        return {"$type": "bytes", "base64": value}
    if kind is dict:
        if "$type" not in value and all(type(key) is str for key in value):
            return {key: _dump_open(item) for key, item in value.items()}
        return {"$type": "mapping", "items": [[_dump_open(key), _dump_open(item)] for key, item in value.items()]}
    tag = tag_of(value)
    if tag is None:
        raise json_problem(
            "not_serialisable", f"cannot serialise {kind.__name__}; expected JSON data or a value of allm"
        )
    return {"$type": tag, **_dump(value, tag)}


def _load_open(value: Any) -> Any:
    if isinstance(value, list):
        return sequence(value, _load_open)
    if not isinstance(value, dict):
        return value
    if "$type" not in value:
        return dict(zip(value, each(value.items(), lambda _, item: _load_open(item)), strict=True))
    tag = value["$type"]
    if not isinstance(tag, str):
        raise Misfit("text as $type", tag)
    loader = _OPEN_LOADERS.get(tag)
    if loader is not None:
        return loader(value)
    cls = VALUE_TAGS.get(tag) or ERROR_TYPES.get(tag)
    if cls is None:
        raise ValueError(f"unknown $type {tag!r:.60}")
    return _converter().structure(value, cls)


def _load_mapping(value: dict[str, Any]) -> dict[Any, Any]:
    items = [(_load_open(key), _load_open(item)) for key, item in value["items"]]
    if len(items) - len({hash(key) for key, _ in items}) > MAX_SAME_HASH:
        raise ValueError(f"more than {MAX_SAME_HASH} keys have the hash of another")
    return dict(items)


_OPEN_LOADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "tuple": lambda value: tuple(sequence(value["items"], _load_open)),
    "bytes": lambda value: load_bytes(value["base64"]),
    "float": lambda value: float(value["value"]),
    "mapping": _load_mapping,
}


def _dump_data(value: Any) -> Any:
    # Most open data is JSON as it stands, and may nest deeper than recursion could follow from within a deep call.
    return value if is_plain(value) else _dump_open(value)


def _load_data(value: Any) -> Any:
    return value if is_plain(value) else _load_open(value)


# --- the converter -----------------------------------------------------------------------------------------------


def _open_mapping(value: Any, _: Any) -> Any:
    loaded = _load_data(value)
    if not isinstance(loaded, dict):
        raise Misfit(dict, value)
    return loaded


def _open_value(types: tuple[type, ...]) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        loaded = _load_data(value)
        if not isinstance(loaded, types):
            raise Misfit(" or ".join(cls.__name__ for cls in types), loaded)
        return loaded

    return structure


@functools.cache
def _compiled() -> Compiled:
    by_hooks = {Tool, HostedTool, AskUser, Embedding}  # whose fields are not all that there is to it
    classes = {cls: tag for tag, cls in VALUE_TAGS.items() if cls not in by_hooks}
    unions = {union: get_args(union) for union in (Part, HaltCause, CallHalt)}
    return Compiled(_converter(), classes, unions, OPEN_FIELDS, LEFT_OUT)


@functools.cache
def _converter() -> cattrs.Converter:
    converter = strict_converter(LEFT_OUT)
    for mapping in (dict[str, Any], Mapping[str, Any]):
        register(converter, mapping, _dump_data, _open_mapping)
    for anything, types in OPEN_FIELDS.items():
        register(converter, anything, _dump_data, _open_value(types))
    # Parts before events: an inner union must be registered before the classes that contain it.
    register_union(converter, Part, PART_TAGS)
    _register_errors(converter)
    register_classes(converter)
    _register_ask_user(converter)
    register(converter, Embedding, dump_embedding, load_embedding)
    # By class, since cattrs has its own hooks for bytes, which take precedence over hooks by predicate.
    converter.register_unstructure_hook(bytes, bytes)  # `write_document` writes them as base64
    converter.register_structure_hook(bytes, load_bytes)
    register_union(converter, Event, EVENT_TAGS)
    return converter


def _register_errors(converter: cattrs.Converter) -> None:
    def unstructure(error: AllmError) -> dict[str, Any]:
        cls = known_error(error)
        fields = {name: getattr(error, name) for name in cls.fields}
        return {
            "type": cls.__name__,
            **{name: _dump_data(v) for name, v in fields.items() if v or name not in cls.beside},
        }

    def structure(value: Any, expected: Any) -> AllmError:
        tag = value.get("type") or value.get("$type") if isinstance(value, dict) else None
        cls = ERROR_TYPES.get(tag) if isinstance(tag, str) else None
        if cls is None or not issubclass(cls, expected):
            names = sorted(name for name, known in ERROR_TYPES.items() if issubclass(known, expected))
            raise ValueError(f"unknown error type {tag!r:.60}; expected one of: {', '.join(names)}")
        return cls(**_error_fields(converter, cls, value))

    converter.register_unstructure_hook_func(_is_error, unstructure)
    converter.register_structure_hook_func(_is_error, structure)


def _error_fields(converter: cattrs.Converter, cls: type[AllmError], value: dict[str, Any]) -> dict[str, Any]:
    """The arguments for the class of an error, which are its fields."""

    def load(name: str, argument: tuple[Any, Any]) -> Any:
        hint, default = argument
        if name not in value and default is not inspect.Parameter.empty:
            return default
        return _error_field(converter, _load_data(value[name]), hint)

    arguments = error_arguments(cls)
    return dict(zip(arguments, each(arguments.items(), load), strict=True))


def _error_field(converter: cattrs.Converter, value: Any, hint: Any) -> Any:
    if hint == Iterable[Problem | tuple[Path, str]]:  # the problems of a ValidationError
        if isinstance(value, (list, tuple)) and all(map(_is_path_and_tag, value)):
            return value
        raise TypeError("expected pairs of a path and a tag")
    if hint is Any:
        return value
    values = tuple(cls for cls in get_args(hint) if isinstance(cls, type) and attrs.has(cls))
    if values:  # written as open data, which has its own type tag
        return _open_value((*values, NoneType))(value, hint)
    return converter.structure(list(value) if isinstance(value, tuple) else value, hint)


def _is_path_and_tag(value: Any) -> bool:
    match value:
        case [[*path], str()]:
            return {type(step) for step in path} <= {str, int}
        case _:
            return False


def _is_error(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, AllmError)


def _register_ask_user(converter: cattrs.Converter) -> None:
    """`AskUser` takes its hints as keyword arguments, which cattrs does not support."""

    def structure(value: Any, _: Any) -> AskUser:
        if not isinstance(value, dict):
            raise Misfit(dict, value)
        loaders: dict[str, Callable[[], Any]] = {
            "question": lambda: converter.structure(value["question"], str),
            "hints": lambda: _open_mapping(value.get("hints", {}), None),
        }
        question, hints = each(loaders.items(), lambda _, load: load())
        return AskUser(question, **hints)

    converter.register_structure_hook(AskUser, structure)
