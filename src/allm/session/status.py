"""The states of a session and what each allows.

Theory of operation. A session is `idle` or `completed` between turns; the two differ only in who is to speak next. A
turn leaves it waiting for someone: for results of calls (`awaiting_tools`), else for the user (`awaiting_user`), else
for another try (`error`). These come in that order: a turn may leave calls and a question, then the calls are answered
first. Everything that is refused here is refused before anything runs, with a sentence that names what to call instead.

    status / operation    start   reply   continue_                    step   submit_tool_result, approve, deny
    idle, completed      yes     yes     yes                          yes    no
    awaiting_user        no      yes     with a user message          no     no
    awaiting_tools       no      no      when all calls are approved  no     yes
    error                no      no      without a message            no     no
"""

from __future__ import annotations

from typing import Literal

from allm.data.errors import SessionError
from allm.data.session import Session, SessionStatus
from allm.data.validation import validate

__all__ = ["Operation", "check", "refused"]

Operation = Literal[
    "start", "reply", "continue_", "step", "submit_tool_result", "approve", "deny", "append", "clear_error"
]

_BETWEEN_TURNS: frozenset[Operation] = frozenset({"start", "reply", "continue_", "step", "append"})
_ALLOWED: dict[SessionStatus, frozenset[Operation]] = {
    "idle": _BETWEEN_TURNS,
    "completed": _BETWEEN_TURNS,
    "awaiting_user": frozenset({"reply", "continue_"}),
    "awaiting_tools": frozenset({"submit_tool_result", "approve", "deny", "continue_"}),
    "error": frozenset({"continue_", "clear_error"}),
}
_INSTEAD: dict[SessionStatus, str] = {
    "idle": "no call waits for a result: go on with continue_(engine, session) or reply(engine, session, text)",
    "completed": "no call waits for a result: go on with reply(engine, session, text)",
    "awaiting_user": "it asks {question!r}: answer with reply(engine, session, text)",
    "awaiting_tools": "these calls wait for a result: {calls}. Give each with submit_tool_result(session, id, value), "
    "approve(session, id) or deny(session, id), then go on with continue_(engine, session)",
    "error": "its last turn failed ({error}): run it again with continue_(engine, session), or leave it with "
    "clear_error(session)",
}


def check(session: Session, operation: Operation) -> None:
    """Refuse what the status does not allow, and a session that contradicts itself.

    Raises:
        SessionError: `invalid_status`; `invalid_input` for something that is no session.
        ValidationError: `invalid_session`.
    """
    if not isinstance(session, Session):
        raise SessionError(f"{operation} needs a Session, got {type(session).__name__}", reason="invalid_input")
    validate(session)
    if operation not in _ALLOWED[session.status]:
        raise refused(session, operation)


def refused(session: Session, operation: str) -> SessionError:
    """What to say when the status does not allow `operation`."""
    instead = _INSTEAD[session.status].format(
        question=session.pending_question,
        calls=", ".join(f"{call.id} ({call.name})" for call in session.pending_tool_calls),
        error=session.error.reason if session.error is not None else "",
    )
    return SessionError(
        f"{operation} is not possible while the session is {session.status}: {instead}", reason="invalid_status"
    )
