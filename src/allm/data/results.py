"""The results of `step` and `chat`, and the causes of a halt.

Each cause of a halt is one value, which is passed on unchanged: a tool call that halts has a `CallHalt` in its outcome,
the step takes the first one of its calls, and the turn and the session take that of the step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeVar, get_args, overload

import attrs
from typing_extensions import TypeForm

from allm.data.attrs_classes import frozen
from allm.data.content import HostedCall, ToolCall
from allm.data.errors import AllmError, Problem, ToolError, ValidationError
from allm.data.message import Message, Thread
from allm.data.one_line import Printer, one_line
from allm.data.problems import mapping_field
from allm.data.response import OutputT, OutputT_co, Response, Usage
from allm.data.step_changes import StepChanges

__all__ = [
    "RESERVED_REASONS",
    "CallHalt",
    "ChatResult",
    "FinalizeReport",
    "HaltCause",
    "HaltedReason",
    "HandlerHalted",
    "ManualCalls",
    "PendingQuestion",
    "StepResult",
    "ToolFailed",
    "ToolOutcome",
    "UserAsked",
    "first_halt",
    "unique_calls",
]

T = TypeVar("T")


def unique_calls(calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """The calls with each id once, in order: a repeated id means the same call."""
    return tuple({call.id: call for call in calls}.values())


def _messages(value: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(value)


def _steps(value: Iterable[StepResult[OutputT]]) -> tuple[StepResult[OutputT], ...]:
    return tuple(value)


@frozen(kw_only=True)
class StepResult(Generic[OutputT_co]):
    """The result of one model call and the tools it asked for.

    Attributes:
        thread: The conversation after the step, tool results included.
        response: The model's answer.
        tool_results: One message per call that ran, in call order.
        done: Nothing is left to do in this turn.
        halt: The cause of a halt, if any: a question, a failure, a handler, or calls that are left to you.
        cancelled: The step was cut short; each call that had not ended has a result that says so.
        changes: What `before_step` changed about the model call, tools without their handlers; None without it.
        tool_usage: What calls have used that the tools made themselves, such as agents in them; None if none did.
        metadata: Your own data.
    """

    thread: Thread
    response: Response[OutputT_co]
    tool_results: tuple[Message, ...] = attrs.field(default=(), converter=_messages)
    done: bool = False
    halt: HaltCause | None = None
    cancelled: bool = False
    changes: StepChanges | None = None
    tool_usage: Usage | None = None
    metadata: dict[str, Any] = mapping_field()

    @property
    def manual_tool_calls(self) -> tuple[ToolCall, ...]:
        """Calls without a result, which are left to the caller."""
        ended = {message.tool_call_id for message in self.tool_results}
        return tuple(call for call in unique_calls(self.response.tool_calls) if call.id not in ended)


@frozen
class FinalizeReport:
    """A report of the two passes of a turn with `structured_finalize`.

    Attributes:
        first_pass: Why the pass with the tools ended.
        error: Why the final call could not be made; the result is then that of the first pass.
    """

    first_pass: HaltedReason
    error: AllmError | None = None


@frozen(kw_only=True)
class ChatResult(Generic[OutputT_co]):
    """The result of a whole turn: its steps, and why it ended.

    Attributes:
        thread: The conversation after the turn.
        steps: The model calls with their tools, in order.
        final_response: The last step's response, or None if no step began.
        halted_reason: Why the turn ended.
        halt: The cause of a halt, as a value to `match`; None if the turn ended in another way.
        error: The error, if the reason is `error`, `tool_error` or `budget`.
        finalize: The report of a turn in two passes; None for a single pass.
        usage: The total over all steps, and over the calls that their tools made themselves.
        metadata: Your own data.
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

    if not TYPE_CHECKING:  # a type checker has to find attributes that are not there

        def __getattr__(self, name: str) -> NoReturn:
            from allm.data.names_elsewhere import no_attribute  # only for a mistake

            no_attribute(self, name)

    @property
    def output_text(self) -> str:
        """The text of the final response, or ""."""
        return self.final_response.output_text if self.final_response is not None else ""

    @overload
    def parsed(self) -> OutputT_co: ...
    @overload
    def parsed(self, cls: TypeForm[T]) -> T: ...
    def parsed(self, cls: Any = None) -> Any:
        """The final response's JSON as an instance; see `Response.parsed`.

        Raises:
            ValidationError: `invalid_output`, also if no step began; `missing_output_type`.
        """
        if self.final_response is None:
            problem = Problem((), "missing_response", "the turn has no response: it ended before the model was called")
            raise ValidationError([problem], reason="invalid_output")
        return self.final_response.parsed() if cls is None else self.final_response.parsed(cls)

    @property
    def pending_questions(self) -> tuple[PendingQuestion, ...]:
        """Questions of tools to the user, in call order."""
        return self.halt.questions if isinstance(self.halt, UserAsked) else ()

    @property
    def pending_question(self) -> str | None:
        """The first of `pending_questions`, which is the last message of the conversation."""
        return self.pending_questions[0].question if self.pending_questions else None

    @property
    def pending_tool_call_id(self) -> str | None:
        """The call that asks `pending_question`."""
        return self.pending_questions[0].tool_call_id if self.pending_questions else None

    @property
    def manual_tool_calls(self) -> tuple[ToolCall, ...]:
        """Calls of the last step that are left to the caller, also beside another halt."""
        return self.steps[-1].manual_tool_calls if self.steps else ()

    @property
    def pending_hosted_calls(self) -> tuple[HostedCall, ...]:
        """Calls of the last step that wait at the provider for the caller, also beside another halt."""
        return self.steps[-1].response.pending_hosted_calls if self.steps else ()

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
"""Reasons that the library uses; a handler cannot halt with them."""

HaltedReason = _ReservedReason | str
"""Why a turn ended: a reserved reason, or that of a handler's `Halt`."""


def _questions(value: Iterable[PendingQuestion]) -> tuple[PendingQuestion, ...]:
    return tuple(value)


def _calls(value: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(value)


def _hosted_calls(value: Iterable[HostedCall]) -> tuple[HostedCall, ...]:
    return tuple(value)


@frozen
class PendingQuestion:
    """A question of a tool to the user.

    Attributes:
        tool_call_id: The call that asks.
        question: The text of the question.
        hints: Hints for displaying the question, which the tool passed to `AskUser`, as JSON data.
    """

    question: str
    tool_call_id: str
    hints: dict[str, Any] = mapping_field()

    def to_message(self) -> Message:
        """The question as an assistant message; the user's answer follows it in the conversation."""
        asked = {"ask_user": True, "tool_call_id": self.tool_call_id}
        return Message("assistant", self.question, metadata=asked)


@frozen
class UserAsked:
    """One or more tools ask the user.

    Attributes:
        questions: At least one, in call order. The first is asked; the others wait until it is answered.
    """

    reason: ClassVar[HaltedReason] = "ask_user"
    questions: tuple[PendingQuestion, ...] = attrs.field(converter=_questions)


@frozen
class ToolFailed:
    """A call failed and `on_tool_error` halted the turn; the error names the call."""

    reason: ClassVar[HaltedReason] = "tool_error"
    error: ToolError


@frozen
class HandlerHalted:
    """A tool returned `Halt`.

    Attributes:
        reason: The handler's own reason.
        tool_call_id: The call that halted.
        result: The result of the call, as the model will read it.
    """

    reason: str
    tool_call_id: str
    result: str = ""


@frozen
class ManualCalls:
    """Calls are left to the caller, and nothing else halted the turn.

    Attributes:
        tool_calls: Those of tools.
        hosted_calls: Those of tools that run at the provider and wait for an answer of `allm.hosted.approve`, `deny` or
            `screenshot`.
    """

    reason: ClassVar[HaltedReason] = "manual_tool_calls"
    tool_calls: tuple[ToolCall, ...] = attrs.field(converter=_calls)
    hosted_calls: tuple[HostedCall, ...] = attrs.field(default=(), converter=_hosted_calls, kw_only=True)


CallHalt = UserAsked | ToolFailed | HandlerHalted
"""The cause of a halt by a single call."""

HaltCause = UserAsked | ToolFailed | HandlerHalted | ManualCalls
"""The cause of a halt of a step or a turn. Each has a `reason`, which becomes the turn's `halted_reason`."""


@frozen(kw_only=True)
class ToolOutcome:
    """How one call ended, as a journal records it.

    Attributes:
        message: The result message.
        halt: The cause, if the call halts the turn.
    """

    message: Message
    halt: CallHalt | None = None


def first_halt(outcomes: Iterable[ToolOutcome]) -> CallHalt | None:
    """The first halt in call order; if it asks the user, with the questions of all calls.

    Args:
        outcomes: The outcomes in call order.
    """
    halts = [outcome.halt for outcome in outcomes if outcome.halt is not None]
    if halts and isinstance(halts[0], UserAsked):
        return UserAsked([asked for halt in halts if isinstance(halt, UserAsked) for asked in halt.questions])
    return halts[0] if halts else None
