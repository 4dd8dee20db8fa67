"""JSON text in and out, and values of the types that are expected, whatever came.

A C codec goes first, the standard library second, where the C codec is stricter than the providers are.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, cast

import msgspec

__all__ = [
    "JsonTextError",
    "as_count",
    "as_list",
    "as_object",
    "as_objects",
    "as_text",
    "dumps",
    "loads",
    "parse_arguments",
]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class JsonTextError(ValueError):
    """The text is not JSON; the message says where and why."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def loads(text: bytes | str) -> Any:
    r"""Parse one JSON document.

    Integers keep all their digits. Escaped lone surrogates (`"\ud83d"`) are accepted, as a provider may cut a text
    between the two halves of one.

    Raises:
        JsonTextError: Not JSON, not UTF-8, or nested too deep.
    """
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):  # text with a lone surrogate cannot be encoded
        pass
    try:
        return json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise JsonTextError(f"invalid UTF-8 at byte {error.start}: {error.reason}") from error
    except RecursionError:
        raise JsonTextError("nested too deep") from None
    except ValueError as error:
        raise JsonTextError(str(error)) from error


def dumps(value: Any) -> bytes:
    """One compact JSON document in UTF-8.

    Raises:
        TypeError: A value that JSON cannot express.
        ValueError: A float that is not finite.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:  # a lone surrogate: only its escape can be written
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def parse_arguments(raw: str) -> dict[str, Any] | None:
    """A tool call's arguments: the JSON object in `raw`, `{}` for an empty text, None when it is anything else."""
    if not raw.strip():
        return {}
    try:
        value = loads(raw)
    except JsonTextError:
        return None
    return value if isinstance(value, dict) else None


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
    """`value` if it is a whole number; some servers write counts as `12.0`."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None
