"""One step: a model call, then the tools it asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allm.data.content import ToolCall
from allm.data.errors import ToolError
from allm.data.events import StepCompleted
from allm.data.message import Message
from allm.data.response import Response
from allm.data.results import StepResult
from allm.data.tool_control import AskUser
from allm.execution.journal import ToolOutcome, Unfinished
from allm.execution.options import ModelCall
from allm.execution.stream.attempt import run_model_call
from allm.execution.stream.channel import StreamContext
from allm.execution.stream.folds import StepFold, answered
from allm.execution.tool_runner import ToolRunner
from allm.runtime import telemetry

__all__ = ["finish_step", "halt_metadata", "run_step"]

_TOOLS_NOT_RUN = frozenset({"error", "content_filter", None})
"""Finish reasons of an answer whose calls may be cut or withheld: they are answered, not run."""


async def run_step(call: ModelCall, prepared: Any, flow: StreamContext, fold: StepFold) -> StepResult:
    """Run one step and emit its events, `StepCompleted` last.

    Args:
        fold: Sees everything that is emitted; starts from the conversation before the step.
    """
    span = telemetry.start_span("step", parent=flow.span, model=call.request.model)
    await run_model_call(call, prepared, flow)
    response = fold.result().response
    calls = _unique(response.tool_calls)
    if not calls or response.finish_reason in _TOOLS_NOT_RUN:
        messages = answered(response.message, {}, "not_run")
        step = StepResult(
            thread=fold.thread.add(*messages), response=response, tool_results=_results(messages), done=True
        )
    else:
        step = await _with_tools(call, flow, fold, response, calls, span)
    span.stop(finish_reason=response.finish_reason, usage=response.usage, error=response.error)
    await flow.send.send((StepCompleted(step),))
    return step


async def finish_step(call: ModelCall, unfinished: Unfinished, flow: StreamContext, fold: StepFold) -> StepResult:
    """Run what is left of the calls of an earlier answer and emit its events, `StepCompleted` last.

    Args:
        fold: Was given `unfinished`; starts from the conversation before the answer.
    """
    span = telemetry.start_span("step", parent=flow.span, model=call.request.model)
    response = unfinished.response
    step = await _with_tools(call, flow, fold, response, _unique(response.tool_calls), span, unfinished)
    span.stop(finish_reason=response.finish_reason)
    await flow.send.send((StepCompleted(step),))
    return step


async def _with_tools(
    call: ModelCall,
    flow: StreamContext,
    fold: StepFold,
    response: Response,
    calls: Sequence[ToolCall],
    span: telemetry.Span,
    unfinished: Unfinished | None = None,
) -> StepResult:
    unfinished = unfinished or Unfinished(response=response)
    before = unfinished.outcomes
    may_run = unfinished.approved.union(before)
    tools = {tool.name: tool for tool in call.request.tools}
    by_hand = call.controls.mode == "manual"
    manual = [c for c in calls if c.id not in may_run and (by_hand or (c.name in tools and tools[c.name].manual))]
    automatic = [c for c in calls if c not in manual]
    to_run = [c for c in automatic if c.id not in before]
    if to_run and call.journal is not None:
        await call.journal.answered(fold.thread, response, before)

    async def emit(*events: Any) -> None:
        await flow.send.send(events)

    ran = await ToolRunner(call, emit, span).run(to_run)
    ended = {**before, **{c.id: outcome for c, outcome in zip(to_run, ran, strict=True)}}
    outcomes = [ended[c.id] for c in automatic]
    results = [outcome.message for outcome in outcomes]
    metadata = halt_metadata(automatic, outcomes)
    if manual:
        metadata["manual_tool_calls"] = tuple(manual)
    if by_hand:
        metadata["mode"] = "manual"
    return StepResult(
        thread=fold.thread.add(response.message, *results),
        response=response,
        tool_results=results,
        done="halted_reason" in metadata,
        metadata=metadata,
    )


def _unique(calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Each id once: a model that repeats an id asks for one call."""
    return list({call.id: call for call in calls}.values())


def _results(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(message for message in messages if message.role == "tool")


def halt_metadata(calls: Sequence[ToolCall], outcomes: Sequence[ToolOutcome]) -> dict[str, Any]:
    """What the halt of the lowest call index says; nothing without one."""
    for call, outcome in zip(calls, outcomes, strict=True):
        halt = outcome.halt
        if halt is None:
            continue
        if isinstance(halt, AskUser):
            return {
                "halted_reason": "ask_user",
                "pending_question": halt.question,
                "pending_tool_call_id": call.id,
                "ask_user_hints": dict(halt.hints),
            }
        if isinstance(halt, ToolError):
            return {"halted_reason": "tool_error", "halt_tool_call_id": call.id, "error": halt}
        return {"halted_reason": halt.reason, "halt_tool_call_id": call.id, "halt_result": outcome.message.text}
    return {}
