"""JSON values of the types that are expected, whatever came; and the provider's name, which marks what is kept."""

from __future__ import annotations

from typing import Any, cast

__all__ = ["INVALID_JSON", "PROVIDER", "as_count", "as_list", "as_object", "as_text"]

PROVIDER = "anthropic"
"""Marks the parts of a message that go back to Anthropic, and the key of metadata kept for it."""

INVALID_JSON = "INVALID_JSON"
"""The key that Anthropic documents for arguments that are not JSON, as `input` has to be an object:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming."""


def as_object(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """`value` if it is an array, else an empty one."""
    items: list[Any] = cast("Any", value) if isinstance(value, list) else []
    return items


def as_text(value: Any) -> str | None:
    """`value` if it is a string that is not empty."""
    return value if isinstance(value, str) and value else None


def as_count(value: Any) -> int | None:
    """`value` if it is an integer."""
    return value if type(value) is int else None
