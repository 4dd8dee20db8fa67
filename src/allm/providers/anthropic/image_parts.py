"""Images as blocks of a request, and what the Messages API takes of them.

https://platform.claude.com/docs/en/build-with-claude/vision (formats, number) and
https://platform.claude.com/docs/en/api/overview (32 MB for a request).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import attrs

from allm.adapters import UnusableImageError, base64_text
from allm.data.errors import ValidationError
from allm.data.image import Image

__all__ = ["ImageEncoder"]

FORMATS = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
URL_SCHEMES = frozenset({"https", "http"})
MAX_IMAGE_BYTES = 10 * 1024 * 1024
"""Base64 text of one image, in bytes. The API counts the text ("image exceeds 5 MB maximum: 6275800 bytes" for 4.7 MB
of PNG); it took 5 MiB until the summer of 2026, and still does so behind some clouds, whose answer then says so."""
MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""Base64 text of all images of a request, in bytes: nothing else would fit."""


@attrs.define(eq=False)
class ImageEncoder:
    """Encodes the images of one request and counts them.

    Attributes:
        max_images: Most images of a request.
    """

    max_images: int
    _images: int = attrs.field(default=0, init=False)
    _inline: int = attrs.field(default=0, init=False)

    def encode(self, image: Image) -> dict[str, Any]:
        """The block: the source is a URL or base64 text.

        Raises:
            UnusableImageError: Anthropic would refuse the request.
        """
        self._images += 1
        if self._images > self.max_images:
            raise UnusableImageError(
                "too_many_images", f"the model takes at most {self.max_images} images in a request"
            )
        source = self._inlined(image) if image.url is None else _linked(image.url)
        return {"type": "image", "source": source}

    def _inlined(self, image: Image) -> dict[str, Any]:
        try:
            mime_type = image.resolved_mime_type()
            data = base64_text(image)
        except ValidationError as error:
            raise UnusableImageError(error.errors[0][1], str(error)) from error
        if mime_type not in FORMATS:
            raise UnusableImageError(
                "unsupported_image_format",
                f"Anthropic does not take {mime_type}; convert it to JPEG, PNG, GIF or WebP",
            )
        self._inline += len(data)
        if len(data) > MAX_IMAGE_BYTES or self._inline > MAX_REQUEST_BYTES:
            raise UnusableImageError(
                "image_too_large",
                f"{len(data)} bytes as base64 text: one image may have {MAX_IMAGE_BYTES}, all of a request together "
                f"{MAX_REQUEST_BYTES}; make it smaller, or pass a URL with Image.from_url",
            )
        return {"type": "base64", "media_type": mime_type, "data": data}


def _linked(url: str) -> dict[str, Any]:
    scheme = urlsplit(url).scheme
    if scheme not in URL_SCHEMES:
        raise UnusableImageError(
            "unsupported_image_url",
            f"Anthropic fetches https URLs, not {scheme or 'a text without a scheme'}; use Image.from_data_uri, "
            "from_file or from_bytes for what is not on a server",
        )
    return {"type": "url", "url": url}
