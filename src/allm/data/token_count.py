"""How many tokens a prompt has, and the estimate for services that do not count them."""

from __future__ import annotations

from typing import Any, assert_never

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import (
    AudioPart,
    CachePoint,
    DocumentPart,
    HostedCall,
    ImagePart,
    Part,
    ProviderPart,
    ReasoningPart,
    TextPart,
    ToolCall,
    VideoPart,
    media_of,
)
from allm.data.document import Document
from allm.data.file_ref import FileRef
from allm.data.image import Image
from allm.data.json.text import dumps
from allm.data.media import Media
from allm.data.message import Message
from allm.data.request import Request
from allm.data.tool import Tool

__all__ = ["PER_MESSAGE", "TokenCount", "estimated_tokens", "least_tokens"]

_BYTES_PER_TOKEN = 3.5
"""UTF-8 bytes of a token. English has about 4.5, JSON and code 3, Chinese and Japanese 3 to 4, others between."""
_MOST_BYTES_PER_TOKEN = 8
"""Of plain text; long words and blanks have more, but no prompt has only these."""
PER_MESSAGE = 4
"""Tokens that mark where a message begins and ends, and whose it is."""
_PER_IMAGE = 1500
"""Tokens of an image of a megapixel: Anthropic counts about 1,600, OpenAI 765 to 1,100, Gemini 258 to 1,032."""
_PER_PAGE, _BYTES_PER_PAGE = 1500, 50_000
"""Tokens of a page: 258 at Gemini, 1,500 to 3,000 at Anthropic; and its size in a PDF of text and pictures."""
_BYTES_PER_SOUND_TOKEN = 500
"""Bytes of sound: MP3 at 128 kbit/s has 16,000 in a second, of which Gemini makes 32 tokens, OpenAI 10."""
_UNKNOWN_FILE = 100_000
"""Bytes of a file that is somewhere else."""


@frozen
class TokenCount:
    """The tokens of a prompt.

    Attributes:
        tokens: How many.
        exact: Whether the provider counted them; else it is an estimate, mostly within a third of the truth.
        request_id: The provider's id of the request that counted.
    """

    tokens: int
    exact: bool
    request_id: str | None = attrs.field(default=None, kw_only=True)


def estimated_tokens(request: Request) -> int:
    """About how many tokens the prompt of a request has, for any model: by its bytes, and the kind of its files."""
    wanted = request.response_format
    schema = b"" if wanted is None or isinstance(wanted, str) else _json(getattr(wanted, "schema", wanted))
    return sum(map(_of_message, request.messages)) + sum(map(_of_tool, request.tools)) + _of_text(schema)


def least_tokens(request: Request) -> int:
    """Tokens that the prompt of a request has at least, for any model: of its texts alone, and at least one."""
    texts = (part.text for message in request.messages for part in message.parts if isinstance(part, TextPart))
    return max(1, sum(len(text.encode("utf-8", "replace")) for text in texts) // _MOST_BYTES_PER_TOKEN)


def _of_message(message: Message) -> int:
    content = message.content
    return PER_MESSAGE + (_of_text(content) if isinstance(content, str) else sum(map(_of_part, content)))


def _of_part(part: Part) -> int:
    match part:
        case ImagePart() | DocumentPart() | AudioPart() | VideoPart():
            return _of_media(media_of(part))
        case TextPart() | ReasoningPart():
            return _of_text(part.text)
        case ToolCall():
            arguments = part.raw_arguments if part.arguments is None else _json(part.arguments)
            return PER_MESSAGE + _of_text(part.name) + _of_text(arguments or "")
        case CachePoint():
            return 0
        case HostedCall() | ProviderPart():
            return _of_text(_json(part.data))
        case _:
            assert_never(part)


def _of_media(media: Media) -> int:
    if isinstance(media, Image):
        return _PER_IMAGE
    size = _size_of(media)
    if not isinstance(media, Document):
        return size // _BYTES_PER_SOUND_TOKEN
    return round(size / _BYTES_PER_TOKEN) if media.is_text else _PER_PAGE * (1 + size // _BYTES_PER_PAGE)


def _size_of(media: Media) -> int:
    """Its size in bytes; a file is not read."""
    kind, value = media.source
    if isinstance(value, FileRef):
        return _UNKNOWN_FILE if value.size is None else value.size
    if kind == "file" and (file := media._large_file(0)) is not None:
        return file.size
    return _UNKNOWN_FILE if kind == "url" else len(value) * 3 // 4 if kind == "base64" else len(value)


def _of_tool(tool: Tool) -> int:
    return 2 * PER_MESSAGE + _of_text(tool.name) + _of_text(tool.description or "") + _of_text(_json(tool.schema))


def _of_text(text: str | bytes) -> int:
    size = len(text if isinstance(text, bytes) else text.encode("utf-8", "replace"))
    return round(size / _BYTES_PER_TOKEN)


def _json(value: Any) -> bytes:
    try:
        return dumps(value)
    except (TypeError, ValueError, RecursionError):
        return b""
