"""Short ways to build the values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from allm.data.content import ImagePart, Part, ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.message import Message
from allm.data.problems import check_names
from allm.data.request import JsonSchema, Request, RequestFields
from allm.data.thread import Thread

__all__ = ["assistant", "json_schema", "request", "system", "to_messages", "tool_result", "user"]

PART_TYPES = (TextPart, ImagePart, ReasoningPart, ToolCall, ProviderPart)


def _content(pieces: tuple[Any, ...]) -> str | tuple[Part, ...]:
    if len(pieces) == 1 and isinstance(pieces[0], str):
        return pieces[0]
    parts: list[Part] = []
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            parts.append(TextPart(piece))
        elif isinstance(piece, Image):
            parts.append(ImagePart(piece))
        elif isinstance(piece, PART_TYPES):
            parts.append(piece)
        else:
            raise ValidationError(
                [(("content", index), "invalid_part_type")],
                reason="invalid_message",
                message=f"content[{index}] is {type(piece).__name__}; expected str, Image or a part such as TextPart",
            )
    return tuple(parts)


def system(text: str) -> Message:
    """Instructions for the model."""
    return Message("system", text)


def user(*content: str | Image | Part) -> Message:
    """A user turn: text, or text and images in order: `user("What is this?", Image.from_file("x.png"))`."""
    return Message("user", _content(content))


def assistant(*content: str | Part) -> Message:
    """An assistant turn, for conversations that are written by hand."""
    return Message("assistant", _content(content))


def tool_result(tool_call_id: str, content: str, *, is_error: bool = False) -> Message:
    """The answer to a tool call."""
    return Message("tool", content, tool_call_id=tool_call_id, is_error=is_error)


def json_schema(name: str, schema: Mapping[str, Any], *, strict: bool = True) -> JsonSchema:
    """A structured-output format for `response_format=`."""
    return JsonSchema(name, dict(schema) if isinstance(schema, Mapping) else schema, strict)


def request(messages: str | Message | Thread | Iterable[Message], **fields: Unpack[RequestFields]) -> Request:
    """A `Request` from anything that `generate` accepts as messages; `fields` are those of `Request`.

    Raises:
        OptionError: An unknown name (suggests the nearest one); it is a `TypeError`.
        ValidationError: `messages` is nothing that stands for a conversation.
    """
    check_names(Request, fields)
    return Request(to_messages(messages), **fields)


def to_messages(value: str | Message | Thread | Iterable[Message]) -> tuple[Message, ...]:
    """Anything that stands for a conversation, as messages.

    Raises:
        ValidationError: It is none of them.
    """
    if isinstance(value, str):
        return (user(value),)
    if isinstance(value, Message):
        return (value,)
    if isinstance(value, Thread):
        return value.messages
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        return _messages(tuple(value))
    raise ValidationError(
        [(("messages",), "invalid_type")],
        reason="invalid_request",
        message=f"cannot make messages of {type(value).__name__}; expected str, Message, Thread, Request or messages",
    )


def _messages(values: tuple[Any, ...]) -> tuple[Message, ...]:
    others = [index for index, value in enumerate(values) if not isinstance(value, Message)]
    if others:
        first = others[0]
        raise ValidationError(
            [(("messages", index), "invalid_type") for index in others],
            reason="invalid_request",
            message=f"messages[{first}] is {type(values[first]).__name__}; expected a Message: allm.user(text), "
            "allm.system(text), allm.assistant(text), allm.tool_result(id, text)",
        )
    return values
