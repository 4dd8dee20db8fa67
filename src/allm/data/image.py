"""An image as a value: bytes, base64 text, a URL or a file path, with its MIME type where known.

Labels are often wrong: a JPEG is called `.png`, or `image/jpg`. Where the bytes are at hand and tell their type, they
decide; the label counts for what they do not tell.
"""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

import attrs

from allm.data.atomic_write import write_whole
from allm.data.attrs_classes import frozen
from allm.data.errors import Problem, ValidationError
from allm.data.image_header import HEAD_BYTES, named_mime, read_size, sniff_mime
from allm.data.problems import mapping_field

__all__ = ["EXTENSIONS", "Image"]

SourceKind = Literal["bytes", "base64", "url", "file"]

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
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_URL_SAFE = str.maketrans("-_", "+/")


@frozen(repr=False)
class Image:
    """One image. Build it with a `from_...` constructor; nothing is read or fetched until bytes are asked for.

    Attributes:
        source: `(kind, value)`, kind one of `bytes`, `base64`, `url`, `file`.
        mime_type: Such as `image/png`, or None when it is not known (a URL).
        prompt, revised_prompt: For generated images.
    """

    _in_json: ClassVar[str] = "a tool returns it itself, or in a list beside texts"  # see data/types/encode.py

    source: tuple[SourceKind, str | bytes]
    mime_type: str | None = None
    prompt: str | None = attrs.field(default=None, kw_only=True)
    revised_prompt: str | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Image:
        """An image file. It is read when the request is built; until then its name tells the type.

        Raises:
            ValidationError: There is no such file (`unreadable_file`).
        """
        location = os.fspath(path)
        if not Path(location).is_file():
            what = f"there is no image file {location!r} in {Path.cwd()}: check the path"
            raise _image_error("unreadable_file", what)
        return cls(("file", location), EXTENSIONS.get(Path(location).suffix.lower()))

    @classmethod
    def from_bytes(cls, data: bytes, mime_type: str | None = None) -> Image:
        """Raw image bytes; `mime_type` counts where the first of them do not tell the type.

        Raises:
            ValidationError: There are none (`empty_image`).
        """
        return cls(("bytes", _not_empty(bytes(data))), sniff_mime(data) or named_mime(mime_type))

    @classmethod
    def from_base64(cls, data: str, mime_type: str | None = None) -> Image:
        """Base64 text, also of the URL-safe kind, in lines, without its `=` at the end, or as a `data:` URI.

        Raises:
            ValidationError: It does not decode (`invalid_base64`), or there is none (`empty_image`).
        """
        if data.lstrip()[:5].lower() == "data:":
            label, data = _inline(data)
            mime_type = label or mime_type
        text = _plain_base64(data)
        return cls(("base64", text), sniff_mime(_head_of(text)) or named_mime(mime_type))

    @classmethod
    def from_url(cls, url: str, mime_type: str | None = None) -> Image:
        """A URL for the provider to fetch. This library never fetches it; a `data:` URI has the image in it.

        Raises:
            ValidationError: As `from_data_uri`, for a `data:` URI.
        """
        if url[:5].lower() == "data:":
            return cls.from_base64(url, mime_type)
        return cls(("url", url), named_mime(mime_type))

    @classmethod
    def from_data_uri(cls, uri: str) -> Image:
        """A `data:<mime>;base64,<data>` URI.

        Raises:
            ValidationError: The text is not such a URI (`invalid_data_uri`), or as `from_base64`.
        """
        mime_type, data = _inline(uri)
        return cls.from_base64(data, mime_type)

    @property
    def url(self) -> str | None:
        """The URL of an image given by URL, else None."""
        kind, value = self.source
        return str(value) if kind == "url" else None

    def to_bytes(self) -> bytes:
        """The image's bytes; reads the file of a `file` source.

        Raises:
            ValidationError: A URL source (tag `remote_source`), broken base64, an unreadable file, or an empty one.
        """
        kind, value = self.source
        if isinstance(value, bytes):
            return value
        if kind == "base64":
            return _decoded(value)
        if kind == "file":
            return _not_empty(_read(value), f"the image file {value!r}")
        raise _image_error(
            "remote_source", "the image is a URL and is never fetched here; pass its bytes with Image.from_bytes"
        )

    def to_base64(self) -> str:
        """The image as base64 text; a base64 source is passed on as it is."""
        kind, value = self.source
        return str(value) if kind == "base64" else base64.b64encode(self.to_bytes()).decode("ascii")

    def resolved_mime_type(self) -> str:
        """The MIME type that the bytes tell, else the one that was given.

        Raises:
            ValidationError: It is neither given nor recognisable; as `to_bytes`, for a file.
        """
        kind, value = self.source
        head = b""
        if isinstance(value, bytes):
            head = value[:HEAD_BYTES]
        elif kind == "base64":
            head = _head_of(value)
        elif kind == "file":
            head = _not_empty(_read(value, HEAD_BYTES), f"the image file {value!r}")
        found = sniff_mime(head) or named_mime(self.mime_type)
        if found is None:
            raise _image_error(
                "missing_mime_type", "the image's type is not known: pass mime_type='image/png' or similar"
            )
        return found

    def size(self) -> tuple[int, int] | None:
        """`(width, height)` in pixels, read from the bytes of a PNG, JPEG, GIF or WebP; None for anything else.

        Raises:
            ValidationError: As `to_bytes`.
        """
        return read_size(self.to_bytes())

    def to_data_uri(self) -> str:
        """The image as a `data:` URI."""
        return f"data:{self.resolved_mime_type()};base64,{self.to_base64()}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to `path`, in place of what is there and all at once, and return it.

        Raises:
            ValidationError: As `to_bytes`; nothing is written.
            OSError: The file cannot be written; what was there still is.
        """
        return write_whole(path, self.to_bytes())

    def __repr__(self) -> str:
        kind, value = self.source
        shown = (
            repr(value) if kind in {"url", "file"} else f"<{len(value)} {'bytes' if kind == 'bytes' else 'characters'}>"
        )
        return f"Image({kind}={shown}, mime_type={self.mime_type!r})"


def _image_error(tag: str, message: str) -> ValidationError:
    return ValidationError([Problem(("source",), tag, message)], reason="invalid_image", message=message)


def _inline(uri: str) -> tuple[str | None, str]:
    """The MIME type and the base64 text of a `data:` URI."""
    head, comma, data = uri.strip().partition(",")
    kind, _, encoding = head.rpartition(";")
    if not (comma and kind[:5].lower() == "data:" and encoding.strip().lower() == "base64"):
        raise _image_error("invalid_data_uri", "not a base64 data URI: expected data:<mime type>;base64,<data>")
    return kind[5:] or None, unquote(data) if "%" in data else data


def _plain_base64(text: str) -> str:
    """The text as every provider takes it: in the usual alphabet, in one line, with its padding."""
    if len(text) % 4 or not _BASE64.fullmatch(text):
        text = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
        text += "=" * (-len(text) % 4)
        _decoded(text)
    if not text:
        raise _image_error("empty_image", "the image has no bytes")
    return text


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # characters outside ASCII are another one than broken base64
        raise _image_error("invalid_base64", f"the image's base64 text does not decode: {error}") from error


def _head_of(text: str) -> bytes:
    """The first bytes of base64 text, none where it does not decode."""
    try:
        return base64.b64decode(text[: 4 * HEAD_BYTES // 3 // 4 * 4], validate=True)
    except ValueError:
        return b""


def _read(path: str, size: int = -1) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(size)
    except OSError as error:
        message = f"cannot read the image file {path!r}: {error.strerror}"
        raise _image_error("unreadable_file", message) from error


def _not_empty(data: bytes, what: str = "the image") -> bytes:
    if not data:
        raise _image_error("empty_image", f"{what} has no bytes")
    return data
