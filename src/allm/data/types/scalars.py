"""Hooks for scalars in users' types: JSON's numbers, and types that are written as text."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import types
import uuid
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePath
from typing import Any, TypeVar

import cattrs
import msgspec

from allm.data.structuring import Misfit, scalar

__all__ = ["TEXT_FORMS", "register_scalars"]

TEXT_FORMS: dict[Any, tuple[Callable[[str], Any], str]] = {
    dt.datetime: (dt.datetime.fromisoformat, "a date and time such as '2024-01-31T12:00:00Z'"),
    dt.date: (dt.date.fromisoformat, "a date such as '2024-01-31'"),
    dt.time: (dt.time.fromisoformat, "a time such as '12:30:00'"),
    dt.timedelta: (functools.partial(msgspec.convert, type=dt.timedelta), "a duration such as 'PT90S'"),
    uuid.UUID: (uuid.UUID, "a UUID"),
    Path: (Path, "a path"),
    PurePath: (PurePath, "a path"),
    bytes: (functools.partial(base64.b64decode, validate=True), "bytes in base64"),
    bytearray: (lambda text: bytearray(base64.b64decode(text, validate=True)), "bytes in base64"),
}
"""Types that are written as text: the parser, and a description with an example for error messages to the model."""


def register_scalars(converter: cattrs.Converter) -> None:
    """Register hooks for numbers, null, decimals and types that are written as text."""
    converter.register_structure_hook(int, _number)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Decimal, _decimal)
    for kind in TEXT_FORMS:
        converter.register_structure_hook(kind, _from_text)
    converter.register_structure_hook_func(lambda hint: hint is Any or isinstance(hint, TypeVar), _anything)
    converter.register_structure_hook_func(lambda hint: hint in (None, types.NoneType), _null)


def _anything(value: Any, _: Any) -> Any:
    return value


def _number(value: Any, hint: Any) -> Any:
    """Accept 3.0 as an int and 3 as a float: JSON has one kind of number."""
    if hint is float and type(value) is int:
        return float(value)
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    return scalar(value, hint)


def _decimal(value: Any, hint: Any) -> Any:
    if type(value) in (str, int, float):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            pass
    raise Misfit(hint, value)


def _from_text(value: Any, hint: Any) -> Any:
    parse, _ = TEXT_FORMS[hint]
    if isinstance(value, str):
        try:
            return parse(value)
        except ValueError:
            pass
    raise Misfit(hint, value)


def _null(value: Any, hint: Any) -> Any:
    if value is not None:
        raise Misfit(hint, value)
    return value
