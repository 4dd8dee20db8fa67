"""Split the output of a server into lines, none of which is kept when it is too long."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from allm.data.attrs_classes import define, frozen

__all__ = ["Lines", "LongLine"]

_KEPT = 512
"""Bytes of each end of a line that is too long. They usually name the request that it answers."""


@frozen
class LongLine:
    """A line that was too long to keep: how long it was, and its two ends."""

    size: int
    head: bytes
    tail: bytes


@define(eq=False)
class Lines:
    """Splits chunks at line feeds. The work is linear in what arrives, and memory has a bound.

    Attributes:
        limit: The longest line, in bytes.
    """

    limit: int
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    _head: bytes = attrs.field(default=b"", init=False)
    _tail: bytes = attrs.field(default=b"", init=False)

    def feed(self, chunk: bytes) -> Iterator[bytes | LongLine]:
        """The lines that a chunk ends, without their line feeds."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk[start:end])
            yield self._line()
            start = end + 1
        if start < len(chunk):
            self._add(chunk[start:])

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self.limit:
            self._pieces.append(piece)
            return
        if self._pieces:
            begin = b"".join(self._pieces)
            self._head, self._tail = begin[:_KEPT], begin[-_KEPT:]
            self._pieces.clear()
        self._head = (self._head + piece[:_KEPT])[:_KEPT] if len(self._head) < _KEPT else self._head
        self._tail = (self._tail + piece[-_KEPT:])[-_KEPT:]

    def _line(self) -> bytes | LongLine:
        line: bytes | LongLine = (
            b"".join(self._pieces) if self._size <= self.limit else LongLine(self._size, self._head, self._tail)
        )
        self._pieces.clear()
        self._size, self._head, self._tail = 0, b"", b""
        return line
