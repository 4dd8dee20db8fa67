"""`--session file.json`: a conversation in a file that people and programs can read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, final

import attrs
import trio

import allm
from allm.session.stores.backend import LONGEST, Change, Record
from allm.session.stores.memory import MemoryBackend
from allm.session.stores.reading import read_record
from allm.session.stores.writing import change_of

__all__ = ["JsonFileBackend"]

T = TypeVar("T")


@final
@attrs.define(eq=False)
class JsonFileBackend(MemoryBackend):
    """A file with a `Session` as `allm.to_json` writes it; a `Thread` can be read too.

    Lease and journal are in memory only, so unlike in a database, an interrupted turn is lost with its process. Changes
    to the file by others are not overwritten, but reported as a conflict.
    """

    path: Path
    _text: str | None = attrs.field(default=None, init=False)  # content of the file when last read or written

    async def acquire(
        self, key: str, token: str, seconds: float, /, *, known: tuple[int, str] | None = None
    ) -> Record | None:
        """See `StoreBackend`."""
        await self._look(key)
        return await super().acquire(key, token, seconds, known=known)

    async def read(self, key: str, /) -> Record | None:
        """See `StoreBackend`."""
        await self._look(key)
        return await super().read(key)

    async def write(self, key: str, change: Change, /, *, version: int, token: str | None) -> bool:
        """See `StoreBackend`."""
        if await _in_thread(self._load) != self._text:
            return False
        text = allm.to_json(await self._session_after(key, change))
        await _in_thread(lambda: _replace(self.path, text))
        self._text = text
        return await super().write(key, change, version=version, token=token)  # True: one chat has this backend

    async def _session_after(self, key: str, change: Change) -> allm.Session:
        before, stored = await super().read(key), super().blobs
        kept = before.messages[: change.kept] if before is not None and before.messages is not None else ()
        record = Record(version=0, head=change.head, messages=(*kept, *change.messages))

        async def fetch(names: Collection[str]) -> Mapping[str, bytes]:
            return {**await stored(key, names), **change.blobs}

        return (await read_record(key, record, fetch)).session

    async def _look(self, key: str) -> None:
        """Load the content of the file if it has changed."""
        text = await _in_thread(self._load)
        if text is None or text == self._text:
            return
        record = await super().read(key)
        change = await _change(text, record)
        if await super().write(key, change, version=record.version if record else 0, token=None):
            self._text = text

    def _load(self) -> str | None:
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                return file.read(LONGEST) or None
        except FileNotFoundError:
            return None


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await trio.to_thread.run_sync(work)
    except OSError as error:
        raise allm.SessionError(f"the file of the conversation: {error}", reason="unavailable") from error


async def _change(text: str, record: Record | None) -> Change:
    """The rows of a file with a session or a thread. Anything else is left for the reader to reject."""
    with suppress(allm.ValidationError):
        value = allm.from_json(text)
        session = allm.Session(thread=value) if isinstance(value, allm.Thread) else value
        if isinstance(session, allm.Session):
            return await change_of(session, record)
    return Change(head=text)


def _replace(path: Path, text: str) -> None:
    """Replace the file atomically and durably: readers see the old conversation or the new one, never a mix."""
    # Readable by its owner only, unless the file that it replaces says otherwise.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  (a descriptor)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, name)
        os.replace(name, path)  # noqa: PTH105  (`name` is a text)
    except BaseException:
        os.unlink(name)  # noqa: PTH108  (same)
        raise
