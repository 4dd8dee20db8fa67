"""Encode and decode rows without keeping other tasks waiting: row by row, and large blobs piece by piece.

A worker thread would not help: the JSON codec and most of the conversion hold the interpreter's lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from allm.data.json.codec import MAX_JSON_BYTES
from allm.data.json.document import json_problem
from allm.data.json.rows import Kind, ParsedRow, Reference, parse_row, plain_row, row_text, stored, used

__all__ = ["BlobMissingError", "Decoded", "FetchBlobs", "Pace", "Row", "decode", "encode"]

STRETCH = 64 * 1024
"""Bytes to work on before other tasks may run: a few milliseconds for rows of any size."""
PER_ROW = 256
"""The work for a row besides that for its text, in the same unit."""
PAGE = 4 * 1024 * 1024
"""Bytes of blobs to fetch in one operation, unless one of them has more."""

FetchBlobs = Callable[[Collection[str]], Awaitable[Mapping[str, bytes]]]


class BlobMissingError(Exception):
    """A row refers to a blob that is not in the store."""


@attrs.define(eq=False)
class Pace:
    """Lets other tasks run after each `STRETCH` of work; a checkpoint after every row would cost more than the row."""

    _worked: int = 0

    async def worked(self, amount: int) -> None:
        """Count this much work, in bytes."""
        self._worked += amount
        if self._worked >= STRETCH:
            self._worked = 0
            await trio.lowlevel.checkpoint()


@attrs.frozen
class Row:
    """An encoded row.

    Attributes:
        text: Its JSON.
        blobs: What its blobs are made of, by their names.
    """

    text: str
    blobs: Mapping[str, tuple[str | bytes, Kind]]

    async def data(self, name: str, pace: Pace) -> bytes:
        """The stored bytes of one of its blobs."""
        leaf, kind = self.blobs[name]
        if isinstance(leaf, bytes):
            return leaf
        pieces: list[bytes] = []
        for piece in stored(leaf, kind):
            pieces.append(piece)
            await pace.worked(len(piece))
        return b"".join(pieces)


async def encode(value: Any, pace: Pace, more: Mapping[str, Any] | None = None) -> Row:
    """Encode a value of the library as a row.

    Args:
        value: The value.
        pace: Lets other tasks run.
        more: Further fields of the row, beginning with "$".

    Raises:
        ValidationError: It has no JSON form, or exceeds the limits of `from_json`.
    """
    document, leaves = plain_row(value)
    references: list[Reference] = []
    blobs: dict[str, tuple[str | bytes, Kind]] = {}
    for leaf in leaves:
        name, size, kind = await _identify(leaf.value, pace)
        if size > MAX_JSON_BYTES:
            raise json_problem("too_large", f"a text in the value is longer than {MAX_JSON_BYTES} bytes")
        references.append(Reference(name, size, kind, leaf.path))
        blobs[name] = leaf.value, kind
    text = row_text(document, references, more)
    await pace.worked(len(text) + PER_ROW)
    return Row(text, blobs)


async def _identify(leaf: str | bytes, pace: Pace) -> tuple[str, int, Kind]:
    """The name of a leaf's blob, its size and its kind. Nearly every large text is base64."""
    if isinstance(leaf, str):
        with suppress(ValueError):
            return *await _measured(leaf, "base64", pace), "base64"
        return *await _measured(leaf, "text", pace), "text"
    return *await _measured(leaf, "bytes", pace), "bytes"


async def _measured(leaf: str | bytes, kind: Kind, pace: Pace) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for piece in stored(leaf, kind):
        digest.update(piece)
        size += len(piece)
        await pace.worked(len(piece))
    return digest.hexdigest(), size


@attrs.frozen
class Decoded:
    """What a row holds.

    Attributes:
        value: Its value.
        names: The names of its blobs.
        more: Its fields that begin with "$".
    """

    value: Any
    names: tuple[str, ...]
    more: Mapping[str, Any]


async def decode(rows: Iterable[tuple[str, type | None]], fetch: FetchBlobs, pace: Pace) -> list[Decoded]:
    """Decode rows.

    Args:
        rows: The text and the expected type of each.
        fetch: Reads blobs.
        pace: Lets other tasks run.

    Raises:
        ValidationError: A row or a blob cannot be read.
        BlobMissingError: A blob is not there.
    """
    decoded: list[Decoded] = []
    waiting: list[tuple[int, ParsedRow, type | None]] = []
    for text, expected in rows:
        row = parse_row(text)
        if row.references:
            waiting.append((len(decoded), row, expected))
        value = None if row.references else row.value({}, expected)
        decoded.append(Decoded(value, tuple(reference.hash for reference in row.references), row.more))
        await pace.worked(len(text) + PER_ROW)
    leaves = await _leaves([reference for _, row, _ in waiting for reference in row.references], fetch, pace)
    for index, row, expected in waiting:
        decoded[index] = attrs.evolve(decoded[index], value=row.value(leaves, expected))
        await pace.worked(PER_ROW)
    return decoded


async def _leaves(references: Sequence[Reference], fetch: FetchBlobs, pace: Pace) -> dict[str, str | bytes]:
    """The leaf of each reference, by its `key`. A blob that belongs into many rows is one object in all of them."""
    wanted: dict[str, dict[str, Reference]] = {}
    for reference in references:
        wanted.setdefault(reference.hash, {})[reference.key] = reference
    leaves: dict[str, str | bytes] = {}
    for page in _pages({name: next(iter(found.values())).size for name, found in wanted.items()}):
        blobs = await fetch(page)
        for name in page:
            if name not in blobs:
                raise BlobMissingError(f"blob {name} is missing")
            await _check(name, blobs[name], pace)
            for reference in wanted[name].values():
                leaves[reference.key] = await _leaf(blobs[name], reference.kind, pace)
    return leaves


def _pages(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    page: list[str] = []
    left = PAGE
    for name, size in sizes.items():
        if page and size > left:
            yield page
            page, left = [], PAGE
        page.append(name)
        left -= size
    if page:
        yield page


async def _check(name: str, blob: bytes, pace: Pace) -> None:
    """Refuse a blob that is not the one that was stored: a database does not notice every fault of its disk."""
    if await _measured(blob, "bytes", pace) != (name, len(blob)):
        raise json_problem("malformed", f"blob {name} is damaged")


async def _leaf(blob: bytes, kind: Kind, pace: Pace) -> str | bytes:
    if kind == "bytes":
        return blob
    pieces: list[str] = []
    try:
        for piece in used(blob, kind):
            pieces.append(piece)
            await pace.worked(len(piece))
    except ValueError as error:
        raise json_problem("malformed", f"a blob of the row is no text: {error}") from error
    return "".join(pieces)
