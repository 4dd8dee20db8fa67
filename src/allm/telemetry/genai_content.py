"""Messages, answers, arguments and results in the JSON form of the OpenTelemetry conventions: roles and parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from allm.data.content import ImagePart, ProviderPart, ReasoningPart, TextPart, ToolCall
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
        made["gen_ai.tool.call.result"] = content["result"].text
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
        match part:
            case TextPart():
                yield {"type": "text", "content": part.text}
            case ReasoningPart():
                yield {"type": "reasoning", "content": part.text}
            case ToolCall():
                arguments = part.raw_arguments if part.arguments is None else part.arguments
                yield {"type": "tool_call", "id": part.id, "name": part.name, "arguments": arguments}
            case ImagePart():
                yield _image(part)
            case ProviderPart():
                yield {"type": "provider", "provider": part.provider}
            case _:
                assert_never(part)


def _image(part: ImagePart) -> dict[str, Any]:
    kind, value = part.image.source
    about = {"modality": "image", "mime_type": part.image.mime_type}
    if kind == "url":
        return {"type": "uri", **about, "uri": value}
    # Backends cut attributes at a few kilobytes, so that a picture would only push out the text around it.
    return {"type": "blob", **about, "content": "", "size": len(value)}
