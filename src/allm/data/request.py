"""What is asked of a model, in the library's own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.message import Message
from allm.data.response import OutputT
from allm.data.tool import Tool

__all__ = ["JsonSchema", "Request", "RequestFields", "ResponseFormat", "ToolChoice"]


@attrs.frozen
class JsonSchema:
    """Structured output: the answer is one JSON document that fits `schema`.

    Attributes:
        name: The format's name as the provider shows it: letters, digits, `_`, `-`.
        strict: Ask the provider to enforce the schema.
        output_type: The class the schema was made from; not part of the value.
    """

    name: str
    schema: dict[str, Any] = attrs.field(hash=False)
    strict: bool = True
    output_type: type | None = attrs.field(default=None, eq=False, repr=False, kw_only=True)


ToolChoice = str | Mapping[str, Any]
"""`"auto"`, `"none"`, `"required"`, a tool's name, or a provider's own mapping."""

ResponseFormat = JsonSchema | Mapping[str, Any] | str | type[OutputT]
"""A class (attrs, dataclass, TypedDict, msgspec, pydantic), `json_schema(...)`, `"text"`, `"json"` (any object), or a
provider's own mapping."""


def _tuple(value: Iterable[Any]) -> Any:
    return value if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)


@attrs.frozen
class Request:
    """One model call. Fields left at None are filled from the call's options, the engine, then the defaults.

    Attributes:
        messages: The conversation to send.
        max_tokens: Output limit in tokens.
        options: Merged over the provider's request body as it is, and wins over anything derived.
        structured_finalize: Ask for the format in one last call without tools (chat only).
    """

    messages: tuple[Message, ...] = attrs.field(converter=_tuple)
    model: str | None = attrs.field(default=None, kw_only=True)
    tools: tuple[Tool, ...] = attrs.field(default=(), kw_only=True, converter=_tuple)
    tool_choice: ToolChoice | None = attrs.field(default=None, kw_only=True, hash=False)
    temperature: float | None = attrs.field(default=None, kw_only=True)
    max_tokens: int | None = attrs.field(default=None, kw_only=True)
    response_format: ResponseFormat | None = attrs.field(default=None, kw_only=True, hash=False)
    structured_finalize: bool = attrs.field(default=False, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


class RequestFields(TypedDict, total=False):
    """The fields of a `Request` but its messages."""

    model: str | None
    tools: Iterable[Tool]
    tool_choice: ToolChoice | None
    temperature: float | None
    max_tokens: int | None
    response_format: ResponseFormat | None
    structured_finalize: bool
    options: dict[str, Any]
    metadata: dict[str, Any]
