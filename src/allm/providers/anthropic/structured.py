"""Structured output: natively where the model has it, else as the arguments of a tool that it has to call.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs. The tool exists on the wire only: the decoder
gives its arguments as text, so that an answer looks the same either way. Models from Claude Fable 5.1 on refuse to be
forced, and all of them have the native form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from allm.adapters import Problem, as_list, as_object, dumps
from allm.data.request import JsonSchema, Request
from allm.providers.anthropic.models import Model

__all__ = ["StructuredOutput", "answer_tool", "closed_schema", "tool_answer_name"]

StructuredOutput = Literal["auto", "native", "tool"]

_MAX_NAME = 64  # characters of a tool's name
_DESCRIPTION = "Give the final answer with this tool, once, as soon as it is known."

# What the API knows, as Anthropic's own SDKs sort it (`transform_schema`); it answers 400 to the rest.
_KEPT = frozenset({"type", "enum", "const", "description", "title", "required"})
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_MAX_MIN_ITEMS = 1
_DEFINITIONS = ("$defs", "definitions")


def tool_answer_name(request: Request, mode: StructuredOutput) -> str | None:
    """The name of the tool that takes the answer of `request`, or None where no tool is needed."""
    wanted = request.response_format
    if not isinstance(wanted, JsonSchema):
        return None
    if mode == "native" or (mode == "auto" and Model.named(request.model or "").has_structured_output):
        return None
    taken = {tool.name for tool in request.tools}
    name = f"answer_{wanted.name}"[:_MAX_NAME]
    while name in taken:
        name = f"_{name}"[:_MAX_NAME]
    return name


def answer_tool(name: str, wanted: JsonSchema, problems: list[Problem]) -> dict[str, Any]:
    """The tool whose arguments are the answer."""
    if wanted.schema.get("type", "object") != "object":
        sentence = "as the arguments of a tool, which this model needs, the answer has to be an object"
        problems.append(Problem(("response_format", "schema"), "not_an_object", sentence))
    return {"name": name, "description": _DESCRIPTION, "input_schema": {"type": "object", **wanted.schema}}


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
