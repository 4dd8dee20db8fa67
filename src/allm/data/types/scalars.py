"""The shapes of single values: numbers, texts, choices, and types that are written as text."""

from __future__ import annotations

import base64
import datetime as dt
import functools
import ipaddress
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any

import msgspec
from typing_extensions import override

from allm.data.attrs_classes import define
from allm.data.structuring import Misfit, same_json
from allm.data.types.shapes import Definitions, Reading, Schema, Shape, json_notation

__all__ = ["Anything", "Choice", "Null", "Scalar", "Text", "scalar_shape", "text_shape"]


class Anything(Shape):
    """Any JSON value, as it is."""

    __slots__ = ()
    sort: str | None = "any"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        return value

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return {}

    @override
    def rank(self, value: Any) -> float | None:
        return 9

    @override
    def takes_null(self) -> bool:
        return True


class Null(Shape):
    """Nothing but null."""

    __slots__ = ()
    words = "null"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if value is not None:
            raise Misfit(self.words, value)
        return None

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return {"type": "null"}

    @override
    def rank(self, value: Any) -> float | None:
        return 0 if value is None else None

    @override
    def takes_null(self) -> bool:
        return True


@define(eq=False)
class Scalar(Shape):
    """A string, a number or a boolean of exactly the type; 3.0 is an integer and 3 a number, as in JSON."""

    kind: type
    json_type: str
    words: str
    make: Callable[[Any], Any] | None = None  # a subclass of the type
    sort: str | None = None

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        kind = self.kind
        found = type(value)
        if found is not kind:
            if reading.exact or not self._is_number(value):
                raise Misfit(self.words, value)
            value = self._converted(value)
        return value if self.make is None else self.make(value)

    def _is_number(self, value: Any) -> bool:
        if self.kind is float:
            return type(value) is int
        return self.kind is int and type(value) is float and value.is_integer()

    def _converted(self, value: Any) -> Any:
        try:
            return self.kind(value)
        except OverflowError:
            raise Misfit(self.words, value) from None

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return {"type": self.json_type}

    @override
    def rank(self, value: Any) -> float | None:
        if type(value) is self.kind:
            return 1
        return 2 if self._is_number(value) else None


@define(eq=False)
class Text(Shape):
    """A value that is written as text, such as a date. `order` is that in which the members of a union are tried."""

    kind: Any
    parse: Callable[[str], Any]
    words: str
    written: Schema
    order: int = 0
    numbers: bool = False  # whether a JSON number is taken as well
    sort: str | None = None

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if not reading.exact and self.rank(value) is not None:
            try:
                return self.parse(value if isinstance(value, str) else str(value))
            except (ValueError, ArithmeticError):
                pass
        raise Misfit(self.words, value)

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return dict(self.written)

    @override
    def rank(self, value: Any) -> float | None:
        fits = isinstance(value, str) or (self.numbers and type(value) in (int, float))
        return 3 + self.order / 100 if fits else None


@define(eq=False)
class Choice(Shape):
    """One of several scalars: a Literal, or the members of an enum by their values."""

    options: Sequence[tuple[Any, Any]]  # the JSON value, and what it stands for
    cls: Any = None  # the enum
    description: str = ""

    @property
    @override
    def words(self) -> str:  # type: ignore[override]
        return f"one of {', '.join(json_notation(plain) for plain, _ in self.options)}"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        for plain, member in self.options:
            if same_json(plain, value):
                return member
        raise Misfit(self.words, value)

    @override
    def schema(self, definitions: Definitions) -> Schema:
        values = {"enum": [plain for plain, _ in self.options]}
        if self.cls is None:
            return values
        about = {"description": self.description} if self.description else {}
        name = self.cls.__name__
        return definitions.refer(self.cls, name, lambda _: {"title": name, **about, **values})

    @override
    def rank(self, value: Any) -> float | None:
        return 0 if any(same_json(plain, value) for plain, _ in self.options) else None

    @override
    def takes_null(self) -> bool:
        return self.rank(None) is not None


_SCALARS: dict[Any, tuple[str, str, str | None]] = {
    str: ("string", "a string", "text"),
    bool: ("boolean", "true or false", None),
    int: ("integer", "an integer", "number"),
    float: ("number", "a number", "number"),
}


def scalar_shape(cls: Any) -> Scalar | None:
    """The shape of a string, number or boolean, or a class derived from one; None for any other type."""
    for kind, (json_type, words, sort) in _SCALARS.items():
        if isinstance(cls, type) and issubclass(cls, kind):
            return Scalar(kind, json_type, words, None if cls is kind else cls, sort)
    return None


# --- types that are written as text -----------------------------------------------------------------------------------

_bytes = functools.partial(base64.b64decode, validate=True)


def _format(name: str) -> dict[str, str]:
    return {"type": "string", "format": name}


_FORMS: dict[Any, tuple[Callable[[str], Any], str, dict[str, str]]] = {
    uuid.UUID: (uuid.UUID, "a UUID", _format("uuid")),
    dt.date: (dt.date.fromisoformat, "a date such as '2024-01-31'", _format("date")),
    dt.datetime: (
        dt.datetime.fromisoformat,
        "a date and time such as '2024-01-31T12:00:00Z'",
        _format("date-time"),
    ),
    dt.time: (dt.time.fromisoformat, "a time such as '12:30:00'", _format("time")),
    dt.timedelta: (
        functools.partial(msgspec.convert, type=dt.timedelta),
        "a duration such as 'PT90S'",
        _format("duration"),
    ),
    ipaddress.IPv4Address: (ipaddress.IPv4Address, "an IPv4 address", _format("ipv4")),
    ipaddress.IPv6Address: (ipaddress.IPv6Address, "an IPv6 address", _format("ipv6")),
    Decimal: (Decimal, "a decimal number", _format("decimal")),
    bytes: (_bytes, "bytes in base64", {"type": "string", "contentEncoding": "base64"}),
    bytearray: (
        lambda text: bytearray(_bytes(text)),
        "bytes in base64",
        {"type": "string", "contentEncoding": "base64"},
    ),
}
"""The parser, a description with an example for error messages to the model, and the schema.

The order is that in which members of a union are tried: those first whose texts no later one would take as its own. A
date before a date and time, which would read `2024-01-31` as midnight.
"""
_BYTES = (bytes, bytearray)


def text_shape(hint: Any) -> Text | None:
    """The shape of a type that is written as text; None for any other type."""
    for order, (kind, (parse, words, schema)) in enumerate(_FORMS.items()):
        if hint is kind:
            sort = "bytes" if kind in _BYTES else "ordered" if kind.__module__ in {"datetime", "decimal"} else None
            return Text(hint, parse, words, schema, order, numbers=kind is Decimal, sort=sort)
    if isinstance(hint, type) and issubclass(hint, PurePath):
        make = Path if hint is Path else hint
        return Text(hint, make, "a path", _format("path"), len(_FORMS))
    return None
