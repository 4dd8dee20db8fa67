"""What a worker knows of the stored rows of one session: reads them, and finds what has to be written next.

Theory of operation. A message is a value, so a message object that was read from the store or written to it is what the
store has, and needs neither be checked nor encoded again. A save compares object by object, and encodes only from the
first other object on. Where such a message has the same row as the stored one, it stays; equal values may differ in
what `==` leaves out, so that texts are compared. Rows that were encoded before the turn, to refuse what cannot be
saved, are used for the save after it.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from itertools import takewhile
from secrets import token_hex
from typing import Any

import attrs
import trio

from allm.data.errors import SessionError, ValidationError
from allm.data.json.document import json_problem
from allm.data.message import Message
from allm.data.problems import refuse
from allm.data.session import Session, session_problems
from allm.session.stores.backend import Change, Record, StoreBackend
from allm.session.stores.journal import unreadable
from allm.session.stores.rows import BlobMissingError, Decoded, FetchBlobs, Pace, Row, decode, encode

__all__ = ["StoredSession", "change_of", "load", "read_journal", "read_record"]

_COUNT = "$messages"
"""Field of a head: how many messages there are, so that a lost row is noticed."""
_MARK = "$write"
"""Field of a head: a random text for each change, which tells whether a write took effect whose reply was lost."""


@attrs.define(eq=False)
class StoredSession:
    """A session and its rows, as last read or written.

    Attributes:
        session: The session; an empty one with the id if it was never saved.
        version: Its version; 0 if it was never saved.
        blobs: Names of the blobs in the store, also of those that no message refers to any more.
    """

    session: Session
    version: int = 0
    blobs: frozenset[str] = frozenset()
    _names: list[tuple[str, ...]] = attrs.field(factory=list, alias="names")  # of the blobs of each message
    _rows: dict[int, tuple[Message, Row]] = attrs.field(factory=dict, init=False)  # encoded, by the message's identity

    async def change(self, session: Session) -> Change:
        """What a save of `session` over this one has to write; it may be called before the turn that changes it more.

        Raises:
            ValidationError: A row cannot be written.
        """
        await trio.lowlevel.checkpoint()  # a long conversation was checked just before, and is checked again after it
        pace = Pace()
        before, after = self.session.thread.messages, session.thread.messages
        are_same = [*map(operator.is_, before, after)]
        kept = len(are_same) if all(are_same) else are_same.index(False)
        while kept < min(len(before), len(after)):
            same = await encode(before[kept], pace)
            if same.text != (await self._row(after[kept], pace)).text:
                break
            kept += 1
        rows = [await self._row(message, pace) for message in after[kept:]]
        return await _change(session, kept, rows, self._names[:kept], self.blobs, pace)

    async def _row(self, message: Message, pace: Pace) -> Row:
        found = self._rows.get(id(message))
        if found is None:
            found = self._rows[id(message)] = message, await encode(message, pace)
        return found[1]

    def written(self, session: Session, change: Change) -> None:
        """Note that the change that `change` gave for this session was written."""
        after = session.thread.messages[change.kept :]
        self._names = [*self._names[: change.kept], *(tuple(self._rows[id(message)][1].blobs) for message in after)]
        self.session, self.version = session, self.version + 1
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
    more = {_COUNT: len(session.thread.messages), _MARK: token_hex(8)}
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
    before = record.messages if record is not None else ()
    kept = sum(1 for _ in takewhile(lambda pair: pair[0].text == pair[1], zip(rows, before, strict=False)))
    names = [row.blobs for row in rows[:kept]]
    return await _change(session, kept, rows[kept:], names, record.blobs if record is not None else frozenset(), pace)


MOST_READS = 10
"""Reads of a session that someone else saves between the read of its rows and that of its blobs, each time."""


async def load(backend: StoreBackend, key: str) -> StoredSession | None:
    """The session as it is stored, read without a lease; None if it was never saved.

    Raises:
        SessionError: `unreadable`, `unavailable`.
    """
    before: Record | None = None
    for _ in range(MOST_READS):
        record = await backend.read(key)
        if record is None:
            return None
        try:
            return await read_record(key, record, functools.partial(backend.blobs, key))
        except BlobMissingError as error:
            if record == before:
                raise unreadable(key, error) from error
        before = record
    raise SessionError(f"session {key!r} is saved too often to be read; try again", reason="unavailable")


async def read_record(key: str, record: Record | None, fetch: FetchBlobs) -> StoredSession:
    """The session in `record`; an empty one if nothing was ever saved.

    Raises:
        SessionError: `unreadable`.
        BlobMissingError: A blob is not there.
    """
    await trio.lowlevel.checkpoint()
    if record is None or record.head is None:
        return StoredSession(Session(id=key), blobs=record.blobs if record is not None else frozenset())
    rows: list[tuple[str, type | None]] = [(record.head, Session), *((text, Message) for text in record.messages)]
    try:
        head, *messages = await decode(rows, fetch, Pace())
        session = _joined(head, messages)
        refuse(session_problems(session), reason="invalid_session")
    except ValidationError as error:
        raise unreadable(key, error) from error
    return StoredSession(
        attrs.evolve(session, id=key),
        version=record.version,
        blobs=record.blobs,
        names=[row.names for row in messages],
    )


def _joined(head: Decoded, messages: Sequence[Decoded]) -> Session:
    session: Session = head.value
    count = head.more.get(_COUNT)
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
        return [row.value for row in await decode([(text, None) for text in record.journal], fetch, Pace())]
    except ValidationError as error:
        raise unreadable(key, error) from error
