"""Short ways to build the values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack, cast

from allm.data.content import PART_TYPES, ImagePart, Part, TextPart
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.message import Message
from allm.data.problems import Problem, check_names, refuse, wrong_type
from allm.data.request import JsonSchema, Request, RequestFields
from allm.data.thread import Thread

__all__ = ["assistant", "json_schema", "request", "system", "to_messages", "tool_result", "user"]


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
            parts.append(cast("Part", piece))
        else:
            sentence = f"is {type(piece).__name__}; expected str, Image or a part such as TextPart"
            raise ValidationError(
                [Problem(("content", index), "invalid_part_type", sentence)], reason="invalid_message"
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
        ValidationError: `messages` cannot be converted to messages.
    """
    check_names(Request, fields)
    return Request(to_messages(messages), **fields)


def to_messages(value: str | Message | Thread | Iterable[Message]) -> tuple[Message, ...]:
    """Anything that stands for a conversation, as messages.

    Raises:
        ValidationError: It is of another type, or holds something else than messages.
    """
    if isinstance(value, str):
        return (user(value),)
    if isinstance(value, Message):
        return (value,)
    if isinstance(value, Thread):
        return value.messages
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        return _messages(tuple(value))
    expected = "expected str, Message, Thread, Request, or an iterable of Message"
    problem = Problem(("messages",), "invalid_type", f"cannot convert {type(value).__name__} to messages; {expected}")
    raise ValidationError([problem], reason="invalid_request")


def _messages(values: tuple[Any, ...]) -> tuple[Message, ...]:
    expected = "a Message: allm.user(text), allm.system(text), allm.assistant(text), allm.tool_result(id, text)"
    refuse(
        [
            wrong_type(("messages", index), value, expected)
            for index, value in enumerate(values)
            if not isinstance(value, Message)
        ]
    )
    return values
