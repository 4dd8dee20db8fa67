"""What the model gets for the result of an MCP tool.

https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result: a list of texts, images, sound,
links to resources and embedded resources, beside which there may be structured content. A server with structured
content should also send it as text, for older clients.
"""

from __future__ import annotations

import json
from typing import Any

from allm.data.content import ImagePart, TextPart
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.json.text import dumps

__all__ = ["error_text", "result_value"]


def result_value(result: Any) -> str | list[TextPart | ImagePart]:
    """The value that a handler returns for a `CallToolResult`: one text, or the parts in their order."""
    parts = [_part(block) for block in result.content]
    structured = result.structured_content
    if structured is not None and not _is_said(structured, parts):
        parts.append(TextPart(dumps(structured).decode()))
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    return parts


def error_text(result: Any) -> str:
    """The text of a result that is an error; an error has no other parts."""
    value = result_value(result)
    if isinstance(value, str):
        return value or "the tool failed, and says no more"
    return "\n".join(part.text if isinstance(part, TextPart) else "[an image]" for part in value)


def _is_said(structured: Any, parts: list[TextPart | ImagePart]) -> bool:
    """Whether the texts say what the structured content does.

    The SDKs for Python put a value that is no object into one, `{"result": value}`, and make a text of each item.
    """
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    wanted = [structured]
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        wanted.append(structured["result"])
    said = [_value(text) for text in texts]
    return any(value in (*texts, *said, texts, said) for value in wanted)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _part(block: Any) -> TextPart | ImagePart:
    match block.type:
        case "text":
            return TextPart(block.text)
        case "image":
            return _image(block.data, block.mime_type, "an image")
        case "resource":
            return _resource(block.resource)
        case "resource_link":
            facts = [block.title or block.name, block.description, block.mime_type]
            return TextPart(f"[resource {block.uri}: {'; '.join(fact for fact in facts if fact)}]")
        case _:  # sound, and what a later version may add
            return TextPart(_left_out(block.type, getattr(block, "mime_type", None), getattr(block, "data", "")))


def _resource(resource: Any) -> TextPart | ImagePart:
    text, kind = getattr(resource, "text", None), resource.mime_type
    if text is not None:
        return TextPart(f"[resource {resource.uri}{f', {kind}' if kind else ''}]\n{text}")
    if (kind or "").startswith("image/"):
        return _image(resource.blob, kind, f"resource {resource.uri}")
    return TextPart(_left_out(f"resource {resource.uri}", kind, resource.blob))


def _image(data: str, mime_type: str | None, what: str) -> TextPart | ImagePart:
    try:
        image = Image.from_base64(data, mime_type)
        image.to_bytes()
    except ValidationError as error:
        return TextPart(f"[{what} that cannot be shown: {error.message}]")
    return ImagePart(image)


def _left_out(what: str, kind: str | None, data: str) -> str:
    """What stands for data that no model takes as the result of a tool."""
    size = len(data) * 3 // 4
    return f"[{what}{f' of type {kind}' if kind else ''}, {size:,} bytes, which cannot be shown here]"
