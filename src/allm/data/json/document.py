"""Write and read JSON documents within limits, so that a hostile document cannot exhaust time or memory.

Both sides have the same limits: nothing is written that could not be read again.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from allm.data.attrs_classes import frozen
from allm.data.errors import Path, Problem, ValidationError
from allm.data.json.text import MAX_VALUE_DEPTH, JsonTextError, dumps_strict, loads_strict

__all__ = [
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_JSON_BYTES",
    "Leaf",
    "check_depth",
    "json_problem",
    "parse_document",
    "parse_text",
    "put_back",
    "take_out",
    "write_document",
    "write_exact",
]

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Longest document, in UTF-8 bytes: a long conversation with images takes tens of megabytes."""
MAX_DEPTH = MAX_VALUE_DEPTH + 40
"""Deepest nesting: that of a value from outside, such as the arguments of a call, and room for what is around it. The
library's own values need about 15 levels: a call in a message in a step in a session."""
MAX_ITEMS = 1_000_000
"""Most values in one document: ten times those of a conversation of ten thousand messages. Each costs about a hundred
bytes of memory, however short its text is."""

_STRING = re.compile(r'"[^"]*"?')
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def json_problem(tag: str, message: str) -> ValidationError:
    """The error for a document, or a value to be written as one, that is rejected as a whole."""
    return ValidationError([Problem(("json",), tag, message)], reason="invalid_json", message=message)


def write_document(document: dict[str, Any]) -> str:
    """Write `document`, made of plain JSON data and bytes, as compact text; bytes become base64.

    Raises:
        ValidationError: `not_serialisable`, `too_deep`, `too_large`, `too_many`.
    """
    try:
        text = json.dumps(document, allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=_as_base64)
        if not text.isascii() and _LONE_SURROGATE.search(text):  # not encodable in UTF-8: write it as an escape
            text = json.dumps(document, allow_nan=False, separators=(",", ":"), default=_as_base64)
    except RecursionError:
        raise _too_deep() from None
    except (TypeError, ValueError) as error:
        raise json_problem("not_serialisable", f"the value contains something JSON cannot express: {error}") from error
    _check_size(text)
    check_depth(document)
    return text


def write_exact(document: dict[str, Any]) -> str:
    """Write `document` as `write_document` does, where every value is known to be exactly of a type that JSON has.

    Raises:
        ValidationError: `too_large`, `too_many`.
    """
    try:
        text = dumps_strict(document).decode()
    except JsonTextError:
        return write_document(document)
    _check_size(text)
    return text


def parse_document(text: str | bytes) -> Any:
    """Parse `text`.

    Raises:
        ValidationError: `malformed`, `duplicate_key`, `too_deep`, `too_large`, `too_many`, `invalid_type`.
    """
    document = parse_text(text)
    check_depth(document)
    return document


def parse_text(text: str | bytes) -> Any:
    """Parse `text` to a document that may be deeper than a document may be.

    Raises:
        ValidationError: As `parse_document`.
    """
    if not isinstance(text, (str, bytes, bytearray)):
        raise json_problem("invalid_type", f"expected JSON text, got {type(text).__name__}")
    if len(text) > MAX_JSON_BYTES:
        raise _too_large()
    try:
        text = text if isinstance(text, str) else bytes(text).decode(json.detect_encoding(text))
        _check_size(text)
        return _parsed(text)
    except RecursionError:
        raise _too_deep() from None
    except ValidationError:
        raise
    except ValueError as error:
        raise json_problem("malformed", f"not JSON: {error}") from error


def _parsed(text: str) -> Any:
    """The C codec does not notice a key that is there twice. What it would write just so has no such key."""
    try:
        encoded = text.encode()
        document = loads_strict(encoded)
        if dumps_strict(document) == encoded:
            return document
    except (JsonTextError, UnicodeEncodeError):
        pass  # the standard library tells what is wrong, and takes more
    return _decode(text)


def _as_base64(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _too_deep() -> ValidationError:
    return json_problem("too_deep", f"the document nests deeper than {MAX_DEPTH} levels")


def _too_large() -> ValidationError:
    return json_problem("too_large", f"the document is longer than {MAX_JSON_BYTES} bytes")


def _check_size(text: str) -> None:
    """Reject a document that is too long or has too many values, before memory is allocated for them."""
    longest = MAX_JSON_BYTES // 4  # a character takes at most four bytes, so this many always fit
    if len(text) > longest and len(text.encode("utf-8", "surrogatepass")) > MAX_JSON_BYTES:
        raise _too_large()

    def count(source: str) -> int:
        return source.count(",") + source.count("[") + source.count("{")

    # Cheap upper bounds first, since texts contain commas too; strings are stripped only if they exceed the limit.
    if len(text) <= MAX_ITEMS or count(text) <= MAX_ITEMS:
        return
    without_escapes = text.replace("\\\\", "").replace('\\"', "")
    if count(_STRING.sub("", without_escapes)) > MAX_ITEMS:
        raise json_problem("too_many", f"the document has more than {MAX_ITEMS} values")


def check_depth(document: Any) -> None:
    """Reject a document that nests deeper than `MAX_DEPTH`.

    Raises:
        ValidationError: `too_deep`.
    """
    layer: list[Any] = [[document]]
    depth = -1
    while layer:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        layer = [
            item
            for value in layer
            for item in (value.values() if type(value) is dict else value)
            if type(item) is dict or type(item) is list
        ]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject duplicate keys: readers differ in which of the values they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise json_problem("duplicate_key", f"duplicate key {twice!r:.60}")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is not a finite number")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_object).decode


# --- leaves: what is too large for a document's text, or no text at all ----------------------------------------------


@frozen
class Leaf:
    """A text or bytes inside a document.

    Attributes:
        path: The keys and indexes that lead to it.
        value: The text or the bytes.
    """

    path: Path
    value: str | bytes


def take_out(document: dict[str, Any], wanted: Callable[[str | bytes], bool]) -> tuple[dict[str, Any], list[Leaf]]:
    """A document with None in the place of each `wanted` leaf, and these leaves. The given one stays as it is."""
    leaves: list[Leaf] = []

    def without(value: Any, path: Path) -> Any:
        kind = type(value)
        if kind is str or kind is bytes:
            if not wanted(value):
                return value
            leaves.append(Leaf(path, value))
            return None
        if kind is dict:
            return {key: without(item, (*path, key)) for key, item in value.items()}
        if kind is list or kind is tuple:
            return [without(item, (*path, index)) for index, item in enumerate(value)]
        return value

    return (without(document, ()), leaves) if _any_leaf(document, wanted) else (document, leaves)


def _any_leaf(document: dict[str, Any], wanted: Callable[[str | bytes], bool]) -> bool:
    """Whether there is one: nearly always not, and then no path has to be built."""
    layer: list[Any] = [document]
    while layer:
        items = [item for value in layer for item in (value.values() if type(value) is dict else value)]
        if any(wanted(item) for item in items if type(item) is str or type(item) is bytes):
            return True
        layer = [item for item in items if type(item) is dict or type(item) is list or type(item) is tuple]
    return False


def put_back(document: Any, leaves: Iterable[Leaf]) -> None:
    """Set each leaf in its place again, where None is.

    Raises:
        ValueError: There is no such place.
    """
    for leaf in leaves:
        place: Any = None
        found: Any = document
        step: Any = None
        try:
            for step in leaf.path:
                place, found = found, found[step]
        except (KeyError, IndexError, TypeError):
            place = None
        if not isinstance(place, (dict, list)) or found is not None:
            raise ValueError("a part of the document has no place in it")
        place[step] = leaf.value
