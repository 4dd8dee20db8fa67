"""Parse and write JSON text, and read fields of expected types from untrusted data.

The C codec is tried first, then the standard library, since the C codec is stricter than providers are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, cast

import msgspec

from allm.data.json.measure import value_problem
from allm.data.json.whole import whole

__all__ = [
    "JsonTextError",
    "arguments_problem",
    "as_count",
    "as_list",
    "as_object",
    "as_objects",
    "as_text",
    "dumps",
    "loads",
    "loads_lenient",
    "loads_pieces",
    "loads_strict",
    "parse_arguments",
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


def dumps(value: Any) -> bytes:
    """Write one compact JSON document in UTF-8; a lone surrogate becomes U+FFFD.

    Raises:
        TypeError: A value that JSON cannot express.
        ValueError: A float that is not finite.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(whole(value), separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


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
    return value if isinstance(value, dict) and value_problem(value) is None else None


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
