"""Google's resumable upload (https://ai.google.dev/api/files#method:-media.upload), one call at a time.

The first call gives a URL that is a secret: who has it can write the file. Each piece but the last is a multiple of the
granularity that the server names. After a failure it is asked how much it has, and the upload goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final
from urllib.parse import urlsplit, urlunsplit

import attrs

from allm.adapters import (
    HttpCall,
    JsonResponse,
    OpenCall,
    StoredFile,
    Upload,
    as_count,
    loads,
    malformed,
    open_call,
)
from allm.data.errors import AdapterError

__all__ = ["ResumableUpload"]

_PIECE = 8 * 1024 * 1024
"""Bytes of a piece, where the server names no granularity: what it named in 2026."""
_MOST_ANSWER = 1024 * 1024
_LOST = frozenset({404, 410})
"""Answers to a URL of an upload that is over: it has to begin again."""


@final
@attrs.define(eq=False)
class ResumableUpload:
    """An upload that goes on where it was, for as many calls of `send` as it takes."""

    start: HttpCall
    upload: Upload
    decode: Callable[[JsonResponse], StoredFile]
    elsewhere: bool = attrs.field(kw_only=True)
    _url: str | None = attrs.field(default=None, init=False, repr=False)
    _granularity: int = attrs.field(default=_PIECE, init=False)
    _offset: int = attrs.field(default=0, init=False)
    _knows_offset: bool = attrs.field(default=True, init=False)

    async def send(self) -> StoredFile | None:
        """Make the next call; None until the file is there.

        Raises:
            AdapterError: Whatever went wrong; what was sent is not lost.
        """
        if self._url is None:
            await self._begin()
            return None
        try:
            if not self._knows_offset:
                return await self._ask(self._url)
            return await self._send_piece(self._url)
        except AdapterError as error:
            self._knows_offset = False
            if error.status in _LOST:
                self._url, self._offset, self._knows_offset = None, 0, True
                error.retryable = True
            raise

    async def _begin(self) -> None:
        headers = {
            "x-goog-upload-protocol": "resumable",
            "x-goog-upload-command": "start",
            "x-goog-upload-header-content-length": str(self.upload.size),
            "x-goog-upload-header-content-type": self.upload.mime_type,
        }
        async with open_call(attrs.evolve(self.start, headers={**self.start.headers, **headers})) as opened:
            answer = opened.response.headers
            url = answer.get("x-goog-upload-url")
            await opened.response.read(_MOST_ANSWER)
        if not url:
            raise malformed(self.start.provider, "the answer to the start of an upload has no URL for it", b"")
        self._granularity = as_count(answer.get("x-goog-upload-chunk-granularity")) or _PIECE
        self._url = _behind(url, self.start.url) if self.elsewhere else url

    async def _send_piece(self, url: str) -> StoredFile | None:
        upload, start = self.upload, self._offset
        size = max(_PIECE // self._granularity, 1) * self._granularity
        end = min(start + size, upload.size)
        last = end == upload.size
        word = "upload" if not last else "upload, finalize" if start < end else "finalize"
        command = {"x-goog-upload-command": word, "x-goog-upload-offset": str(start)}
        async with open_call(self._call(url, command, upload.body(start, end))) as opened:
            if last:
                return await self._finished(opened)
            await opened.response.read(_MOST_ANSWER)
            self._check(opened, "active")
        self._offset = self.upload.stored = end
        return None

    async def _ask(self, url: str) -> StoredFile | None:
        async with open_call(self._call(url, {"x-goog-upload-command": "query"}, b"")) as opened:
            if opened.response.headers.get("x-goog-upload-status") == "final":
                return await self._finished(opened)
            await opened.response.read(_MOST_ANSWER)
            self._check(opened, "active")
            received = as_count(opened.response.headers.get("x-goog-upload-size-received"))
        if received is None or not 0 <= received <= self.upload.size:
            raise malformed(self.start.provider, "the answer does not tell how much of the upload has arrived", b"")
        self._offset, self.upload.stored, self._knows_offset = received, received, True
        return None

    async def _finished(self, opened: OpenCall) -> StoredFile:
        text = await opened.response.read(_MOST_ANSWER)
        self._check(opened, "final")
        try:
            document = loads(text)
        except ValueError as error:
            raise malformed(self.start.provider, "expected the file that was uploaded, as JSON", text) from error
        if not isinstance(document, dict):
            raise malformed(self.start.provider, "expected the file that was uploaded", text)
        answer = JsonResponse(
            document=document, status=opened.response.status, request_id=opened.request_id, headers=opened.headers
        )
        return self.decode(answer)

    def _check(self, opened: OpenCall, wanted: str) -> None:
        """Raise a retryable error unless the upload is in the state that it should be in."""
        state = opened.response.headers.get("x-goog-upload-status")
        if state != wanted:
            error = malformed(self.start.provider, f"the upload is {state or 'in no state'}; expected {wanted}", b"")
            error.retryable = state is None  # as a proxy between may have answered
            raise error

    def _call(self, url: str, headers: Mapping[str, str], body: Any) -> HttpCall:
        call = self.start
        if urlsplit(url).netloc != urlsplit(call.url).netloc:  # the key and the user's headers are for one host
            return attrs.evolve(call, url=url, headers=headers, body=body, credential=None)
        kept = {name: value for name, value in call.headers.items() if name != "content-type"}
        return attrs.evolve(call, url=url, headers={**kept, **headers}, body=body)


def _behind(url: str, through: str) -> str:
    """The URL at the host of a proxy, which is the only one that this program may reach."""
    found, proxy = urlsplit(url), urlsplit(through)
    return urlunsplit(found._replace(scheme=proxy.scheme, netloc=proxy.netloc))
