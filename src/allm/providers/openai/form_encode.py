"""A request body as the fields of a form, and what of it would not answer in one piece.

OpenAI's own SDK names fields in the same way: `include[]` once for each item of a list, `svg[model]` for nested ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allm.adapters import Problem, refuse, whole_text

__all__ = ["form_fields", "streaming_problems"]


def form_fields(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """The texts of each field; None has none.

    Raises:
        ValidationError: A value, of the request's options perhaps, that a form cannot carry; all problems at once.
    """
    fields: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for key, value in body.items():
        _add(fields, problems, str(key), value)
    refuse(problems)
    return fields


def _add(fields: dict[str, list[str]], problems: list[Problem], name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _add(fields, problems, f"{name}[{key}]", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _add(fields, problems, name if name.endswith("[]") else f"{name}[]", item)
    elif isinstance(value, bool):
        fields.setdefault(name, []).append("true" if value else "false")
    elif isinstance(value, (str, int, float)):
        fields.setdefault(name, []).append(whole_text(str(value)))
    elif value is not None:
        sentence = f"{type(value).__name__}; a form carries texts, numbers, booleans, and lists and mappings of them"
        problems.append(Problem((name,), "invalid_type", sentence))


def streaming_problems(options: Mapping[str, Any]) -> list[Problem]:
    """`stream` asks for an answer in events, which is paid for and then not understood."""
    if not options.get("stream"):
        return []
    return [
        Problem(("options", "stream"), "unsupported_option", "this call reads its answer in one piece; leave it out")
    ]
