"""What a store needs of a database: a few atomic operations on texts. Anyone can write one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from allm.data.json.codec import MAX_JSON_BYTES

__all__ = ["LONGEST", "Record", "StoreBackend"]

LONGEST = MAX_JSON_BYTES + 1
"""Characters: one more than the reader of documents takes, so that it sees that there are too many."""


@attrs.frozen(kw_only=True)
class Record:
    """What the database has under one id.

    Attributes:
        version: Counts the writes; 0 before the first.
        document: The session as JSON; None before the first write.
        journal: Entries of a turn that has not ended, oldest first; only read by `acquire`.
    """

    version: int
    document: str | None
    journal: tuple[str, ...] = ()


class StoreBackend(Protocol):
    """Keeps documents, leases and journals. Each operation is atomic, and durable when it returns.

    Of a text longer than `LONGEST` characters, which no session has, `read` and `acquire` may leave the rest out.

    A lease belongs to a token until it expires by the database's own clock, and after that until another token takes
    it. Operations raise `SessionError(unavailable)` when the database does not answer in time, bounded by themselves:
    they are called under a shield.
    """

    async def read(self, key: str, /) -> Record | None:
        """The record, without its journal; None when nothing was ever written."""
        ...

    async def write(self, key: str, document: str, /, *, version: int, token: str | None) -> bool:
        """Replace version `version` (0: there is none) by the next one, and forget the journal.

        Args:
            token: Of the turn that writes, which must hold the lease. None: no turn may hold one, or have left a
                journal; a lease that has expired is taken from its turn.

        Returns:
            Whether it was written: not when the version is another, or a turn is in the way.
        """
        ...

    async def delete(self, key: str, /, *, version: int | None) -> bool:
        """Remove record and journal, unless a turn holds the lease or the version is another (None: any)."""
        ...

    async def acquire(self, key: str, token: str, seconds: float, /) -> Record | None:
        """Take the lease for `seconds`: the record with its journal; None while another turn holds the lease."""
        ...

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """Hold the lease for `seconds` from now; False when another turn has taken it."""
        ...

    async def release(self, key: str, token: str, /) -> None:
        """Give the lease back, if it is still this turn's."""
        ...

    async def append(self, key: str, token: str, entries: Sequence[str], /) -> bool:
        """Add journal entries, all or none; False when another turn has taken the lease."""
        ...

    async def forget(self, key: str, token: str, /) -> bool:
        """Empty the journal; False when another turn has taken the lease."""
        ...

    async def aclose(self) -> None:
        """Close every connection. Later operations open new ones."""
        ...
