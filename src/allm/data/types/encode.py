"""`encode_result`: write values of users' own types as JSON for a model."""

from __future__ import annotations

import base64
import datetime as dt
import enum
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import attrs
import msgspec

from allm.data.json.text import dumps
from allm.data.types.classes import is_pydantic
from allm.data.types.structure import converter

__all__ = ["encode_result"]


def encode_result(value: Any) -> str:
    """Encode a handler's result as the text that the model reads: a str as it is, anything else as JSON.

    Raises:
        TypeError, ValueError: It cannot be written as JSON.
    """
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value
    try:
        return dumps(_plain(value)).decode("utf-8")
    except RecursionError:
        raise ValueError(f"{type(value).__name__} is nested too deeply, or contains itself") from None


def _plain(value: Any) -> Any:  # noqa: C901, PLR0912  (a table of types)
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} has no JSON form")
    if value is None or isinstance(value, bool):
        return value
    for scalar in (int, float, str):
        if isinstance(value, scalar):
            return scalar(value)  # also for subclasses
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
