"""A conversation between turns: a value that goes to JSON and back, and to another process, days later.

Its fields are checked one by one, and whether they tell the same story.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, get_args

import attrs

from allm.data.content import ToolCall
from allm.data.errors import AllmError, SessionError
from allm.data.message import Message, Thread, thread_problems, unanswered_tool_calls
from allm.data.problems import Problem, mapping_field, shown, wrong_type
from allm.data.response import Response
from allm.data.results import HandlerHalted, PendingQuestion

__all__ = [
    "AnswerEntry",
    "Approval",
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
    """SHA-256, in hex, of what a call is about to do: its id, its tool and its arguments, however they are ordered."""
    arguments = call.raw_arguments if call.arguments is None else dict(call.arguments)
    canonical = json.dumps([call.id, call.name, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


@attrs.frozen
class Approval:
    """One person's yes to one call with these very arguments.

    Attributes:
        fingerprint: Of the call as it was shown; another one under the same id is not approved.
    """

    tool_call_id: str
    fingerprint: str


@attrs.frozen(kw_only=True)
class Session:
    """A conversation and where it stands. Engines, keys and handlers are never part of it.

    Attributes:
        id: Your name for it, 1 to 255 characters; stores need one, tool handlers see it.
        status: What can be done next; see `SessionStatus`.
        pending_tool_calls: Calls without a result, in call order.
        pending_questions: What tools ask the user, in call order. The first is in the thread; each is asked when the
            one before it has its answer.
        approvals: Pending calls that may run; used up by the next `continue_`.
        error: Why the last turn failed; set when the status is `error`.
        halt: The handler's own `Halt` that ended the last turn.
        resume_at: After an error: how many messages of the thread the next try starts from. The rest is the answer
            that failed, which is kept to be looked at.
        context: Handed to tool handlers in every turn; a call's own context wins.
        metadata: Yours.
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
        """The first of `pending_questions`: what the user is asked now."""
        return self.pending_questions[0].question if self.pending_questions else None

    @property
    def pending_tool_call_id(self) -> str | None:
        """The call that asks `pending_question`."""
        return self.pending_questions[0].tool_call_id if self.pending_questions else None


class SessionConflict(SessionError):
    """Someone else saved the session in the meantime; nothing of this change was saved.

    Attributes:
        session: The newer session, to apply the change to; None when it was deleted.
        version: Its version; 0 when it was deleted.
    """

    fields: ClassVar[tuple[str, ...]] = ("message", "reason", "session", "version")

    def __init__(
        self,
        message: str,
        *,
        session: Session | None = None,
        version: int = 0,
        reason: Literal["conflict"] = "conflict",
    ) -> None:
        super().__init__(message, reason=reason)
        self.session = session
        self.version = version


# --- the journal of a turn that is running, for the worker that finds it interrupted --------------------------------
# It holds an `AnswerEntry` for each answer that asked for tools, and the `ToolOutcome` of each of its calls that ended.


@attrs.frozen(kw_only=True)
class AnswerEntry:
    """The model asked for tools: written before the first of them starts.

    Attributes:
        kept: How many messages of the conversation as last known still stand.
        messages: Those after them, up to the answer.
        response: The answer.
    """

    kept: int
    messages: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
    response: Response


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
