"""Writes that outlive a restart of the database: repeated for a time, and told apart from each other.

Theory of operation. When a connection dies, nobody knows whether the write that was under way took effect. So every
write that is repeated here has the same effect once or twice: journal entries have places, and a change whose
repeated write is refused is compared with what the database has by then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from allm.data.errors import SessionError
from allm.session.stores.backend import Change, Record, StoreBackend

__all__ = ["PATIENCE", "holds", "persistently", "write_change"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for which a failing write is repeated; a database takes a few to restart, and a replica up to 30 to take
over. Then the last attempt may still take as long as its backend waits."""
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0  # seconds between two attempts, doubled each time


async def persistently(operation: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
    """Run `operation`, shielded from cancellation, and repeat it while the store is away.

    Args:
        operation: Has the same effect once or several times.
        seconds: How long to repeat it; None for `PATIENCE`.

    Raises:
        SessionError: What `operation` raised, if that cannot pass or if the time is over.
    """
    limit = PATIENCE if seconds is None else seconds
    failure: SessionError | None = None
    pause = FIRST_PAUSE
    with trio.move_on_after(limit, shield=True):
        while True:
            try:
                return await operation()
            except SessionError as error:
                if not error.retryable:
                    raise
                failure = error
            await trio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)
    try:
        why = "it did not answer" if failure is None else failure.message
        raise SessionError(f"the store stayed away for {limit:g} s: {why}", reason="unavailable") from failure
    finally:
        del failure  # breaks the reference cycle between the frame and its exception


async def write_change(backend: StoreBackend, key: str, change: Change, *, version: int, token: str | None) -> bool:
    """`StoreBackend.write`, repeated while the store is away; a repeated write counts once.

    Raises:
        SessionError: As `persistently`.
    """
    attempts = 0

    async def attempt() -> bool:
        nonlocal attempts
        attempts += 1
        if await backend.write(key, change, version=version, token=token):
            return True
        # An earlier attempt may have been carried out although its reply was lost.
        return attempts > 1 and holds(await backend.read(key), change, version + 1)

    return await persistently(attempt)


def holds(record: Record | None, change: Change, version: int) -> bool:
    """Whether it was this change that made this version: each has a mark of its own in its head."""
    return record is not None and record.version == version and record.head == change.head
