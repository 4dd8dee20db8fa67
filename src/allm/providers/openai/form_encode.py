"""A request body as the fields of a form, and what of it would not answer in one piece.

OpenAI's own SDK names fields in the same way: `include[]` once for each item of a list, `svg[model]` for nested ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allm.data.problems import Problem

__all__ = ["form_fields", "streaming_problems"]


def form_fields(body: Mapping[str, Any], form: str = "{}") -> dict[str, list[str]]:
    """The texts of each field; None has none."""
    fields: dict[str, list[str]] = {}
    for key, value in body.items():
        _add(fields, form.format(key), value)
    return fields


def _add(fields: dict[str, list[str]], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _add(fields, f"{name}[{key}]", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _add(fields, name if name.endswith("[]") else f"{name}[]", item)
    elif isinstance(value, bool):
        fields.setdefault(name, []).append("true" if value else "false")
    elif value is not None:
        fields.setdefault(name, []).append(str(value))


def streaming_problems(options: Mapping[str, Any]) -> list[Problem]:
    """`stream` asks for an answer in events, which is paid for and then not understood."""
    if not options.get("stream"):
        return []
    return [
        Problem(("options", "stream"), "unsupported_option", "this call reads its answer in one piece; leave it out")
    ]
