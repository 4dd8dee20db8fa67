"""What goes to a model beside text, as a value: bytes, base64, a URL, a file, or a file that the provider keeps."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Self, get_args
from urllib.parse import unquote, urlsplit

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import Problem, ValidationError
from allm.data.file_ref import FileRef
from allm.data.image_header import HEAD_BYTES, named_mime

__all__ = ["LargeFile", "Media", "Source", "SourceKind", "media_problem"]

SourceKind = Literal["bytes", "base64", "url", "file", "text", "upload"]
Source = tuple[SourceKind, str | bytes | FileRef]

_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_URL_SAFE = str.maketrans("-_", "+/")


def _as_source(
    given: tuple[SourceKind, str | bytes | FileRef] | bytes,
) -> tuple[SourceKind, str | bytes | FileRef]:
    return ("bytes", given) if isinstance(given, bytes) else given


@frozen(repr=False)
class Media:
    """What `Image`, `Document`, `Audio` and `Video` have in common.

    Build one with a `from_...` constructor. Nothing is read or fetched until bytes are asked for.

    Attributes:
        source: `(kind, value)`, kind one of `bytes`, `base64`, `url`, `file`, `text`, `upload`.
        mime_type: Such as `image/png`, or None when it is not known (a URL).
        name: The name of the file for the provider, where it is not that of a `file` source.
    """

    _in_json: ClassVar[str] = "a tool returns it itself, or in a list beside texts"  # see data/types/encode.py
    word: ClassVar[str]
    """What it is called in the reasons and tags of errors."""
    phrase: ClassVar[str]
    """The same in a sentence."""
    _extensions: ClassVar[dict[str, str]]

    source: tuple[SourceKind, str | bytes | FileRef] = attrs.field(converter=_as_source)
    mime_type: str | None = None
    name: str | None = attrs.field(default=None, kw_only=True)

    @staticmethod
    def _sniff(head: bytes) -> str | None:
        """The MIME type that the first bytes tell, or None."""
        raise NotImplementedError

    @classmethod
    def _typed(cls, head: bytes, label: str | None) -> str | None:
        """The MIME type, from the first bytes and what they were called."""
        return named_mime(label) or cls._sniff(head)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """A file. It is read when the request is sent; until then its name tells the type.

        Raises:
            ValidationError: There is no such file (`unreadable_file`).
        """
        location = os.fspath(path)
        if not (place := Path(location)).is_file():
            there = "" if place.is_absolute() else f" in {Path.cwd()}"
            what = f"{location!r} is a folder" if place.is_dir() else f"there is no {cls.word} file {location!r}{there}"
            raise cls._error("unreadable_file", f"{what}: check the path")
        return cls(("file", location), cls._named(location))

    @classmethod
    def from_bytes(cls, data: bytes, mime_type: str | None = None) -> Self:
        """The bytes of a file, and their type where the first of them do not tell it.

        Raises:
            ValidationError: There are none (`empty_...`), or it is something else (`invalid_type`).
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            name = cls.__name__
            what = f"{name}.from_bytes takes bytes, got {type(data).__name__}; {name}.from_file(path) takes a path"
            raise cls._error("invalid_type", what)
        return cls(("bytes", cls._not_empty(bytes(data))), cls._typed(data[:HEAD_BYTES], mime_type))

    @classmethod
    def from_base64(cls, data: str, mime_type: str | None = None) -> Self:
        """Base64 text, also of the URL-safe kind, in lines, without its `=` at the end, or as a `data:` URI.

        Raises:
            ValidationError: It does not decode (`invalid_base64`), or there is none (`empty_...`).
        """
        if data.lstrip()[:5].lower() == "data:":
            label, data = cls._inline(data)
            mime_type = label or mime_type
        text = cls._plain_base64(data)
        return cls(("base64", text), cls._typed(_head_of(text), mime_type))

    @classmethod
    def from_url(cls, url: str, mime_type: str | None = None) -> Self:
        """A URL for the provider to fetch. This library never fetches it; a `data:` URI has the content in it.

        Raises:
            ValidationError: It is none (`invalid_url`), or as `from_data_uri`, for a `data:` URI.
        """
        if not isinstance(url, str):
            raise cls._error("invalid_url", f"{cls.__name__}.from_url takes a text, got {type(url).__name__}")
        if url[:5].lower() == "data:":
            return cls.from_base64(url, mime_type)
        try:
            scheme = urlsplit(url).scheme
        except ValueError as error:
            raise cls._error("invalid_url", f"{url!r:.100} is no URL: {error}") from error
        if not scheme:
            what = (
                f"{url!r:.100} is no URL, as it has no scheme such as https:; of a file, use {cls.__name__}.from_file"
            )
            raise cls._error("invalid_url", what)
        return cls(("url", url), named_mime(mime_type))

    @classmethod
    def from_data_uri(cls, uri: str) -> Self:
        """A `data:<mime>;base64,<data>` URI.

        Raises:
            ValidationError: The text is not such a URI (`invalid_data_uri`), or as `from_base64`.
        """
        mime_type, data = cls._inline(uri)
        return cls.from_base64(data, mime_type)

    @classmethod
    def from_upload(cls, file: FileRef) -> Self:
        """A file that the provider keeps, as `allm.files.upload` returns it. Only that provider can read it."""
        return cls(("upload", file), named_mime(file.mime_type))

    @property
    def url(self) -> str | None:
        """The URL, of what was given by one, else None."""
        kind, value = self.source
        return str(value) if kind == "url" else None

    @property
    def upload(self) -> FileRef | None:
        """The file that the provider keeps, else None."""
        _, value = self.source
        return value if isinstance(value, FileRef) else None

    def to_bytes(self) -> bytes:
        """The bytes; reads the file of a `file` source.

        Raises:
            ValidationError: They are elsewhere (`remote_source`), broken base64, an unreadable file, or an empty one.
        """
        kind, value = self.source
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            if kind == "base64":
                return self._decoded(value)
            if kind == "file":
                return self._not_empty(self._read(value), f"the {self.word} file {value!r}")
            if kind == "text":
                return value.encode("utf-8", "replace")
        where = "a URL and is never fetched here" if kind == "url" else "kept by its provider"
        name = type(self).__name__
        raise self._error("remote_source", f"the {self.word} is {where}; pass its bytes with {name}.from_bytes")

    def to_base64(self) -> str:
        """The bytes as base64 text; a base64 source is passed on as it is."""
        kind, value = self.source
        return str(value) if kind == "base64" else base64.b64encode(self.to_bytes()).decode("ascii")

    def resolved_mime_type(self) -> str:
        """The MIME type, from the first bytes, what was given and the name.

        Raises:
            ValidationError: It is neither given nor recognisable; as `to_bytes`, for a file.
        """
        found = self._typed(self._head(), self.mime_type)
        kind, value = self.source
        if found is None and kind == "url":
            found = self._named(urlsplit(str(value)).path)
        if found is None and kind == "text":
            found = "text/plain"
        if found is None:
            example = next(iter(self._extensions.values()))
            what = f"the {self.word}'s type is not known: pass mime_type={example!r} or similar"
            raise self._error("missing_mime_type", what)
        return found

    def file_name(self) -> str:
        """The name of the file, without its folder, or one with the usual suffix of the MIME type."""
        kind, value = self.source
        if self.name is not None:
            return self.name
        if kind == "file":
            return Path(str(value)).name
        if isinstance(value, FileRef):
            return value.filename or value.id
        named = PurePosixPath(unquote(urlsplit(str(value)).path)).name if kind == "url" else ""
        suffixes = {mime_type: suffix for suffix, mime_type in reversed(self._extensions.items())}
        return named or f"{self.word}{suffixes.get(self.mime_type or '', '')}"

    def _large_file(self, size: int) -> LargeFile | None:
        """The file of a `file` source, to be read bit by bit, if it has at least `size` bytes; else None."""
        kind, value = self.source
        if kind != "file" or not isinstance(value, str):
            return None
        try:
            length = Path(value).stat().st_size
        except OSError as error:
            raise self._unreadable(value, error) from error
        return LargeFile(value, length, self) if length >= size else None

    def to_data_uri(self) -> str:
        """A `data:` URI of it."""
        return f"data:{self.resolved_mime_type()};base64,{self.to_base64()}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to `path`, in place of what is there and all at once, and return it.

        Raises:
            ValidationError: As `to_bytes`; nothing is written.
            OSError: The file cannot be written; what was there still is.
        """
        from allm.data.atomic_write import write_whole  # few programs write files

        return write_whole(path, self.to_bytes())

    def __repr__(self) -> str:
        kind, value = self.source
        shown = repr(value)
        if kind in {"bytes", "base64", "text"} and isinstance(value, str | bytes):
            shown = f"<{len(value)} {'bytes' if kind == 'bytes' else 'characters'}>"
        return f"{type(self).__name__}({kind}={shown}, mime_type={self.mime_type!r})"

    def _head(self) -> bytes:
        kind, value = self.source
        if isinstance(value, bytes):
            return value[:HEAD_BYTES]
        if isinstance(value, str):
            if kind == "base64":
                return _head_of(value)
            if kind == "file":
                return self._not_empty(self._read(value, HEAD_BYTES), f"the {self.word} file {value!r}")
        return b""

    @classmethod
    def _named(cls, path: str) -> str | None:
        """The MIME type that a name tells."""
        return cls._extensions.get(PurePosixPath(path).suffix.lower())

    @classmethod
    def _error(cls, tag: str, message: str) -> ValidationError:
        return ValidationError([Problem(("source",), tag, message)], reason=f"invalid_{cls.word}", message=message)

    @classmethod
    def _inline(cls, uri: str) -> tuple[str | None, str]:
        """The MIME type and the base64 text of a `data:` URI."""
        head, comma, data = uri.strip().partition(",")
        kind, _, encoding = head.rpartition(";")
        if not (comma and kind[:5].lower() == "data:" and encoding.strip().lower() == "base64"):
            raise cls._error("invalid_data_uri", "not a base64 data URI: expected data:<mime type>;base64,<data>")
        return kind[5:] or None, unquote(data) if "%" in data else data

    @classmethod
    def _plain_base64(cls, text: str) -> str:
        """The text as every provider takes it: in the usual alphabet, in one line, with its padding."""
        if len(text) % 4 or not _BASE64.fullmatch(text):
            text = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
            text += "=" * (-len(text) % 4)
            cls._decoded(text)
        if not text:
            raise cls._error(f"empty_{cls.word}", f"the {cls.word} has no bytes")
        return text

    @classmethod
    def _decoded(cls, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except ValueError as error:  # characters outside ASCII are another one than broken base64
            message = f"the {cls.word}'s base64 text does not decode: {error}"
            raise cls._error("invalid_base64", message) from error

    @classmethod
    def _read(cls, path: str, size: int = -1) -> bytes:
        try:
            with Path(path).open("rb") as file:
                return file.read(size)
        except OSError as error:
            raise cls._unreadable(path, error) from error

    @classmethod
    def _unreadable(cls, path: str, error: OSError) -> ValidationError:
        return cls._error("unreadable_file", f"cannot read the {cls.word} file {path!r}: {error.strerror}")

    @classmethod
    def _not_empty(cls, data: bytes, what: str | None = None) -> bytes:
        if not data:
            raise cls._error(f"empty_{cls.word}", f"{what or f'the {cls.word}'} has no bytes")
        return data


@frozen
class LargeFile:
    """A file that is read bit by bit.

    Attributes:
        path: Where it is.
        size: How many bytes it had when it was looked at.
        media: What it is the source of.
    """

    path: str
    size: int
    media: Media

    def __len__(self) -> int:
        return self.size

    def pieces(self, size: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Its bytes, or those from `start` to `end`, `size` at a time.

        Raises:
            ValidationError: It cannot be read, or has another length now.
        """
        left = (self.size if end is None else end) - start
        to_its_end = end is None or end == self.size
        try:
            with Path(self.path).open("rb") as file:
                file.seek(start)
                while left and (piece := file.read(min(size, left))):
                    left -= len(piece)
                    yield piece
                grown = to_its_end and not left and bool(file.read(1))
        except OSError as error:
            raise self.media._unreadable(self.path, error) from error
        if left or grown:
            what = f"the file {self.path!r} changed its size while it was sent; send it when it is complete"
            raise self.media._error("unreadable_file", what)


def media_problem(value: Any, expected: type[Media]) -> Problem | None:
    """What is wrong with a field that should have an `Image`, a `Document` or the like."""
    name = expected.__name__
    if not isinstance(value, expected):
        return Problem(
            (), "invalid_type", f"is {type(value).__name__}; expected {name}: {name}.from_file(path) makes one"
        )
    source: Any = value.source
    if isinstance(source, tuple) and len(source) == 2:  # noqa: PLR2004
        kind, content = source
        wanted = {"bytes": bytes, "upload": FileRef}.get(kind, str) if kind in get_args(SourceKind) else None
        if wanted is not None and isinstance(content, wanted):
            return None
    return Problem(("source",), "invalid_type", f"is not one that {name}.from_file or another constructor makes")


def _head_of(text: str) -> bytes:
    """The first bytes of base64 text, none where it does not decode."""
    try:
        return base64.b64decode(text[: 4 * HEAD_BYTES // 3 // 4 * 4], validate=True)
    except ValueError:
        return b""
