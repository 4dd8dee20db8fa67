"""Values of users' own types from the JSON that a model wrote, and JSON for a model from values."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import math
import re
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any, TypeVar

import attrs
import msgspec

from allm.data.errors import Problem, ValidationError
from allm.data.json.text import JsonTextError, dumps, loads
from allm.data.types.hooks import NotStructured, converter, is_pydantic, structure

__all__ = ["NotStructured", "encode_result", "parse_text", "structure"]

T = TypeVar("T")

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(?P<inside>.*)\n\s*```\s*", re.DOTALL | re.IGNORECASE)
"""What models write that were not made to keep to a schema."""


def parse_text(text: str, hint: type[T]) -> T:
    """The JSON document in `text` as an instance of `hint`; a Markdown code fence around it is no part of it.

    Raises:
        ValidationError: Not JSON, or JSON that does not fit (`reason="invalid_output"`), with every problem in it.
    """
    name = getattr(hint, "__name__", str(hint))
    try:
        value = loads(fenced["inside"] if (fenced := _FENCED.fullmatch(text)) else text)
    except JsonTextError as error:
        sentence = f"the answer is not the JSON of a {name}: {error}. It begins with {text[:80]!r}"
        raise ValidationError([Problem((), "not_json", sentence)], reason="invalid_output") from error
    try:
        return structure(value, hint)  # type: ignore[no-any-return]
    except NotStructured as error:
        raise ValidationError(
            [((where.lstrip("."),), what) for where, what in error.problems],
            reason="invalid_output",
            message=f"the answer is JSON but not a valid {name}: {error}",
        ) from error


def encode_result(value: Any) -> str:
    """A handler's result as the text the model reads: a str as it is, anything else as JSON.

    Raises:
        TypeError, ValueError: There is no JSON for it.
    """
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value
    try:
        return dumps(_plain(value)).decode("utf-8")
    except RecursionError:
        raise ValueError(f"{type(value).__name__} is nested too deep, or holds itself") from None


def _plain(value: Any) -> Any:  # noqa: C901, PLR0912  (a table of types)
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} has no JSON form")
    if value is None or isinstance(value, bool):
        return value
    for scalar in (int, float, str):
        if isinstance(value, scalar):
            return scalar(value)  # a subclass of it too
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if is_pydantic(type(value)):
        return _plain(value.model_dump(mode="json"))
    if attrs.has(type(value)) or hasattr(type(value), "__dataclass_fields__"):
        return _plain(converter().unstructure(value))
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (PurePath, uuid.UUID, Decimal)):
        return str(value)
    if isinstance(value, (dt.timedelta, msgspec.Struct)):
        return _plain(msgspec.to_builtins(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _key(key: Any) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else dumps(plain).decode("utf-8")
