"""Documents and videos as values."""

from __future__ import annotations

import codecs
from pathlib import PurePosixPath
from typing import ClassVar, Self

from allm.data.attrs_classes import frozen
from allm.data.image_header import sniff_mime
from allm.data.media import Media

__all__ = ["Document", "Video", "is_text"]

_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = {
    ".pdf": "application/pdf",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".htm": "text/html",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".toml": "application/toml",
    ".rtf": "application/rtf",
    ".doc": "application/msword",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".epub": "application/epub+zip",
}
_VIDEOS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mpeg": "video/mpeg",
    ".mpg": "video/mpeg",
    ".avi": "video/x-msvideo",
    ".wmv": "video/x-ms-wmv",
    ".flv": "video/x-flv",
    ".3gp": "video/3gpp",
}
_OF_TEXT = frozenset({"json", "jsonl", "xml", "yaml", "toml", "javascript", "sql", "x-sh", "x-ndjson"})
"""Subtypes of `application` that are text."""


def is_text(mime_type: str) -> bool:
    """Whether what has this type can be read as text."""
    family, _, form = mime_type.partition("/")
    return family == "text" or (family == "application" and form.rpartition("+")[2] in _OF_TEXT)


@frozen(repr=False)
class Document(Media):
    """A document, such as a PDF or a text. Build it with a `from_...` constructor; it is read when it is sent.

    Attributes:
        source: `(kind, value)`, kind one of `bytes`, `base64`, `url`, `file`, `text`, `upload`.
        mime_type: Such as `application/pdf`, or None when it is not known (a URL).
    """

    word: ClassVar[str] = "document"
    phrase: ClassVar[str] = "a document"
    _extensions: ClassVar[dict[str, str]] = _DOCUMENTS

    @classmethod
    def from_text(cls, text: str, mime_type: str = "text/plain") -> Self:
        """A document that is a text.

        Raises:
            ValidationError: It is empty (`empty_document`).
        """
        if not text:
            raise cls._error("empty_document", "the document has no text")
        return cls(("text", text), mime_type)

    @staticmethod
    def _sniff(head: bytes) -> str | None:
        found = sniff_mime(head)
        if found is not None or not head or b"\0" in head:
            return found if found == "application/pdf" else None
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
        except UnicodeDecodeError:
            return None
        return "text/plain"

    @classmethod
    def _named(cls, path: str) -> str | None:
        import mimetypes  # only where a name is looked up

        suffix = PurePosixPath(path).suffix.lower()
        # Of source files and the like, of which there are hundreds.
        return cls._extensions.get(suffix) or mimetypes.types_map.get(suffix)

    @property
    def is_text(self) -> bool:
        """Whether it is text and its content is here.

        Raises:
            ValidationError: As `resolved_mime_type`.
        """
        kind, _ = self.source
        return kind not in {"url", "upload"} and is_text(self.resolved_mime_type())

    def text(self) -> str:
        """The text of a document that is one.

        Raises:
            ValidationError: It is not UTF-8 (`not_text`), or as `to_bytes`.
        """
        _, value = self.source
        if self.source[0] == "text" and isinstance(value, str):
            return value
        try:
            return self.to_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what = f"{self!r} is no text in UTF-8 (byte {error.start:,}): convert it, or give its mime_type"
            raise self._error("not_text", what) from error


@frozen(repr=False)
class Video(Media):
    """A video. Build it with a `from_...` constructor; it is read when it is sent.

    Attributes:
        source: `(kind, value)`, kind one of `bytes`, `base64`, `url`, `file`, `upload`.
        mime_type: Such as `video/mp4`, or None when it is not known (a URL).
    """

    word: ClassVar[str] = "video"
    phrase: ClassVar[str] = "a video"
    _extensions: ClassVar[dict[str, str]] = _VIDEOS

    @staticmethod
    def _sniff(head: bytes) -> str | None:
        """MP4 and QuickTime (ISO 14496-12, 4.3), WebM (RFC 8794), AVI (RIFF)."""
        if head[4:8] == b"ftyp":
            brand = head[8:12]
            return "video/quicktime" if brand[:2] == b"qt" else "video/3gpp" if brand[:2] == b"3g" else "video/mp4"
        if head[:4] == b"\x1aE\xdf\xa3":
            return "video/webm"
        return "video/x-msvideo" if head[:4] == b"RIFF" and head[8:11] == b"AVI" else None
