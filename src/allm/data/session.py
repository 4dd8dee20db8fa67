"""`Session`: a conversation between turns, as a value that can be stored as JSON and continued anywhere.

Validation checks each field, then whether the fields are consistent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, get_args

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import HostedCall, ToolCall
from allm.data.errors import AllmError, SessionError
from allm.data.message import Message, Thread, thread_problems, unanswered_in
from allm.data.problems import Problem, mapping_field, shown, wrong_type
from allm.data.response import Response
from allm.data.results import HandlerHalted, PendingQuestion

__all__ = [
    "AnswerEntry",
    "Approval",
    "JoinedEntry",
    "Session",
    "SessionConflict",
    "SessionStatus",
    "fingerprint",
    "is_session_id",
    "session_problems",
]

SessionStatus = Literal["idle", "awaiting_user", "awaiting_tools", "completed", "error"]
"""`idle`: the model has more to say; `completed`: its turn is over; `awaiting_user`: a tool asked a question;
`awaiting_tools`: calls are left to the caller; `error`: the last turn failed."""


def _calls(value: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(value)


def _approvals(value: Iterable[Approval]) -> tuple[Approval, ...]:
    return tuple(value)


def _questions(value: Iterable[PendingQuestion]) -> tuple[PendingQuestion, ...]:
    return tuple(value)


def _messages(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(value)


def fingerprint(call: ToolCall) -> str:
    """SHA-256, in hex, of a call's id, tool name and arguments, independent of the order of the arguments."""
    arguments = call.raw_arguments if call.arguments is None else dict(call.arguments)
    canonical = json.dumps([call.id, call.name, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


@frozen
class Approval:
    """The approval of one call with its exact arguments.

    Attributes:
        tool_call_id: The id of the call.
        fingerprint: The fingerprint of the call that was approved; a different call under the same id is not.
    """

    tool_call_id: str
    fingerprint: str


@frozen(kw_only=True)
class Session:
    """A conversation and its status. Engines, keys and handlers are never part of it.

    Attributes:
        id: Your name for it, 1 to 255 characters; required by stores, and visible to tool handlers.
        thread: The conversation.
        status: Decides which operations are possible; see `SessionStatus`.
        pending_tool_calls: Calls without a result, in call order.
        pending_questions: Questions of tools to the user, in call order. The first is in the thread; the next one is
            asked when it has been answered.
        approvals: Pending calls that may run; used up by the next `continue_`.
        error: Why the last turn failed; set if the status is `error`.
        halt: The `Halt` of a tool handler that ended the last turn.
        resume_at: After an error: the number of messages that a retry starts from. The messages after them are the
            failed response, which is kept for inspection.
        context: Passed to tool handlers in every turn; the context of a call wins.
        metadata: Your own data.
    """

    id: str | None = None
    thread: Thread = attrs.field(factory=Thread)
    status: SessionStatus = "idle"
    pending_tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_calls)
    pending_questions: tuple[PendingQuestion, ...] = attrs.field(default=(), converter=_questions)
    approvals: tuple[Approval, ...] = attrs.field(default=(), converter=_approvals)
    error: AllmError | None = None
    halt: HandlerHalted | None = None
    resume_at: int | None = None
    context: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()

    @property
    def pending_question(self) -> str | None:
        """The first of `pending_questions`, which the user is asked now."""
        return self.pending_questions[0].question if self.pending_questions else None

    @property
    def pending_tool_call_id(self) -> str | None:
        """The call that asks `pending_question`."""
        return self.pending_questions[0].tool_call_id if self.pending_questions else None

    @property
    def pending_hosted_calls(self) -> tuple[HostedCall, ...]:
        """Calls that wait at the provider for an answer, which a reply has; see `Response.pending_hosted_calls`."""
        from allm.data.hosted_answers import pending_hosted_calls

        return pending_hosted_calls(self.thread.messages)


class SessionConflict(SessionError):
    """Someone else saved the session in the meantime; this change was not saved.

    Attributes:
        session: The newer session, to apply the change to; None if it was deleted.
        version: Its version; 0 if it was deleted.
    """

    fields: ClassVar[tuple[str, ...]] = ("message", "reason", "session", "version")
    beside: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        message: str,
        *,
        session: Session | None = None,
        version: int = 0,
        reason: Literal["conflict"] = "conflict",
    ) -> None:
        super().__init__(message, reason=reason)
        self.session: Session | None = session
        self.version = version


# --- the journal of a running turn, for the worker that finds it interrupted -----------------------------------------
# It has an `AnswerEntry` for each response with tool calls, and the `ToolOutcome` of each call that has ended.


@frozen(kw_only=True)
class AnswerEntry:
    """A journal entry for a response with tool calls, written before the first of them starts.

    Attributes:
        kept: How many messages of the conversation in the journal so far are unchanged.
        messages: The messages after them, up to the response.
        response: The response.
    """

    kept: int
    messages: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
    response: Response


@frozen
class JoinedEntry:
    """A journal entry for messages that have joined the conversation after the results of the newest response."""

    messages: tuple[Message, ...] = attrs.field(converter=_messages)


MAX_SESSION_ID = 255
"""Most characters of an id; any database can index that many."""
MOST_IDS = 3
"""Most call ids in one message."""


def is_session_id(value: Any) -> bool:
    """Whether every store accepts this id."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SESSION_ID and value.isprintable()


def session_problems(session: Session) -> list[Problem]:
    """The problems of a session: of each field, and if there are none, inconsistencies between the fields."""
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
        sentence = "is empty, but the status is 'awaiting_user'; expected the question to the user"
        yield Problem(("pending_questions",), "required", sentence)
    if status == "error" and session.error is None:
        yield Problem(("error",), "required", "is None, but the status is 'error'; expected an AllmError")
    length, resume_at = len(session.thread.messages), session.resume_at
    is_count = isinstance(resume_at, int) and not isinstance(resume_at, bool)
    if resume_at is not None and not (is_count and 0 <= resume_at <= length):
        sentence = f"is {shown(resume_at)}; expected a number of messages from 0 to {length}, or None"
        yield Problem(("resume_at",), "out_of_range", sentence)


def _pending_problems(session: Session) -> Iterator[Problem]:
    waiting = unanswered_in(session.thread)
    pending = [call.id for call in session.pending_tool_calls]
    messages = session.thread.messages if pending else ()  # a long conversation is not looked through for nothing
    asked = {call.id: call for message in messages for call in message.tool_calls}
    if sorted(pending) != sorted(waiting):
        sentence = f"is of {_ids(pending)}; expected the calls without a result in the thread: {_ids(waiting)}"
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
    """The first few ids, since a session may have any number of calls."""
    listed = ", ".join(map(shown, ids[:MOST_IDS])) or "none"
    return listed if len(ids) <= MOST_IDS else f"{listed} and {len(ids) - MOST_IDS} more"
