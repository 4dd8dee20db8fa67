"""Structured output: natively where the model has it, else as a tool that it has to call.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs. Models from Claude Fable 5.1 on refuse to be
forced, and all of them have the native form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from allm.adapters import AdapterOptions, OutputMode, as_list, as_object, dumps
from allm.data.request import Request
from allm.providers.anthropic.models import Model
from allm.providers.anthropic.thinking import thinking_fields

__all__ = ["StructuredOutput", "closed_schema", "output_modes"]

StructuredOutput = Literal["auto", "native", "tool"]

_ENOUGH = 32_000  # tokens of an answer: whether it thinks does not depend on it

# What the API knows, as Anthropic's own SDKs sort it (`transform_schema`); it answers 400 to the rest.
_KEPT = frozenset({"type", "enum", "const", "description", "title", "required"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_MAX_MIN_ITEMS = 1
_DEFINITIONS = ("$defs", "definitions")


def output_modes(request: Request, options: AdapterOptions, setting: StructuredOutput) -> tuple[OutputMode, ...]:
    """The ways to an answer that fits a schema, the best first; Claude is not made to call a tool while it thinks."""
    model = Model.named(request.model or "")
    tool: tuple[OutputMode, ...] = () if model.is_claude and _thinks(model, request, options) else ("tool",)
    if setting == "native" or (setting == "auto" and model.has_structured_output):
        return ("native", *tool, "prompted")
    return (*tool, "prompted")


def _thinks(model: Model, request: Request, options: AdapterOptions) -> bool:
    fields, _ = thinking_fields(model, options, request.max_tokens or _ENOUGH, [])
    return as_object(request.options.get("thinking") or fields).get("type") in {"adaptive", "enabled"}


def closed_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` as structured output takes it.

    Objects are closed unless they say otherwise, `oneOf` becomes `anyOf`, and constraints that the API does not know
    (`minimum`, `maxLength`, ...) go into the description, where the model can read them.
    """
    if "$ref" in schema:
        kept = {"$ref": schema["$ref"]}
        return {**kept, **{key: _each(schema[key]) for key in _DEFINITIONS if key in schema}}
    closed: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _STEPS:
            name, step = _STEPS[key]
            closed[name] = step(value)
        elif key in _KEPT or (key == "format" and value in _FORMATS) or _is_known_minimum(key, value):
            closed[key] = value
        else:
            rest[key] = value
    if schema.get("type") == "object" or "properties" in schema:
        closed.setdefault("additionalProperties", False)
    if rest:
        hints = ", ".join(f"{key}: {_text(value)}" for key, value in rest.items())
        closed["description"] = "\n\n".join(filter(None, [closed.get("description"), f"{{{hints}}}"]))
    return closed


def _is_known_minimum(key: str, value: Any) -> bool:
    return key == "minItems" and value in range(_MAX_MIN_ITEMS + 1)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


def _any(value: Any) -> Any:
    return closed_schema(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value


def _each(schemas: Any) -> dict[str, Any]:
    return {name: _any(schema) for name, schema in as_object(schemas).items()}


def _all(schemas: Any) -> list[Any]:
    return [_any(schema) for schema in as_list(schemas)]


# Keyword: the keyword it becomes, and what becomes of its value.
_STEPS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "properties": ("properties", _each),
    "$defs": ("$defs", _each),
    "definitions": ("definitions", _each),
    "items": ("items", _any),
    "anyOf": ("anyOf", _all),
    "oneOf": ("anyOf", _all),
    "allOf": ("allOf", _all),
    "additionalProperties": ("additionalProperties", _any),
}
