"""Changes that a chat makes to a session between turns."""

from __future__ import annotations

import attrs

import allm

__all__ = ["ready_for_next_turn", "with_system"]


def ready_for_next_turn(session: allm.Session) -> allm.Session:
    """The session, ready for the next message: after an error, the partial response stays in the conversation."""
    if session.status != "error":
        return session
    return attrs.evolve(session, status="idle", error=None, resume_at=None)


def with_system(session: allm.Session, text: str | None) -> allm.Session:
    """The session with its system message replaced by `text`, unless that is None."""
    if text is None:
        return session
    others = [message for message in session.thread.messages if message.role != "system"]
    thread = allm.Thread([allm.system(text), *others], metadata=session.thread.metadata)
    return attrs.evolve(ready_for_next_turn(session), thread=thread)
