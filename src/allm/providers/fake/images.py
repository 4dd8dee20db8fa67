"""`FakeImages`: an adapter that draws small plain images, or plays what it is given. No key, no network."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import final

import attrs
import trio

from allm.adapters import AdapterOptions, wrong_type
from allm.data.errors import AllmError, ImageAdapterError, ValidationError
from allm.data.image import Image
from allm.data.image_request import ImageRequest, ImageResponse, ImageUsage

__all__ = ["FakeImages", "ImageScriptItem", "plain_png"]

ImageScriptItem = ImageResponse | Image | AllmError | float
"""What `FakeImages` plays: an answer, an image, an error to raise, or seconds to wait before the next one."""

_SIDE = 8  # pixels


@final
class FakeImages:
    """Plays one entry for each request: an `ImageResponse`, an `Image`, an error to raise, or seconds to wait first.

        FakeImages()                                   # draws
        FakeImages([ImageAdapterError("busy", reason="overloaded"), Image.from_file("fox.png")])

    Without entries every request is answered with as many plain PNG images as it asks for, each prompt with a colour of
    its own.

    Attributes:
        requests: What was asked, in order.

    Raises:
        ValidationError: An entry of another type.
    """

    provider = "fake"
    requires_model = False

    def __init__(self, script: Iterable[ImageScriptItem] | None = None) -> None:
        self._script = None if script is None else list(script)
        for index, entry in enumerate(self._script or ()):
            if not isinstance(entry, (ImageResponse, Image, AllmError, int, float)):
                expected = "ImageResponse, Image, an error or a number of seconds"
                raise ValidationError([wrong_type(("script", index), entry, expected)], reason="invalid_script")
        self._next = 0
        self.requests: list[ImageRequest] = []

    def prepare(self, request: ImageRequest, _options: AdapterOptions) -> ImageRequest:
        """Note the request."""
        self.requests.append(request)
        return request

    async def send(self, prepared: ImageRequest) -> ImageResponse:
        """Play the next entry.

        Raises:
            AllmError: What the script says; `no_scripted_response` when it is used up.
        """
        await trio.lowlevel.checkpoint()
        if self._script is None:
            images = [
                Image.from_bytes(plain_png(f"{prepared.prompt} {n}"), "image/png") for n in range(prepared.n or 1)
            ]
            return self._answer(prepared, images)
        while self._next < len(self._script):
            entry = self._script[self._next]
            self._next += 1
            if isinstance(entry, (int, float)):
                await trio.sleep(entry)
                continue
            if isinstance(entry, AllmError):
                raise entry
            return entry if isinstance(entry, ImageResponse) else self._answer(prepared, [entry])
        raise ImageAdapterError(
            f"FakeImages has no entry left for call number {len(self.requests)}: its script has {len(self._script)}",
            reason="no_scripted_response",
            provider=self.provider,
        ).advised("; add one for each attempt")

    def _answer(self, request: ImageRequest, images: list[Image]) -> ImageResponse:
        images = [attrs.evolve(image, prompt=request.prompt) for image in images]
        return ImageResponse(images=images, model=request.model or "fake", usage=ImageUsage(images=len(images)))


def plain_png(text: str) -> bytes:
    """A PNG of 8 x 8 pixels in a colour that `text` decides."""
    colour = struct.pack(">I", zlib.crc32(text.encode("utf-8", "replace")))[:3]
    rows = (b"\0" + colour * _SIDE) * _SIDE
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
