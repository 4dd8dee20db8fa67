"""A telemetry event as values of JSON, for files, logs and other systems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set as AbstractSet
from typing import TYPE_CHECKING, Any, cast

from allm.data.errors import AllmError, ValidationError
from allm.data.json.codec import plain
from allm.data.json.tags import tag_of
from allm.data.response import COUNTS, Usage
from allm.data.tool_control import exception_text

if TYPE_CHECKING:
    from allm.runtime.telemetry import TelemetryEvent

__all__ = ["as_json", "event_as_json", "usage_as_json"]

_DEEPEST = 50
"""Levels that are followed; tools' arguments and results rarely have ten."""
_LONGEST_REPR = 200
_MOST_BITS = 1_000  # of an int: Python itself writes none of thousands of digits
_OF_ERROR = ("provider", "model", "status", "request_id", "retry_after", "tool_name", "tool_call_id")


def event_as_json(event: TelemetryEvent) -> dict[str, Any]:
    """What `TelemetryEvent.to_dict` does."""
    made: dict[str, Any] = {
        "name": event.name,
        "phase": event.phase,
        "span_id": event.span_id,
        "parent_id": event.parent_id,
        "time": event.time,
        "timestamp": event.timestamp,
        "duration": event.duration,
        "attributes": as_json(event.attributes),
    }
    if event.content is not None:
        made["content"] = as_json(event.content)
    return made


def usage_as_json(usage: Usage) -> dict[str, Any]:
    """The counts and costs that are known."""
    counts = {name: value for name in COUNTS if (value := getattr(usage, name)) is not None}
    return {**counts, "extra": as_json(usage.extra)} if usage.extra else counts


def as_json(value: Any, depth: int = 0) -> Any:
    """`value` as JSON data. Bytes become their number, and what has no form its `repr`, shortened."""
    if value is None or isinstance(value, (bool, int)):
        return "an int of many digits" if value is not None and value.bit_length() > _MOST_BITS else value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be written
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": len(value)}
    if isinstance(value, Usage):
        return usage_as_json(value)
    if isinstance(value, BaseException):
        return _error(value)
    return "..." if depth > _DEEPEST else _inner(value, depth)


def _inner(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        items = value.items()
        return {key if isinstance(key, str) else repr(key): as_json(item, depth + 1) for key, item in items}
    if isinstance(value, (list, tuple, AbstractSet)):
        return [as_json(item, depth + 1) for item in cast("tuple[Any, ...]", value)]
    try:
        if tag_of(value) is not None:
            document = dict(plain(value)[0])
            document.pop("v", None)
            return as_json(document, depth + 1)
    except ValidationError:  # it holds an object of the user's
        return repr(type(value))
    try:
        return repr(value)[:_LONGEST_REPR]
    except Exception:  # of an object of the user's
        return repr(type(value))


def _error(error: BaseException) -> dict[str, Any]:
    made: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, AllmError):
        made["reason"] = error.reason
        made |= {name: value for name in _OF_ERROR if (value := getattr(error, name, None)) is not None}
        made["message"] = error.message
    elif isinstance(error, Exception):
        made["message"] = exception_text(error)
    return {name: as_json(value) for name, value in made.items()}
