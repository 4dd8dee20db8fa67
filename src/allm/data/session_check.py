"""Whether a session can be what it says: its fields one by one, and whether they tell the same story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from allm.data.content import ToolCall
from allm.data.halt import PendingQuestion
from allm.data.message import unanswered_tool_calls
from allm.data.problems import Problem, shown, wrong_type
from allm.data.session import Approval, Session, SessionStatus
from allm.data.thread import Thread, thread_problems

__all__ = ["is_session_id", "session_problems"]

MAX_SESSION_ID = 255
"""Characters: any database can index that."""
MOST_IDS = 3
"""Of calls in one sentence."""


def is_session_id(value: Any) -> bool:
    """Whether every store can keep a session under this id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SESSION_ID and value.isprintable()


def session_problems(session: Session) -> list[Problem]:
    """The problems of a session: of each field, and where each is valid by itself, of how they fit each other."""
    return list(_field_problems(session)) or list(_contradictions(session))


def _field_problems(session: Session) -> Iterator[Problem]:
    if session.id is not None and not is_session_id(session.id):
        expected = f"expected 1 to {MAX_SESSION_ID} printable characters, or None"
        yield Problem(("id",), "invalid_format", f"is {shown(session.id)}; {expected}")
    if not isinstance(session.thread, Thread):
        yield wrong_type(("thread",), session.thread, "Thread")
        return
    yield from (problem.under("thread") for problem in thread_problems(session.thread))
    statuses = get_args(SessionStatus)
    if not (isinstance(session.status, str) and session.status in statuses):
        expected = f"expected one of {', '.join(map(repr, statuses))}"
        yield Problem(("status",), "unknown", f"is {shown(session.status)}; {expected}")
    listed = {"pending_tool_calls": ToolCall, "pending_questions": PendingQuestion, "approvals": Approval}
    for name, cls in listed.items():
        for index, item in enumerate(getattr(session, name)):
            if not isinstance(item, cls):
                yield wrong_type((name, index), item, cls.__name__)


def _contradictions(session: Session) -> Iterator[Problem]:
    yield from _pending_problems(session)
    status = session.status
    if session.pending_questions and status not in {"awaiting_user", "awaiting_tools"}:
        sentence = f"is {status!r} with pending questions; expected 'awaiting_user' or 'awaiting_tools'"
        yield Problem(("status",), "not_as_pending_questions", sentence)
    if status == "awaiting_user" and not session.pending_questions:
        sentence = "is empty, but the status is 'awaiting_user'; expected what the user is asked"
        yield Problem(("pending_questions",), "required", sentence)
    if status == "error" and session.error is None:
        yield Problem(("error",), "required", "is None, but the status is 'error'; expected an AllmError")
    length, resume_at = len(session.thread.messages), session.resume_at
    is_count = isinstance(resume_at, int) and not isinstance(resume_at, bool)
    if resume_at is not None and not (is_count and 0 <= resume_at <= length):
        sentence = f"is {shown(resume_at)}; expected a number of messages from 0 to {length}, or None"
        yield Problem(("resume_at",), "out_of_range", sentence)


def _pending_problems(session: Session) -> Iterator[Problem]:
    asked = {call.id: call for message in session.thread.messages for call in message.tool_calls}
    waiting = unanswered_tool_calls(session.thread.messages)
    pending = [call.id for call in session.pending_tool_calls]
    if sorted(pending) != sorted(waiting):
        sentence = f"is of {_ids(pending)}; expected the calls that the thread leaves without a result: {_ids(waiting)}"
        yield Problem(("pending_tool_calls",), "not_the_unanswered_calls", sentence)
    elif changed := [call.id for call in session.pending_tool_calls if asked[call.id] != call]:
        sentence = f"is not what the model asked for: {_ids(changed)}; expected the calls as they stand in the thread"
        yield Problem(("pending_tool_calls",), "not_as_asked", sentence)
    if others := [approval.tool_call_id for approval in session.approvals if approval.tool_call_id not in pending]:
        sentence = f"is of {_ids(others)}; expected approvals of pending calls: {_ids(pending)}"
        yield Problem(("approvals",), "not_pending", sentence)
    if (session.status == "awaiting_tools") != bool(pending):
        expected = "awaiting_tools" if pending else "another status"
        sentence = f"is {session.status!r} with these calls pending: {_ids(pending)}; expected {expected}"
        yield Problem(("status",), "not_as_pending_tool_calls", sentence)


def _ids(ids: Sequence[str]) -> str:
    """The first few of them: a session may have any number of calls."""
    listed = ", ".join(map(shown, ids[:MOST_IDS])) or "none"
    return listed if len(ids) <= MOST_IDS else f"{listed} and {len(ids) - MOST_IDS} more"
