r"""Repair texts with lone surrogates.

A program that works in UTF-16 may split a text between the two surrogates of an emoji, and write `"\ud83d"` in one JSON
document and `"\ude00"` in the next. Python keeps each half in a `str` that cannot be encoded as UTF-8, so it cannot be
printed, stored or sent. Two adjacent halves are joined to their character, and a lone one becomes U+FFFD.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import attrs

__all__ = ["whole", "whole_text"]

T = TypeVar("T")

_HALF = re.compile("[\ud800-\udfff]")


def whole_text(text: str) -> str:
    """`text` with adjacent surrogates joined, and lone ones replaced."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole(value: T) -> T:
    """`value` with every text in it repaired; for JSON data and instances of attrs classes."""
    return cast("T", _whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_whole(item) for item in value)
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    if attrs.has(type(value)):
        fields = [field for field in attrs.fields(type(value)) if field.init]
        return attrs.evolve(value, **{field.alias: _whole(getattr(value, field.name)) for field in fields})
    return value
