"""Messages, answers, arguments and results in the JSON form of the OpenTelemetry conventions: roles and parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from allm.data.content import MEDIA_TYPES, HostedCall, ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.message import Message
from allm.runtime.telemetry_json import as_json
from allm.telemetry.genai_names import finish_reason

__all__ = ["content_attributes"]


def content_attributes(name: str, content: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    """The attributes of a span for the content of one of its events.

    Args:
        name: Of our span.
        facts: Its attributes.
    """
    made: dict[str, Any] = {}
    if "messages" in content:
        messages: tuple[Message, ...] = content["messages"]
        made["gen_ai.system_instructions"] = [part for m in messages if m.role == "system" for part in _parts(m)]
        made["gen_ai.input.messages"] = [_message(m) for m in messages if m.role != "system"]
        made["gen_ai.tool.definitions"] = [{"type": "function", **tool} for tool in content.get("tools", ())]
    if "message" in content:
        reason = finish_reason(facts.get("finish_reason") or "stop")
        made["gen_ai.output.messages"] = [{**_message(content["message"]), "finish_reason": reason}]
    if "arguments" in content:
        made["gen_ai.tool.call.arguments"] = content["arguments"]
    if "result" in content:
        result: Message = content["result"]
        has_files = any(isinstance(part, MEDIA_TYPES) for part in result.parts)
        made["gen_ai.tool.call.result"] = list(_parts(result)) if has_files else result.text
    own = {} if made or name == "tool" else {f"allm.content.{key}": value for key, value in content.items()}
    return {key: _text(value) for key, value in (made | own).items() if value not in ([], None)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(as_json(value), ensure_ascii=False)


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        response = {"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}
        pictures = [part for part in _parts(message) if part["type"] != "text"]
        return {"role": "tool", "parts": [response, *pictures]}
    return {"role": message.role, "parts": list(_parts(message))}


def _parts(message: Message) -> Iterable[dict[str, Any]]:
    content = message.content
    for part in (TextPart(content),) if isinstance(content, str) else content:
        form = _FORMS.get(type(part))
        yield _media(part) if form is None else form(part)


_FORMS: dict[type[Any], Callable[[Any], dict[str, Any]]] = {
    TextPart: lambda part: {"type": "text", "content": part.text},
    ReasoningPart: lambda part: {"type": "reasoning", "content": part.text},
    ToolCall: lambda part: {
        "type": "tool_call",
        "id": part.id,
        "name": part.name,
        "arguments": part.raw_arguments if part.arguments is None else part.arguments,
    },
    HostedCall: lambda part: {
        "type": "server_tool_call",
        "id": part.id,
        "name": part.kind,
        "arguments": part.input,
        "response": part.output,
    },
    ProviderPart: lambda part: {"type": "provider", "provider": part.provider},
}
_MODALITIES = ("image", "audio", "video", "document")
_HELD = frozenset({"bytes", "base64", "text"})


def _media(part: Any) -> dict[str, Any]:
    """A part that holds a picture or the like, by its address or its size.

    Backends cut attributes at a few kilobytes, so that the bytes would only push out the text around them.
    """
    for modality in _MODALITIES:
        held = getattr(part, modality, None)
        if held is not None:
            kind, value = held.source
            about = {"modality": modality, "mime_type": held.mime_type}
            if kind == "url":
                return {"type": "uri", **about, "uri": value}
            if kind == "upload":
                return {"type": "file", **about, "file_id": value.id}
            size = {"size": len(value) * 3 // 4 if kind == "base64" else len(value)} if kind in _HELD else {}
            return {"type": "blob", **about, "content": "", **size}
    return {"type": type(part).__name__}
