"""One step: a model call, prepared in advance, and then the tools that the response asks for."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import ToolCall
from allm.data.events import StepCompleted
from allm.data.message import Thread, thread_problems
from allm.data.problems import refuse
from allm.data.request import JsonSchema, Request, to_messages
from allm.data.results import ManualCalls, StepResult, ToolOutcome, first_halt, unique_calls
from allm.data.tool import Tool
from allm.data.tool_help import ToolHelp
from allm.execution.answer_check import AnswerCheck
from allm.execution.journal import ToolJournal, Unfinished
from allm.execution.options import (
    Input,
    ModelCall,
    check_answered,
    engine_for_chat,
    output_type,
    prepare_call,
    prompts_tools,
    resolve,
)
from allm.execution.output_modes import calls_for_format_last, check_last_call
from allm.execution.stream.attempt import run_model_call
from allm.execution.stream.event_stream import StreamContext
from allm.execution.stream.folds import ChatFold, StepFold, message_with_results
from allm.execution.stream.inbox import Inbox
from allm.execution.telemetry_facts import call_content, call_facts
from allm.execution.tool_runner import ToolRunner
from allm.execution.tool_sets import with_loaded_tools
from allm.runtime import telemetry
from allm.runtime.costs import charged
from allm.runtime.engine import Engine

__all__ = ["Batch", "PreparedCall", "TurnCalls", "finish_step", "run_step"]

logger: logging.Logger = logging.getLogger("allm")

_TOOLS_NOT_RUN = frozenset({"error", "content_filter", None})
"""Finish reasons after which calls may be incomplete: each gets an error result and is not run."""


async def run_step(call: ModelCall, prepared: Any, context: StreamContext, fold: StepFold) -> StepResult:
    """Run one step and emit its events, `StepCompleted` last.

    Args:
        fold: Receives every event that is emitted; starts from the conversation before the step.
    """
    with _span(call, context, fold):
        await run_model_call(call, prepared, context, lambda: fold.response)
        response = fold.response
        if not response.tool_calls or response.finish_reason in _TOOLS_NOT_RUN:
            messages = message_with_results(response.message, {}, "not_run")
            results = tuple(message for message in messages if message.role == "tool")
            thread = fold.thread.add(*messages)
            waiting = () if response.finish_reason in _TOOLS_NOT_RUN else response.pending_hosted_calls
            step = StepResult(
                thread=thread,
                response=response,
                tool_results=results,
                done=True,
                halt=ManualCalls((), hosted_calls=waiting) if waiting else None,
                changes=call.changes,
            )
        else:
            step = await _with_tools(call, context, fold, Unfinished(response=response))
    await context.send.send((StepCompleted(step),))
    return step


async def finish_step(call: ModelCall, unfinished: Unfinished, context: StreamContext, fold: StepFold) -> StepResult:
    """Run the remaining calls of an earlier response and emit their events, `StepCompleted` last.

    Args:
        fold: Has been given `unfinished`; starts from the conversation before the response.
    """
    with _span(call, context, fold, resumed=True):
        step = await _with_tools(call, context, fold, unfinished)
    await context.send.send((StepCompleted(step),))
    return step


def _span(
    call: ModelCall, context: StreamContext, fold: StepFold, *, resumed: bool = False
) -> AbstractContextManager[None]:
    """The telemetry span of a step, if anybody wants to know; the stream of a single step is its span itself."""
    if not telemetry.handlers or (context.span is not None and context.span.name == "step"):
        return nullcontext()
    return _told(call, fold, resumed)


@contextmanager
def _told(call: ModelCall, fold: StepFold, resumed: bool) -> Generator[None]:  # noqa: FBT001
    with telemetry.span("step", call_facts(call)) as span:
        try:
            yield
        finally:
            if resumed:  # its response, and what that used, are those of an earlier turn
                span.attributes.update(resumed=True, finish_reason=fold.response.finish_reason)
            else:
                span.attributes.update(fold.facts())


async def _with_tools(call: ModelCall, context: StreamContext, fold: StepFold, unfinished: Unfinished) -> StepResult:
    """Run the calls that have not ended; the fold's `thread` is the conversation before the response."""
    thread = fold.thread
    batch = Batch.of(call, unfinished)
    if batch.to_run and call.journal is not None:
        await call.journal.record_response(thread, unfinished.response, unfinished.outcomes)
    token = charged.set((*(charged.get() or ()), fold.tools))
    try:
        ran = await ToolRunner(call, context.send).run(batch.to_run)
    finally:
        charged.reset(token)
    step = batch.to_step(thread, ran)
    if call.changes is None and fold.tools.usage is None:
        return step
    return attrs.evolve(step, changes=call.changes, tool_usage=fold.tools.usage)


@frozen(kw_only=True)
class Batch:
    """The calls of one response, each id once, split by who runs them; every tuple is in call order.

    Attributes:
        automatic: Calls that get their result here: `to_run`, and those that ended in an earlier run of the step.
        to_run: Calls that have not ended.
        manual: Calls that are left to the caller.
    """

    unfinished: Unfinished
    automatic: tuple[ToolCall, ...]
    to_run: tuple[ToolCall, ...]
    manual: tuple[ToolCall, ...]

    @classmethod
    def of(cls, call: ModelCall, unfinished: Unfinished) -> Batch:
        """Split the calls of `unfinished` by the tools and the mode of `call`."""
        tools = {tool.name: tool for tool in call.request.tools if not tool.hosted}
        all_manual = call.execution_options.mode == "manual"
        calls = unique_calls(unfinished.response.tool_calls)
        # A call that has ended or was approved is no longer the caller's to run, even if its tool is manual.
        decided = unfinished.approved.union(unfinished.outcomes)
        manual = {c.id for c in calls if c.id not in decided and _is_manual(tools.get(c.name), c, all_manual)}
        return cls(
            unfinished=unfinished,
            automatic=tuple(c for c in calls if c.id not in manual),
            to_run=tuple(c for c in calls if c.id not in manual and c.id not in unfinished.outcomes),
            manual=tuple(c for c in calls if c.id in manual),
        )

    def to_step(self, thread: Thread, ran: Sequence[ToolOutcome]) -> StepResult:
        """The result of the step, once `to_run` has ended.

        Args:
            thread: The conversation before the response.
            ran: The outcomes of `to_run`, in the same order.
        """
        ended = {**self.unfinished.outcomes, **{c.id: outcome for c, outcome in zip(self.to_run, ran, strict=True)}}
        outcomes = [ended[c.id] for c in self.automatic]
        results = [outcome.message for outcome in outcomes]
        response, halt = self.unfinished.response, first_halt(outcomes)
        waiting = response.pending_hosted_calls
        return StepResult(
            thread=thread.add(response.message, *results),
            response=response,
            tool_results=results,
            done=halt is not None,
            halt=halt or (ManualCalls(self.manual, hosted_calls=waiting) if self.manual or waiting else None),
        )


def _is_manual(tool: Tool | None, call: ToolCall, all_manual: bool) -> bool:  # noqa: FBT001
    """Whether the call is left to the caller."""
    if tool is None:
        return all_manual
    if isinstance(tool.handler, ToolHelp):  # has no effect but on what the model knows
        return False
    if all_manual or tool.manual:
        return True
    if tool.manual_when is None or call.arguments is None:
        return False
    try:
        return bool(tool.manual_when(call))
    except Exception:  # the arguments are the model's, and may be anything
        logger.warning("manual_when of tool %r raised, so the call needs approval", tool.name, exc_info=True)
        return True


PreparedCall = tuple[ModelCall, Any]
"""A call, and what its adapter prepared for it."""


class TurnCalls:
    """Prepares the model calls of one turn; the first one at once, so that its errors are raised before anything runs.

    Some models cannot have tools and a response format in one call. Such a turn has two passes: the first with the
    tools and without the format, then a final call with the format and without the tools.

    Attributes:
        thread: The conversation that the turn starts from.
        first: The first call; not prepared if the turn resumes from an `unfinished` response, or has a `before_step`,
            or `loads_tools`.
        loads_tools: Whether sets of tools have to be loaded before the first call.
        two_pass: Whether the turn ends with a call for the response format.
        output_type: The type for structured output, if there is one.
        check: Checks the answers, if the turn asks again for one that does not fit.
        unfinished: The response that the turn resumes from, if any.
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
        self._engine = engine_for_chat(engine)
        self._options = options
        self._journal = journal
        self._request = given if isinstance(given, Request) else Request(to_messages(given))
        self.thread: Thread = given if isinstance(given, Thread) else Thread(self._request.messages)
        refuse(thread_problems(self.thread), reason="invalid_thread")
        check_answered(self.thread)
        resolved = resolve(self._engine, self._request, options, self.thread)
        self.output_type: Any = output_type(resolved)
        asks_again = resolved.execution_options.validation_retries > 0
        self.check: AnswerCheck | None = AnswerCheck.of(resolved) if asks_again else None
        if isinstance(resolved.request.response_format, JsonSchema):  # its names are looked up here, and once
            self._options = {**options, "response_format": resolved.request.response_format}
        if unfinished is not None:
            response = attrs.evolve(unfinished.response, output_type=self.output_type)
            unfinished = attrs.evolve(unfinished, response=response)
        self.unfinished = unfinished
        self.loads_tools: bool = resolved.loads_tools
        self._begin(resolved)

    def _begin(self, resolved: ModelCall) -> None:
        self._resolved = resolved
        self.two_pass: bool = resolved.request.response_format is not None and (
            resolved.request.structured_finalize or _calls_for_format_last(resolved)
        )
        if self.two_pass:
            last = self._of_pass(resolved, self.thread, final=True)
            if not last.engine.is_group:  # of a group, one that refuses the last call is skipped there
                check_last_call(last.adapter, last.request, last.adapter_options, last.execution_options.output_mode)
        first = self._of_pass(resolved, self.thread, final=False)
        is_ready = not self.loads_tools and self.unfinished is None and first.execution_options.before_step is None
        self.first: PreparedCall = first, prepare_call(first) if is_ready else None

    async def load_tools(self) -> None:
        """Load the sets of tools that the first call needs, and prepare it.

        Raises:
            AllmError: They could not be loaded, or the call with them is invalid.
        """
        loaded = await with_loaded_tools(self._resolved)
        self.loads_tools = False
        self._begin(loaded)

    def fold(self, inbox: Inbox) -> ChatFold:
        """A new fold for the events of the turn."""
        fold = ChatFold(self.thread, self.output_type, inbox)
        if self.unfinished is not None:
            fold.begin_with(self.unfinished)
        return fold

    def next(self, thread: Thread, *, final: bool) -> ModelCall:
        """A later call, which sends `thread`; `final` is the call for the response format.

        Raises:
            AllmError: The call is invalid.
        """
        request = attrs.evolve(self._request, messages=thread.messages)
        return self._of_pass(resolve(self._engine, request, self._options, thread), thread, final=final)

    @property
    def limit(self) -> float:
        """Time limit of the whole turn, in seconds."""
        limit = self.first[0].execution_options.request_timeout
        return float("inf") if limit is None else limit

    def facts(self) -> dict[str, Any]:
        """Attributes for the telemetry span of the turn."""
        return call_facts(self.first[0])

    def content(self) -> Mapping[str, Any]:
        """The content of the start of that span."""
        return call_content(self.first[0])

    def _of_pass(self, call: ModelCall, thread: Thread, *, final: bool) -> ModelCall:
        changes: dict[str, Any] = {"messages": thread.messages, "structured_finalize": False}
        if self.two_pass and final:
            changes |= {"tools": (), "tool_choice": None}
            call = attrs.evolve(call, toolsets=None)
        elif self.two_pass:
            changes["response_format"] = None
        return attrs.evolve(call, request=attrs.evolve(call.request, **changes), journal=self._journal)


def _calls_for_format_last(call: ModelCall) -> bool:
    if call.engine.is_group:
        from allm.execution.group.members import member_calls

        return any(_calls_for_format_last(of_member) for of_member in member_calls(call))
    mode = call.execution_options.output_mode
    if not call.request.tools or prompts_tools(call):  # prompted, both are in one reply
        return False
    return calls_for_format_last(call.adapter, call.request, call.adapter_options, mode)
