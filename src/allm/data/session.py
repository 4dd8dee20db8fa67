"""A conversation between turns: a value that goes to JSON and back, and to another process, days later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Literal

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.content import ToolCall
from allm.data.errors import AllmError
from allm.data.halt import HandlerHalted, PendingQuestion
from allm.data.message import Message
from allm.data.response import Response
from allm.data.thread import Thread

__all__ = ["AnswerEntry", "Approval", "Session", "SessionStatus", "fingerprint"]

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
