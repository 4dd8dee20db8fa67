"""A `Request` as the body of POST /chat/completions (https://platform.openai.com/docs/api-reference/chat/create)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allm.data.content import ImagePart, TextPart, ToolCall
from allm.data.errors import ValidationError
from allm.data.jsontext import dumps
from allm.data.message import Message
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.providers.openai.presets import OPENAI, Preset
from allm.runtime.ports import AdapterOptions

__all__ = ["check_tool_choice", "encode"]

_CHOICE_WORDS = frozenset({"auto", "none", "required"})


def encode(request: Request, options: AdapterOptions, preset: Preset = OPENAI) -> dict[str, Any]:
    """The request body; `request.options` are merged over it and win."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "stream": True,
    }
    if preset.stream_usage:
        body["stream_options"] = {"include_usage": True}  # without it a stream reports no usage at all
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request)
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    optional = {
        "temperature": request.temperature,
        preset.max_tokens_field: request.max_tokens,
        "reasoning_effort": options.reasoning_effort,
        "verbosity": options.verbosity,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    return {**body, **request.options}


def _message(message: Message) -> dict[str, Any]:
    encoded: dict[str, Any] = {"role": message.role}
    if message.name is not None:
        encoded["name"] = message.name
    if message.role == "assistant":
        return {**encoded, **_assistant(message)}
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    if isinstance(message.content, str):
        encoded["content"] = message.content
    else:
        encoded["content"] = [_part(part) for part in message.content if isinstance(part, (TextPart, ImagePart))]
    return encoded


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    url = part.image.url or part.image.to_data_uri()
    return {"type": "image_url", "image_url": {"url": url, "detail": part.detail}}


def _assistant(message: Message) -> dict[str, Any]:
    """Text, refusal and calls. Reasoning has no place in this API and is left out."""
    text = "".join(part.text for part in message.parts if isinstance(part, TextPart) and not part.refusal)
    refusal = "".join(part.text for part in message.parts if isinstance(part, TextPart) and part.refusal)
    calls = [_call(part) for part in message.parts if isinstance(part, ToolCall)]
    encoded: dict[str, Any] = {"content": text or (None if calls or refusal else "")}
    if refusal:
        encoded["refusal"] = refusal
    if calls:
        encoded["tool_calls"] = calls
    return encoded


def _call(part: ToolCall) -> dict[str, Any]:
    # The model's own text where there is one: it may not be valid JSON, and must be sent back as it came.
    arguments = part.raw_arguments or dumps(dict(part.arguments or {})).decode()
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": arguments}}


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def _tool_choice(request: Request) -> Any:
    choice = request.tool_choice
    if isinstance(choice, Mapping) or choice in _CHOICE_WORDS:
        return choice
    return {"type": "function", "function": {"name": check_tool_choice(request)}}


def check_tool_choice(request: Request) -> str:
    """The name in `tool_choice`.

    Raises:
        ValidationError: No tool of the request has it.
    """
    name = str(request.tool_choice)
    if name not in {tool.name for tool in request.tools}:
        raise ValidationError(
            [(("tool_choice",), "unknown_tool")],
            reason="invalid_request",
            message=f"tool_choice {name!r} is neither auto, none, required nor the name of a tool of this request",
        )
    return name


def _response_format(wanted: Any) -> Any:
    if isinstance(wanted, JsonSchema):
        schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
        return {"type": "json_schema", "json_schema": schema}
    return {"text": {"type": "text"}, "json": {"type": "json_object"}}[wanted] if isinstance(wanted, str) else wanted
