"""What is shown of errors, results, files and costs: the same in every format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import attrs

from allm.data.attrs_classes import define
from allm.data.content import MediaPart, TextPart, ToolCall, media_of
from allm.data.errors import AllmError, ValidationError
from allm.data.json.text import JsonTextError, loads
from allm.data.media import Media
from allm.data.message import Message
from allm.data.response import COUNTS, Usage
from allm.data.types.encode import as_json

__all__ = [
    "NOT_ENDED",
    "NO_URL",
    "ErrorText",
    "UsageCount",
    "arguments_of",
    "error_text",
    "json_data",
    "media_url",
    "reason_of",
    "result_data",
    "result_text",
    "usage_data",
    "without_url",
]

NOT_ENDED = "this call did not run to completion"
"""The result of a call that was cut short."""
NO_URL = "data:,"
"""A URL with nothing behind it."""
_UNKNOWN = "application/octet-stream"

ErrorText = Callable[[BaseException], str]
"""Makes the text that a visitor reads from an error."""


def error_text(error: BaseException) -> str:
    """What went wrong, without what only the operator of a server should read: addresses, models, limits, advice."""
    return f"The answer failed ({reason_of(error)})."


def reason_of(error: BaseException) -> str:
    """A word for an error: the reason of ours."""
    return error.reason if isinstance(error, AllmError) else "internal_error"


def result_text(message: Message) -> str:
    """The text of a result; of an error that the library wrote, its message."""
    text = message.text
    if message.is_error:
        data = _parsed(text)
        error = data.get("error") if isinstance(data, dict) else None
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return f"{error.get('type')}: {error['message']}"
    return text


def result_data(message: Message) -> Any:
    """The result of a tool as JSON data: a text, the object or list in it, or a list of texts and files."""
    if any(isinstance(part, MediaPart) for part in message.parts):
        return [data for part in message.parts if (data := _part_data(part)) is not None]
    data = _parsed(message.text)
    return data if isinstance(data, (dict, list)) else message.text


def _part_data(part: Any) -> dict[str, Any] | None:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, MediaPart):
        media = media_of(part)
        url, mime_type = media_url(media)
        if url == NO_URL:
            return {"type": "text", "text": without_url(media)}
        named = {} if media.name is None else {"filename": media.name}
        return {"type": "file", "url": url, "mediaType": mime_type, **named}
    return None


def _parsed(text: str) -> Any:
    if text[:1] not in {"{", "["}:
        return None
    try:
        return loads(text)
    except JsonTextError:
        return None


def media_url(media: Media) -> tuple[str, str]:
    """A URL that a page can show, which holds the image or file itself if it has no other; and the MIME type.

    What cannot be had has the URL NO_URL. It is not to be part of a conversation, which no client would take back.
    """
    if (url := media.url) is not None:
        return url, media.mime_type or media.word
    try:
        data = media.to_base64()
    except ValidationError:  # the file is gone, or the provider keeps it
        return NO_URL, media.mime_type or media.word
    try:
        mime_type = media.resolved_mime_type()
    except ValidationError:
        return f"data:{_UNKNOWN};base64,{data}", media.word
    return f"data:{mime_type};base64,{data}", mime_type


def without_url(media: Media) -> str:
    """What stands for a file that cannot be had."""
    return f"[{media.phrase} that cannot be shown]"


def arguments_of(call: ToolCall) -> Any:
    """The arguments as JSON data, or the text of what is no JSON object."""
    return call.raw_arguments if call.arguments is None else dict(call.arguments)


def json_data(value: Any) -> Any:
    """A value of the caller's own as JSON data; what has none is described."""
    try:
        return as_json(value)
    except Exception:  # also from a property of the caller's class
        return f"<{type(value).__name__}>"


def usage_data(usage: Usage) -> dict[str, Any]:
    """The counts that are known."""
    return {name: count for name in COUNTS if (count := getattr(usage, name)) is not None}


@final
@define(eq=False)
class UsageCount:
    """Counts what the messages of a stream have used. Each report of one replaces what it told before.

    Attributes:
        total: Of the messages that have ended; at the end of a turn, what its result says.
    """

    total: Usage = attrs.field(factory=Usage)
    _newest: Usage | None = attrs.field(default=None, init=False)

    def report(self, usage: Usage) -> None:
        """Take note of what the message in progress has used so far."""
        self._newest = usage if self._newest is None else self._newest.merge(usage)

    def end_message(self) -> Usage:
        """Add the message in progress, which has ended; returns the total."""
        if self._newest is not None:
            self.total += self._newest
            self._newest = None
        return self.total

    def end_turn(self, total: Usage) -> None:
        """Take the total of the result."""
        self.total, self._newest = total, None
