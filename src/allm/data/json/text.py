"""Parse and write JSON text, read fields of expected types from untrusted data, and measure how large it is.

The C codec is tried first, then the standard library, since the C codec is stricter than providers are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import NoneType
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import msgspec

from allm.data.json.whole import whole

__all__ = [
    "MAX_VALUES",
    "MAX_VALUE_DEPTH",
    "JsonTextError",
    "Measure",
    "Shape",
    "arguments_problem",
    "as_count",
    "as_list",
    "as_object",
    "as_objects",
    "as_text",
    "dumps",
    "dumps_strict",
    "is_plain",
    "loads",
    "loads_lenient",
    "loads_pieces",
    "loads_strict",
    "measure",
    "parse_arguments",
    "shape_reader",
    "text_bytes",
    "value_problem",
    "wider_shape",
]

_MAX_DIGITS = 16  # of a count that was sent as text; no real count has more
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_REFUSED = (msgspec.DecodeError, UnicodeError, RecursionError)


class JsonTextError(ValueError):
    """The text is not JSON; the message says where and why."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def loads(text: bytes | str) -> Any:
    """Parse one JSON document. Integers keep all their digits; lone surrogates are replaced.

    Raises:
        JsonTextError: Not JSON, not UTF-8, or nested too deep.
    """
    try:
        return _decode(text)
    except _REFUSED:
        return _whole(_parsed(text, _no_constant, strict=True))


def loads_lenient(text: bytes | str) -> Any:
    """Parse JSON leniently: NaN and infinite numbers become None, and control characters are allowed in texts.

    Servers in Python and C++ write such numbers where a probability is 0 or a division failed, in otherwise valid
    responses.

    Raises:
        JsonTextError: As `loads`.
    """
    try:
        return _decode(text)
    except _REFUSED:
        return _whole(loads_pieces(text))


def loads_strict(text: bytes | str) -> Any:
    """Parse JSON with the C codec only; what it rejects, such as lone surrogates, `loads_pieces` may accept.

    Raises:
        JsonTextError: The C codec does not accept it.
    """
    try:
        return _decode(text)
    except _REFUSED as error:
        raise JsonTextError(str(error)) from error


class Shape(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What one kind of JSON object looks like: a class with a field for each key it may have, for `shape_reader`."""


ShapeT = TypeVar("ShapeT", bound=Shape)


def shape_reader(shape: type[ShapeT]) -> Callable[[bytes, int], list[ShapeT]]:
    """A function that parses objects of one shape, each in a line of its own, much faster than objects of any.

    It takes the lines, each from `{` to `}`, and their number, and returns the objects before the first line that is
    not of that shape: the object in it has another key, lacks one, or a value has another type.
    """
    decoder = msgspec.json.Decoder(shape)
    read, read_line = decoder.decode_lines, decoder.decode

    def objects(lines: bytes, size: int) -> list[ShapeT]:
        try:
            found = read(lines)
            if len(found) == size:  # else there are two in a line
                return found
        except _REFUSED:
            pass
        found = []
        with suppress(*_REFUSED):
            for line in lines.split(b"\n"):
                found.append(read_line(line))  # those before the one that is refused are kept
        return found

    return objects


def wider_shape(shape: type[ShapeT], fields: Mapping[str, Any], unread: Iterable[str]) -> type[ShapeT]:
    """A shape with another type for some of its fields, and with more keys that an object of it may have.

    Args:
        shape: It stays as it is.
        fields: The fields, and the type that each has instead.
        unread: The keys. Their values are fields of the object too, as JSON that was not read (`bytes(value)`), which
            is `null` where the object has no such key.
    """
    missing = msgspec.Raw(b"null")
    more: list[tuple[str, Any] | tuple[str, Any, Any]] = [*fields.items()]
    more += [(name, msgspec.Raw, missing) for name in unread]
    return msgspec.defstruct(shape.__name__, more, bases=(shape,), kw_only=True)  # type: ignore[return-value]


def loads_pieces(text: bytes | str) -> Any:
    r"""Like `loads_lenient`, but keep lone surrogates (`"\ud83d"`), since the next document may have the other half.

    Raises:
        JsonTextError: As `loads`.
    """
    return _parsed(text, lambda _name: None, strict=False)


def _parsed(text: bytes | str, constant: Callable[[str], None], *, strict: bool) -> Any:
    try:
        return json.loads(text, parse_constant=constant, strict=strict)
    except UnicodeDecodeError as error:
        raise JsonTextError(f"invalid UTF-8 at byte {error.start}: {error.reason}") from error
    except RecursionError:
        raise JsonTextError("nested too deep") from None
    except ValueError as error:
        raise JsonTextError(str(error)) from error


def _whole(value: Any) -> Any:
    try:
        return whole(value)
    except RecursionError:
        raise JsonTextError("nested too deep") from None


def dumps(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """Write one compact JSON document in UTF-8; a lone surrogate becomes U+FFFD.

    Args:
        value: Its value.
        default: Gives what to write for a value that JSON cannot express.

    Raises:
        TypeError: A value that JSON cannot express.
        ValueError: A float that is not finite.
    """
    try:
        return _encode(value) if default is None else msgspec.json.encode(value, enc_hook=default)
    except UnicodeEncodeError:
        written = json.dumps(whole(value), separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=default)
        return written.encode()


def dumps_strict(value: Any) -> bytes:
    """Write one compact JSON document with the C codec only; bytes become base64.

    Raises:
        JsonTextError: The C codec does not write it: a lone surrogate, an int of thousands of digits.
    """
    try:
        return _encode(value)
    except (ValueError, RecursionError) as error:
        raise JsonTextError(str(error)) from error


def parse_arguments(raw: str) -> dict[str, Any] | None:
    """Parse the arguments of a tool call: the JSON object in `raw`, or None if it is anything else.

    An object that nests deeper or holds more values than a document can (`value_problem`) is None as well: a
    conversation with it could never be saved.

    An empty text and `null` mean no arguments, `{}`. Some servers encode the object twice, as a JSON string; it is then
    decoded twice.
    """
    try:
        value = loads(raw) if raw.strip() else None
        if isinstance(value, str):
            value = loads(value) if value.strip() else None
    except JsonTextError:
        return None
    if value is None:
        return {}
    if not isinstance(value, dict):
        return None
    # A short text cannot nest too deep, and most are short.
    return value if len(raw) <= MAX_VALUE_DEPTH or value_problem(value) is None else None


def arguments_problem(raw: str | None) -> str:
    """Why the text of a call's arguments is not used: what the model has to send instead."""
    try:
        value = loads(raw or "")
    except JsonTextError:
        value = None
    problem = value_problem(value) if isinstance(value, dict) else None
    if problem is None:
        return "the arguments are not a JSON object; send valid JSON"
    return f"the JSON object of the arguments {problem}; send a smaller one"


def as_object(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """`value` if it is an array, else an empty one."""
    items: list[Any] = cast("Any", value) if isinstance(value, list) else []
    return items


def as_objects(value: Any) -> list[dict[str, Any]]:
    """The objects in `value` if it is an array."""
    return [as_object(item) for item in as_list(value) if isinstance(item, dict)]


def as_text(value: Any) -> str | None:
    """`value` if it is a string that is not empty."""
    return value if isinstance(value, str) and value else None


def as_count(value: Any) -> int | None:
    """`value` if it is a whole number; some servers write counts as `12.0`, or as the text `"12"`."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < _MAX_DIGITS:
        return int(value)
    return value if type(value) is int else None


# --- how large a value is --------------------------------------------------------------------------------------------
# What a provider sends may nest as deep as the parser follows, and hold as many values as fit into an event. It becomes
# part of a conversation only within the limits here, which are below those of a document: whatever an answer holds can
# be written together with the messages around it, and read again.

MAX_VALUE_DEPTH = 200
"""Deepest nesting of one value, such as the arguments of a call; no tool takes arguments that nest deeper than 20."""
MAX_VALUES = 250_000
"""Most values in one value. Each costs about a hundred bytes of memory, however short its text is."""

_TAGGED = 3
"""Levels of an object with a key that documents use themselves: it is written as an object with a list of pairs."""
_SCALAR_BYTES = 8
_EXACT = frozenset({bool, int, str, NoneType})
_ENDLESS = 1000  # levels after which a value may as well contain itself
_CONTAINERS = (dict, list, tuple, Mapping)


class Measure(NamedTuple):
    """What was measured.

    Attributes:
        depth: Levels of lists and objects, as a document has them.
        values: Values of all kinds, keys not counted.
        size: Bytes of all texts and keys in UTF-8, and about eight for each other value.
    """

    depth: int = 0
    values: int = 0
    size: int = 0


def text_bytes(text: str) -> int:
    """The length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def measure(value: Any, *, most: int = MAX_VALUES, deepest: int = MAX_VALUE_DEPTH) -> Measure:
    """Measure plain data; what is no JSON counts as one value without a length.

    It stops where there are more than `most` values or `deepest` levels, so a value that contains itself has an end.
    """
    depth, values, size = 0, 1, 0
    if not isinstance(value, _CONTAINERS):
        return Measure(0, 1, _scalar_bytes(value))
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting and values <= most and depth <= deepest:
        container, above = waiting.pop()
        if type(container) is dict or isinstance(container, Mapping):
            level = above + (_TAGGED if "$type" in container else 1)
            for key in container:
                if isinstance(key, str):
                    size += len(key) if key.isascii() else text_bytes(key)
            items: Iterator[Any] = iter(container.values())
        else:
            level = above + (2 if isinstance(container, tuple) else 1)
            items = iter(container)
        depth = max(depth, level)
        values += len(container)
        for item in items:
            if type(item) is str:
                size += len(item) if item.isascii() else text_bytes(item)
            elif isinstance(item, _CONTAINERS):
                waiting.append((item, level))
            else:
                size += _scalar_bytes(item)
    return Measure(depth, values, size)


def value_problem(value: Any) -> str | None:
    """What keeps a value out of a document, as the end of a sentence; None: nothing does."""
    found = measure(value)
    if found.depth > MAX_VALUE_DEPTH:
        return f"nests deeper than {MAX_VALUE_DEPTH} levels"
    return f"holds more than {MAX_VALUES:,} values" if found.values > MAX_VALUES else None


def is_plain(value: Any, deepest: int = _ENDLESS) -> bool:
    """Whether open data is JSON as it stands, no deeper than that, and none of its keys has a meaning in a document.

    Most data is, and may nest as deep as a document may: deeper than a recursion within a deep call can follow.
    """
    waiting: list[tuple[Any, int]] = [([value], 0)]
    while waiting:
        container, depth = waiting.pop()
        if depth > deepest or (type(container) is dict and not _has_plain_keys(container)):
            return False
        for item in container.values() if type(container) is dict else container:
            kind = type(item)
            if kind is dict or kind is list:
                waiting.append((item, depth + 1))
            elif kind not in _EXACT and not (kind is float and math.isfinite(item)):
                return False
    return True


def _has_plain_keys(value: dict[Any, Any]) -> bool:
    for key in value:
        if type(key) is not str:
            return False
    return "$type" not in value


def _scalar_bytes(value: Any) -> int:
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, int):
        return max(_SCALAR_BYTES, value.bit_length() // 3)
    return len(value) if isinstance(value, bytes) else _SCALAR_BYTES
