"""Changes that a chat makes to a session between turns."""

from __future__ import annotations

import attrs

import allm

__all__ = ["emptied", "ready_for_next_turn", "with_system", "without_last_turn"]


def ready_for_next_turn(session: allm.Session) -> allm.Session:
    """The session, ready for the next message: after an error, the partial response stays in the conversation."""
    if session.status != "error":
        return session
    return attrs.evolve(session, status="idle", error=None, resume_at=None)


def with_system(session: allm.Session, text: str | None) -> allm.Session:
    """The session with its system message replaced by `text`, unless that is None; "" removes it."""
    if text is None:
        return session
    others = [message for message in session.thread.messages if message.role != "system"]
    first = [allm.system(text)] if text else []
    thread = allm.Thread([*first, *others], metadata=session.thread.metadata)
    return attrs.evolve(ready_for_next_turn(session), thread=thread)


def emptied(session: allm.Session) -> allm.Session:
    """A new conversation with the same id and instructions."""
    instructions = [message for message in session.thread.messages if message.role == "system"]
    return allm.Session(id=session.id, thread=allm.Thread(instructions))


def without_last_turn(session: allm.Session) -> tuple[allm.Session, allm.Message] | None:
    """The session as it was before its newest message of the user, and that message; None if there is none."""
    messages = session.thread.messages
    places = [index for index, message in enumerate(messages) if message.role == "user"]
    if not places:
        return None
    kept = attrs.evolve(session.thread, messages=messages[: places[-1]])
    before = allm.Session(id=session.id, thread=kept, context=session.context, metadata=session.metadata)
    return before, messages[places[-1]]
