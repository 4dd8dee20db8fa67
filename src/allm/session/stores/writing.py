"""What a save has to write: the rows that the store does not have yet, and their blobs.

A row is the document that `to_json` writes, with null in the place of each large leaf, and in `"$blobs"` what belongs
there (`data/json/blobs.py`). The limits of documents hold for each row, and for each blob in it.

Theory of operation. A message is a value, so a message object that was read from the store or written to it is what the
store has, and needs neither be checked nor encoded again. A save compares object by object, and encodes only from the
first other object on. Where such a message has the same row as the stored one, it stays; equal values may differ in
what `==` leaves out, so that texts are compared. Rows that were encoded before the turn, to refuse what cannot be
saved, are used for the save after it.

Rows are encoded one by one, and large blobs piece by piece, so that other tasks run in between. A worker thread would
not help: the JSON codec and most of the conversion hold the interpreter's lock.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from secrets import token_hex
from typing import Any, NamedTuple

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.json.blobs import BLOBS, LARGE, Kind, Reference, stored
from allm.data.json.codec import check_readable, plain
from allm.data.json.document import MAX_JSON_BYTES, Leaf, json_problem, take_out, write_document
from allm.data.message import Message
from allm.data.session import Session
from allm.session.stores.backend import Change, Record

__all__ = [
    "COUNT",
    "MARK",
    "PER_ROW",
    "Pace",
    "Row",
    "StoredMessage",
    "StoredSession",
    "change_of",
    "encode",
    "measured",
    "plain_row",
    "stored_message",
]

STRETCH = 64 * 1024
"""Bytes to work on before other tasks may run: a few milliseconds for rows of any size."""
PER_ROW = 256
"""The work for a row besides that for its text, in the same unit."""
COUNT = "$messages"
"""Field of a head: how many messages there are, so that a lost row is noticed."""
MARK = "$write"
"""Field of a head: a random text for each change, which tells whether a write took effect whose reply was lost, and
whether the store still has the session that an earlier turn has read or written."""
PER_MESSAGE = 1024
"""Bytes of memory that a message takes besides its texts, about."""


class StoredMessage(NamedTuple):
    """What is known of a message that is stored.

    Attributes:
        names: The names of its blobs.
        size: Bytes of memory that it takes, about.
        inside: What could be changed inside it: its mappings.
        copies: Copies of those, from when it was read or written.
    """

    names: tuple[str, ...]
    size: int
    inside: tuple[Any, ...]
    copies: tuple[Any, ...]


def stored_message(message: Message, names: Iterable[str], size: int) -> StoredMessage:
    """What is known of a message that was just read or encoded: the names of its blobs, the bytes of its data."""
    inside = tuple(_mappings(message))
    return StoredMessage(tuple(names), size + PER_MESSAGE, inside, _copy(inside))


def _mappings(value: Any) -> Iterator[Any]:
    if value is None or isinstance(value, (str, bytes, bool)):
        return
    if isinstance(value, (Mapping, list)):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _mappings(item)
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from _mappings(getattr(value, field.name))


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return type(value)(map(_copy, value)) if type(value) in {list, tuple} else value


@define(eq=False)
class StoredSession:
    """A session and its rows, as last read or written.

    Attributes:
        session: The session; an empty one with the id if it was never saved.
        version: Its version; 0 if it was never saved.
        blobs: Names of the blobs in the store, also of those that no message refers to any more.
        head: Its head; None if it was never saved, or if its head does not tell it from others.
        messages: What is known of each message.
        size: Bytes of memory that the messages take, about.
    """

    session: Session
    version: int = 0
    blobs: frozenset[str] = frozenset()
    head: str | None = None
    messages: Sequence[StoredMessage] = ()
    size: int = 0
    _rows: dict[int, tuple[Row, StoredMessage, Message]] = attrs.field(factory=dict, init=False)
    """Encoded messages by their identity."""

    def is_unchanged(self) -> bool:
        """Whether nothing was changed inside a message, which others have too."""
        try:
            return [known.inside for known in self.messages] == [known.copies for known in self.messages]
        except Exception:  # what was put there may not be comparable
            return False

    async def change(self, session: Session) -> Change:
        """What a save of `session` over this one has to write; it may be called before the turn that changes it more.

        Raises:
            ValidationError: A row cannot be written.
        """
        await trio.lowlevel.checkpoint()  # a long conversation was checked just before, and is checked again after it
        pace = Pace()
        before, after = self.session.thread.messages, session.thread.messages
        kept = self._same(session)
        while kept < min(len(before), len(after)):
            same = await encode(before[kept], pace)
            if same.text != (await self._row(after[kept], pace)).text:
                break
            kept += 1
        rows = [await self._row(message, pace) for message in after[kept:]]
        names = [known.names for known in self.messages[:kept]] if self.blobs else ()
        return await _change(session, kept, rows, names, self.blobs, pace)

    def _same(self, session: Session) -> int:
        """How many messages, from the first one on, are the stored objects."""
        are_same = [*map(operator.is_, self.session.thread.messages, session.thread.messages)]
        return len(are_same) if all(are_same) else are_same.index(False)

    async def _row(self, message: Message, pace: Pace) -> Row:
        found = self._rows.get(id(message))
        if found is None:
            row = await encode(message, pace)
            size = len(row.text) + sum(len(leaf) for leaf, _ in row.blobs.values())
            found = self._rows[id(message)] = row, stored_message(message, row.blobs, size), message
        return found[0]

    def written(self, session: Session, change: Change) -> None:
        """Note that the change that `change` gave for this session was written."""
        same = self._same(session)
        new = [self._rows[id(message)][1] for message in session.thread.messages[same:]]
        self.size += sum(known.size for known in new) - sum(known.size for known in self.messages[same:])
        self.messages = [*self.messages[:same], *new]
        self.session, self.version, self.head = session, self.version + 1, change.head
        self.blobs = self.blobs.union(change.blobs) - change.dropped
        self._rows = {}

    async def new_blobs(self, rows: Iterable[Row]) -> dict[str, bytes]:
        """The bytes of those blobs in `rows` that are not in the store."""
        return await _data(rows, self.blobs, Pace())


async def _change(
    session: Session,
    kept: int,
    rows: Sequence[Row],
    names: Iterable[Iterable[str]],
    blobs: frozenset[str],
    pace: Pace,
) -> Change:
    """The change that leaves `kept` messages, which refer to the blobs `names`, and writes the head and `rows`."""
    thread = attrs.evolve(session.thread, messages=())
    more = {COUNT: len(session.thread.messages), MARK: token_hex(8)}
    head = await encode(attrs.evolve(session, thread=thread), pace, more)
    rows = [head, *rows]
    dropped = blobs.difference(*names, *(row.blobs for row in rows)) if blobs else blobs
    return Change(
        head=head.text,
        kept=kept,
        messages=tuple(row.text for row in rows[1:]),
        blobs=await _data(rows, blobs, pace),
        dropped=dropped,
    )


async def _data(rows: Iterable[Row], known: frozenset[str], pace: Pace) -> dict[str, bytes]:
    """The bytes of the blobs in `rows` that are not `known`."""
    data: dict[str, bytes] = {}
    for row in rows:
        for name in row.blobs:
            if name not in known and name not in data:
                data[name] = await row.data(name, pace)
    return data


async def change_of(session: Session, record: Record | None) -> Change:
    """What a save of `session` over `record` has to write, by a worker that has not read the stored session.

    Raises:
        ValidationError: A row cannot be written.
    """
    pace = Pace()
    rows = [await encode(message, pace) for message in session.thread.messages]
    before = (record.messages or ()) if record is not None else ()
    kept = sum(1 for _ in takewhile(lambda pair: pair[0].text == pair[1], zip(rows, before, strict=False)))
    names = [row.blobs for row in rows[:kept]]
    return await _change(session, kept, rows[kept:], names, record.blobs if record is not None else frozenset(), pace)


# --- rows ---------------------------------------------------------------------------------------------------------


@define(eq=False)
class Pace:
    """Lets other tasks run after each `STRETCH` of work; a checkpoint after every row would cost more than the row."""

    _worked: int = 0

    async def worked(self, amount: int) -> None:
        """Count this much work, in bytes."""
        self._worked += amount
        if self._worked >= STRETCH:
            self._worked = 0
            await trio.lowlevel.checkpoint()


@frozen
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
    text = _row_text(document, references, more)
    await pace.worked(len(text) + PER_ROW)
    return Row(text, blobs)


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


def _row_text(document: dict[str, Any], references: Sequence[Reference], more: Mapping[str, Any] | None = None) -> str:
    """The text of a row.

    Args:
        document: The document, without its large leaves.
        references: Where they are.
        more: Further fields of the row, which no class has.

    Raises:
        ValidationError: It exceeds the limits of a document.
    """
    blobs = {BLOBS: [[r.hash, r.size, r.kind, [*r.path]] for r in references]} if references else {}
    return write_document({**document, **(more or {}), **blobs})


async def _identify(leaf: str | bytes, pace: Pace) -> tuple[str, int, Kind]:
    """The name of a leaf's blob, its size and its kind. Nearly every large text is base64."""
    if isinstance(leaf, str):
        with suppress(ValueError):
            return *await measured(leaf, "base64", pace), "base64"
        return *await measured(leaf, "text", pace), "text"
    return *await measured(leaf, "bytes", pace), "bytes"


async def measured(leaf: str | bytes, kind: Kind, pace: Pace) -> tuple[str, int]:
    """The SHA-256, in hex, and the length of what is stored for a leaf."""
    digest, size = hashlib.sha256(), 0
    for piece in stored(leaf, kind):
        digest.update(piece)
        size += len(piece)
        await pace.worked(len(piece))
    return digest.hexdigest(), size
