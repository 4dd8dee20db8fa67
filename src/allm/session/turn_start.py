"""The start of a turn: which operations a session allows, and what a turn begins with. Pure functions.

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

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import SessionError, ToolError
from allm.data.message import Message, Thread, user
from allm.data.problems import refuse
from allm.data.request import to_messages
from allm.data.response import Response
from allm.data.results import CallHalt, PendingQuestion, ToolFailed, ToolOutcome, UserAsked
from allm.data.session import Session, SessionStatus, fingerprint, is_session_id, session_problems
from allm.execution.journal import Unfinished
from allm.execution.options import CallOptions, in_effect, resolve
from allm.runtime.engine import Engine

__all__ = [
    "Operation",
    "SessionInput",
    "TurnStart",
    "approved_calls",
    "check",
    "last_answer",
    "open_continue",
    "open_reply",
    "open_start",
    "open_step_of",
]

SessionInput = str | Message | Thread | Iterable[Message] | Session
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


def no_session(operation: str, value: Any) -> SessionError:
    """The error for something else where an operation needs a session."""
    error = SessionError(f"{operation} needs a Session, got {type(value).__name__}", reason="invalid_input")
    pair = ": what a turn returns is a pair, session, result = await reply(...)"
    return error.advised(pair if isinstance(value, tuple) else "")


def check(session: Session, operation: Operation) -> None:
    """Reject an operation that the status does not allow, and an inconsistent session.

    Raises:
        SessionError: `invalid_status`; `invalid_input` if it is not a `Session`.
        ValidationError: `invalid_session`.
    """
    if not isinstance(session, Session):
        raise no_session(operation, session)
    refuse(session_problems(session), reason="invalid_session")
    if operation not in _ALLOWED[session.status]:
        raise _refused(session, operation)


def _refused(session: Session, operation: str) -> SessionError:
    """The error for an operation that the status does not allow."""
    instead = _INSTEAD[session.status].format(
        question=session.pending_question,
        calls=", ".join(f"{call.id} ({call.name})" for call in session.pending_tool_calls),
        error=session.error.reason if session.error is not None else "",
    )
    return SessionError(
        f"{operation} is not possible while the session is {session.status}: {instead}", reason="invalid_status"
    )


@frozen(kw_only=True)
class TurnStart:
    """The starting point of a turn.

    Attributes:
        session: The session that the turn's result is applied to.
        thread: The conversation to send; ends before the response of `unfinished`, if there is one.
        unfinished: A response whose approved or remaining calls run first.
        questions: Unanswered questions of an earlier turn, which the user is asked before the model is called.
    """

    session: Session
    thread: Thread
    unfinished: Unfinished | None = None
    questions: tuple[PendingQuestion, ...] = ()


def open_start(given: SessionInput, session_id: str | None) -> TurnStart:
    """Start a first turn.

    Raises:
        SessionError: `invalid_status`; `invalid_input` for an id that stores do not accept.
        ValidationError: `given` is not a conversation.
    """
    if session_id is not None and not is_session_id(session_id):
        raise SessionError(
            f"{session_id!r} is not a valid session id: expected 1 to 255 printable characters",
            reason="invalid_input",
        )
    if isinstance(given, Session):
        session = given if session_id is None else attrs.evolve(given, id=session_id)
    else:
        thread = given if isinstance(given, Thread) else Thread(to_messages(given))
        session = Session(id=session_id, thread=thread)
    check(session, "start")
    return TurnStart(session=session, thread=session.thread)


def open_reply(session: Session, content: str | Message) -> TurnStart:
    """Start a turn with a message of the user.

    Raises:
        SessionError, ValidationError: As for `check`; `invalid_input` for a message of another role.
    """
    check(session, "reply")
    message = _message(content)
    if message.role != "user":
        raise SessionError(f"reply takes a message of the user, got one of role {message.role}", reason="invalid_input")
    return _with_message(session, message)


def open_continue(engine: Engine, session: Session, content: str | Message | None, options: CallOptions) -> TurnStart:
    """Start a turn that continues: with a message, with approved calls, again after an error, or as it is.

    Raises:
        SessionError, ValidationError: As for `check`; `not_approved`.
    """
    check(session, "continue_")
    if content is None:
        if session.status == "awaiting_tools":
            return _open_approved(engine, session, options)
        if session.status == "awaiting_user":
            raise _refused(session, "continue_ without a user message")
        messages = session.thread.messages
        if session.status == "error":
            messages = messages[: session.resume_at]  # without the failed response
        thread = attrs.evolve(session.thread, messages=messages)
        return TurnStart(session=attrs.evolve(session, thread=thread), thread=thread)
    message = _message(content)
    if session.status in {"awaiting_tools", "error"} or (session.status == "awaiting_user" and message.role != "user"):
        raise _refused(session, f"continue_ with a message of role {message.role}")
    if message.role == "tool":
        raise SessionError(
            "no call is waiting for a result, so continue_ takes no tool message", reason="invalid_input"
        )
    return _with_message(session, message)


def open_step_of(session: Session) -> TurnStart:
    """Start a single step.

    Raises:
        SessionError, ValidationError: As for `check`.
    """
    check(session, "step")
    return TurnStart(session=session, thread=session.thread)


def _message(content: str | Message) -> Message:
    if isinstance(content, str):
        return user(content)
    if isinstance(content, Message):
        return content
    raise SessionError(f"expected a text or a Message, got {type(content).__name__}", reason="invalid_input")


def _with_message(session: Session, message: Message) -> TurnStart:
    """Start from the session with `message`, which also answers its first question.

    The message is part of the session from here on, even if the turn fails.
    """
    others = session.pending_questions[1:]
    thread = session.thread.add(message)
    session = attrs.evolve(session, thread=thread, status="idle", pending_questions=())
    return TurnStart(session=session, thread=thread, questions=others)


def _open_approved(engine: Engine, session: Session, options: CallOptions) -> TurnStart:
    """Resume the newest response, whose pending calls are all approved."""
    position = last_answer(session.thread)
    messages = session.thread.messages
    approved = approved_calls(engine, session, options)
    halts = _halts(session)
    outcomes = {
        message.tool_call_id: ToolOutcome(message=message, halt=halts.get(message.tool_call_id))
        for message in messages[position + 1 :]
        if message.role == "tool" and message.tool_call_id is not None
    }
    response = Response(message=messages[position], finish_reason="tool_calls")
    return TurnStart(
        session=session,
        thread=attrs.evolve(session.thread, messages=messages[:position]),
        unfinished=Unfinished(response=response, outcomes=outcomes, approved=approved),
    )


def with_session(session: Session, options: CallOptions) -> CallOptions:
    """The options of the call, with the session's context and id as defaults."""
    merged: dict[str, Any] = dict(cast("Mapping[str, Any]", options))
    if session.context:
        given = merged.get("context", {})
        if isinstance(given, Mapping):
            merged["context"] = {**session.context, **given}
    if session.id is not None:
        merged.setdefault("session_id", session.id)
    return cast("CallOptions", merged)


def approved_calls(engine: Engine, session: Session, options: CallOptions) -> frozenset[str]:
    """Ids of the pending calls, after checking that all of them may run now.

    Raises:
        SessionError: `invalid_status` if approvals are missing, `not_approved` if one is not valid.
    """
    approvals = {approval.tool_call_id: approval for approval in session.approvals}
    if any(call.id not in approvals for call in session.pending_tool_calls):
        raise _refused(session, "continue_")
    thread = attrs.evolve(session.thread, messages=session.thread.messages[: last_answer(session.thread)])
    engine = in_effect(engine)
    call_to_make = resolve(engine, thread, with_session(session, options))
    tools = {tool.name: tool for tool in call_to_make.request.tools if not tool.hosted}
    for call in session.pending_tool_calls:
        tool = tools.get(call.name)
        if approvals[call.id].fingerprint != fingerprint(call):
            problem = "its arguments are not those that were approved"
        elif tool is None and call_to_make.loads_tools:
            continue  # of a set that the turn is going to load; if it is not, the model is told
        elif tool is None or not (tool.manual or tool.manual_when):
            problem = "this engine has no tool of that name with manual=True, so it does not call for approval"
        elif tool.handler is None and engine.tool_executor is None:
            problem = "its tool has no handler; give its result with submit_tool_result(session, id, value)"
        else:
            continue
        raise SessionError(
            f"call {call.id} ({call.name}) cannot run: {problem}. No call has run; deny(session, id) rejects it",
            reason="not_approved",
        )
    return frozenset(approvals)


def last_answer(thread: Thread) -> int:
    """Index of the newest message with tool calls; a valid session that is `awaiting_tools` has one."""
    return next(index for index in reversed(range(len(thread.messages))) if thread.messages[index].tool_calls)


def _halts(session: Session) -> dict[str | None, CallHalt]:
    """The halts of the earlier turn, by call id: they halt the resumed turn again, once the other calls are done."""
    halts: dict[str | None, CallHalt] = {asked.tool_call_id: UserAsked([asked]) for asked in session.pending_questions}
    if isinstance(session.error, ToolError):
        halts[session.error.tool_call_id] = ToolFailed(session.error)
    if session.halt is not None:
        halts[session.halt.tool_call_id] = session.halt
    return halts
