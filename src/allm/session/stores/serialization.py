"""Between records and sessions: reading, refusing, and waiting for the database under a shield."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import trio

from allm.data.errors import SessionError, ValidationError
from allm.data.json.codec import from_json, to_json
from allm.data.session import Session, SessionConflict
from allm.data.session_check import is_session_id
from allm.data.validation import validate
from allm.session.stores.backend import Record

__all__ = [
    "SHIELD",
    "check_id",
    "check_version",
    "conflict",
    "document_of",
    "lease_lost",
    "session_of",
    "shielded",
    "unreadable",
]

T = TypeVar("T")

SHIELD = 10.0
"""Seconds that saving goes on for after a cancellation; twice what a backend may wait for its database."""

MOST_VERSIONS = 2**31
"""One write a second takes 68 years to get there; the narrowest column of the databases holds it."""


def check_id(session_id: str) -> None:
    """Refuse an id that no store could keep.

    Raises:
        SessionError: `invalid_input`.
    """
    if not is_session_id(session_id):
        raise SessionError(
            f"{session_id!r} cannot be the id of a session: expected 1 to 255 printable characters",
            reason="invalid_input",
        )


def check_version(version: int) -> None:
    """Refuse what is the version of nothing.

    Raises:
        SessionError: `invalid_input`.
    """
    if type(version) is not int or not 0 <= version < MOST_VERSIONS:
        raise SessionError(f"version is {version!r:.60}; expected what load or save gave, or 0", reason="invalid_input")


def session_of(key: str, record: Record | None) -> Session:
    """The session in `record`; an empty one where nothing was ever saved.

    Raises:
        SessionError: `unreadable`.
    """
    if record is None or record.document is None:
        return Session(id=key)
    try:
        session = from_json(record.document, Session)
        validate(session)
    except ValidationError as error:
        raise unreadable(key, error) from error
    return attrs.evolve(session, id=key)


def document_of(session: Session) -> str:
    """The JSON of a session, which can be read again.

    Raises:
        ValidationError: It contradicts itself, has no JSON form, or is beyond what `from_json` reads.
    """
    validate(session)
    return to_json(session)


def unreadable(key: str, error: Exception) -> SessionError:
    """What to say of a document or a journal that cannot be read."""
    return SessionError(
        f"what the store has of session {key!r} cannot be read ({error}); a newer release may have written it. "
        "store.delete(id) removes it",
        reason="unreadable",
    )


def conflict(key: str, record: Record | None) -> SessionConflict:
    """What to say when someone else was faster."""
    if record is None or record.document is None:
        return SessionConflict(f"session {key!r} is not there any more")
    return SessionConflict(
        f"session {key!r} was saved by someone else and has version {record.version} now; apply the change to "
        "error.session, or load it again",
        session=session_of(key, record),
        version=record.version,
    )


def lease_lost(key: str) -> SessionError:
    """What to say when another worker has the session."""
    return SessionError(
        f"another worker has taken over session {key!r}, since the lease of this turn had run out; nothing more of "
        "this turn is saved",
        reason="lease_lost",
    )


async def shielded(operation: Callable[[], Awaitable[T]]) -> T:
    """Do `operation` to its end, cancelled or not, within a limit.

    Raises:
        SessionError: `unavailable`: it took longer.
    """
    with trio.move_on_after(SHIELD, shield=True):
        return await operation()
    raise SessionError(f"the store did not answer within {SHIELD} s", reason="unavailable")
