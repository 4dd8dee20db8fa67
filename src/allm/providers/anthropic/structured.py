"""Structured output: natively where the model has it, else as a tool that it has to call.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs. Models from Claude Fable 5.1 on refuse to be
forced, and all of them have the native form.
"""

from __future__ import annotations

from typing import Any, Literal

from allm.adapters import AdapterOptions, OutputMode, SchemaSubset, as_object, fit_schema
from allm.data.request import JsonSchema, Request
from allm.providers.anthropic.models import Model
from allm.providers.anthropic.thinking import thinking_fields

__all__ = ["StructuredOutput", "native_schema", "output_modes"]

StructuredOutput = Literal["auto", "native", "tool"]

_ENOUGH = 32_000  # tokens of an answer: whether it thinks does not depend on it

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_MAX_MIN_ITEMS = 1
# As Anthropic's own SDKs sort it (`transform_schema`); the API answers 400 to the rest.
_SUBSET = SchemaSubset(
    keywords=frozenset({"minItems"}),
    formats=_FORMATS,
    takes=lambda _keyword, least: least in range(_MAX_MIN_ITEMS + 1),
    recursion="nowhere",
)


def output_modes(request: Request, options: AdapterOptions, setting: StructuredOutput) -> tuple[OutputMode, ...]:
    """The ways to an answer that fits a schema, the best first; Claude is not made to call a tool while it thinks."""
    model = Model.named(request.model or "")
    tool: tuple[OutputMode, ...] = () if model.is_claude and _thinks(model, request, options) else ("tool",)
    wanted = request.response_format
    is_native = setting == "native" or (setting == "auto" and model.has_structured_output)
    if is_native and isinstance(wanted, JsonSchema) and native_schema(wanted) is not None:
        return ("native", *tool, "prompted")
    return (*tool, "prompted")


def _thinks(model: Model, request: Request, options: AdapterOptions) -> bool:
    fields, _ = thinking_fields(model, options, request.max_tokens or _ENOUGH, [])
    return as_object(request.options.get("thinking") or fields).get("type") in {"adaptive", "enabled"}


def native_schema(wanted: JsonSchema) -> dict[str, Any] | None:
    """The schema of an answer as the API takes it; None if it cannot: objects of any keys, recursion, only a union."""
    return None if "anyOf" in wanted.schema else fit_schema(wanted.schema, _SUBSET)
