"""The status of a session: what each one allows, and which one a turn ends with.

Theory of operation. A session is `idle` or `completed` between turns; the two differ only in whose turn it is to speak.
A turn may leave it waiting: for results of calls (`awaiting_tools`), else for the user (`awaiting_user`), else for
another try (`error`). That order is the priority: if a turn leaves both calls and a question, the calls come first. An
operation that is not allowed is rejected before anything runs, with a message that names what to call instead.

    status / operation    start   reply   continue_                    step   submit_tool_result, approve, deny
    idle, completed      yes     yes     yes                          yes    no
    awaiting_user        no      yes     with a user message          no     no
    awaiting_tools       no      no      when all calls are approved  no     yes
    error                no      no      without a message            no     no
"""

from __future__ import annotations

from typing import Literal, assert_never

import attrs

from allm.data.content import ToolCall
from allm.data.errors import AdapterError, AllmError, SessionError
from allm.data.message import Thread, unanswered_in
from allm.data.problems import refuse
from allm.data.response import Response
from allm.data.results import ChatResult, HaltCause, HandlerHalted, ManualCalls, StepResult, ToolFailed, UserAsked
from allm.data.session import Session, SessionStatus, session_problems

__all__ = ["Operation", "check", "project", "refused"]

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
    """Reject an operation that the status does not allow, and an inconsistent session.

    Raises:
        SessionError: `invalid_status`; `invalid_input` if it is not a `Session`.
        ValidationError: `invalid_session`.
    """
    if not isinstance(session, Session):
        raise SessionError(f"{operation} needs a Session, got {type(session).__name__}", reason="invalid_input")
    refuse(session_problems(session), reason="invalid_session")
    if operation not in _ALLOWED[session.status]:
        raise refused(session, operation)


def refused(session: Session, operation: str) -> SessionError:
    """The error for an operation that the status does not allow."""
    instead = _INSTEAD[session.status].format(
        question=session.pending_question,
        calls=", ".join(f"{call.id} ({call.name})" for call in session.pending_tool_calls),
        error=session.error.reason if session.error is not None else "",
    )
    return SessionError(
        f"{operation} is not possible while the session is {session.status}: {instead}", reason="invalid_status"
    )


@attrs.frozen(kw_only=True)
class _End:
    """How a turn or a step ended; `over` is False if the model has more to do."""

    thread: Thread
    response: Response | None
    over: bool
    halt: HaltCause | None
    error: AllmError | None


def project(session: Session, result: ChatResult | StepResult) -> Session:
    """The session after a turn or a step that started from `session`."""
    end = _end_of_step(result) if isinstance(result, StepResult) else _end_of_chat(result)
    pending = _pending_calls(end.thread)
    return attrs.evolve(
        session,
        thread=end.thread,
        status=_status(end, pending),
        pending_tool_calls=pending,
        pending_questions=end.halt.questions if isinstance(end.halt, UserAsked) else (),
        approvals=(),
        error=end.error,
        halt=end.halt if isinstance(end.halt, HandlerHalted) else None,
        resume_at=_before_answer(end) if end.error is not None else None,
    )


def _end_of_chat(result: ChatResult) -> _End:
    if result.halted_reason == "cancelled" and result.steps:
        last = result.steps[-1]
        if result.thread == last.thread:
            # Cut short after the last step, before the turn's own result: the step has what is pending.
            return _end_of_step(last)
        if result.final_response == last.response:
            # The same, and there are messages of the user that have joined no step.
            return _end_of_step(attrs.evolve(last, thread=result.thread, done=False))
    failed = result.halted_reason in {"error", "tool_error"}
    return _End(
        thread=result.thread,
        response=result.final_response,
        over=result.halted_reason != "cancelled",
        halt=result.halt,
        error=result.error or _error_of(result.final_response) if failed else None,
    )


def _end_of_step(step: StepResult) -> _End:
    thread, over = step.thread, True
    error: AllmError | None = None
    match step.halt:
        case UserAsked(questions):
            thread = thread.add(questions[0].to_message())
        case ToolFailed():
            error = step.halt.error
        case HandlerHalted():
            pass
        case ManualCalls() | None:
            over = step.done
            if step.response.finish_reason == "error":
                error = _error_of(step.response)
        case _:
            assert_never(step.halt)
    return _End(thread=thread, response=step.response, over=over, halt=step.halt, error=error)


def _error_of(response: Response | None) -> AllmError:
    """The error of the response, or a generic one: events from another source may have none."""
    return (response.error if response is not None else None) or AdapterError("the turn failed")


def _status(end: _End, pending: tuple[ToolCall, ...]) -> SessionStatus:
    if pending:
        return "awaiting_tools"
    if isinstance(end.halt, UserAsked):
        return "awaiting_user"
    if end.error is not None:
        return "error"
    return "completed" if end.over else "idle"


def _pending_calls(thread: Thread) -> tuple[ToolCall, ...]:
    waiting = unanswered_in(thread)
    if not waiting:
        return ()
    calls = {call.id: call for message in thread.messages for call in message.tool_calls}
    return tuple(calls[call_id] for call_id in waiting)


def _before_answer(end: _End) -> int | None:
    """Index of the message of a failed response; None if it was not the response that failed, or nothing arrived."""
    if end.response is None or end.response.error is None:
        return None
    messages = end.thread.messages
    index = len(messages) - 1
    while index >= 0 and messages[index].role == "tool":
        index -= 1
    return index if index >= 0 and messages[index] == end.response.message else None
