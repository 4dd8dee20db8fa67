"""One step: a model call, then the tools it asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from allm.data.content import ToolCall
from allm.data.events import StepCompleted
from allm.data.halt import ManualCalls, ToolOutcome, first_halt
from allm.data.results import StepResult, unique_calls
from allm.data.thread import Thread
from allm.execution.journal import Unfinished
from allm.execution.options import ModelCall
from allm.execution.stream.attempt import run_model_call
from allm.execution.stream.channel import StreamContext
from allm.execution.stream.folds import StepFold, answered
from allm.execution.tool_runner import ToolRunner
from allm.runtime import telemetry

__all__ = ["Batch", "finish_step", "run_step"]

_TOOLS_NOT_RUN = frozenset({"error", "content_filter", None})
"""Finish reasons of an answer whose calls may be cut or withheld: they are answered, not run."""


async def run_step(call: ModelCall, prepared: Any, flow: StreamContext, fold: StepFold) -> StepResult:
    """Run one step and emit its events, `StepCompleted` last.

    Args:
        fold: Sees everything that is emitted; starts from the conversation before the step.
    """
    span = telemetry.start_span("step", parent=flow.span, model=call.request.model)
    await run_model_call(call, prepared, flow)
    response = fold.response
    if not response.tool_calls or response.finish_reason in _TOOLS_NOT_RUN:
        messages = answered(response.message, {}, "not_run")
        results = tuple(message for message in messages if message.role == "tool")
        step = StepResult(thread=fold.thread.add(*messages), response=response, tool_results=results, done=True)
    else:
        step = await _with_tools(call, flow, fold.thread, Unfinished(response=response), span)
    span.stop(finish_reason=response.finish_reason, usage=response.usage, error=response.error)
    await flow.send.send((StepCompleted(step),))
    return step


async def finish_step(call: ModelCall, unfinished: Unfinished, flow: StreamContext, fold: StepFold) -> StepResult:
    """Run what is left of the calls of an earlier answer and emit its events, `StepCompleted` last.

    Args:
        fold: Was given `unfinished`; starts from the conversation before the answer.
    """
    span = telemetry.start_span("step", parent=flow.span, model=call.request.model)
    step = await _with_tools(call, flow, fold.thread, unfinished, span)
    span.stop(finish_reason=step.response.finish_reason)
    await flow.send.send((StepCompleted(step),))
    return step


async def _with_tools(
    call: ModelCall, flow: StreamContext, thread: Thread, unfinished: Unfinished, span: telemetry.Span
) -> StepResult:
    """Run the calls that have not ended; `thread` is the conversation before the answer."""
    batch = Batch.of(call, unfinished)
    if batch.to_run and call.journal is not None:
        await call.journal.answered(thread, unfinished.response, unfinished.outcomes)

    async def emit(*events: Any) -> None:
        await flow.send.send(events)

    ran = await ToolRunner(call, emit, span).run(batch.to_run)
    return batch.to_step(thread, ran)


@attrs.frozen(kw_only=True)
class Batch:
    """The calls of one answer, each id once, split by what becomes of them; every tuple is in call order.

    Attributes:
        automatic: Those that end here: `to_run`, and those that ended in an earlier run of the step.
        to_run: Those that have not ended.
        manual: Those that are left to the caller.
    """

    unfinished: Unfinished
    automatic: tuple[ToolCall, ...]
    to_run: tuple[ToolCall, ...]
    manual: tuple[ToolCall, ...]

    @classmethod
    def of(cls, call: ModelCall, unfinished: Unfinished) -> Batch:
        """Split the calls of `unfinished` by the tools and the mode of `call`."""
        manual_tools = {tool.name for tool in call.request.tools if tool.manual}
        all_manual = call.controls.mode == "manual"
        calls = unique_calls(unfinished.response.tool_calls)
        # A call that has ended, or that someone has approved, has passed the question of who runs it.
        decided = unfinished.approved.union(unfinished.outcomes)
        manual = {c.id for c in calls if c.id not in decided and (all_manual or c.name in manual_tools)}
        return cls(
            unfinished=unfinished,
            automatic=tuple(c for c in calls if c.id not in manual),
            to_run=tuple(c for c in calls if c.id not in manual and c.id not in unfinished.outcomes),
            manual=tuple(c for c in calls if c.id in manual),
        )

    def to_step(self, thread: Thread, ran: Sequence[ToolOutcome]) -> StepResult:
        """The step, now that `to_run` has ended.

        Args:
            thread: The conversation before the answer.
            ran: The outcomes of `to_run`, in its order.
        """
        ended = {**self.unfinished.outcomes, **{c.id: outcome for c, outcome in zip(self.to_run, ran, strict=True)}}
        outcomes = [ended[c.id] for c in self.automatic]
        results = [outcome.message for outcome in outcomes]
        response, halt = self.unfinished.response, first_halt(outcomes)
        return StepResult(
            thread=thread.add(response.message, *results),
            response=response,
            tool_results=results,
            done=halt is not None,
            halt=halt or (ManualCalls(self.manual) if self.manual else None),
        )
