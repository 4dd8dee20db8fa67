"""One step: the model call that it makes, prepared before it is made, then the tools that the answer asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from allm.data.content import ToolCall
from allm.data.errors import Problem, ValidationError
from allm.data.events import StepCompleted
from allm.data.message import Thread, thread_problems, to_messages, unanswered_tool_calls
from allm.data.problems import refuse
from allm.data.request import Request
from allm.data.results import ManualCalls, StepResult, ToolOutcome, first_halt, unique_calls
from allm.execution.journal import ToolJournal, Unfinished
from allm.execution.options import Input, ModelCall, check_adapter, output_type, prepare_call, resolve
from allm.execution.stream.attempt import run_model_call
from allm.execution.stream.channel import StreamContext
from allm.execution.stream.folds import ChatFold, StepFold, answered
from allm.execution.tool_runner import ToolRunner
from allm.runtime import telemetry
from allm.runtime.adapters import as_adapter
from allm.runtime.capability import needs_two_passes
from allm.runtime.engine import Engine

__all__ = ["Batch", "PreparedCall", "TurnCalls", "finish_step", "run_step"]

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


PreparedCall = tuple[ModelCall, Any]
"""A call, and the adapter's own form of it."""


class TurnCalls:
    """Makes the calls of one turn, the first one at once, so that what is wrong with it is raised before anything runs.

    A turn in two passes has the tools in the first one and the response format in the last call alone.

    Attributes:
        thread: The conversation that the turn starts from.
        first: The first call; without the adapter's form where the turn starts from an `unfinished` answer.
        two_pass: Whether there is a last call for the format.
        output_type: The class that the answer is to be an instance of, if there is one.
        unfinished: The answer that the turn goes on from, if it does.
    """

    def __init__(
        self,
        engine: Engine,
        given: Input,
        options: Mapping[str, Any],
        *,
        journal: ToolJournal | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:
        if isinstance(engine, Engine):
            check_adapter(engine)
        self._engine = engine
        self._options = options
        self._journal = journal
        self._request = given if isinstance(given, Request) else Request(to_messages(given))
        self.thread: Thread = given if isinstance(given, Thread) else Thread(self._request.messages)
        refuse(thread_problems(self.thread), reason="invalid_thread")
        _check_answered(self.thread)
        resolved = resolve(engine, self._request, options)
        self.two_pass: bool = resolved.request.response_format is not None and (
            resolved.request.structured_finalize or _needs_two_passes(resolved)
        )
        self.output_type: type | None = output_type(resolved)
        first = self._of_pass(resolved, self.thread, final=False)
        if unfinished is not None:
            response = attrs.evolve(unfinished.response, output_type=self.output_type)
            unfinished = attrs.evolve(unfinished, response=response)
        self.unfinished = unfinished
        self.first: PreparedCall = first, prepare_call(first) if unfinished is None else None

    def fold(self) -> ChatFold:
        """A fold for the turn's events."""
        fold = ChatFold(self.thread, self.output_type)
        if self.unfinished is not None:
            fold.begin_with(self.unfinished)
        return fold

    def next(self, thread: Thread, *, final: bool) -> PreparedCall:
        """A later call, which sends `thread`; `final` is the one for the format.

        Raises:
            AllmError: It cannot be made.
        """
        request = attrs.evolve(self._request, messages=thread.messages)
        call = self._of_pass(resolve(self._engine, request, self._options), thread, final=final)
        return call, prepare_call(call)

    @property
    def limit(self) -> float:
        """Seconds for the whole turn."""
        limit = self.first[0].controls.request_timeout
        return float("inf") if limit is None else limit

    @property
    def facts(self) -> dict[str, Any]:
        """What telemetry says of the turn when it starts."""
        return {"provider": self.first[0].adapter.provider, "model": self.first[0].request.model}

    def _of_pass(self, call: ModelCall, thread: Thread, *, final: bool) -> ModelCall:
        changes: dict[str, Any] = {"messages": thread.messages, "structured_finalize": False}
        if self.two_pass and final:
            changes |= {"tools": (), "tool_choice": None}
        elif self.two_pass:
            changes["response_format"] = None
        return attrs.evolve(call, request=attrs.evolve(call.request, **changes), journal=self._journal)


def _needs_two_passes(call: ModelCall) -> bool:
    """Whether the model cannot have tools and a response format in one call."""
    adapter = as_adapter(call.adapter)
    asks = bool(call.request.tools) and bool(adapter.needs_structured_finalize(call.request))
    return asks or needs_two_passes(adapter, call.request)


def _check_answered(thread: Thread) -> None:
    waiting = unanswered_tool_calls(thread.messages)
    if not waiting:
        return
    positions = {
        call.id: index
        for index, message in enumerate(thread.messages)
        if message.role == "assistant"
        for call in message.tool_calls
    }
    sentence = "has no result; add allm.tool_result(id, content) before the conversation is sent again"
    raise ValidationError(
        [
            Problem(("messages", positions[call_id], "tool_calls", call_id), "unanswered_tool_call", sentence)
            for call_id in waiting
        ],
        reason="invalid_thread",
        message=f"these tool calls have no result: {', '.join(waiting)}; add allm.tool_result(id, content) for "
        "each before the conversation is sent again",
    )
