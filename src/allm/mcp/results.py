"""What the model gets for the result of an MCP tool.

https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result: a list of texts, images, sound,
links to resources and embedded resources, beside which there may be structured content. A server with structured
content should also send it as text, for older clients.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from allm.data.audio import Audio
from allm.data.content import OF_MEDIA, MediaPart, TextPart, media_of
from allm.data.document import Document, Video
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.json.text import dumps
from allm.data.media import Media

__all__ = ["error_text", "result_value"]

_KINDS: dict[str, type[Media]] = {"image": Image, "audio": Audio, "video": Video}
"""By what comes first in a MIME type; all others are documents."""


def result_value(result: Any) -> str | list[TextPart | MediaPart]:
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
    return "\n".join(part.text if isinstance(part, TextPart) else f"[{media_of(part).phrase}]" for part in value)


def _is_said(structured: Any, parts: list[TextPart | MediaPart]) -> bool:
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


def _part(block: Any) -> TextPart | MediaPart:
    match block.type:
        case "text":
            return TextPart(block.text)
        case "image":
            return _file(Image, block.data, block.mime_type, "an image")
        case "audio":
            return _file(Audio, block.data, block.mime_type, "audio")
        case "resource":
            return _resource(block.resource)
        case "resource_link":
            facts = [block.title or block.name, block.description, block.mime_type]
            return TextPart(f"[resource {block.uri}: {'; '.join(fact for fact in facts if fact)}]")
        case _:  # what a later version may add
            return TextPart(_left_out(block.type, getattr(block, "mime_type", None), getattr(block, "data", "")))


def _resource(resource: Any) -> TextPart | MediaPart:
    text, kind = getattr(resource, "text", None), resource.mime_type
    if text is not None:
        return TextPart(f"[resource {resource.uri}{f', {kind}' if kind else ''}]\n{text}")
    media = _KINDS.get((kind or "").partition("/")[0].lower(), Document)
    return _file(media, resource.blob, kind, f"resource {resource.uri}", str(resource.uri))


def _file(media: type[Media], data: str, mime_type: str | None, what: str, uri: str = "") -> TextPart | MediaPart:
    """The file, with the name that its address ends in; a text that says why, where nobody could read it."""
    try:
        file = media.from_base64(data, mime_type)
        file.to_bytes()
        file.resolved_mime_type()
    except ValidationError as error:
        if not error.errors or error.errors[0][1] == "missing_mime_type":
            return TextPart(_left_out(what, mime_type, data))
        return TextPart(f"[{what} that cannot be shown: {error.message}]")
    name = ""
    with suppress(ValueError):  # a server may call it anything
        name = PurePosixPath(unquote(urlsplit(uri).path)).name
    part: TextPart | MediaPart = OF_MEDIA[media](attrs.evolve(file, name=name) if name else file)
    return part


def _left_out(what: str, kind: str | None, data: str) -> str:
    """What stands for data of which nobody knows what they are."""
    size = len(data) * 3 // 4
    return f"[{what}{f' of type {kind}' if kind else ''}, {size:,} bytes, which cannot be shown here]"
