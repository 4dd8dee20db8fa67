"""JSON values of the types that are expected, whatever came."""

from __future__ import annotations

from typing import Any, cast

__all__ = ["as_count", "as_list", "as_object", "as_objects", "as_text"]


def as_object(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """`value` if it is an array, else an empty one."""
    items: list[Any] = cast("Any", value) if isinstance(value, list) else []
    return items


def as_objects(value: Any) -> list[dict[str, Any]]:
    """The objects in `value` if it is an array."""
    return [as_object(item) for item in as_list(value) if isinstance(item, dict)]


def as_text(value: Any) -> str | None:
    """`value` if it is a string that is not empty."""
    return value if isinstance(value, str) and value else None


def as_count(value: Any) -> int | None:
    """`value` if it is a whole number; some servers write counts as `12.0`."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None
