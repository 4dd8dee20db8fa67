"""Files that a provider keeps: what its adapter is asked, what it answers, and the bytes that are sent to it."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from secrets import token_bytes
from typing import Any, Literal, final
from urllib.parse import quote

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.document import Document
from allm.data.errors import AdapterError, Problem, ValidationError
from allm.data.file_ref import FileRef
from allm.data.media import Media
from allm.data.problems import refuse, shown, wrong_type
from allm.data.user_functions import call_user
from allm.http.call import HttpCall
from allm.http.json_call import JsonResponse, post_json
from allm.http.library import multipart
from allm.http.response import Body
from allm.runtime.pages import PageRequest
from allm.runtime.silence import Silence

__all__ = [
    "FileCall",
    "FileContent",
    "FileDelete",
    "FileGet",
    "FileRequest",
    "StoredFile",
    "Upload",
    "check_lifetime",
    "file_segment",
    "send_file_call",
    "upload_form",
]

_PIECE = 256 * 1024
"""Bytes that are read at once: reading so few from a disk holds up nobody."""
_UNKNOWN = "application/octet-stream"


@final
@define(eq=False)
class Upload:
    """A file on its way to a provider. It is read while it is sent, and again for each attempt.

    Attributes:
        media: The content.
        filename, mime_type: What the provider is told.
        size: In bytes.
        expires_in: After how many seconds the provider deletes it; None: when it likes.
        purpose: What it is for, in the words of OpenAI and its copies.
        sent: How many bytes have been sent in this attempt.
        stored: How many bytes the provider has said that it has, of an upload in pieces.
        failure: What `on_progress` raised, or what was wrong with the file.
    """

    media: Media
    filename: str
    mime_type: str
    size: int
    expires_in: float | None
    purpose: str | None
    _on_progress: Callable[[int, int | None], Any] | None
    sent: int = attrs.field(default=0, init=False)
    stored: int = attrs.field(default=0, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    _silence: Silence = attrs.field(factory=Silence, init=False)

    @classmethod
    def of(
        cls,
        source: Media | bytes | str | os.PathLike[str],
        filename: str | None = None,
        expires_in: float | None = None,
        purpose: str | None = None,
        on_progress: Callable[[int, int | None], Any] | None = None,
    ) -> Upload:
        """What is to be uploaded.

        Raises:
            ValidationError: There is no such file, it is empty, or the content is at a URL or a provider already.
        """
        given: Any = source
        if isinstance(given, Media):
            media = given
        elif isinstance(given, bytes | bytearray | memoryview):
            media = Document.from_bytes(bytes(given))
        elif isinstance(given, str | os.PathLike):
            media = Document.from_file(given)
        else:
            problem = wrong_type(("source",), given, "a path, bytes, or a Document, Image, Audio or Video")
            raise ValidationError([problem], reason="invalid_options")
        file = media._large_file(0)
        size = len(media.to_bytes()) if file is None else file.size
        if not size:
            raise ValidationError([Problem(("source",), "empty", "has no bytes")], reason="invalid_options")
        name = filename or media.file_name()
        # The name says more than the first bytes of a text; what a `Media` was made with says most.
        mime_type = (media.mime_type if media is source else None) or mimetypes.guess_type(name)[0]
        if mime_type is None:
            try:
                mime_type = media.resolved_mime_type()
            except ValidationError:
                mime_type = _UNKNOWN
        return cls(media, name, mime_type, size, expires_in, purpose, on_progress)

    def body(self, start: int = 0, end: int | None = None, around: tuple[bytes, bytes] = (b"", b"")) -> Body:
        """The bytes from `start` to `end`, between two others."""
        stop, (before, after) = self.size if end is None else end, around

        async def chunks() -> AsyncIterator[bytes]:  # noqa: ASYNC900  (`BodyReader` closes it)
            if before:
                yield before
            self.sent = start
            try:
                for piece in self._pieces(start, stop):
                    yield piece
                    self.sent += len(piece)  # the next one is asked for when this one has been written
                    await self._moved()
            except Exception as error:
                self.failure = error
                raise
            if after:
                yield after

        return Body(length=len(before) + stop - start + len(after), open=chunks, on_trio=True)

    def limit(self, scope: trio.CancelScope, seconds: float) -> None:
        """Put off the end of the scope to so many seconds from each piece on."""
        self._silence.limit(scope, seconds)

    async def _moved(self) -> None:
        self._silence.moved()
        if self._on_progress is not None:
            await call_user(self._on_progress, self.sent, self.size)

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        file = self.media._large_file(0)
        if file is not None:
            if file.size != self.size:
                what = f"changed its size from {self.size} to {file.size} bytes while it was sent"
                raise ValidationError([Problem(("source",), "unreadable_file", what)], reason="invalid_options")
            yield from file.pieces(_PIECE, start, stop)
            return
        data = memoryview(self.media.to_bytes())
        for place in range(start, stop, _PIECE):
            yield bytes(data[place : min(place + _PIECE, stop)])


@frozen
class FileGet:
    """Asks what is known of a file."""

    id: str


@frozen
class FileDelete:
    """Asks to delete a file."""

    id: str


@frozen
class FileContent:
    """Asks for the bytes of a file."""

    id: str


FileRequest = Upload | FileGet | FileDelete | FileContent | PageRequest
"""What an adapter of files is asked."""


@frozen(kw_only=True)
class StoredFile:
    """A file, and whether it can be used.

    Attributes:
        file: What refers to it.
        state: `processing` until the provider has looked at it; `failed` if it could not.
        problem: Why it could not.
    """

    file: FileRef
    state: Literal["ready", "processing", "failed"] = "ready"
    problem: str | None = None


@frozen
class FileCall:
    """A call about files.

    Attributes:
        call: The HTTP call.
        decode: Makes the result of the answer.
        upload: What is sent, if it is an upload.
    """

    call: HttpCall
    decode: Callable[[JsonResponse], Any] = attrs.field(repr=False)
    upload: Upload | None = attrs.field(default=None, repr=False)


async def send_file_call(prepared: FileCall) -> Any:
    """Make the call.

    Raises:
        AdapterError: It failed. An upload whose answer got lost is not retryable: the file may be there.
    """
    try:
        return await post_json(prepared.call, prepared.decode)
    except AdapterError as error:
        upload = prepared.upload
        if upload is not None and error.status is None and upload.sent == upload.size:
            error.retryable = False
            error.advised("; the file may have been stored all the same: allm.files.list tells")
        raise


def upload_form(fields: Mapping[str, str], upload: Upload) -> tuple[str, Body]:
    """A form with the file, as `(content type, body)`."""
    mark = token_bytes(16)
    kind, form = multipart(dict(fields), [("file", (upload.filename, mark, upload.mime_type))])
    before, _, after = form.partition(mark)
    return kind, upload.body(around=(before, after))


def check_lifetime(upload: Upload, provider: str, limits: tuple[int, int] | None) -> None:
    """Refuse a lifetime that the provider does not take.

    Args:
        limits: The shortest and the longest, in seconds; None: it takes none.

    Raises:
        ValidationError: `unsupported_option`, `out_of_range`.
    """
    given = upload.expires_in
    if given is None:
        return
    if limits is None:
        what = f"is {shown(given)}; {provider} does not take one, leave it out"
        refuse([Problem(("expires_in",), "unsupported_option", what)], reason="invalid_options")
    elif not limits[0] <= given <= limits[1]:
        what = f"is {shown(given)}; {provider} takes {limits[0]} to {limits[1]} seconds"
        refuse([Problem(("expires_in",), "out_of_range", what)], reason="invalid_options")


def file_segment(id: str, what: str = "file") -> str:
    """The id of a file, or of something else, as a part of a URL.

    Raises:
        ValidationError: It would reach outside its place.
    """
    if id in {"", ".", ".."} or not id.isprintable():
        refuse([Problem((what,), "invalid_format", f"is {shown(id)}; expected the id of a {what}")])
    return quote(id, safe="")
