"""What a turn makes of a session: a pure function of the session and the turn's result, whole or cut short."""

from __future__ import annotations

from typing import assert_never

import attrs

from allm.data.content import ToolCall
from allm.data.errors import AdapterError, AllmError
from allm.data.halt import HaltCause, HandlerHalted, ManualCalls, ToolFailed, UserAsked
from allm.data.response import Response
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session, SessionStatus
from allm.data.thread import Thread
from allm.data.validation import unanswered_tool_calls

__all__ = ["project"]


@attrs.frozen(kw_only=True)
class _End:
    """How a turn ended, of whichever kind it was; `over` is False when there is more to do."""

    thread: Thread
    response: Response | None
    over: bool
    halt: HaltCause | None
    error: AllmError | None


def project(session: Session, result: ChatResult | StepResult) -> Session:
    """The session after a turn that began with `session`."""
    end = _end_of_step(result) if isinstance(result, StepResult) else _end_of_chat(result)
    pending = _pending_calls(end.thread)
    return attrs.evolve(
        session,
        thread=end.thread,
        status=_status(end, pending),
        pending_tool_calls=pending,
        pending_questions=end.halt.questions if isinstance(end.halt, UserAsked) else (),
        approvals=(),
        error=end.error,
        halt=end.halt if isinstance(end.halt, HandlerHalted) else None,
        resume_at=_before_answer(end) if end.error is not None else None,
    )


def _end_of_chat(result: ChatResult) -> _End:
    if result.halted_reason == "cancelled" and result.steps and result.thread == result.steps[-1].thread:
        # Cut short after the last step, before the turn could say why it ends: the step knows.
        return _end_of_step(result.steps[-1])
    failed = result.halted_reason in {"error", "tool_error"}
    return _End(
        thread=result.thread,
        response=result.final_response,
        over=result.halted_reason != "cancelled",
        halt=result.halt,
        error=result.error or _error_of(result.final_response) if failed else None,
    )


def _end_of_step(step: StepResult) -> _End:
    thread, over = step.thread, True
    error: AllmError | None = None
    match step.halt:
        case UserAsked(questions):
            thread = thread.add(questions[0].to_message())
        case ToolFailed():
            error = step.halt.error
        case HandlerHalted():
            pass
        case ManualCalls() | None:
            over = step.done
            if step.response.finish_reason == "error":
                error = _error_of(step.response)
        case _:
            assert_never(step.halt)
    return _End(thread=thread, response=step.response, over=over, halt=step.halt, error=error)


def _error_of(response: Response | None) -> AllmError:
    """The response's error, or one that says little: events from elsewhere may lack what ours have."""
    return (response.error if response is not None else None) or AdapterError("the turn failed")


def _status(end: _End, pending: tuple[ToolCall, ...]) -> SessionStatus:
    if pending:
        return "awaiting_tools"
    if isinstance(end.halt, UserAsked):
        return "awaiting_user"
    if end.error is not None:
        return "error"
    return "completed" if end.over else "idle"


def _pending_calls(thread: Thread) -> tuple[ToolCall, ...]:
    calls = {call.id: call for message in thread.messages for call in message.tool_calls}
    return tuple(calls[call_id] for call_id in unanswered_tool_calls(thread.messages))


def _before_answer(end: _End) -> int | None:
    """Where the answer that failed begins; None when it is no answer that failed, or nothing of it arrived."""
    if end.response is None or end.response.error is None:
        return None
    messages = end.thread.messages
    index = len(messages) - 1
    while index >= 0 and messages[index].role == "tool":
        index -= 1
    return index if index >= 0 and messages[index] == end.response.message else None
