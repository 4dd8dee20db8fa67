"""`SessionStore`: sessions by id, with each change checked against the version it was based on.

async with allm.session.open_store("sqlite:///chat.db") as store:
    async with store.turn("trip-1") as turn:
        result = await turn.reply(engine, "Where are we?")
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import SessionError
from allm.data.problems import refuse
from allm.data.session import Session, SessionConflict, is_session_id, session_problems
from allm.execution.nurseries import background_task
from allm.execution.stream.block import Block
from allm.http.trio_task import outside_trio
from allm.runtime.log_fields import log_fields
from allm.session.stores.backend import Record, StoreBackend, conflict, lease_lost
from allm.session.stores.lease import SessionLease, open_lease
from allm.session.stores.own_turns import Owner, refuse_to_wait
from allm.session.stores.reading import load
from allm.session.stores.saving import SHIELD, persistently, shielded, uncancelled, write_change
from allm.session.stores.writing import StoredSession, change_of
from allm.session.turn_start import no_session

__all__ = ["SessionStore"]

logger: logging.Logger = logging.getLogger("allm")

LEASE = 30.0  # seconds
MOST_VERSIONS = 2**31
"""Upper bound of versions: 68 years of one write per second, and what the narrowest database column holds."""
FIRST_POLL, LAST_POLL = 0.01, 0.5  # shortest and longest wait between checks of another turn's lease, in seconds
MOST_KEPT = 1024
"""Sessions that a store keeps in memory."""
MOST_BYTES = 64 * 1024 * 1024
"""Bytes of memory that they may take together, about; a session that takes more is not kept."""


@define(eq=False)
class _Kept:
    """The sessions that turns have read or saved last, so that the next turn reads only what others have changed.

    The database says with each lease whether it still has the same version. Messages are shared between the turns of a
    process: they are values, and if somebody has changed a mapping inside one, the session is read again.
    """

    _sessions: dict[str, StoredSession] = attrs.field(factory=dict, init=False)  # the one used last is the last one
    _size: int = attrs.field(default=0, init=False)

    def find(self, key: str) -> StoredSession | None:
        """The session, if it is kept and as it is stored; for one turn, which may change it."""
        found = self._sessions.get(key)
        return attrs.evolve(found) if found is not None and found.is_unchanged() else None

    def put(self, key: str, stored: StoredSession) -> None:
        """Keep a session after a turn, and no more than the limits allow."""
        self.drop(key)
        if stored.head is not None and stored.size <= MOST_BYTES:
            self._sessions[key] = attrs.evolve(stored)
            self._size += stored.size
        while self._size > MOST_BYTES or len(self._sessions) > MOST_KEPT:
            self.drop(next(iter(self._sessions)))

    def drop(self, key: str) -> None:
        """Keep this session no longer."""
        dropped = self._sessions.pop(key, None)
        self._size -= dropped.size if dropped is not None else 0

    def clear(self) -> None:
        """Keep nothing."""
        self._sessions, self._size = {}, 0


_EXAMPLE = """\
async with store.turn(...) as turn:
    await turn.reply(...)"""


@final
class SessionStore:
    """Sessions in a database; from `open_store`, or with a backend of your own.

    One store serves any number of tasks. Use it with `async with`, or call `aclose` at the end.
    """

    def __init__(self, backend: StoreBackend) -> None:
        self._backend = backend
        self._kept = _Kept()
        self._owners: dict[str, Owner] = {}  # of the sessions that turns of this store have

    async def __aenter__(self) -> Self:
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()  # noqa: ASYNC102  (shields itself)

    async def aclose(self) -> None:
        """Close the connections. The sessions stay."""
        self._kept.clear()
        with trio.move_on_after(SHIELD, shield=True):
            await self._backend.aclose()

    async def load(self, session_id: str) -> tuple[Session, int]:
        """A session and its version.

        Raises:
            SessionError: `not_found`, `unreadable`, `unavailable`; `invalid_input` for an invalid id.
        """
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        _check_id(session_id)
        found = await load(self._backend, session_id)
        if found is None:
            raise SessionError(
                f"session {session_id!r} does not exist; store.turn({session_id!r}) creates it", reason="not_found"
            )
        return found.session, found.version

    async def save(self, session: Session, *, version: int = 0) -> int:
        """Save a session over the version it is based on, and return its new version. Shielded from cancellation.

        Only messages that differ from the stored ones are written, so saving after each turn costs what is new; a turn
        (`store.turn`) also does not read and encode the others.

        Args:
            session: A session with an id.
            version: The version from `load` or `save`; 0 for a new session.

        Raises:
            SessionConflict: Someone else saved it first, or a turn of it is running or was interrupted after tools had
                run; the exception has the newer session.
            SessionError: `unavailable`, with the session as `error.session`; `invalid_input` for a session without an
                id, or an invalid version.
            ValidationError: It is inconsistent, or a message cannot be written as JSON or is too large.
        """
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        if not isinstance(session, Session):
            raise no_session("save", session)
        if session.id is None:
            what = "the session has no id, which save needs: start(engine, text, id='...') gives it one"
            raise SessionError(what, reason="invalid_input")
        _check_version(version)
        refuse(session_problems(session), reason="invalid_session")
        key = session.id
        try:
            record = await persistently(lambda: self._backend.read(key))
            change = await uncancelled(lambda: change_of(session, record))
            written = version == (record.version if record is not None else 0) and await write_change(
                self._backend, key, change, version=version, token=None
            )
        except SessionError as error:
            error.session = session
            raise
        if not written:
            raise await self._conflict(key, version)
        await trio.lowlevel.checkpoint_if_cancelled()
        return version + 1

    async def ids(
        self, prefix: str = "", *, limit: int = 100, after: str | None = None, descending: bool = False
    ) -> list[str]:
        """The ids of stored sessions, sorted by code points, a page at a time.

            page = await store.ids("user-7/")
            while page:
                ...
                page = await store.ids("user-7/", after=page[-1])

        A session is there from its first save on. Redis goes through all of its keys for each page.

        Args:
            prefix: Only ids that begin with this.
            limit: Most ids to return.
            after: The last id of the page before.
            descending: The last ids first.

        Raises:
            SessionError: `unavailable`; `invalid_input` for a limit below 1.
        """
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        if type(limit) is not int or not 0 < limit < MOST_VERSIONS:
            raise SessionError(f"limit is {limit!r:.60}; expected a number of ids, at least 1", reason="invalid_input")
        for text in (prefix, after):
            if text:
                _check_id(text)
        return list(await self._backend.ids(prefix, limit, after=after, descending=descending))

    async def delete(self, session_id: str, *, version: int | None = None) -> bool:
        """Delete a session and its journal; False if it does not exist.

        Args:
            session_id: The id of the session.
            version: Delete only this version; None for any.

        Raises:
            SessionConflict: It has another version, or a turn of it is running.
            SessionError: `unavailable`.
        """
        if not trio.lowlevel.in_trio_task():
            raise outside_trio()
        _check_id(session_id)
        if version is not None:
            _check_version(version)
        self._kept.drop(session_id)
        if await shielded(lambda: self._backend.delete(session_id, version=version)):
            return True
        if await self._backend.read(session_id) is None:
            return False
        raise await self._conflict(session_id, version)

    def turn(
        self, session_id: str, *, version: int | None = None, lease: float = LEASE
    ) -> AbstractAsyncContextManager[SessionLease]:
        """Lease a session to this worker: load it, run turns, and save each when it ends. One worker at a time.

            async with store.turn("trip-1") as turn:
                if turn.interrupted is not None:
                    await turn.resume(engine)
                result = await turn.reply(engine, "Where are we?")

        A session that does not exist starts empty. While another worker has the session, this waits: put a Trio
        deadline around it. If the other worker has saved meanwhile, this raises `SessionConflict` with the newer
        session, since your message was meant for the older one; enter again to send it anyway.

        Args:
            session_id: The id of the session.
            version: The version that the caller has seen; any other is a conflict.
            lease: Seconds without renewal after which a worker is considered dead. A live one renews its lease.

        Raises:
            SessionConflict: As above.
            SessionError: `unreadable`, `unavailable`, `invalid_input`; `invalid_status` in the block of a turn of it,
                for whose end it would wait; `lease_lost` out of the block if this worker was considered dead and
                another has taken the session.
        """
        return Block(lambda: self._turn(session_id, version, lease), _EXAMPLE)

    @asynccontextmanager
    async def _turn(self, session_id: str, version: int | None, lease: float) -> AsyncGenerator[SessionLease]:
        _check_id(session_id)
        if version is not None:
            _check_version(version)
        if not isinstance(lease, (int, float)) or not 0 < lease < math.inf:
            raise ValueError(f"lease is {lease!r}; expected a positive number of seconds")
        token = secrets.token_hex(16)
        task = trio.lowlevel.current_task()
        owner = task, tuple(task.child_nurseries)
        try:
            record, known, seen = await self._acquire(session_id, token, version, lease)
            self._owners[session_id] = owner
            async with background_task(
                lambda: self._renew_lease(session_id, token, lease), f"allm lease of {session_id}"
            ):
                turn, stored = await open_lease(self._backend, session_id, token, record, known)
                try:
                    if seen not in {None, record.version}:
                        raise conflict(session_id, turn.session if record.head is not None else None, record.version)
                    yield turn
                finally:
                    turn.close()
                    self._kept.put(session_id, stored)
        finally:
            if self._owners.get(session_id) is owner:
                del self._owners[session_id]
            await self._release(session_id, token)  # noqa: ASYNC102  (shields itself)

    async def _acquire(
        self, key: str, token: str, version: int | None, lease: float
    ) -> tuple[Record, StoredSession | None, int | None]:
        """The record, what was known of it, and the version that the caller has seen.

        That is the version that it named, or the one that was there before it had to wait.
        """
        seen = version
        poll = FIRST_POLL
        while True:
            kept = self._kept.find(key)
            known = None if kept is None or kept.head is None else (kept.version, kept.head)
            record = await self._backend.acquire(key, token, lease, known=known)
            if record is not None:
                return record, kept, seen
            refuse_to_wait(key, self._owners.get(key))
            if seen is None:
                found = await self._backend.read(key)
                seen = found.version if found is not None else 0
            await trio.sleep(poll)
            poll = min(2 * poll, LAST_POLL)

    async def _renew_lease(self, key: str, token: str, lease: float) -> None:
        """Renew the lease three times as often as needed; raises when it is lost."""
        renewed = trio.current_time()
        while True:
            await trio.sleep(lease / 3)
            asked = trio.current_time()
            try:
                held = await self._backend.renew(key, token, lease)
            except SessionError as error:
                fields = log_fields(error, session_id=key)
                logger.warning("the lease of session %r was not renewed: %s", key, error.message, extra=fields)
                held = trio.current_time() < renewed + lease
            else:
                renewed = asked
            if not held:
                raise lease_lost(key)

    async def _release(self, key: str, token: str) -> None:
        """Give the lease back; if that fails, it expires by itself."""
        try:
            await persistently(lambda: self._backend.release(key, token), seconds=SHIELD)
        except SessionError as error:
            fields = log_fields(error, session_id=key)
            logger.warning("the lease of session %r was not given back: %s", key, error.message, extra=fields)

    async def _conflict(self, key: str, version: int | None) -> SessionConflict:
        found = await shielded(lambda: load(self._backend, key))
        if found is not None and found.version == version:
            return SessionConflict(
                f"a turn of session {key!r} is running, or was interrupted after tools had run: "
                "`async with store.turn(id)` waits for it, or can finish it",
                session=found.session,
                version=found.version,
            )
        if found is not None and version == 0:
            return SessionConflict(
                f"session {key!r} exists already, with version {found.version}: to save a change of it, pass the "
                "version= that load or save returned",
                session=found.session,
                version=found.version,
            )
        return conflict(key, found.session if found is not None else None, found.version if found is not None else 0)


def _check_id(session_id: str) -> None:
    """Reject an id that stores do not accept.

    Raises:
        SessionError: `invalid_input`.
    """
    if not is_session_id(session_id):
        raise SessionError(
            f"{session_id!r} is not a valid session id: expected 1 to 255 printable characters",
            reason="invalid_input",
        )


def _check_version(version: int) -> None:
    """Reject an invalid version.

    Raises:
        SessionError: `invalid_input`.
    """
    if type(version) is not int or not 0 <= version < MOST_VERSIONS:
        raise SessionError(
            f"version is {version!r:.60}; expected a version from load or save, or 0", reason="invalid_input"
        )
