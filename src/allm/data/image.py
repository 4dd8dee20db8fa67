"""An image as a value: bytes, base64 text, a URL or a file path, with its MIME type where known.

Labels are often wrong: a JPEG is called `.png`, or `image/jpg`. Where the bytes are at hand and tell their type, they
decide; the label counts for what they do not tell.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from allm.data.attrs_classes import frozen
from allm.data.image_header import named_mime, read_size, sniff_mime
from allm.data.media import Media, SourceKind as SourceKind
from allm.data.problems import mapping_field

__all__ = ["EXTENSIONS", "Image", "SourceKind"]

EXTENSIONS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}


@frozen(repr=False)
class Image(Media):
    """One image. Build it with a `from_...` constructor; nothing is read or fetched until bytes are asked for.

    Attributes:
        source: `(kind, value)`, kind one of `bytes`, `base64`, `url`, `file`, `upload`.
        mime_type: Such as `image/png`, or None when it is not known (a URL).
        name: The name of the file for the provider, where it is not that of a `file` source.
        prompt, revised_prompt: Of a generated image: what was asked for, and what the model made of that.
        metadata: What else the provider says of a generated image.
    """

    word: ClassVar[str] = "image"
    phrase: ClassVar[str] = "an image"
    _extensions: ClassVar[dict[str, str]] = EXTENSIONS

    prompt: str | None = attrs.field(default=None, kw_only=True)
    revised_prompt: str | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()

    @staticmethod
    def _sniff(head: bytes) -> str | None:
        return sniff_mime(head)

    @classmethod
    def _typed(cls, head: bytes, label: str | None) -> str | None:
        return sniff_mime(head) or named_mime(label)

    def size(self) -> tuple[int, int] | None:
        """`(width, height)` in pixels, read from the bytes of a PNG, JPEG, GIF or WebP; None for anything else.

        Raises:
            ValidationError: As `to_bytes`.
        """
        return read_size(self.to_bytes())
