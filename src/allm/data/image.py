"""An image as a value: bytes, base64 text, a URL or a file path, with its MIME type where known."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any, Literal

import attrs

from allm.data.atomic_write import write_whole
from allm.data.errors import Problem, ValidationError
from allm.data.image_header import read_size, sniff_mime
from allm.data.problems import mapping_field

__all__ = ["EXTENSIONS", "Image"]

SourceKind = Literal["bytes", "base64", "url", "file"]

EXTENSIONS = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}


@attrs.frozen(repr=False)
class Image:
    """One image. Build it with a `from_...` constructor; nothing is read or fetched until bytes are asked for.

    Attributes:
        source: `(kind, value)`, kind one of `bytes`, `base64`, `url`, `file`.
        mime_type: Such as `image/png`, or None when it is not known (a URL).
        prompt, revised_prompt: For generated images.
    """

    source: tuple[SourceKind, str | bytes]
    mime_type: str | None = None
    prompt: str | None = attrs.field(default=None, kw_only=True)
    revised_prompt: str | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Image:
        """An image file; the MIME type comes from the extension. The file is read when the request is built."""
        location = os.fspath(path)
        return cls(("file", location), EXTENSIONS.get(Path(location).suffix.lower()))

    @classmethod
    def from_bytes(cls, data: bytes, mime_type: str | None = None) -> Image:
        """Raw image bytes; without `mime_type` it is read from the first bytes."""
        return cls(("bytes", bytes(data)), mime_type or sniff_mime(data))

    @classmethod
    def from_base64(cls, data: str, mime_type: str | None = None) -> Image:
        """Base64 text as a provider sends it; checked when bytes are asked for."""
        return cls(("base64", data), mime_type)

    @classmethod
    def from_url(cls, url: str, mime_type: str | None = None) -> Image:
        """A URL for the provider to fetch. This library never fetches it."""
        return cls(("url", url), mime_type)

    @classmethod
    def from_data_uri(cls, uri: str) -> Image:
        """A `data:<mime>;base64,<data>` URI.

        Raises:
            ValidationError: The text is not such a URI.
        """
        head, comma, data = uri.partition(",")
        if not (comma and head.startswith("data:") and head.endswith(";base64")):
            message = "not a base64 data URI: expected data:<mime type>;base64,<data>"
            raise _image_error("invalid_data_uri", message)
        return cls(("base64", data), head[5:-7].split(";")[0] or None)

    @property
    def url(self) -> str | None:
        """The URL of an image given by URL, else None."""
        kind, value = self.source
        return str(value) if kind == "url" else None

    def to_bytes(self) -> bytes:
        """The image's bytes; reads the file of a `file` source.

        Raises:
            ValidationError: A URL source (tag `remote_source`), broken base64, or an unreadable file.
        """
        kind, value = self.source
        if isinstance(value, bytes):
            return value
        if kind == "base64":
            try:
                return base64.b64decode(value, validate=True)
            except binascii.Error as error:
                raise _image_error("invalid_base64", f"the image's base64 text does not decode: {error}") from error
        if kind == "file":
            try:
                return Path(value).read_bytes()
            except OSError as error:
                raise _image_error(
                    "unreadable_file", f"cannot read the image file {value!r}: {error.strerror}"
                ) from error
        raise _image_error(
            "remote_source", "the image is a URL and is never fetched here; pass its bytes with Image.from_bytes"
        )

    def to_base64(self) -> str:
        """The image as base64 text; a base64 source is passed on as it is."""
        kind, value = self.source
        return str(value) if kind == "base64" else base64.b64encode(self.to_bytes()).decode("ascii")

    def resolved_mime_type(self) -> str:
        """The MIME type, read from the bytes where it was not given.

        Raises:
            ValidationError: It is neither given nor recognisable.
        """
        found = self.mime_type or sniff_mime(self.to_bytes())
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
