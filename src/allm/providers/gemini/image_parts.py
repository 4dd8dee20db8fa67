"""Images as parts of a request, and what the Gemini API takes of them.

https://ai.google.dev/gemini-api/docs/image-understanding (formats, 3,600 images) and
https://ai.google.dev/gemini-api/docs/file-input-methods (100 MB of inline data, URLs that Google fetches: Files API,
Cloud Storage, public and signed https).
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import attrs

from allm.adapters import IMAGE_EXTENSIONS, UnusableImageError, base64_text
from allm.data.errors import ValidationError
from allm.data.image import Image

__all__ = ["ImageEncoder"]

FORMATS = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "image/bmp"})
URL_SCHEMES = frozenset({"https", "http", "gs"})
MAX_IMAGES = 3600
MAX_INLINE_BYTES = 100 * 1024 * 1024
"""Base64 text of all inline images of a request, in bytes."""


@attrs.define(eq=False)
class ImageEncoder:
    """Encodes the images of one request and counts them."""

    _images: int = attrs.field(default=0, init=False)
    _inline: int = attrs.field(default=0, init=False)

    def encode(self, image: Image) -> dict[str, Any]:
        """`fileData` for a URL, `inlineData` for everything else.

        Raises:
            UnusableImageError: Gemini would refuse the request.
        """
        self._images += 1
        if self._images > MAX_IMAGES:
            raise UnusableImageError("too_many_images", f"Gemini takes at most {MAX_IMAGES} images in a request")
        return self._inlined(image) if image.url is None else _linked(image.url, image.mime_type)

    def _inlined(self, image: Image) -> dict[str, Any]:
        try:
            mime_type = image.resolved_mime_type()
            data = base64_text(image)
        except ValidationError as error:
            raise UnusableImageError(error.errors[0][1], str(error)) from error
        _check_format(mime_type)
        self._inline += len(data)
        if self._inline > MAX_INLINE_BYTES:
            raise UnusableImageError(
                "image_too_large",
                f"the images of this request are more than {MAX_INLINE_BYTES} bytes as base64 text; upload them with "
                "the Files API and pass their URLs with Image.from_url",
            )
        return {"inlineData": {"mimeType": mime_type, "data": data}}


def _linked(url: str, mime_type: str | None) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in URL_SCHEMES:
        raise UnusableImageError(
            "unsupported_image_url",
            f"Gemini fetches https and gs URLs, not {parts.scheme or 'a text without a scheme'}; use "
            "Image.from_data_uri, from_file or from_bytes for what is not on a server",
        )
    data = {"fileUri": url}
    mime_type = mime_type or IMAGE_EXTENSIONS.get(PurePosixPath(parts.path).suffix.lower())
    if mime_type is not None:
        _check_format(mime_type)
        data["mimeType"] = mime_type
    return {"fileData": data}


def _check_format(mime_type: str) -> None:
    # What is no image (a PDF, audio) has formats of its own, and Gemini takes it in the same place.
    if mime_type.startswith("image/") and mime_type not in FORMATS:
        raise UnusableImageError(
            "unsupported_image_format", f"Gemini does not take {mime_type}; convert it to PNG, JPEG, WebP or HEIC"
        )
