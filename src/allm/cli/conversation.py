"""Changes of a conversation that a chat makes beside what is said."""

from __future__ import annotations

import attrs

import allm

__all__ = ["going_on", "with_system"]


def going_on(session: allm.Session) -> allm.Session:
    """The session, fit for the next line: where a turn failed, what had arrived of it stays, as on the screen."""
    if session.status != "error":
        return session
    return attrs.evolve(session, status="idle", error=None, resume_at=None)


def with_system(session: allm.Session, text: str | None) -> allm.Session:
    """The session with these instructions in place of its own, if there are any."""
    if text is None:
        return session
    others = [message for message in session.thread.messages if message.role != "system"]
    thread = allm.Thread([allm.system(text), *others], metadata=session.thread.metadata)
    return attrs.evolve(going_on(session), thread=thread)
