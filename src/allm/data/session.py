"""A conversation between turns: a value that goes to JSON and back, and to another process, days later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.content import ToolCall
from allm.data.errors import AllmError, SessionError
from allm.data.message import Message
from allm.data.response import Response
from allm.data.thread import Thread

__all__ = ["AnswerEntry", "Approval", "ResultEntry", "Session", "SessionConflict", "SessionStatus", "fingerprint"]

SessionStatus = Literal["idle", "awaiting_user", "awaiting_tools", "completed", "error"]
"""`idle`: the model has more to say; `completed`: its turn is over; `awaiting_user`: a tool asked a question;
`awaiting_tools`: calls are left to the caller; `error`: the last turn failed."""


def _calls(value: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(value)


def _approvals(value: Iterable[Approval]) -> tuple[Approval, ...]:
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
        pending_question: What a tool asks the user.
        pending_tool_call_id: The call that asks.
        approvals: Pending calls that may run; used up by the next `continue_`.
        error: Why the last turn failed; set when the status is `error`.
        resume_at: After an error: how many messages of the thread the next try starts from. The rest is the answer
            that failed, which is kept to be looked at.
        context: Handed to tool handlers in every turn; a call's own context wins.
        metadata: Yours, and what the last turn reported (`ask_user_hints`, `halt_result`).
    """

    id: str | None = None
    thread: Thread = attrs.field(factory=Thread)
    status: SessionStatus = "idle"
    pending_tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_calls)
    pending_question: str | None = None
    pending_tool_call_id: str | None = None
    approvals: tuple[Approval, ...] = attrs.field(default=(), converter=_approvals)
    error: AllmError | None = None
    resume_at: int | None = None
    context: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


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


@attrs.frozen(kw_only=True)
class ResultEntry:
    """A call of the newest answer ended: written before its result counts.

    Attributes:
        message: The result message.
        halt: `ask_user`, `tool_error` or a handler's own reason, where the call halts the turn.
        detail: `question` and `hints`, or `error`.
    """

    message: Message
    halt: str | None = None
    detail: dict[str, Any] = mapping_field()
