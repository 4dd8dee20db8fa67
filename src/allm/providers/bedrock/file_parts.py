"""Images, documents, audio and videos as blocks of a request, and what the Converse API takes of them.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html and the pages of `ImageBlock`,
`DocumentBlock`, `AudioBlock` and `VideoBlock` have the formats. Which of them a model reads is the model's affair. The
service fetches nothing but objects in S3.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from allm.adapters import (
    Media,
    MediaPart,
    Origin,
    UnusableMediaError,
    base64_text,
    is_text,
    media_of,
    mime_type_of,
    own_upload,
)
from allm.data.content import DocumentPart
from allm.data.errors import ValidationError

__all__ = ["FileEncoder"]

FORMATS = {
    "image": {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"},
    "document": {
        "application/pdf": "pdf",
        "text/csv": "csv",
        "application/msword": "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/vnd.ms-excel": "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "text/html": "html",
        "text/plain": "txt",
        "text/markdown": "md",
    },
    "audio": {
        "audio/mpeg": "mp3",
        "audio/mp3": "mp3",
        "audio/opus": "opus",
        "audio/wav": "wav",
        "audio/aac": "aac",
        "audio/flac": "flac",
        "audio/mp4": "mp4",
        "audio/ogg": "ogg",
        "audio/webm": "webm",
    },
    "video": {
        "video/x-matroska": "mkv",
        "video/matroska": "mkv",
        "video/quicktime": "mov",
        "video/mp4": "mp4",
        "video/webm": "webm",
        "video/x-flv": "flv",
        "video/mpeg": "mpeg",
        "video/x-ms-wmv": "wmv",
        "video/3gpp": "three_gp",
    },
}
CONVERT = {"image": "PNG, JPEG, GIF or WebP", "document": "PDF, or to a text", "audio": "WAV or MP3", "video": "MP4"}
S3 = "s3://"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_MAX_NAME = 200


@attrs.define(eq=False)
class FileEncoder:
    """Encodes the files of one request.

    Attributes:
        origin: Bedrock, which keeps no files.
    """

    origin: Origin
    _names: set[str] = attrs.field(factory=set[str], init=False)

    def encode(self, part: MediaPart) -> dict[str, Any]:
        """The block of a file.

        Raises:
            UnusableMediaError: Bedrock would refuse the request.
        """
        media = media_of(part)
        own_upload(media, self.origin)  # it has none, so any is another's
        mime_type = mime_type_of(media)
        name = FORMATS[media.word].get(mime_type)
        if name is None and media.word == "document" and is_text(mime_type):
            name = "txt"
        if name is None:
            what = f"Bedrock does not take {mime_type}; convert it to {CONVERT[media.word]}"
            raise UnusableMediaError(f"unsupported_{media.word}_format", what)
        block: dict[str, Any] = {"format": name, "source": _source(media)}
        if isinstance(part, DocumentPart):
            block["name"] = self._name(part)
            if part.context is not None:
                block["context"] = part.context
            if part.citations is not None:
                block["citations"] = {"enabled": part.citations}
        return {media.word: block}

    def _name(self, part: DocumentPart) -> str:
        """The name that a document has to have, of few kinds of characters, and its own in the request."""
        given = part.title or part.document.file_name().rpartition(".")[0] or part.document.file_name()
        base = " ".join(_NOT_IN_NAMES.sub(" ", given).split())[:_MAX_NAME].strip() or "document"
        name, number = base, 1
        while name in self._names:
            number += 1
            name = f"{base} {number}"
        self._names.add(name)
        return name


def _source(media: Media) -> dict[str, Any]:
    if media.url is not None:
        if media.url.startswith(S3):
            return {"s3Location": {"uri": media.url}}
        what = "Bedrock fetches nothing but s3:// addresses; use"
        kind = type(media).__name__
        raise UnusableMediaError(f"unsupported_{media.word}_url", f"{what} {kind}.from_file or from_bytes")
    try:
        return {"bytes": base64_text(media)}
    except ValidationError as error:
        raise UnusableMediaError(error.errors[0][1], str(error)) from error
