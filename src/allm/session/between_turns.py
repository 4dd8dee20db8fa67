"""Change a session between turns: add messages, and give results, denials and approvals of its pending tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import attrs

from allm.data.content import ToolCall
from allm.data.errors import SessionError, ValidationError
from allm.data.message import Message, user
from allm.data.session import Approval, Session, fingerprint
from allm.data.tool import tool_result
from allm.data.tool_control import error_message
from allm.session.turn_start import check, last_answer

__all__ = [
    "append",
    "append_user",
    "approve",
    "clear_error",
    "deny",
    "submit_tool_result",
    "submit_tool_results",
]


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


def submit_tool_result(session: Session, tool_call_id: str, value: Any, *, is_error: bool = False) -> Session:
    """Give the result of one pending call. After the last one, `continue_` goes on, or the user is asked.

    Args:
        session: A session that is `awaiting_tools`.
        tool_call_id: The id of one of its `pending_tool_calls`, in any order.
        value: Sent like a handler's result: a text as it is, an `Image` or a list of texts and images as parts,
            anything else as JSON.
        is_error: Tell the model that the tool failed.

    Raises:
        SessionError: `invalid_status`, `unknown_tool_call`, `already_answered`; `invalid_input` for a value without a
            JSON form. The given session is unchanged.
    """
    check(session, "submit_tool_result")
    call = _pending(session, tool_call_id)
    try:
        result = tool_result(call.id, value, is_error=is_error)
    except ValidationError as error:
        raise SessionError(f"{error}; pass a text", reason="invalid_input") from error
    return _answered(session, attrs.evolve(result, name=call.name))


def submit_tool_results(session: Session, results: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Session:
    """Give several results, all or none: `submit_tool_results(session, [("c1", 1), ("c2", "two")])`.

    Raises:
        SessionError: As for `submit_tool_result`, for the first invalid one.
    """
    pairs = results.items() if isinstance(results, Mapping) else results
    for tool_call_id, value in cast("Iterable[tuple[str, Any]]", pairs):
        session = submit_tool_result(session, tool_call_id, value)
    return session


def deny(session: Session, tool_call_id: str, reason: str = "the user did not allow this call") -> Session:
    """Deny one pending call; the model reads `reason` as its result.

    Raises:
        SessionError: As for `submit_tool_result`.
    """
    check(session, "deny")
    return _answered(session, error_message(_pending(session, tool_call_id), "denied", reason))


def approve(session: Session, tool_call_id: str, *, shown: str | None = None) -> Session:
    """Approve one pending call to run, once and with its current arguments; the next `continue_` runs it.

    When the turn continues, the tool must still have a handler and `manual=True`, which is what required the approval;
    otherwise nothing runs.

    Args:
        session: A session that is `awaiting_tools`.
        tool_call_id: The id of one of its `pending_tool_calls`.
        shown: `fingerprint(call)` of the call that the approver saw; a different call under the same id is rejected.

    Raises:
        SessionError: As for `submit_tool_result`; `already_answered` if it is already approved; `not_approved` if a
            different call was shown.
    """
    check(session, "approve")
    call = _pending(session, tool_call_id)
    if any(approval.tool_call_id == tool_call_id for approval in session.approvals):
        raise SessionError(
            f"call {tool_call_id} is already approved: continue_(engine, session) runs it", reason="already_answered"
        )
    current = fingerprint(call)
    if shown is not None and shown != current:
        raise SessionError(
            f"call {tool_call_id} is not the call that was shown: its tool or its arguments differ; show it again",
            reason="not_approved",
        )
    return attrs.evolve(session, approvals=(*session.approvals, Approval(tool_call_id, current)))


def _pending(session: Session, tool_call_id: str) -> ToolCall:
    for call in session.pending_tool_calls:
        if call.id == tool_call_id:
            return call
    messages = session.thread.messages[last_answer(session.thread) :]
    if any(message.role == "tool" and message.tool_call_id == tool_call_id for message in messages):
        raise SessionError(f"call {tool_call_id} already has its result", reason="already_answered")
    waiting = ", ".join(call.id for call in session.pending_tool_calls)
    raise SessionError(f"no pending call has the id {tool_call_id!r}; pending: {waiting}", reason="unknown_tool_call")


def _answered(session: Session, result: Message) -> Session:
    """The session with one more result; results are kept in call order, before a question of the same turn."""
    position = last_answer(session.thread)
    order = {call.id: index for index, call in enumerate(session.thread.messages[position].tool_calls)}
    after = (*session.thread.messages[position + 1 :], result)
    results = sorted((m for m in after if m.role == "tool"), key=lambda m: order.get(m.tool_call_id or "", -1))
    others = [message for message in after if message.role != "tool"]
    pending = tuple(call for call in session.pending_tool_calls if call.id != result.tool_call_id)
    if pending:
        status = session.status
    elif session.pending_questions:
        status = "awaiting_user"
    else:
        status = "error" if session.error is not None else "idle"
    return attrs.evolve(
        session,
        thread=attrs.evolve(session.thread, messages=(*session.thread.messages[: position + 1], *results, *others)),
        status=status,
        pending_tool_calls=pending,
        approvals=tuple(a for a in session.approvals if a.tool_call_id != result.tool_call_id),
    )
