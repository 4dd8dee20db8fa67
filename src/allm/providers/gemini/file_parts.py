"""Images, documents, audio and videos as parts of a request, and what the Gemini API takes of them.

https://ai.google.dev/gemini-api/docs/image-understanding (formats, 3,600 images), .../document-processing (PDF, and
text), .../audio, .../video-understanding (formats, addresses at YouTube) and .../file-input-methods (100 MB of inline
data, URLs that Google fetches: Files API, Cloud Storage, public and signed https).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import attrs

from allm.adapters import Media, Origin, UnusableMediaError, base64_text, is_text, mime_type_of, own_upload
from allm.data.errors import ValidationError

__all__ = ["FileEncoder"]

FORMATS = {
    "image": frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "image/bmp"}),
    "document": frozenset({"application/pdf"}),
    "audio": frozenset(
        {"audio/wav", "audio/mpeg", "audio/mp3", "audio/aiff", "audio/aac", "audio/ogg", "audio/flac", "audio/mp4"}
        | {"audio/webm", "audio/pcm", "audio/l16"}
    ),
    "video": frozenset(
        {"video/mp4", "video/mpeg", "video/quicktime", "video/x-msvideo", "video/avi", "video/x-flv", "video/webm"}
        | {"video/x-ms-wmv", "video/wmv", "video/3gpp", "video/mov", "video/mpg"}
    ),
}
CONVERT = {"image": "PNG, JPEG, WebP or HEIC", "document": "PDF, or to a text", "audio": "WAV or MP3", "video": "MP4"}
URL_SCHEMES = frozenset({"https", "http", "gs"})
YOUTUBE = frozenset({"www.youtube.com", "youtube.com", "m.youtube.com", "youtu.be"})
MAX_IMAGES = 3600
MAX_INLINE_BYTES = 100 * 1024 * 1024
"""Base64 text of all inline files of a request, in bytes."""


@attrs.define(eq=False)
class FileEncoder:
    """Encodes the files of one request and counts them.

    Attributes:
        origin: Whose uploaded files it can refer to.
    """

    origin: Origin
    _images: int = attrs.field(default=0, init=False)
    _inline: int = attrs.field(default=0, init=False)

    def encode(self, media: Media) -> dict[str, Any]:
        """`fileData` for a URL and an uploaded file, `inlineData` for everything else.

        Raises:
            UnusableMediaError: Gemini would refuse the request.
        """
        if media.word == "image":
            self._images += 1
            if self._images > MAX_IMAGES:
                raise UnusableMediaError("too_many_images", f"Gemini takes at most {MAX_IMAGES} images in a request")
        file = own_upload(media, self.origin)
        if file is not None:
            mime_type = media.mime_type or file.mime_type
            return {"fileData": {"fileUri": file.uri or file.id} | ({"mimeType": mime_type} if mime_type else {})}
        return self._inlined(media) if media.url is None else _linked(media, media.url)

    def _inlined(self, media: Media) -> dict[str, Any]:
        mime_type = mime_type_of(media)
        try:
            data = base64_text(media)
        except ValidationError as error:
            raise UnusableMediaError(error.errors[0][1], str(error)) from error
        _check_format(media, mime_type)
        self._inline += len(data)
        if self._inline > MAX_INLINE_BYTES:
            kind = type(media).__name__
            raise UnusableMediaError(
                f"{media.word}_too_large",
                f"the files of this request are more than {MAX_INLINE_BYTES:,} bytes as base64 text; upload them with "
                f"the Files API and pass their URLs with {kind}.from_url",
            )
        return {"inlineData": {"mimeType": mime_type, "data": data}}


def _linked(media: Media, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in URL_SCHEMES:
        raise UnusableMediaError(
            f"unsupported_{media.word}_url",
            f"Gemini fetches https and gs URLs, not {parts.scheme or 'a text without a scheme'}; use "
            f"{type(media).__name__}.from_data_uri, from_file or from_bytes for what is not on a server",
        )
    data = {"fileUri": url}
    mime_type: str | None = None  # Gemini finds it out
    with suppress(ValidationError):
        mime_type = media.resolved_mime_type()
    if mime_type is None and parts.hostname in YOUTUBE:
        mime_type = "video/mp4"
    if mime_type is not None:
        _check_format(media, mime_type)
        data["mimeType"] = mime_type
    return {"fileData": data}


def _check_format(media: Media, mime_type: str) -> None:
    # Bytes tell their type: a PDF that is called an image is taken as well, in the same place.
    if mime_type in FORMATS[media.word] or (media.word == "document" and is_text(mime_type)):
        return
    if media.word == "image" and not mime_type.startswith("image/"):
        return
    what = f"Gemini does not take {mime_type}; convert it to {CONVERT[media.word]}"
    raise UnusableMediaError(f"unsupported_{media.word}_format", what)
