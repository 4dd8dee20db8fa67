"""What `step` and `chat` give back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.content import ToolCall
from allm.data.errors import AllmError
from allm.data.halt import HaltCause, HaltedReason, PendingQuestion, UserAsked
from allm.data.message import Message
from allm.data.one_line import Printer, one_line
from allm.data.response import OutputT, OutputT_co, Response, Usage
from allm.data.thread import Thread

__all__ = ["ChatResult", "FinalizeReport", "StepResult", "unique_calls"]


def unique_calls(calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """Each id once: a model that repeats an id asks for one call."""
    return tuple({call.id: call for call in calls}.values())


def _messages(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(value)


def _steps(value: Iterable[StepResult[OutputT]]) -> tuple[StepResult[OutputT], ...]:
    return tuple(value)


@attrs.frozen(kw_only=True)
class StepResult(Generic[OutputT_co]):
    """One model call and the tools it asked for.

    Attributes:
        thread: The conversation after the step, tool results included.
        tool_results: One message per call that ran, in call order.
        done: Nothing is left to do in this turn.
        halt: What halted the step, if something did: a question, a failure, a handler, calls that are left to you.
        cancelled: It was cut short: each call that had not ended has a result that says so.
        metadata: Yours.
    """

    thread: Thread
    response: Response[OutputT_co]
    tool_results: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
    done: bool = False
    halt: HaltCause | None = None
    cancelled: bool = False
    metadata: dict[str, Any] = mapping_field()

    @property
    def manual_tool_calls(self) -> tuple[ToolCall, ...]:
        """Calls left for the caller to answer: those without a result."""
        ended = {message.tool_call_id for message in self.tool_results}
        return tuple(call for call in unique_calls(self.response.tool_calls) if call.id not in ended)


@attrs.frozen
class FinalizeReport:
    """How the two passes of a turn with `structured_finalize` went.

    Attributes:
        first_pass: Why the pass with the tools ended.
        error: Why the call with the format could not be made; the result is that of the first pass.
    """

    first_pass: HaltedReason
    error: AllmError | None = None


@attrs.frozen(kw_only=True)
class ChatResult(Generic[OutputT_co]):
    """A whole turn: as many steps as it took, and why it ended.

    Attributes:
        final_response: The last step's response, or None when no step began.
        halted_reason: Why the turn ended.
        halt: What halted it, as a value to `match`; None when the turn ended in another way.
        error: What failed, where the reason is `error` or `tool_error`.
        finalize: How a turn in two passes went; None for one in a single pass.
        usage: The total over all steps.
        metadata: Yours.
    """

    thread: Thread
    final_response: Response[OutputT_co] | None = None
    steps: tuple[StepResult[OutputT_co], ...] = attrs.field(default=(), converter=_steps)
    halted_reason: HaltedReason = "completed"
    halt: HaltCause | None = None
    error: AllmError | None = None
    finalize: FinalizeReport | None = None
    usage: Usage = attrs.field(factory=Usage)
    metadata: dict[str, Any] = mapping_field()

    @property
    def output_text(self) -> str:
        """The text of the final response, or ""."""
        return self.final_response.output_text if self.final_response is not None else ""

    @property
    def pending_questions(self) -> tuple[PendingQuestion, ...]:
        """What tools ask the user, in call order."""
        return self.halt.questions if isinstance(self.halt, UserAsked) else ()

    @property
    def pending_question(self) -> str | None:
        """The first of `pending_questions`, which the conversation ends with."""
        return self.pending_questions[0].question if self.pending_questions else None

    @property
    def pending_tool_call_id(self) -> str | None:
        """The call that asks `pending_question`."""
        return self.pending_questions[0].tool_call_id if self.pending_questions else None

    @property
    def manual_tool_calls(self) -> tuple[ToolCall, ...]:
        """Calls of the last step that are left for the caller to answer, also beside another halt."""
        return self.steps[-1].manual_tool_calls if self.steps else ()

    def _repr_pretty_(self, printer: Printer, _cycle: bool) -> None:  # noqa: FBT001  (IPython's protocol)
        printer.text(
            one_line(
                "ChatResult",
                self.output_text,
                {
                    "halted_reason": self.halted_reason,
                    "pending_question": self.pending_question,
                    "steps": len(self.steps),
                    "model": self.final_response.model if self.final_response is not None else None,
                    "usage": self.usage._in_short(),
                },
            )
        )
