"""What a turn makes of a session: a pure function of the session and the turn's result, whole or cut short."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.builders import assistant
from allm.data.content import ToolCall
from allm.data.errors import AdapterError, AllmError
from allm.data.message import unanswered_tool_calls
from allm.data.response import Response
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session, SessionStatus
from allm.data.thread import Thread

__all__ = ["project"]

_TURN_METADATA = ("ask_user_hints", "halt_tool_call_id", "halt_result", "structured_finalize")
"""What a turn reports in its metadata and a session keeps until the next turn."""


@attrs.frozen(kw_only=True)
class _End:
    """How a turn ended, of whichever kind it was; `reason` is None when there is more to do."""

    thread: Thread
    response: Response | None
    reason: str | None
    metadata: dict[str, Any]
    question: str | None = None
    tool_call_id: str | None = None


def project(session: Session, result: ChatResult | StepResult) -> Session:
    """The session after a turn that began with `session`."""
    end = _end_of_step(result) if isinstance(result, StepResult) else _end_of_chat(result)
    error = _error(end)
    pending = _pending_calls(end.thread)
    return attrs.evolve(
        session,
        thread=end.thread,
        status=_status(end, error, pending),
        pending_tool_calls=pending,
        pending_question=end.question,
        pending_tool_call_id=end.tool_call_id,
        approvals=(),
        error=error,
        resume_at=_before_answer(end) if error is not None else None,
        metadata={
            **{name: value for name, value in session.metadata.items() if name not in _TURN_METADATA},
            **{name: end.metadata[name] for name in _TURN_METADATA if name in end.metadata},
        },
    )


def _end_of_chat(result: ChatResult) -> _End:
    if result.halted_reason == "cancelled" and result.steps and result.thread == result.steps[-1].thread:
        # Cut short after the last step, before the turn could say why it ends: the step knows.
        return _end_of_step(result.steps[-1], unknown="cancelled")
    return _End(
        thread=result.thread,
        response=result.final_response,
        reason=None if result.halted_reason == "cancelled" else result.halted_reason,
        metadata=result.metadata,
        question=result.pending_question,
        tool_call_id=result.pending_tool_call_id,
    )


def _end_of_step(step: StepResult, unknown: str | None = None) -> _End:
    reason: str | None = step.metadata.get("halted_reason", unknown)
    if reason in {None, "cancelled"}:
        reason = None
        if step.response.finish_reason == "error":
            reason = "error"
        elif step.done:
            reason = "completed"
    thread, question, call_id = step.thread, None, None
    if reason == "ask_user":
        question, call_id = step.metadata["pending_question"], step.metadata["pending_tool_call_id"]
        asked = attrs.evolve(assistant(question), metadata={"ask_user": True, "tool_call_id": call_id})
        thread = thread.add(asked)
    return _End(
        thread=thread,
        response=step.response,
        reason=reason,
        metadata=step.metadata,
        question=question,
        tool_call_id=call_id,
    )


def _error(end: _End) -> AllmError | None:
    if end.reason not in {"error", "tool_error"}:
        return None
    error = end.metadata.get("error") or (end.response.error if end.response is not None else None)
    return error if isinstance(error, AllmError) else AdapterError("the turn failed")


def _status(end: _End, error: AllmError | None, pending: tuple[ToolCall, ...]) -> SessionStatus:
    if pending:
        return "awaiting_tools"
    if end.question is not None:
        return "awaiting_user"
    if error is not None:
        return "error"
    return "idle" if end.reason is None else "completed"


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
