"""Write values of users' own types as JSON: results for a model, and hints for whoever shows a question."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import enum
import ipaddress
import math
import sys
import uuid
from collections.abc import Mapping, Sequence, Set as AbstractSet
from decimal import Decimal
from pathlib import PurePath
from typing import Any

import attrs
import msgspec

from allm.data.json.text import dumps, loads

__all__ = ["as_json", "encode_result"]


def encode_result(value: Any) -> str:
    """Encode a handler's result as the text that the model reads: a str as it is, anything else as JSON.

    Raises:
        TypeError, ValueError: It cannot be written as JSON.
    """
    if isinstance(value, str):
        return str.__str__(value)  # also of an enum of texts
    return _written(value).decode("utf-8")


def as_json(value: Any) -> Any:
    """Encode a value in the same way, as the JSON data that it is when it has been read again.

    Raises:
        TypeError, ValueError: It cannot be written as JSON.
    """
    return loads(_written(value))


def _written(value: Any) -> bytes:
    try:
        return dumps(_plain(value))
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
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if _is_pydantic(type(value)):
        # As `model_dump`, with a fallback for members of other libraries, which pydantic keeps but cannot write.
        return _plain(value.__pydantic_serializer__.to_python(value, mode="json", fallback=_plain))
    if isinstance(value, msgspec.Struct):
        return _struct(value)
    if isinstance(what := getattr(type(value), "_in_json", None), str):
        # Its base64 text would cost millions of tokens, and no model reads it.
        raise TypeError(f"{type(value).__name__} inside a value has no JSON form; {what}")
    if (fields := _fields(type(value))) is not None:
        # Not by cattrs, whose hooks would keep the class alive. As there, what is not an argument is left out.
        return {field.name: _plain(getattr(value, field.name)) for field in fields if field.init}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)) is not None:
        return {name: _plain(getattr(value, name)) for name in names}  # a NamedTuple, as in arguments
    if isinstance(value, (set, frozenset)):
        return _sorted([_plain(item) for item in value])
    if isinstance(value, (Sequence, AbstractSet)):
        return [_plain(item) for item in value]
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (PurePath, uuid.UUID, Decimal, ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return str(value)
    if isinstance(value, dt.timedelta):
        return _plain(msgspec.to_builtins(value))
    if (core := _core_of(type(value))) is not None:
        return core.to_jsonable_python(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _sorted(items: list[Any]) -> list[Any]:
    """The items of a set in an order that is the same in each process: prompt caches and cassettes compare bytes."""
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=dumps)


def _core_of(cls: type) -> Any:
    """What writes values of pydantic's types beside models, such as `HttpUrl`; a `SecretStr` stays hidden."""
    known = hasattr(cls, "__get_pydantic_core_schema__") or cls.__module__.startswith("pydantic")
    return sys.modules.get("pydantic_core") if known else None


def _is_pydantic(cls: type) -> bool:
    pydantic = sys.modules.get("pydantic")  # `cls` can be a model only if pydantic is already imported
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _fields(cls: Any) -> tuple[Any, ...] | None:
    """The fields of an attrs class or a dataclass, which have a `name` and an `init`; None for any other class."""
    if attrs.has(cls):
        return tuple(attrs.fields(cls))
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else None


def _struct(value: msgspec.Struct) -> Any:
    """As msgspec writes it; it has no hook for members of other libraries that it knows as well, such as attrs."""
    cls = type(value)
    config, members = cls.__struct_config__, {}
    without_default = len(cls.__struct_fields__) - len(cls.__struct_defaults__)
    for index, (name, written) in enumerate(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)):
        member = getattr(value, name)
        default = cls.__struct_defaults__[index - without_default] if index >= without_default else msgspec.NODEFAULT
        omitted = config.omit_defaults and not config.array_like and _is_default(member, default)
        if member is not msgspec.UNSET and not omitted:
            members[written] = _plain(member)
    if config.array_like:
        return [*([] if config.tag is None else [config.tag]), *members.values()]
    return members if config.tag is None else {config.tag_field: config.tag, **members}


def _is_default(member: Any, default: Any) -> bool:
    made = getattr(default, "factory", None)  # of a field whose default is made, of which msgspec knows the empty ones
    return member is default or (made in (list, dict, set) and type(member) is made and not member)


def _key(key: Any) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else dumps(plain).decode("utf-8")
