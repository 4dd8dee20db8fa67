"""`--schema`: a JSON Schema from a file, as JSON, or in a line of names.

The line is the short form that the command `llm` has: `name, age int, active bool`. A field is `NAME [TYPE]`, or
`NAME [TYPE]: DESCRIPTION`, and each one is required. Fields are separated by commas, or by lines where there are any.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import click

import allm

__all__ = ["schema_of"]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME = 64  # characters; OpenAI's limit for the name of a response format
_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def schema_of(given: str, *, many: bool = False) -> allm.JsonSchema:
    """The response format for a schema.

    Args:
        given: The name of a file, JSON text, or the short form.
        many: The answer is an object whose `items` are a list of what the schema describes.

    Raises:
        click.BadParameter: It is none of them, or the file cannot be read.
    """
    option = "'--schema-multi'" if many else "'--schema'"
    name, schema = _found(given, option)
    if many:
        schema = {
            "type": "object",
            "properties": {"items": {"type": "array", "items": schema}},
            "required": ["items"],
            "additionalProperties": False,
        }
    return allm.json_schema(name, schema)


def _found(given: str, option: str) -> tuple[str, dict[str, Any]]:
    if given.lstrip().startswith(("{", "[")):
        return "answer", _object(given, "the text", option)
    path = Path(given)
    if _is_file(path) or path.suffix == ".json":
        try:
            data = path.read_bytes()
        except OSError as error:
            raise click.BadParameter(f"cannot read {path}: {error.strerror}", param_hint=option) from error
        return _NOT_IN_NAMES.sub("_", path.stem)[:_LONGEST_NAME], _object(data, str(path), option)
    return "answer", _short(given, option)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the short form may be too long for a name
        return False


def _object(text: str | bytes, where: str, option: str) -> dict[str, Any]:
    try:
        schema: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"cannot read {where} as JSON: {error}", param_hint=option) from error
    if not isinstance(schema, dict):
        raise click.BadParameter(f"{where} is not a JSON Schema: expected a JSON object.", param_hint=option)
    return cast("dict[str, Any]", schema)


def _short(text: str, option: str) -> dict[str, Any]:
    separator = "\n" if "\n" in text.strip() else ","
    properties: dict[str, Any] = {}
    for field in filter(None, map(str.strip, text.split(separator))):
        described, _, description = field.partition(":")
        name, _, kind = " ".join(described.split()).partition(" ")
        problem = _problem(name, kind or "str", properties)
        if problem is not None:
            raise click.BadParameter(
                f"{problem}. Expected a file, JSON, or fields such as 'name, age int', with types of "
                f"{', '.join(_TYPES)}; a description goes after a colon.",
                param_hint=option,
            )
        properties[name] = {"type": _TYPES[kind or "str"]}
        if description.strip():
            properties[name]["description"] = description.strip()
    if not properties:
        raise click.BadParameter("it has no fields; expected at least one, such as 'name'", param_hint=option)
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _problem(name: str, kind: str, known: dict[str, Any]) -> str | None:
    if not _NAME.fullmatch(name):
        return f"{name[:_LONGEST_NAME]!r} is neither a file nor the name of a field"
    if kind not in _TYPES:
        return f"{name} has the unknown type {kind[:_LONGEST_NAME]!r}"
    return f"there are two fields called {name}" if name in known else None
