"""Where a turn begins: the checks of each operation, and the conversation it sends. Pure; nothing runs here."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from allm.data.errors import SessionError, ToolError
from allm.data.message import Message, Thread, to_messages, user
from allm.data.response import Response
from allm.data.results import CallHalt, PendingQuestion, ToolFailed, ToolOutcome, UserAsked
from allm.data.session import Session, fingerprint, is_session_id
from allm.execution.journal import Unfinished
from allm.execution.options import CallOptions, resolve
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
    """What a turn starts from.

    Attributes:
        session: The session, which the turn's result is projected onto.
        thread: What is sent; ends before the answer of `unfinished`, if there is one.
        questions: What the user is asked before the model is: those of an earlier turn that have no answer yet.
    """

    session: Session
    thread: Thread
    unfinished: Unfinished | None = None
    questions: tuple[PendingQuestion, ...] = ()


def open_start(given: SessionInput, session_id: str | None) -> TurnStart:
    """A first turn.

    Raises:
        SessionError: `invalid_status`; `invalid_input` for an id that no store could keep.
        ValidationError: `given` is no conversation.
    """
    if session_id is not None and not is_session_id(session_id):
        raise SessionError(
            f"{session_id!r} cannot be the id of a session: expected 1 to 255 printable characters",
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
    """A turn that begins with what the user says.

    Raises:
        SessionError, ValidationError: As `check`; `invalid_input` for a message that is not the user's.
    """
    check(session, "reply")
    message = _message(content)
    if message.role != "user":
        raise SessionError(
            f"reply takes what the user says, got a message of role {message.role}", reason="invalid_input"
        )
    return _with_message(session, message)


def open_continue(engine: Engine, session: Session, content: str | Message | None, options: CallOptions) -> TurnStart:
    """A turn that goes on: with a message, with approved calls, again after an error, or just so.

    Raises:
        SessionError, ValidationError: As `check`; `not_approved`.
    """
    check(session, "continue_")
    if content is None:
        if session.status == "awaiting_tools":
            return _open_approved(engine, session, options)
        if session.status == "awaiting_user":
            raise refused(session, "continue_ without a user message")
        messages = session.thread.messages
        kept = messages if session.status != "error" else messages[: session.resume_at]
        thread = attrs.evolve(session.thread, messages=kept)
        return TurnStart(session=attrs.evolve(session, thread=thread), thread=thread)
    message = _message(content)
    if session.status in {"awaiting_tools", "error"} or (session.status == "awaiting_user" and message.role != "user"):
        raise refused(session, f"continue_ with a message of role {message.role}")
    if message.role == "tool":
        raise SessionError("no call waits for a result, so continue_ takes no tool message", reason="invalid_input")
    return _with_message(session, message)


def open_step_of(session: Session) -> TurnStart:
    """One model call and its tools.

    Raises:
        SessionError, ValidationError: As `check`.
    """
    check(session, "step")
    return TurnStart(session=session, thread=session.thread)


def append(session: Session, *messages: Message) -> Session:
    """The session with messages at its end, and nothing asked; `continue_` asks.

    Raises:
        SessionError: `invalid_status`; `invalid_input` for tool results, which `submit_tool_result` takes.
    """
    check(session, "append")
    for message in messages:
        if not isinstance(message, Message) or message.role == "tool" or message.tool_calls:
            raise SessionError(
                "append takes messages of the system, the user and the assistant, without tool calls and results",
                reason="invalid_input",
            )
    return attrs.evolve(session, thread=session.thread.add(*messages))


def append_user(session: Session, text: str) -> Session:
    """The session with a user message at its end, and nothing asked.

    Raises:
        SessionError: As `append`.
    """
    return append(session, user(text))


def clear_error(session: Session) -> Session:
    """The session without its failed answer: it stands where the turn that failed got to, and a reply goes on.

    Raises:
        SessionError: `invalid_status`: it has no error.
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
    """The message is in the session from here on, whatever becomes of the turn; it answers the first question."""
    others = session.pending_questions[1:]
    thread = session.thread.add(message)
    session = attrs.evolve(session, thread=thread, status="idle", pending_questions=())
    return TurnStart(session=session, thread=thread, questions=others)


def _open_approved(engine: Engine, session: Session, options: CallOptions) -> TurnStart:
    """Go on from the newest answer, whose pending calls may all run."""
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
    """Ids of the pending calls, if every one of them may run now.

    Raises:
        SessionError: `invalid_status` where approvals are missing, `not_approved` where one does not hold.
    """
    approvals = {approval.tool_call_id: approval for approval in session.approvals}
    if any(call.id not in approvals for call in session.pending_tool_calls):
        raise refused(session, "continue_")
    thread = attrs.evolve(session.thread, messages=session.thread.messages[: last_answer(session.thread)])
    tools = {tool.name: tool for tool in resolve(engine, thread, options).request.tools}
    for call in session.pending_tool_calls:
        tool = tools.get(call.name)
        if approvals[call.id].fingerprint != fingerprint(call):
            problem = "its arguments are not those that were approved"
        elif tool is None or not tool.manual:
            problem = "this engine has no tool of that name with manual=True, so no rule says who may approve it"
        elif tool.handler is None and engine.tool_executor is None:
            problem = "its tool has no handler: give its result with submit_tool_result(session, id, value)"
        else:
            continue
        raise SessionError(
            f"call {call.id} ({call.name}) is not run: {problem}; deny(session, id) answers it, nothing has run",
            reason="not_approved",
        )
    return frozenset(approvals)


def _halts(session: Session) -> dict[str | None, CallHalt]:
    """What halted the turn, by call id: it halts again, now that the calls beside it are done."""
    halts: dict[str | None, CallHalt] = {asked.tool_call_id: UserAsked([asked]) for asked in session.pending_questions}
    if isinstance(session.error, ToolError):
        halts[session.error.tool_call_id] = ToolFailed(session.error)
    if session.halt is not None:
        halts[session.halt.tool_call_id] = session.halt
    return halts
