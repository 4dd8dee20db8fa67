"""Blobs: the large texts and bytes of a row, which are stored beside it.

A row names each of its blobs: `[sha256, bytes, kind, path]`. The kinds are `bytes`, `text` (stored in UTF-8) and
`base64` (a text that is the base64 of what is stored, as images from a provider are).

Everything here works on one piece of a blob at a time: the caller decides when other tasks may run.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Literal

from allm.data.attrs_classes import frozen
from allm.data.errors import Path

__all__ = ["BLOBS", "LARGE", "PIECE", "Kind", "Reference", "stored", "used"]

Kind = Literal["bytes", "text", "base64"]

BLOBS = "$blobs"
"""Field of a row with its references. No field of a class is named so, so users' own data cannot be taken for one."""
LARGE = 64 * 1024
"""Characters or bytes from which on a leaf is a blob. A row should be small enough to be parsed without being felt."""
PIECE = 3 * 128 * 1024
"""Bytes of a blob that are worked on at once: well under a megabyte, and a multiple of three for the sake of base64."""


@frozen
class Reference:
    """A blob that belongs into a row.

    Attributes:
        hash: SHA-256 of the stored bytes, in hex: the name of the blob.
        size: How many bytes are stored.
        path: The place in the row's document.
    """

    hash: str
    size: int
    kind: Kind
    path: Path

    @property
    def key(self) -> str:
        """Tells what stands in its place: the same bytes may be a text in one row and bytes in another."""
        return f"{self.kind} {self.hash}"


def stored(leaf: str | bytes, kind: Kind) -> Iterator[bytes]:
    """What is stored for a leaf, in pieces.

    Raises:
        ValueError: The leaf has another kind.
    """
    if isinstance(leaf, bytes):
        yield from (leaf[start : start + PIECE] for start in range(0, len(leaf), PIECE))
        return
    if kind == "text":
        yield from (
            leaf[start : start + PIECE].encode("utf-8", "surrogatepass") for start in range(0, len(leaf), PIECE)
        )
        return
    characters = PIECE // 3 * 4
    for start in range(0, len(leaf), characters):
        written = leaf[start : start + characters]
        piece = binascii.a2b_base64(written, strict_mode=True)
        # Only what comes out as the same text: not with line breaks, or bits that do not count.
        if base64.b64encode(piece).decode("ascii") != written or (
            len(piece) < PIECE and start + characters < len(leaf)
        ):
            raise ValueError("not the base64 that Python writes")
        yield piece


def used(blob: bytes, kind: Kind) -> Iterator[str]:
    """The text of a blob that is one, in pieces; the reverse of `stored`.

    Raises:
        ValueError: The bytes are no text.
    """
    if kind == "base64":
        yield from (
            base64.b64encode(blob[start : start + PIECE]).decode("ascii") for start in range(0, len(blob), PIECE)
        )
        return
    start = 0
    while start < len(blob):
        end = start + PIECE
        while end < len(blob) and blob[end] & 0xC0 == 0x80:  # noqa: PLR2004  (a byte inside a character of UTF-8)
            end += 1
        yield blob[start:end].decode("utf-8", "surrogatepass")
        start = end
