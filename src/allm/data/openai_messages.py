"""Messages as OpenAI's library takes them, converted to ours: for conversations that a program has already.

The shapes are those of Chat Completions (developers.openai.com, API reference, "Create chat completion"), which most
other libraries and datasets use as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from allm.data.audio import Audio
from allm.data.content import AudioPart, DocumentPart, ImagePart, Part, TextPart, ToolCall
from allm.data.document import Document
from allm.data.errors import ValidationError
from allm.data.file_ref import FileRef
from allm.data.image import Image
from allm.data.json.text import parse_arguments
from allm.data.message import Message, Role
from allm.data.problems import Problem, refuse, shown, wrong_type

__all__ = ["messages_from_openai"]

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",  # OpenAI's name for it since its reasoning models
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_TEXTS = frozenset({"text", "input_text", "output_text"})
_IMAGES = frozenset({"image_url", "input_image"})
_FILES = frozenset({"file", "input_file"})
_FORMATS = {"mp3": "mpeg", "m4a": "mp4"}  # the words of OpenAI for types of audio, where they are others


def messages_from_openai(messages: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Convert OpenAI's message dictionaries to messages.

        messages = allm.messages_from_openai([{"role": "user", "content": "Hello"}])

    Texts, images by URL or as `data:` URIs, files, audio, refusals, tool calls and their results are converted.

    Args:
        messages: Dictionaries with `role`, `content`, and where they apply `name`, `tool_calls` and `tool_call_id`.

    Raises:
        ValidationError: Something in them has no counterpart here; with every problem and its path.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Iterable):
        refuse([wrong_type(("messages",), messages, "a list of dictionaries")], reason="invalid_messages")
    problems: list[Problem] = []
    converted: list[Message] = []
    for index, message in enumerate(messages):
        found: list[Problem] = []
        converted += _message(message, found)
        problems += [problem.under("messages", index) for problem in found]
    refuse(problems, reason="invalid_messages")
    return tuple(converted)


def _message(message: Any, problems: list[Problem]) -> list[Message]:
    if isinstance(message, Message):
        return [message]
    if not isinstance(message, Mapping):
        problems.append(wrong_type((), message, "a dictionary with role and content"))
        return []
    role = message.get("role")
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        expected = ", ".join(map(repr, _ROLES))
        problems.append(Problem(("role",), "unknown", f"is {shown(role)}; expected one of {expected}"))
        return []
    parts = [*_parts(message.get("content"), problems), *_calls(message.get("tool_calls"), problems)]
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        parts.append(TextPart(refusal, refusal=True))
    content = message.get("content")
    whole: Any = content if isinstance(content, str) and len(parts) == 1 else tuple(parts)
    return [Message(known, whole, name=message.get("name"), tool_call_id=message.get("tool_call_id"))]


def _parts(content: Any, problems: list[Problem]) -> list[Part]:
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [TextPart(content)]
    if not isinstance(content, Iterable) or isinstance(content, (bytes, Mapping)):
        problems.append(wrong_type(("content",), content, "a text, or a list of parts"))
        return []
    parts: list[Part] = []
    for index, part in enumerate(content):
        try:
            parts.append(_part(part))
        except ValidationError as error:
            problems += [problem.under("content", index) for problem in error.problems]
    return parts


def _part(part: Any) -> Part:
    if isinstance(part, str):
        return TextPart(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in _TEXTS and isinstance(part.get("text"), str):
        return TextPart(part["text"])
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return TextPart(part["refusal"], refusal=True)
    if kind in _IMAGES:
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str) and url:
            return ImagePart(Image.from_url(url))
    if kind in _FILES and (found := _document(part.get("file") if kind == "file" else part)) is not None:
        return DocumentPart(found)
    sound = part.get("input_audio") if kind == "input_audio" else None
    if isinstance(sound, Mapping) and isinstance(sound.get("data"), str) and isinstance(sound.get("format"), str):
        return AudioPart(Audio.from_base64(sound["data"], f"audio/{_FORMATS.get(sound['format'], sound['format'])}"))
    what = f"is a part of type {shown(kind)}" if isinstance(part, Mapping) else f"is {type(part).__name__}"
    sentence = (
        f"{what}; expected a text, an image_url, a file, input_audio or a refusal: build others with allm.user(...)"
    )
    raise ValidationError([Problem((), "unsupported_part", sentence)], reason="invalid_messages")


def _document(file: Any) -> Document | None:
    """What a `file` of Chat Completions, or an `input_file` of Responses, stands for."""
    if not isinstance(file, Mapping):
        return None
    name, data = file.get("filename"), file.get("file_data")
    known = name if isinstance(name, str) else None
    if isinstance(data, str) and data:
        found = Document.from_url(data) if "://" in data[:8] else Document.from_base64(data)
        return found if known is None else attrs.evolve(found, name=known)
    if isinstance(file_id := file.get("file_id"), str) and file_id:
        return Document.from_upload(FileRef(provider="openai", id=file_id, filename=known))
    url = file.get("file_url")
    return Document.from_url(url) if isinstance(url, str) and url else None


def _calls(calls: Any, problems: list[Problem]) -> list[ToolCall]:
    converted: list[ToolCall] = []
    if calls is not None and not isinstance(calls, (list, tuple)):
        problems.append(wrong_type(("tool_calls",), calls, "a list"))
        return []
    for index, call in enumerate(calls or ()):
        function = call.get("function") if isinstance(call, Mapping) else None
        call_id, name = (call.get("id"), function.get("name")) if isinstance(function, Mapping) else (None, None)
        if not (isinstance(function, Mapping) and isinstance(call_id, str) and isinstance(name, str)):
            sentence = "is no function call; expected {'id': ..., 'type': 'function', 'function': {'name': ...}}"
            problems.append(Problem(("tool_calls", index), "unsupported_tool_call", sentence))
            continue
        raw = function.get("arguments") or "{}"
        if isinstance(raw, str):
            converted.append(ToolCall(call_id, name, parse_arguments(raw), raw_arguments=raw))
        else:
            problems.append(wrong_type(("tool_calls", index, "function", "arguments"), raw, "a text of JSON"))
    return converted
