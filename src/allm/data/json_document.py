"""Reading a JSON document from anywhere: whatever it is, it costs no more memory and time than its limits allow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from allm.data.errors import ValidationError

__all__ = ["MAX_DEPTH", "MAX_ITEMS", "MAX_JSON_BYTES", "json_problem", "parse_document"]

MAX_JSON_BYTES = 64 * 1024 * 1024
"""Longest document that is read, in UTF-8 bytes: a long conversation with images has some tens of megabytes."""
MAX_DEPTH = 200
"""Deepest nesting that is read; the library's own values need about 15 levels."""
MAX_ITEMS = 1_000_000
"""Most values in one document: a conversation of ten thousand messages has about a tenth of that. Each costs some
hundred bytes of memory, however short its text is."""

_STRING = re.compile(r'"[^"]*"?')


def json_problem(tag: str, message: str) -> ValidationError:
    """The error of a document that cannot be read or written."""
    return ValidationError([(("json",), tag)], reason="invalid_json", message=message)


def parse_document(text: str | bytes) -> Any:
    """The document's value.

    Raises:
        ValidationError: Not JSON, or beyond one of the limits.
    """
    if not isinstance(text, (str, bytes, bytearray)):
        raise json_problem("invalid_type", f"expected JSON text, got {type(text).__name__}")
    if len(text) > MAX_JSON_BYTES:
        raise json_problem("too_large", f"the document is longer than {MAX_JSON_BYTES} bytes")
    try:
        text = text if isinstance(text, str) else bytes(text).decode(json.detect_encoding(text))
        _check_count(text)
        document = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise json_problem("too_deep", f"the document nests deeper than {MAX_DEPTH} levels") from None
    except ValidationError:
        raise
    except ValueError as error:
        raise json_problem("malformed", f"not JSON: {error}") from error
    layer, depth = _containers([document]), 0
    while layer:
        depth += 1
        if depth > MAX_DEPTH:
            raise json_problem("too_deep", f"the document nests deeper than {MAX_DEPTH} levels")
        layer = _containers(item for value in layer for item in (value.values() if type(value) is dict else value))
    return document


def _check_count(text: str) -> None:
    """Refuse a document of too many values before memory is spent on them."""

    def count(source: str) -> int:
        return source.count(",") + source.count("[") + source.count("{")

    # Counting is cheap and counts too much, as texts hold commas too; only where it matters are they left out.
    if count(text) <= MAX_ITEMS:
        return
    without_escapes = text.replace("\\\\", "").replace('\\"', "")
    if count(_STRING.sub("", without_escapes)) > MAX_ITEMS:
        raise json_problem("too_many", f"the document has more than {MAX_ITEMS} values")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if type(value) in {dict, list}]
