"""Compressed bodies, decompressed in pieces of a bounded size.

A few kilobytes can stand for gigabytes, and the libraries' decoders hand out all that one read stands for at once. Here
each piece goes to whoever counts them before the next is made. Only what the standard library can do in this way is
read, and asked for: gzip and deflate.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError

__all__ = ["ACCEPTED", "decoded"]

ACCEPTED = "gzip, deflate"
"""The header `accept-encoding` of a request that names none itself."""

_READ = frozenset({"gzip", "x-gzip", "deflate"})
_PLAIN = frozenset({"", "identity", "none", "utf-8", "utf8", "binary", "aws-chunked"})
"""Nothing to undo: gateways also write what is no compression."""
_PIECE_BYTES = 64 * 1024
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 2
_EITHER = zlib.MAX_WBITS | 32  # the head says whether it is gzip or zlib


def decoded(headers: Mapping[str, str], source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body as it was before it was compressed. gzip and deflate are read even where neither was asked for.

    Args:
        headers: Those of the response.
        source: The body as it was sent.

    Raises:
        AdapterError: `malformed_response`: another encoding, or several; named.
    """
    said = headers.get("content-encoding", "")
    names = [name for name in (part.strip().lower() for part in said.split(",")) if name not in _PLAIN]
    if not names:
        return source
    if len(names) > 1 or names[0] not in _READ:
        what = (
            f"the response is encoded with {said[:80]!r}, which was not asked for; expected gzip, deflate or none: "
            "check what stands between here and the provider"
        )
        raise AdapterError(what, reason="malformed_response").advised(
            ", and accept-encoding, if you set it in headers="
        )
    return _Inflated(source)


@final
@define(eq=False)
class _Inflated:
    """The pieces of a body, none longer than `_PIECE_BYTES`.

    The decompressor keeps what does not fit into a piece; `_rest` is then given to it again before anything is read.
    """

    _source: AsyncIterator[bytes]
    _inflate: Any = attrs.field(factory=lambda: zlib.decompressobj(_EITHER), init=False)
    _rest: bytes = attrs.field(default=b"", init=False)
    _full: bool = attrs.field(default=False, init=False)  # the last piece was, so that there may be more of the same
    _head: bytes | None = attrs.field(default=b"", init=False)  # all of the body so far; None when it says what it is

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._rest or self._full:
                await trio.lowlevel.checkpoint()  # a read may stand for thousands of pieces
            else:
                self._rest = await anext(self._source)
            try:
                piece = self._next()
            except zlib.error as error:
                what = f"the body is not in the encoding that its headers name ({error})"
                raise AdapterError(what, reason="malformed_response") from error
            if piece:
                return piece

    def _next(self) -> bytes:
        data = self._rest
        if self._inflate.eof:
            if not _GZIP.startswith(data[:2]):  # padding
                self._rest = b""
                return b""
            self._inflate = zlib.decompressobj(_EITHER)  # gzip may have several members
        piece = self._inflated(data)
        self._full = len(piece) == _PIECE_BYTES
        self._rest = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        return piece

    def _inflated(self, data: bytes) -> bytes:
        if self._head is None:
            return self._inflate.decompress(data, _PIECE_BYTES)  # type: ignore[no-any-return]
        self._head += data
        try:
            piece: bytes = self._inflate.decompress(data, _PIECE_BYTES)
        except zlib.error:
            data = self._head
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # deflate without a head, as some servers send it
            piece = self._inflate.decompress(data, _PIECE_BYTES)
        if len(self._head) >= _HEAD_BYTES:
            self._head = None
        return piece
