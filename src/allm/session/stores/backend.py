"""`StoreBackend`: the atomic operations on rows that a session store needs from a database; and the stores' errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import SessionError
from allm.data.json.codec import MAX_JSON_BYTES
from allm.data.session import Session, SessionConflict

__all__ = ["LONGEST", "Change", "Record", "StoreBackend", "conflict", "lease_lost", "page_of", "unreadable"]

LONGEST = MAX_JSON_BYTES + 1
"""Most characters to fetch of a text: one more than a document may have, so that its reader notices the excess."""


@frozen(kw_only=True)
class Record:
    """The database's record of one session.

    Attributes:
        version: Counts the writes; 0 before the first.
        head: The session without its messages, as JSON; None before the first write.
        messages: Each message as JSON, in order; None where `acquire` was told of this very version.
        blobs: Names of the blobs that are stored: large texts and bytes inside head, messages and journal.
        journal: Entries of an unfinished turn, oldest first; only filled by `acquire`.
    """

    version: int
    head: str | None
    messages: tuple[str, ...] | None = ()
    blobs: frozenset[str] = frozenset()
    journal: tuple[str, ...] = ()


@frozen(kw_only=True)
class Change:
    """What a write does to the rows of a session.

    Attributes:
        head: The new head.
        kept: How many of the messages stay, from the first one on; the others are deleted.
        messages: The messages after those.
        blobs: Blobs to add, by name. One may be there already: its name is the hash of its content.
        dropped: Names of blobs to delete.
    """

    head: str
    kept: int = 0
    messages: tuple[str, ...] = ()
    blobs: Mapping[str, bytes] = attrs.field(factory=dict)
    dropped: frozenset[str] = frozenset()


class StoreBackend(Protocol):
    """Stores the rows, leases and journals of sessions. Each operation is atomic, and durable when it returns.

    `read` and `acquire` may truncate texts longer than 67,108,865 characters, which no valid row has; `blobs` may leave
    out blobs of more bytes than that.

    A lease belongs to a token until it expires by the database's own clock, and after that until another token takes
    it. If that clock was set back, a lease would keep others out for longer than it was taken for: an operation that is
    refused because of it first cuts it down to its own length, counted from now.

    Operations run under a shield, so they must limit their own time, and raise `SessionError(unavailable)` when the
    database does not answer in time. After such an error, it is unknown whether a write took effect. If the error's
    `retryable` is true, the operation may be called again, also if the first call takes effect later.
    """

    async def read(self, key: str, /) -> Record | None:
        """The record, without its journal; None if nothing was ever written."""
        ...

    async def blobs(self, key: str, names: Collection[str], /) -> Mapping[str, bytes]:
        """Those of the named blobs that are there. A store asks for a few megabytes at a time."""
        ...

    async def write(self, key: str, change: Change, /, *, version: int, token: str | None) -> bool:
        """Turn version `version` (0: none yet) into the next one, and empty the journal.

        Args:
            key: The session id.
            change: What is different in the next version.
            version: The version to replace.
            token: The token of the writing turn, which must hold the lease. None for a write outside a turn: then no
                turn may hold the lease or have left a journal, and an expired lease is taken from its turn.

        Returns:
            Whether it was written; False if the version differs, or a turn is in the way.
        """
        ...

    async def delete(self, key: str, /, *, version: int | None) -> bool:
        """Remove all rows of a session, unless a turn holds the lease or the version differs (None: any version)."""
        ...

    async def acquire(
        self, key: str, token: str, seconds: float, /, *, known: tuple[int, str] | None = None
    ) -> Record | None:
        """Take the lease and return the record with its journal; None while another turn holds the lease.

        The turn that holds it may take it again.

        Args:
            key: The session id.
            token: The token of the turn.
            seconds: How long the lease lasts.
            known: The version and the head of the record whose messages the caller has. If it is still that one, its
                messages may be left out (None), so that the cost does not grow with them. No two changes have the same
                head, also if the session was deleted in between.
        """
        ...

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """Extend the lease to `seconds` from now; False if another turn has taken it."""
        ...

    async def release(self, key: str, token: str, /) -> None:
        """Give the lease back, if this turn still holds it."""
        ...

    async def append(
        self,
        key: str,
        token: str,
        entries: Sequence[str],
        blobs: Mapping[str, bytes],
        /,
        *,
        version: int,
        after: int,
    ) -> bool:
        """Add journal entries and the blobs in them, all or none; those that are there already are not added again.

        Args:
            key: The session id.
            token: The token of the turn.
            entries: The entries.
            blobs: Blobs to add, by name.
            version: The version that the turn is based on.
            after: How many entries come before these.

        Returns:
            Whether the journal has them; False if another turn has taken the lease, the version differs, or the
            journal has fewer than `after` entries.
        """
        ...

    async def forget(self, key: str, token: str, /) -> bool:
        """Empty the journal; False if another turn has taken the lease. Its blobs may stay until the next write."""
        ...

    async def ids(self, prefix: str, limit: int, /, *, after: str | None, descending: bool) -> Sequence[str]:
        """A page of the ids of sessions that were written, as `SessionStore.ids` returns them."""
        ...

    async def aclose(self) -> None:
        """Close every connection. Later operations open new ones."""
        ...


def page_of(ids: Iterable[str], prefix: str, limit: int, *, after: str | None, descending: bool) -> list[str]:
    """The page of `StoreBackend.ids`, for databases that cannot sort."""
    found = sorted((key for key in ids if key.startswith(prefix)), reverse=descending)
    return [key for key in found if after is None or (key < after if descending else key > after)][:limit]


# --- errors of every store ------------------------------------------------------------------------------------------


def unreadable(key: str, error: Exception) -> SessionError:
    """The error for a session or a journal that cannot be read."""
    return SessionError(
        f"session {key!r} cannot be read from the store ({error}); a newer release may have written it",
        reason="unreadable",
    ).advised(". store.delete(id) removes it")


def conflict(key: str, session: Session | None, version: int) -> SessionConflict:
    """The error for a write that someone else was ahead of; their session is None if it was deleted."""
    if session is None:
        return SessionConflict(f"session {key!r} was deleted")
    return SessionConflict(
        f"session {key!r} was saved by someone else and now has version {version}; apply the change to "
        "error.session, or load it again",
        session=session,
        version=version,
    )


def lease_lost(key: str, session: Session | None = None) -> SessionError:
    """The error for a turn whose lease another worker has taken; `session` is what could not be saved."""
    return SessionError(
        f"another worker has taken over session {key!r}, since the lease of this turn had expired; nothing more of "
        "this turn will be saved",
        reason="lease_lost",
        session=session,
    )
