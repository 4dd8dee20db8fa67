"""A request body as the fields of a form.

OpenAI's own SDK names fields in the same way: `include[]` once for each item of a list, `svg[model]` for nested ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allm.data.json.whole import whole_text
from allm.data.media import Media
from allm.data.problems import Problem, refuse

__all__ = ["file_field", "form_fields"]


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


def file_field(media: Media) -> tuple[str, bytes, str]:
    """A file of a form, as `multipart` takes it.

    Raises:
        ValidationError: As `Media.to_bytes`.
    """
    return media.file_name(), media.to_bytes(), media.mime_type or "application/octet-stream"
