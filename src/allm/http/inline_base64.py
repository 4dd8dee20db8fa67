"""Large bytes in a JSON body, which become base64 text while they are sent.

As a text in the body an image would be in memory four times: its bytes, their base64, that in a `data:` URL, and all of
it in the encoded body. `base64_text` puts a stand-in into the body instead, and the call makes a `Body` of it. What is
in a file is read while it is sent, and is never in memory as a whole.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from secrets import token_hex
from typing import Any, final

from allm.data.json.text import dumps
from allm.data.media import LargeFile, Media
from allm.http.response import Body

__all__ = ["InlineBase64", "base64_text", "streamed"]

LARGE = 256 * 1024
"""Bytes from which on an image is encoded while it is sent; for less it is not worth a second write."""
PIECE = 3 * 64 * 1024
"""Bytes that are encoded at once: a multiple of three, so that the texts of the pieces are that of the whole."""
_PLAIN = re.compile(r"[\w+/=;:,.-]*", re.ASCII)
"""Texts that are the same in JSON. An image can be made of any text."""


@final
class InlineBase64:
    """A text in a body: the prefix, and the base64 of bytes: as they are, as base64 already, or those of a file."""

    __slots__ = ("data", "prefix")

    def __init__(self, data: bytes | str | LargeFile, prefix: str = "") -> None:
        self.data: bytes | str | LargeFile = data
        self.prefix: str = prefix

    def __len__(self) -> int:
        data = self.data
        return len(self.prefix) + (len(data) if isinstance(data, str) else (len(data) + 2) // 3 * 4)

    def pieces(self) -> Iterator[bytes]:
        """The text in ASCII, bit by bit.

        Raises:
            ValidationError: The file is not as long any more, or cannot be read.
        """
        yield self.prefix.encode("ascii")
        data = self.data
        if isinstance(data, str):
            yield from (data[start : start + PIECE].encode("ascii") for start in range(0, len(data), PIECE))
            return
        if isinstance(data, LargeFile):
            yield from (binascii.b2a_base64(piece, newline=False) for piece in data.pieces(PIECE))
            return
        view = memoryview(data)
        for start in range(0, len(data), PIECE):
            yield binascii.b2a_base64(view[start : start + PIECE], newline=False)


def base64_text(media: Media, prefix: str = "") -> Any:
    """The base64 of an image, a document or the like as a text for the body of a request, after the prefix.

    If it is large it is an object that is encoded while the body is sent, if the body goes to `HttpAdapter.call` or
    `stream_call` as a mapping; `len` gives its length.

    Raises:
        ValidationError: As `Media.to_bytes`.
    """
    kind, value = media.source
    data: bytes | str | LargeFile | None = media._large_file(LARGE)
    if data is None:
        data = value if kind == "base64" and isinstance(value, str) else media.to_bytes()
    is_plain = _PLAIN.fullmatch(prefix) and (not isinstance(data, str) or _PLAIN.fullmatch(data))
    if len(data) < LARGE or not is_plain:
        return prefix + media.to_base64()
    return InlineBase64(data, prefix)


def streamed(body: Any) -> bytes | Body:
    """A body in which there may be `InlineBase64`, as JSON.

    Raises:
        TypeError, ValueError, RecursionError: A value in it has no JSON form.
    """
    token, inlined = token_hex(16), list[InlineBase64]()

    def stand_in(value: Any) -> str:
        if not isinstance(value, InlineBase64):
            raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
        inlined.append(value)
        return f"{token}{len(inlined) - 1:08}"

    encoded = dumps(body, stand_in)
    texts = re.split(rf"{token}([0-9]{{8}})".encode(), encoded)  # every second one is the number of a stand-in
    if len(texts) == 1:
        return encoded
    parts = [inlined[int(text)] if index % 2 else text for index, text in enumerate(texts)]

    def pieces() -> Iterator[bytes]:
        for part in parts:
            if isinstance(part, InlineBase64):
                yield from part.pieces()
            else:
                yield part

    return Body(length=sum(map(len, parts)), open=pieces)
