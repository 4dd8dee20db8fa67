"""The content of a tool message, from whatever a handler returned or a caller passes: a text, or parts with images."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.content import ImagePart, Part, TextPart
from allm.data.errors import Problem, ValidationError
from allm.data.image import Image
from allm.data.json.measure import text_bytes
from allm.data.message import Message
from allm.data.types.encode import encode_result

__all__ = ["MAX_RESULT_BYTES", "Content", "checked_parts", "checked_text", "result_content", "tool_result"]

Content = str | tuple[Part, ...]

MAX_RESULT_BYTES = 16 * 1024 * 1024
"""Longest text of a result, as long as the arguments of a call. No model reads more than a few megabytes."""


def result_content(value: Any) -> Content:
    """What the model gets for `value`.

    A text is sent as it is. An image is a part, and so is each item of a list or tuple that has an image or a part in
    it. Anything else is encoded as JSON.

    Raises:
        Exception: It cannot be encoded, or is too long; also what a property of the caller's class raised.
    """
    if isinstance(value, str):
        return checked_text(str.__str__(value))  # also of an enum of texts
    if isinstance(value, (Image, ImagePart, TextPart)):
        return checked_parts((value,))
    if isinstance(value, (list, tuple)) and any(isinstance(item, (Image, ImagePart, TextPart)) for item in value):
        return checked_parts(value)
    return checked_text(encode_result(value))


def checked_parts(items: list[Any] | tuple[Any, ...]) -> tuple[Part, ...]:
    """The items as parts: images, texts, and the JSON of anything else. Files are read now: they may be gone later.

    Raises:
        Exception: As `result_content`.
    """
    parts = tuple(map(_part, items))
    checked_text("".join(part.text for part in parts if isinstance(part, TextPart)))
    return parts


def checked_text(text: str) -> str:
    """The text of a result.

    Raises:
        ValueError: It is longer than a conversation takes.
    """
    size = text_bytes(text)
    if size > MAX_RESULT_BYTES:
        raise ValueError(f"it has {size:,} bytes, and a conversation takes {MAX_RESULT_BYTES:,}; return a part of it")
    return text


def _part(item: Any) -> TextPart | ImagePart:
    if isinstance(item, TextPart):
        return item
    if isinstance(item, ImagePart):
        return attrs.evolve(item, image=_read(item.image))
    return ImagePart(_read(item)) if isinstance(item, Image) else TextPart(encode_result(item))


def _read(image: Image) -> Image:
    kind, _ = image.source
    return attrs.evolve(image, source=("bytes", image.to_bytes())) if kind == "file" else image


def tool_result(tool_call_id: str, value: Any, *, is_error: bool = False) -> Message:
    """The result of a tool call, from any value that a handler may return.

    Args:
        tool_call_id: The id of the call.
        value: A text is sent as it is, an `Image` or a list of texts and images as parts, anything else as JSON.
        is_error: Tell the model that the tool failed.

    Raises:
        ValidationError: The value has no JSON form (`encoding_failed`).
    """
    try:
        content = result_content(value)
    except Exception as error:  # also from a property of the caller's class
        sentence = f"the result of {tool_call_id} cannot be sent: {error}"
        problem = Problem(("content",), "encoding_failed", sentence)
        raise ValidationError([problem], reason="invalid_message") from error
    return Message("tool", content, tool_call_id=tool_call_id, is_error=is_error)
