"""What halted a turn before the model was done: one value per cause, the same from the tool's end to the session.

A tool call that halts has a `CallHalt` in its outcome; the step has the one that counts of all its calls; the turn and
the session take it over as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, get_args

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.content import ToolCall
from allm.data.errors import ToolError
from allm.data.message import Message

__all__ = [
    "RESERVED_REASONS",
    "CallHalt",
    "HaltCause",
    "HaltedReason",
    "HandlerHalted",
    "ManualCalls",
    "PendingQuestion",
    "ToolFailed",
    "ToolOutcome",
    "UserAsked",
    "first_halt",
]

_ReservedReason = Literal[
    "completed",
    "error",
    "max_turns",
    "halt_when",
    "budget",
    "ask_user",
    "tool_error",
    "manual_tool_calls",
    "cancelled",
    "incomplete",
]

RESERVED_REASONS: frozenset[str] = frozenset(get_args(_ReservedReason))
"""Halt reasons with a meaning of their own; a handler cannot use them."""

HaltedReason = _ReservedReason | str
"""Why a turn ended: one of the reserved words, or the reason of a handler's own `Halt`."""


def _questions(value: Iterable[PendingQuestion]) -> tuple[PendingQuestion, ...]:
    return tuple(value)


def _calls(value: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(value)


@attrs.frozen
class PendingQuestion:
    """What a tool asks the user.

    Attributes:
        tool_call_id: The call that asks.
        hints: For whoever shows the question, as the tool gave them to `AskUser`.
    """

    question: str
    tool_call_id: str
    hints: dict[str, Any] = mapping_field()

    def to_message(self) -> Message:
        """The question as the assistant asks it in the conversation; the user's answer comes behind it."""
        asked = {"ask_user": True, "tool_call_id": self.tool_call_id}
        return Message("assistant", self.question, metadata=asked)


@attrs.frozen
class UserAsked:
    """One or more tools ask the user.

    Attributes:
        questions: In call order, one at least. The first one is asked; the others wait until it has its answer.
    """

    reason: ClassVar[HaltedReason] = "ask_user"
    questions: tuple[PendingQuestion, ...] = attrs.field(converter=_questions)


@attrs.frozen
class ToolFailed:
    """A call failed and `on_tool_error` halted the turn; the error names the call."""

    reason: ClassVar[HaltedReason] = "tool_error"
    error: ToolError


@attrs.frozen
class HandlerHalted:
    """A tool returned `Halt`.

    Attributes:
        reason: The handler's own.
        result: The result of the call, as the model will read it.
    """

    reason: str
    tool_call_id: str
    result: str = ""


@attrs.frozen
class ManualCalls:
    """Calls are left to the caller, and nothing else halted the turn."""

    reason: ClassVar[HaltedReason] = "manual_tool_calls"
    tool_calls: tuple[ToolCall, ...] = attrs.field(converter=_calls)


CallHalt = UserAsked | ToolFailed | HandlerHalted
"""How one call halts a turn."""

HaltCause = UserAsked | ToolFailed | HandlerHalted | ManualCalls
"""What halted a step or a turn. Each has a `reason`, which is the turn's `halted_reason`."""


@attrs.frozen(kw_only=True)
class ToolOutcome:
    """How one call ended; what a journal remembers of it.

    Attributes:
        message: The result message.
        halt: What stops the turn, if the call does.
    """

    message: Message
    halt: CallHalt | None = None


def first_halt(outcomes: Iterable[ToolOutcome]) -> CallHalt | None:
    """The halt of the first call that has one; if it asks the user, with the questions of all calls.

    Args:
        outcomes: In call order.
    """
    halts = [outcome.halt for outcome in outcomes if outcome.halt is not None]
    if halts and isinstance(halts[0], UserAsked):
        return UserAsked([asked for halt in halts if isinstance(halt, UserAsked) for asked in halt.questions])
    return halts[0] if halts else None
