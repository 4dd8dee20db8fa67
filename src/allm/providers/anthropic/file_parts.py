"""Images and documents as blocks of a request, and what the Messages API takes of them.

https://platform.claude.com/docs/en/build-with-claude/vision (formats, number),
https://platform.claude.com/docs/en/build-with-claude/pdf-support, https://platform.claude.com/docs/en/build-with-claude/citations
(sources, and that all documents of a request are cited or none), https://platform.claude.com/docs/en/build-with-claude/files
and https://platform.claude.com/docs/en/api/overview (32 MB for a request). Of a URL only PDF is read.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import attrs

from allm.adapters import (
    Media,
    Origin,
    UnusableMediaError,
    base64_text,
    is_text,
    mime_type_of,
    own_upload,
)
from allm.data.content import DocumentPart
from allm.data.errors import ValidationError
from allm.data.image import Image

__all__ = ["FileEncoder"]

FORMATS = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
URL_SCHEMES = frozenset({"https", "http"})
MAX_IMAGE_BYTES = 10 * 1024 * 1024
"""Base64 text of one image, in bytes. The API counts the text ("image exceeds 5 MB maximum: 6275800 bytes" for 4.7 MB
of PNG); it took 5 MiB until the summer of 2026, and still does so behind some clouds, whose answer then says so."""
MAX_REQUEST_BYTES = 32 * 1024 * 1024
"""Base64 text of all files of a request, in bytes: nothing else would fit."""


@attrs.define(eq=False)
class FileEncoder:
    """Encodes the images and documents of one request and counts them.

    Attributes:
        max_images: Most images of a request.
        origin: Whose uploaded files it can refer to.
    """

    max_images: int
    origin: Origin
    _images: int = attrs.field(default=0, init=False)
    _inline: int = attrs.field(default=0, init=False)
    _cited: bool | None = attrs.field(default=None, init=False)  # whether the documents are; None: there are none yet

    def image(self, image: Image) -> dict[str, Any]:
        """The block: the source is a URL, an uploaded file or base64 text.

        Raises:
            UnusableMediaError: Anthropic would refuse the request.
        """
        self._images += 1
        if self._images > self.max_images:
            raise UnusableMediaError(
                "too_many_images", f"the model takes at most {self.max_images} images in a request"
            )
        return {"type": "image", "source": self._elsewhere(image) or self._inline_image(image)}

    def document(self, part: DocumentPart) -> dict[str, Any]:
        """The block: the source is a URL, an uploaded file, base64 text or a text, or it is a search result.

        Raises:
            UnusableMediaError: Anthropic would refuse the request.
        """
        cited = bool(part.citations)
        if self._cited not in {None, cited}:
            what = "some documents of the request are to be cited and others are not; Anthropic takes all or none"
            raise UnusableMediaError("mixed_citations", f"{what}: give all the same citations=")
        source = self._elsewhere(part.document) or self._inline_document(part)
        self._cited = cited
        if part.source is not None and source["type"] == "text":
            block = _search_result(part, source["data"])
        else:
            block = {"type": "document", "source": source}
            if part.title is not None:
                block["title"] = part.title
            found = None if part.source is None else f"Source: {part.source}"
            if context := "\n".join(filter(None, (found, part.context))):
                block["context"] = context
        if part.citations is not None:
            block["citations"] = {"enabled": part.citations}
        return block

    def _elsewhere(self, media: Media) -> dict[str, Any] | None:
        file = own_upload(media, self.origin)
        if file is not None:
            return {"type": "file", "file_id": file.id}
        return None if media.url is None else self._linked(media, media.url)

    def _linked(self, media: Media, url: str) -> dict[str, Any]:
        scheme = urlsplit(url).scheme
        kind = type(media).__name__
        if scheme not in URL_SCHEMES:
            raise UnusableMediaError(
                f"unsupported_{media.word}_url",
                f"Anthropic fetches https URLs, not {scheme or 'a text without a scheme'}; use {kind}.from_data_uri, "
                "from_file or from_bytes for what is not on a server",
            )
        if media.mime_type is not None and media.word == "document" and media.mime_type != "application/pdf":
            what = f"Anthropic reads only PDF from a URL, not {media.mime_type}"
            raise UnusableMediaError("unsupported_document_format", f"{what}; pass its content with {kind}.from_bytes")
        return {"type": "url", "url": url}

    def _inline_image(self, image: Image) -> dict[str, Any]:
        mime_type, data = mime_type_of(image), _base64(image)
        if mime_type not in FORMATS:
            raise UnusableMediaError(
                "unsupported_image_format",
                f"Anthropic does not take {mime_type}; convert it to JPEG, PNG, GIF or WebP",
            )
        self._count(image, len(data), MAX_IMAGE_BYTES)
        return {"type": "base64", "media_type": mime_type, "data": data}

    def _inline_document(self, part: DocumentPart) -> dict[str, Any]:
        document, mime_type = part.document, mime_type_of(part.document)
        if is_text(mime_type):
            try:
                text = document.text()
            except ValidationError as error:
                raise UnusableMediaError(error.errors[0][1], str(error)) from error
            self._count(document, len(text.encode("utf-8", "surrogatepass")), MAX_REQUEST_BYTES)
            return {"type": "text", "media_type": "text/plain", "data": text}
        if mime_type != "application/pdf":
            what = f"Anthropic does not take {mime_type}"
            raise UnusableMediaError("unsupported_document_format", f"{what}; convert it to PDF, or to a text")
        data = _base64(document)
        self._count(document, len(data), MAX_REQUEST_BYTES)
        return {"type": "base64", "media_type": mime_type, "data": data}

    def _count(self, media: Media, size: int, most: int) -> None:
        self._inline += size
        if size > most or self._inline > MAX_REQUEST_BYTES:
            raise UnusableMediaError(
                f"{media.word}_too_large",
                f"{size:,} bytes as they are sent: one {media.word} may have {most:,}, all files of a request together "
                f"{MAX_REQUEST_BYTES:,}; make it smaller, or pass a URL with {type(media).__name__}.from_url",
            )


def _search_result(part: DocumentPart, text: str) -> dict[str, Any]:
    """https://platform.claude.com/docs/en/build-with-claude/search-results; its context is a block of its own."""
    texts = (part.context, text)
    content = [{"type": "text", "text": text} for text in texts if text and text.strip()]
    return {"type": "search_result", "source": part.source, "title": part.title or part.source, "content": content}


def _base64(media: Media) -> Any:
    try:
        return base64_text(media)
    except ValidationError as error:
        raise UnusableMediaError(error.errors[0][1], str(error)) from error
