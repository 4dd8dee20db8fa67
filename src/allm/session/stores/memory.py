"""Sessions in the memory of one process: for tests, and for programs that do not need to keep them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs
import trio

from allm.data.attrs_classes import define
from allm.session.stores.backend import Change, Record, page_of

__all__ = ["MemoryBackend"]


@define(eq=False)
class _Row:
    version: int = 0
    head: str | None = None
    messages: list[str] = attrs.field(factory=list)
    blobs: dict[str, bytes] = attrs.field(factory=dict)
    token: str | None = None
    expires: float = 0.0  # on the Trio clock, which serves as the database's clock; each run of Trio has its own
    lease: float = 0.0  # seconds
    journal: list[str] = attrs.field(factory=list)

    def leased(self) -> bool:
        self.expires = min(self.expires, trio.current_time() + self.lease)
        return self.token is not None and self.expires > trio.current_time()

    def extend(self, seconds: float) -> None:
        self.expires, self.lease = trio.current_time() + seconds, seconds

    def record(self, known: tuple[int, str] | None = None) -> Record:
        return Record(
            version=self.version,
            head=self.head,
            messages=None if (self.version, self.head) == known else tuple(self.messages),
            blobs=frozenset(self.blobs),
            journal=tuple(self.journal),
        )


@define(eq=False)
class MemoryBackend:
    """Keeps records in a dictionary. Each operation checkpoints first and not again, which makes it atomic."""

    _rows: dict[str, _Row] = attrs.field(factory=dict, init=False)

    async def read(self, key: str, /) -> Record | None:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get(key)
        return None if row is None or row.head is None else attrs.evolve(row.record(), journal=())

    async def blobs(self, key: str, names: Collection[str], /) -> Mapping[str, bytes]:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        found = self._rows[key].blobs if key in self._rows else {}
        return {name: found[name] for name in names if name in found}

    async def write(self, key: str, change: Change, /, *, version: int, token: str | None) -> bool:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get(key, _Row())
        allowed = row.token == token if token is not None else not row.leased() and not row.journal
        if row.version != version or not allowed:
            return False
        self._rows[key] = row
        row.version, row.head, row.token, row.journal = version + 1, change.head, token, []
        row.messages[change.kept :] = change.messages
        row.blobs = {name: blob for name, blob in {**row.blobs, **change.blobs}.items() if name not in change.dropped}
        return True

    async def delete(self, key: str, /, *, version: int | None) -> bool:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get(key)
        if row is None or row.leased() or version not in {None, row.version}:
            return False
        del self._rows[key]
        return True

    async def acquire(
        self, key: str, token: str, seconds: float, /, *, known: tuple[int, str] | None = None
    ) -> Record | None:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.setdefault(key, _Row())
        if row.token != token and row.leased():
            return None
        row.token = token
        row.extend(seconds)
        return row.record(known)

    async def renew(self, key: str, token: str, seconds: float, /) -> bool:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get(key)
        if row is None or row.token != token:
            return False
        row.extend(seconds)
        return True

    async def release(self, key: str, token: str, /) -> None:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get(key)
        if row is not None and row.token == token:
            row.token = None
            if row.head is None and not row.journal:
                del self._rows[key]

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
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get(key)
        if row is None or row.token != token or row.version != version or len(row.journal) < after:
            return False
        row.journal += entries[len(row.journal) - after :]
        row.blobs |= blobs
        return True

    async def forget(self, key: str, token: str, /) -> bool:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get(key)
        if row is None or row.token != token:
            return False
        row.journal = []
        return True

    async def ids(self, prefix: str, limit: int, /, *, after: str | None, descending: bool) -> Sequence[str]:
        """See `StoreBackend`."""
        await trio.lowlevel.checkpoint()
        written = [key for key, row in self._rows.items() if row.head is not None]
        return page_of(written, prefix, limit, after=after, descending=descending)

    async def aclose(self) -> None:
        """Do nothing; the sessions stay."""
        await trio.lowlevel.checkpoint()
