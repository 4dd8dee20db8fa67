"""What `step` and `chat` give back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.content import ToolCall
from allm.data.message import Message
from allm.data.one_line import Printer, one_line
from allm.data.response import OutputT, OutputT_co, Response, Usage
from allm.data.thread import Thread

__all__ = ["ChatResult", "HaltedReason", "StepResult"]

HaltedReason = str
"""`completed`, `error`, `max_turns`, `halt_when`, `ask_user`, `tool_error`, `manual_tool_calls`, `cancelled`,
`incomplete`, or the reason of a handler's own `Halt`."""


def _messages(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(value)


def _calls(value: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
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
    """

    thread: Thread
    response: Response[OutputT_co]
    tool_results: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
    done: bool = False
    metadata: dict[str, Any] = mapping_field()


@attrs.frozen(kw_only=True)
class ChatResult(Generic[OutputT_co]):
    """A whole turn: as many steps as it took, and why it ended.

    Attributes:
        final_response: The last step's response, or None when no step began.
        halted_reason: Why the turn ended.
        manual_tool_calls: Calls left for the caller to answer.
        usage: The total over all steps.
    """

    thread: Thread
    final_response: Response[OutputT_co] | None = None
    steps: tuple[StepResult[OutputT_co], ...] = attrs.field(default=(), converter=_steps)
    halted_reason: HaltedReason = "completed"
    pending_question: str | None = None
    pending_tool_call_id: str | None = None
    manual_tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_calls)
    usage: Usage = attrs.field(factory=Usage)
    metadata: dict[str, Any] = mapping_field()

    @property
    def output_text(self) -> str:
        """The text of the final response, or ""."""
        return self.final_response.output_text if self.final_response is not None else ""

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
