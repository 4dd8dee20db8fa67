"""The start of a turn: check the operation, and build the conversation it sends. Pure functions; nothing runs here."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from allm.data.errors import SessionError, ToolError
from allm.data.message import Message, Thread, user
from allm.data.request import to_messages
from allm.data.response import Response
from allm.data.results import CallHalt, PendingQuestion, ToolFailed, ToolOutcome, UserAsked
from allm.data.session import Session, fingerprint, is_session_id
from allm.execution.journal import Unfinished
from allm.execution.options import CallOptions, in_effect, resolve
from allm.runtime.engine import Engine
from allm.session.status import check, refused
from allm.session.tool_results import last_answer

__all__ = [
    "SessionInput",
    "TurnStart",
    "append",
    "append_user",
    "approved_calls",
    "clear_error",
    "open_continue",
    "open_reply",
    "open_start",
    "open_step_of",
]

SessionInput = str | Message | Thread | Iterable[Message] | Session


@attrs.frozen(kw_only=True)
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
            raise refused(session, "continue_ without a user message")
        messages = session.thread.messages
        if session.status == "error":
            messages = messages[: session.resume_at]  # without the failed response
        thread = attrs.evolve(session.thread, messages=messages)
        return TurnStart(session=attrs.evolve(session, thread=thread), thread=thread)
    message = _message(content)
    if session.status in {"awaiting_tools", "error"} or (session.status == "awaiting_user" and message.role != "user"):
        raise refused(session, f"continue_ with a message of role {message.role}")
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


def append(session: Session, *messages: Message) -> Session:
    """Add messages to the session without calling the model; `continue_` calls it.

    Raises:
        SessionError: `invalid_status`; `invalid_input` for tool results, which `submit_tool_result` takes.
    """
    check(session, "append")
    for message in messages:
        if not isinstance(message, Message) or message.role == "tool" or message.tool_calls:
            raise SessionError(
                "append takes system, user and assistant messages, without tool calls or results",
                reason="invalid_input",
            )
    return attrs.evolve(session, thread=session.thread.add(*messages))


def append_user(session: Session, text: str) -> Session:
    """Add a user message to the session without calling the model.

    Raises:
        SessionError: As for `append`.
    """
    return append(session, user(text))


def clear_error(session: Session) -> Session:
    """Drop the failed response: the session is back where it was before it, and a reply goes on from there.

    Raises:
        SessionError: `invalid_status`: the session has no error.
    """
    check(session, "clear_error")
    thread = attrs.evolve(session.thread, messages=session.thread.messages[: session.resume_at])
    return attrs.evolve(session, thread=thread, status="idle", error=None, resume_at=None)


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


def approved_calls(engine: Engine, session: Session, options: CallOptions) -> frozenset[str]:
    """Ids of the pending calls, after checking that all of them may run now.

    Raises:
        SessionError: `invalid_status` if approvals are missing, `not_approved` if one is not valid.
    """
    approvals = {approval.tool_call_id: approval for approval in session.approvals}
    if any(call.id not in approvals for call in session.pending_tool_calls):
        raise refused(session, "continue_")
    thread = attrs.evolve(session.thread, messages=session.thread.messages[: last_answer(session.thread)])
    engine = in_effect(engine)
    tools = {tool.name: tool for tool in resolve(engine, thread, options).request.tools}
    for call in session.pending_tool_calls:
        tool = tools.get(call.name)
        if approvals[call.id].fingerprint != fingerprint(call):
            problem = "its arguments are not those that were approved"
        elif tool is None or not tool.manual:
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


def _halts(session: Session) -> dict[str | None, CallHalt]:
    """The halts of the earlier turn, by call id: they halt the resumed turn again, once the other calls are done."""
    halts: dict[str | None, CallHalt] = {asked.tool_call_id: UserAsked([asked]) for asked in session.pending_questions}
    if isinstance(session.error, ToolError):
        halts[session.error.tool_call_id] = ToolFailed(session.error)
    if session.halt is not None:
        halts[session.halt.tool_call_id] = session.halt
    return halts
