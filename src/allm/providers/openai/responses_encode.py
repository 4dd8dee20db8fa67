"""A `Request` as the body of POST /responses (https://platform.openai.com/docs/api-reference/responses/create).

Every call is stateless: the conversation is sent whole and nothing is stored (`store: false`). Reasoning goes back in
its encrypted form, and only where the item that followed it goes back too: an orphan is a 400.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from allm.data.content import ImagePart, Part, ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.jsontext import dumps
from allm.data.message import Message
from allm.data.request import JsonSchema, Request
from allm.data.tool import Tool
from allm.providers.openai.chat_encode import check_tool_choice
from allm.runtime.ports import AdapterOptions

__all__ = ["REASONING_MODEL", "encode"]

REASONING_MODEL = re.compile(r"(o\d|gpt-(?!5-chat)[5-9]|codex)")
"""Models that think: the o series, and gpt-5 and later but for its chat variant."""

_CHOICE_WORDS = frozenset({"auto", "none", "required"})


def encode(request: Request, options: AdapterOptions) -> dict[str, Any]:
    """The request body; `request.options` are merged over it and win."""
    body: dict[str, Any] = {
        "model": request.model,
        "input": [item for message in request.messages for item in _items(message, request.messages)],
        "stream": True,
        "store": False,
    }
    if REASONING_MODEL.match(request.model or ""):
        body["include"] = ["reasoning.encrypted_content"]  # what a stateless conversation has to send back
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request)
    reasoning = {"effort": options.reasoning_effort, "summary": options.reasoning_summary}
    text = {"format": _format(request.response_format), "verbosity": options.verbosity}
    optional = {
        "temperature": request.temperature,
        "max_output_tokens": request.max_tokens,
        "reasoning": {name: value for name, value in reasoning.items() if value is not None} or None,
        "text": {name: value for name, value in text.items() if value is not None} or None,
    }
    body.update({name: value for name, value in optional.items() if value is not None})
    return {**body, **request.options}


def _items(message: Message, conversation: Sequence[Message]) -> list[dict[str, Any]]:
    if message.role == "tool":
        custom = any(
            _kept(call).get("type") == "custom_tool_call"
            for other in conversation
            for call in other.tool_calls
            if call.id == message.tool_call_id
        )
        kind = "custom_tool_call_output" if custom else "function_call_output"
        return [{"type": kind, "call_id": message.tool_call_id, "output": message.text}]
    if message.role == "assistant":
        return _assistant(message)
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    parts = [_part(part) for part in message.content if isinstance(part, (TextPart, ImagePart))]
    return [{"role": message.role, "content": parts}]


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    url = part.image.url or part.image.to_data_uri()
    return {"type": "input_image", "image_url": url, "detail": part.detail}


def _assistant(message: Message) -> list[dict[str, Any]]:
    """The items of an assistant turn in their order; what another provider made is left out or put in plain words."""
    items: list[dict[str, Any]] = []
    for part in message.parts:
        item = _assistant_item(part)
        if item is None:
            continue
        same = items and item.get("id") and items[-1].get("id") == item["id"] and item["type"] == "message"
        if same:
            items[-1]["content"] += item["content"]
        else:
            items.append(item)
    while items and items[-1].get("type") == "reasoning":
        items.pop()  # what followed it is missing
    return items


def _assistant_item(part: Part) -> dict[str, Any] | None:
    if isinstance(part, TextPart):
        return _message_item(part) if part.text else None
    if isinstance(part, ToolCall):
        return _call(part)
    if isinstance(part, ReasoningPart) and part.provider == "openai" and part.encrypted_content and part.id:
        summary = part.metadata.get("summary")
        if summary is None:
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        return {
            "type": "reasoning",
            "id": part.id,
            "summary": summary,
            "encrypted_content": part.encrypted_content,
        }
    if isinstance(part, ProviderPart) and part.provider == "openai":
        return dict(part.data)
    return None


def _kept(part: TextPart | ToolCall) -> Mapping[str, Any]:
    kept = part.metadata.get("openai")
    return kept if isinstance(kept, Mapping) else {}


def _message_item(part: TextPart) -> dict[str, Any]:
    kept = _kept(part)
    phase = {"phase": kept["phase"]} if "phase" in kept else {}
    if "id" not in kept:
        return {"type": "message", "role": "assistant", "content": part.text, **phase}
    content: dict[str, Any] = {"type": "output_text", "text": part.text, "annotations": []}
    if part.refusal:
        content = {"type": "refusal", "refusal": part.text}
    item = {"type": "message", "id": kept["id"], "role": "assistant", "status": "completed", "content": [content]}
    return {**item, **phase}


def _call(part: ToolCall) -> dict[str, Any]:
    kept = _kept(part)
    own = {"id": kept["id"]} if "id" in kept else {}
    if kept.get("type") == "custom_tool_call":
        return {
            "type": "custom_tool_call",
            "call_id": part.id,
            "name": part.name,
            "input": part.raw_arguments or "",
            **own,
        }
    arguments = part.raw_arguments or dumps(dict(part.arguments or {})).decode()
    return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments, **own}


def _tool(tool: Tool) -> dict[str, Any]:
    """A function; `strict` is always sent, since the API's own default is true and refuses most schemas."""
    strict = bool(tool.metadata.get("strict", False))
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.schema,
        "strict": strict,
    }


def _tool_choice(request: Request) -> Any:
    choice = request.tool_choice
    if isinstance(choice, Mapping) or choice in _CHOICE_WORDS:
        return choice
    return {"type": "function", "name": check_tool_choice(request)}


def _format(wanted: Any) -> Any:
    if isinstance(wanted, JsonSchema):
        return {"type": "json_schema", "name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
    return {"text": {"type": "text"}, "json": {"type": "json_object"}}[wanted] if isinstance(wanted, str) else wanted
