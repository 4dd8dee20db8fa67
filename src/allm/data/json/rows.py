"""Values as rows of a database: JSON text without the large texts and bytes inside, which are blobs of their own.

A row is the document that `to_json` writes, with null in the place of each large leaf, and in `"$blobs"` what belongs
there: `[sha256, bytes, kind, path]`. The kinds are `bytes`, `text` (stored in UTF-8) and `base64` (a text that is the
base64 of what is stored, as images from a provider are). No field of a class is named so, so users' own data cannot be
taken for a reference. The limits of documents hold for each row, and for each blob in it.

Everything here is synchronous and works on one row, or on one piece of a blob, at a time: the caller decides when other
tasks may run.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import attrs

from allm.data.errors import Path
from allm.data.json.codec import check_readable, plain, structured
from allm.data.json.document import (
    MAX_JSON_BYTES,
    Leaf,
    json_problem,
    parse_document,
    put_back,
    take_out,
    write_document,
)

__all__ = ["LARGE", "PIECE", "Kind", "ParsedRow", "Reference", "parse_row", "plain_row", "row_text", "stored", "used"]

T = TypeVar("T")
Kind = Literal["bytes", "text", "base64"]

LARGE = 64 * 1024
"""Characters or bytes from which on a leaf is a blob. A row should be small enough to be parsed without being felt."""
PIECE = 3 * 128 * 1024
"""Bytes of a blob that are worked on at once: well under a megabyte, and a multiple of three for the sake of base64."""
_KINDS: tuple[str, ...] = get_args(Kind)
_BLOBS = "$blobs"
_HASH = re.compile(r"[0-9a-f]{64}")


@attrs.frozen
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


def plain_row(value: Any) -> tuple[dict[str, Any], list[Leaf]]:
    """The document of a value without its large leaves, and these; checked to be readable again.

    Raises:
        ValidationError: As `to_json`.
    """
    document, unread = plain(value)
    small, leaves = take_out(document, lambda leaf: len(leaf) >= LARGE)
    if any(len(leaf.value) > MAX_JSON_BYTES for leaf in leaves):
        raise json_problem("too_large", f"a text or bytes in the value are longer than {MAX_JSON_BYTES} bytes")
    if unread is not None:
        check_readable(document, unread)
    return small, leaves


def row_text(document: dict[str, Any], references: Sequence[Reference], more: Mapping[str, Any] | None = None) -> str:
    """The text of a row.

    Args:
        document: The document, without its large leaves.
        references: Where they are.
        more: Further fields of the row, which no class has.

    Raises:
        ValidationError: It exceeds the limits of a document.
    """
    blobs = {_BLOBS: [[r.hash, r.size, r.kind, [*r.path]] for r in references]} if references else {}
    return write_document({**document, **(more or {}), **blobs})


@attrs.frozen
class ParsedRow:
    """A row as it was read, without its blobs.

    Attributes:
        more: Its fields that begin with "$", but for the references.
    """

    document: dict[str, Any]
    references: tuple[Reference, ...]
    more: dict[str, Any]

    def value(self, leaves: Mapping[str, str | bytes], as_: type[T] | None = None) -> T | Any:
        """The value of the row; `leaves` has what stands in the place of each reference, by its `key`.

        Raises:
            ValidationError: As `from_json`, or a reference that does not fit (`malformed`).
        """
        try:
            put_back(self.document, (Leaf(r.path, leaves[r.key]) for r in self.references))
        except ValueError as error:
            raise json_problem("malformed", str(error)) from error
        return structured(self.document, as_)


def parse_row(text: str) -> ParsedRow:
    """Parse the text of a row.

    Raises:
        ValidationError: As `parse_document`, or its references are not what `row_text` writes (`malformed`).
    """
    document = parse_document(text)
    named = [name for name in document if name.startswith("$")] if isinstance(document, dict) else []
    more = {name: document.pop(name) for name in named}
    listed = more.pop(_BLOBS, [])
    if not isinstance(listed, list):
        raise json_problem("malformed", f"{_BLOBS} of the row is no list")
    return ParsedRow(document, tuple(map(_reference, listed)), more)


def _reference(listed: Any) -> Reference:
    match listed:
        case [str(name), int(size), str(kind), [_, *_] as path] if (
            _HASH.fullmatch(name) and kind in _KINDS and 0 <= size <= MAX_JSON_BYTES
        ):
            return Reference(name, size, kind, tuple(path))  # type: ignore[arg-type]
        case _:
            raise json_problem("malformed", f"{_BLOBS} of the row names something that is no blob")


# --- the bytes of a blob, piece by piece --------------------------------------------------------------------------


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
