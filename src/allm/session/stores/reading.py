"""Read stored sessions and journals: their rows, and the blobs that these refer to.

Rows are decoded one by one, and large blobs piece by piece, so that other tasks run in between.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

import attrs
import trio

from allm.data.attrs_classes import frozen
from allm.data.errors import SessionError, ValidationError
from allm.data.json.blobs import BLOBS, Kind, Reference, used
from allm.data.json.codec import structured
from allm.data.json.document import MAX_JSON_BYTES, Leaf, json_problem, parse_document, put_back
from allm.data.message import Message
from allm.data.problems import refuse
from allm.data.session import Session, session_problems
from allm.session.stores.backend import Record, StoreBackend, unreadable
from allm.session.stores.writing import COUNT, MARK, PER_ROW, Pace, StoredSession, measured, stored_message

__all__ = ["BlobMissingError", "FetchBlobs", "load", "parse_row", "read_journal", "read_record"]

PAGE = 4 * 1024 * 1024
"""Bytes of blobs to fetch in one operation, unless one of them has more."""
MOST_READS = 10
"""Reads of a session that someone else saves between the read of its rows and that of its blobs, each time."""
_KINDS: tuple[str, ...] = get_args(Kind)
_HASH = re.compile(r"[0-9a-f]{64}")

FetchBlobs = Callable[[Collection[str]], Awaitable[Mapping[str, bytes]]]


class BlobMissingError(Exception):
    """A row refers to a blob that is not in the store."""


async def load(backend: StoreBackend, key: str) -> StoredSession | None:
    """The session as it is stored, read without a lease; None if it was never saved.

    Raises:
        SessionError: `unreadable`, `unavailable`.
    """
    before: Record | None = None
    for _ in range(MOST_READS):
        record = await backend.read(key)
        if record is None or record.head is None:
            return None
        try:
            return await read_record(key, record, functools.partial(backend.blobs, key))
        except BlobMissingError as error:
            if record == before:
                raise unreadable(key, error) from error
        before = record
    raise SessionError(f"session {key!r} is saved too often to be read; try again", reason="unavailable")


async def read_record(key: str, record: Record, fetch: FetchBlobs, known: StoredSession | None = None) -> StoredSession:
    """The session in `record`, which has a head.

    Args:
        key: The session id.
        record: What the store has.
        fetch: Reads blobs.
        known: The session that was known before. If it is still that one, only the head is read, so that what was
            changed inside the values of the earlier one is not in this one.

    Raises:
        SessionError: `unreadable`.
        BlobMissingError: A blob is not there.
    """
    assert record.head is not None  # noqa: S101  (checked by the caller)
    await trio.lowlevel.checkpoint()
    texts = record.messages or ()
    rows: list[tuple[str, type | None]] = [(record.head, Session), *((text, Message) for text in texts)]
    try:
        head, *messages = await _decode(rows, fetch, Pace())
        if record.messages is None and known is not None:
            return attrs.evolve(known, session=_again(known.session, head.value), blobs=record.blobs)
        session = _joined(head, messages)
        refuse(session_problems(session), reason="invalid_session")
    except ValidationError as error:
        raise unreadable(key, error) from error
    stored = [stored_message(row.value, row.names, row.size) for row in messages]
    return StoredSession(
        attrs.evolve(session, id=key),
        version=record.version,
        blobs=record.blobs,
        head=record.head if head.more.get(MARK) else None,
        messages=stored,
        size=sum(message.size for message in stored),
    )


def _again(known: Session, head: Session) -> Session:
    """The session with the messages of `known`, and everything else as it was read from its head."""
    thread = known.thread  # which knows that its messages were checked
    if thread.metadata != head.thread.metadata:
        thread = attrs.evolve(head.thread, messages=thread.messages)
    return attrs.evolve(head, id=known.id, thread=thread)


def _joined(head: _Decoded, messages: Sequence[_Decoded]) -> Session:
    session: Session = head.value
    count = head.more.get(COUNT)
    if count != len(messages) or session.thread.messages:
        raise json_problem("malformed", f"its head names {count!r:.60} messages, and there are {len(messages)}")
    thread = attrs.evolve(session.thread, messages=[row.value for row in messages])
    return attrs.evolve(session, thread=thread)


async def read_journal(key: str, record: Record, fetch: FetchBlobs) -> list[Any]:
    """The entries in a journal.

    Raises:
        SessionError: `unreadable`.
        BlobMissingError: A blob is not there.
    """
    try:
        return [row.value for row in await _decode([(text, None) for text in record.journal], fetch, Pace())]
    except ValidationError as error:
        raise unreadable(key, error) from error


# --- rows ---------------------------------------------------------------------------------------------------------


@frozen
class _Decoded:
    """What a row holds.

    Attributes:
        value: Its value.
        names: The names of its blobs.
        size: Bytes of its text and its blobs.
        more: Its fields that begin with "$".
    """

    value: Any
    names: tuple[str, ...]
    size: int
    more: Mapping[str, Any]


async def _decode(rows: Iterable[tuple[str, type | None]], fetch: FetchBlobs, pace: Pace) -> list[_Decoded]:
    """Decode rows.

    Args:
        rows: The text and the expected type of each.
        fetch: Reads blobs.
        pace: Lets other tasks run.

    Raises:
        ValidationError: A row or a blob cannot be read.
        BlobMissingError: A blob is not there.
    """
    decoded: list[_Decoded] = []
    waiting: list[tuple[int, _ParsedRow, type | None]] = []
    for text, expected in rows:
        row = parse_row(text)
        if row.references:
            waiting.append((len(decoded), row, expected))
        value = None if row.references else row.value({}, expected)
        names = tuple(reference.hash for reference in row.references)
        size = len(text) + sum(reference.size for reference in row.references)
        decoded.append(_Decoded(value, names, size, row.more))
        await pace.worked(len(text) + PER_ROW)
    leaves = await _leaves([reference for _, row, _ in waiting for reference in row.references], fetch, pace)
    for index, row, expected in waiting:
        decoded[index] = attrs.evolve(decoded[index], value=row.value(leaves, expected))
        await pace.worked(PER_ROW)
    return decoded


@frozen
class _ParsedRow:
    """A row as it was read, without its blobs.

    Attributes:
        more: Its fields that begin with "$", but for the references.
    """

    document: dict[str, Any]
    references: tuple[Reference, ...]
    more: dict[str, Any]

    def value(self, leaves: Mapping[str, str | bytes], as_: type | None = None) -> Any:
        """The value of the row; `leaves` has what stands in the place of each reference, by its `key`.

        Raises:
            ValidationError: As `from_json`, or a reference that does not fit (`malformed`).
        """
        try:
            put_back(self.document, (Leaf(r.path, leaves[r.key]) for r in self.references))
        except ValueError as error:
            raise json_problem("malformed", str(error)) from error
        return structured(self.document, as_)


def parse_row(text: str) -> _ParsedRow:
    """Parse the text of a row.

    Raises:
        ValidationError: As `parse_document`, or its references are not what `row_text` writes (`malformed`).
    """
    document = parse_document(text)
    named = [name for name in document if name.startswith("$")] if isinstance(document, dict) else []
    more = {name: document.pop(name) for name in named}
    listed = more.pop(BLOBS, [])
    if not isinstance(listed, list):
        raise json_problem("malformed", f"{BLOBS} of the row is no list")
    return _ParsedRow(document, tuple(map(_reference, listed)), more)


def _reference(listed: Any) -> Reference:
    match listed:
        case [str(name), int(size), str(kind), [_, *_] as path] if (
            _HASH.fullmatch(name) and kind in _KINDS and 0 <= size <= MAX_JSON_BYTES
        ):
            return Reference(name, size, kind, tuple(path))  # type: ignore[arg-type]
        case _:
            raise json_problem("malformed", f"{BLOBS} of the row names something that is no blob")


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
    if await measured(blob, "bytes", pace) != (name, len(blob)):
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
