r"""Texts without halves of characters.

A program that works in UTF-16 may cut a text between the two surrogates of an emoji, and write `"\ud83d"` in one JSON
document and `"\ude00"` in the next. Python keeps each half in a `str` that has no UTF-8 form: it cannot be printed,
stored or sent. Two halves side by side are made the character that they are, and one alone becomes U+FFFD.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import attrs

__all__ = ["whole", "whole_text"]

T = TypeVar("T")

_HALF = re.compile("[\ud800-\udfff]")


def whole_text(text: str) -> str:
    """`text` with the halves of characters in it joined, or replaced where one is alone."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole(value: T) -> T:
    """`value` with every text in it whole: JSON data, or values of attrs classes."""
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
