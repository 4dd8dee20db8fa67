"""Run the tool calls of one response in parallel, each with its own time limit, each ending in exactly one message.

One nursery per batch, one task per call. A failing call gets an error as its result and never stops its siblings.
Async handlers are cancelled at their limit. Sync handlers run in worker threads, which cannot be stopped: at the limit
the thread is abandoned, the turn goes on, and the event says so.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.content import MEDIA_TYPES, TextPart, ToolCall
from allm.data.errors import StreamError, ToolError, ToolReason
from allm.data.events import (
    AskUserRequested,
    ToolExecutionCompleted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
)
from allm.data.json.text import arguments_problem
from allm.data.message import Message
from allm.data.results import RESERVED_REASONS, HandlerHalted, PendingQuestion, ToolFailed, ToolOutcome, UserAsked
from allm.data.tool import Content, Tool, ToolLimit, checked_parts, checked_text, result_content
from allm.data.tool_control import AWAITING_USER, AskUser, Halt, as_saved, error_message, exception_text
from allm.data.tool_help import ToolHelp, help_text, known_names, missing_arguments
from allm.data.user_functions import call_user
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.options import ModelCall
from allm.execution.stream.event_stream import BurstSender
from allm.execution.telemetry_facts import call_arguments, tool_result
from allm.execution.tool_sets import Places
from allm.runtime import telemetry
from allm.runtime.tool_calls import ToolContext, invoke, needs_thread

__all__ = [
    "CallFailure",
    "ToolRunner",
    "call_failure",
    "run_handler",
]


@define(eq=False)
class ToolRunner:
    """Runs batches of calls for one turn."""

    call: ModelCall
    send: BurstSender
    _tools: dict[str, Tool] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tools = {tool.name: tool for tool in self.call.request.tools if not tool.hosted}

    async def run(self, calls: Sequence[ToolCall]) -> list[ToolOutcome]:
        """Run `calls` and return their outcomes in call order, regardless of the order in which they end.

        Raises:
            Exception: The journal failed; the other calls are cancelled.
        """
        outcomes: list[ToolOutcome | None] = [None] * len(calls)
        failures: list[Exception] = []
        most = self.call.execution_options.max_concurrency
        limiter = trio.CapacityLimiter(most) if most is not None and most < len(calls) else None
        limits = {name: tool.limit for name, tool in self._tools.items() if tool.limit is not None}
        places = Places() if limits else None
        ready = deque[int]()

        async def run_next() -> None:
            # Trio starts the tasks of one pass in any order, so whichever is the first takes the first call.
            await run_one(ready.popleft())

        async def run_one(index: int) -> None:
            trio.lowlevel.current_task().name = f"allm tool {calls[index].name}"
            try:
                outcomes[index] = await self._run_call(calls[index])
            except Exception as error:
                failures.append(error)
                nursery.cancel_scope.cancel()
            finally:
                _leave(index, limiter, places)

        async def run_in_place(index: int, places: Places, limit: ToolLimit) -> None:
            await places.take(index, limit)
            await _enter(index, limiter)
            await run_one(index)

        try:
            async with nursery_boundary() as nursery:
                for index, call in enumerate(calls):
                    limit = limits.get(call.name)
                    if places is not None and limit is not None and not places.take_nowait(index, limit):
                        # Waits in a task of its own, as the calls after it do not need the same place.
                        start_task(nursery, run_in_place, index, places, limit, name="allm tool")
                        await trio.lowlevel.checkpoint()
                        continue
                    await _enter(index, limiter)
                    ready.append(index)
                    start_task(nursery, run_next, name="allm tool")
        finally:
            if places is not None:
                places.leave_all()
        if failures:
            raise failures[0]
        return [outcome for outcome in outcomes if outcome is not None]

    async def _run_call(self, call: ToolCall) -> ToolOutcome:
        if not telemetry.handlers:
            return await self._run_untold(call)
        facts = {"tool_name": call.name, "tool_call_id": call.id}
        with telemetry.span("tool", facts, content=functools.partial(call_arguments, call)) as span:
            outcome = await self._run_untold(call, span)
            span.content = functools.partial(tool_result, outcome)
            return outcome

    async def _run_untold(self, call: ToolCall, span: telemetry.Span | None = None) -> ToolOutcome:
        try:
            value = await run_handler(self.call, self._find(call), call, self.send)
            content = "" if isinstance(value, AskUser) else self._encode(call, value)
        except CallFailure as failure:
            if span is not None:
                span.attributes.update(error=failure.error, abandoned=failure.abandoned)
            return await self._failed(call, failure)
        return await self._succeeded(call, value, content)

    async def _succeeded(self, call: ToolCall, value: Any, content: Content) -> ToolOutcome:
        completed = ToolExecutionCompleted(call, value)
        if isinstance(value, AskUser):
            message = self._message(call, AWAITING_USER)
            question = PendingQuestion(value.question, call.id, hints=value.hints)
            asked = AskUserRequested(call, value.question, message, hints=value.hints)
            return await self._record(ToolOutcome(message=message, halt=UserAsked([question])), completed, asked)
        message = self._message(call, content)
        if isinstance(value, Halt):
            halted = ToolHalted(call, value.reason, message, result=value.result)
            halt = HandlerHalted(value.reason, call.id, message.text)
            return await self._record(ToolOutcome(message=message, halt=halt), completed, halted)
        return await self._record(ToolOutcome(message=message), completed, ToolResultEncoded(call, message))

    async def _record(self, outcome: ToolOutcome, *events: Any) -> ToolOutcome:
        """Record the outcome in the journal, then emit the events: a result that was seen must never be lost."""
        if self.call.journal is not None:
            await self.call.journal.record_outcome(outcome)
        if not self.send.send_nowait(events):
            await self.send.send(events)
        return outcome

    async def _failed(self, call: ToolCall, failure: CallFailure) -> ToolOutcome:
        try:
            message, halting = await self._apply_error_policy(call, failure.error)
        except trio.Cancelled:
            if self.call.journal is not None:  # how the call ended is known, though not what the policy thinks of it
                known = error_message(call, failure.error.reason, failure.error.message)
                await self.call.journal.record_outcome(ToolOutcome(message=known))  # noqa: ASYNC102  (shields itself)
            raise
        completed = ToolExecutionCompleted(call, error=failure.error, abandoned=failure.abandoned)
        if halting is None:
            return await self._record(ToolOutcome(message=message), completed, ToolResultEncoded(call, message))
        halt = ToolFailed(halting)
        halted = ToolHalted(call, halt.reason, message)
        return await self._record(ToolOutcome(message=message, halt=halt), completed, halted)

    async def _apply_error_policy(self, call: ToolCall, error: ToolError) -> tuple[Message, ToolError | None]:
        """The result message, and the error if `on_tool_error` halts the turn. A policy is called once per failure."""
        policy = self.call.execution_options.on_tool_error
        message = error_message(call, error.reason, error.message)
        if not callable(policy):
            return message, error if policy == "halt" else None
        try:
            decision = await call_user(policy, call, error)
            if isinstance(decision, str) and decision == "halt":
                return message, error
            return self._message(call, self._content(decision)), None
        except Exception as raised:  # from the caller's function or encoder
            halting = ToolError(
                f"on_tool_error raised {type(raised).__name__}: {exception_text(raised)}; it was handling: "
                f"{error.message}",
                reason="handler_raised",
                tool_name=call.name,
                tool_call_id=call.id,
            )
            halting.__cause__ = raised
            return message, halting

    def _find(self, call: ToolCall) -> Tool:
        """The tool of the call, checked to be one that can run with these arguments."""
        tool = self._tools.get(call.name)
        if tool is None:
            known = known_names(self._tools, call.name)
            raise call_failure(call, "unknown_tool", f"there is no tool {call.name!r}; {known}")
        if tool.handler is None and self.call.engine.tool_executor is None:
            raise call_failure(call, "no_handler", f"tool {call.name!r} has no handler")
        if call.arguments is None:
            raise call_failure(call, "invalid_arguments", arguments_problem(call.raw_arguments))
        return tool

    def _encode(self, call: ToolCall, value: Any) -> Content:
        try:
            return self._content(value.result if isinstance(value, Halt) else value)
        except Exception as error:
            why = f"the tool's result has no text form: {exception_text(error)}"
            raise call_failure(call, "encoding_failed", why) from error

    def _content(self, value: Any) -> Content:
        encoder = self.call.engine.tool_result_encoder
        if encoder is None:
            return result_content(value)
        content = encoder.encode(value)
        if not isinstance(content, tuple):
            return checked_text(str(content))
        for part in content:
            if not isinstance(part, (TextPart, *MEDIA_TYPES)):
                expected = ", ".join(cls.__name__ for cls in (TextPart, *MEDIA_TYPES))
                raise TypeError(f"the result encoder returned a {type(part).__name__}; expected one of {expected}")
        return checked_parts(content)

    def _message(self, call: ToolCall, content: Content) -> Message:
        return Message("tool", content, tool_call_id=call.id, name=call.name)


STARTED_TOGETHER = 8
"""Calls that start before other tasks of the Trio run have a turn, which costs as much as a tenth of a call."""

MAX_THREADS = 64
"""Sync handlers that run at once in one Trio run, not counting abandoned ones."""

_threads: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("allm_tool_threads")


class CallFailure(Exception):
    """A failed call: its error, and whether its thread was abandoned and still runs."""

    def __init__(self, error: ToolError, *, abandoned: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.abandoned = abandoned


def call_failure(call: ToolCall, reason: ToolReason, message: str, *, abandoned: bool = False) -> CallFailure:
    """Make the exception for a failure of `call`."""
    error = ToolError(message, reason=reason, tool_name=call.name, tool_call_id=call.id)
    return CallFailure(error, abandoned=abandoned)


async def run_handler(model_call: ModelCall, tool: Tool, call: ToolCall, send: BurstSender) -> Any:
    """Run the handler of `call` and return its value.

    Raises:
        CallFailure: The handler could not be run, raised, exceeded its time limit, or returned an invalid value.
    """
    try:
        if tool.compact and (missing := missing_arguments(tool, call.arguments or {})) is not None:
            raise call_failure(call, "invalid_arguments", missing)
        if model_call.engine.tool_executor is None and needs_thread(tool):
            value = await _run_in_thread(model_call, tool, call, send)
        else:
            value = await _run(model_call, tool, call, send, in_thread=False)
    except CallFailure as failure:
        if not (tool.compact and failure.error.reason == "invalid_arguments"):
            raise
        raise call_failure(call, "invalid_arguments", f"{failure.error.message}\n{help_text(tool)}") from failure.error
    _check_returned(call, value)
    return _with_json_hints(call, value) if isinstance(value, AskUser) else value


async def _enter(index: int, limiter: trio.CapacityLimiter | None) -> None:
    """Wait until one more call may run."""
    if limiter is not None:
        await limiter.acquire_on_behalf_of(index)
    elif index % STARTED_TOGETHER == 0:
        await trio.lowlevel.checkpoint()


def _leave(index: int, limiter: trio.CapacityLimiter | None, places: Places | None) -> None:
    if limiter is not None:
        limiter.release_on_behalf_of(index)
    if places is not None:
        places.leave(index)


async def _run_in_thread(model_call: ModelCall, tool: Tool, call: ToolCall, send: BurstSender) -> Any:
    limiter = _thread_limiter()
    try:
        limiter.acquire_nowait()  # without a checkpoint, at which a later call could overtake this one
    except trio.WouldBlock:
        await limiter.acquire()
    try:
        return await _run(model_call, tool, call, send, in_thread=True)
    finally:
        limiter.release()


async def _run(model_call: ModelCall, tool: Tool, call: ToolCall, send: BurstSender, *, in_thread: bool) -> Any:
    """Call the executor or the handler; an exception becomes a `CallFailure`."""
    started = (ToolExecutionStarted(call),)
    if not send.send_nowait(started):
        await send.send(started)
    executor = model_call.engine.tool_executor
    limit = tool.timeout if tool.timeout is not None else model_call.execution_options.tool_timeout
    # Started after waiting for a thread and for the consumer, so that the limit covers the tool's own time only.
    scope = trio.CancelScope(deadline=trio.current_time() + (float("inf") if limit is None else limit))
    context = _context(model_call, call, send, scope)
    value: Any = None
    try:
        with scope:
            if executor is not None and not isinstance(tool.handler, ToolHelp):
                value = await call_user(executor.execute, tool, call, context)
            else:
                value = await invoke(tool, call.arguments or {}, context, limit=limit, in_thread=in_thread)
    except ToolError as error:  # raised by the handler, which may not have filled in the call
        error.tool_name = error.tool_name or call.name
        error.tool_call_id = error.tool_call_id or call.id
        raise CallFailure(error) from error
    except Exception as error:
        failure = call_failure(call, "handler_raised", exception_text(error))
        failure.error.__cause__ = error
        raise failure from error
    if scope.cancelled_caught:
        raise call_failure(call, "timeout", f"the tool took longer than {limit} s", abandoned=in_thread)
    return value


def _check_returned(call: ToolCall, value: Any) -> None:
    """Reject a halt without a distinct reason, and a question without text."""
    if isinstance(value, Halt) and not (_is_nonempty_text(value.reason) and value.reason not in RESERVED_REASONS):
        why = f"the tool halted with {value.reason!r:.60}; expected a text that is not a reserved reason"
        raise call_failure(call, "invalid_return", why)
    if isinstance(value, AskUser) and not _is_nonempty_text(value.question):
        raise call_failure(call, "invalid_return", f"the tool asked {value.question!r:.60}; expected a text")


def _with_json_hints(call: ToolCall, asked: AskUser) -> AskUser:
    try:
        return as_saved(asked)
    except ValueError as error:
        raise call_failure(call, "encoding_failed", str(error)) from error


def _context(model_call: ModelCall, call: ToolCall, send: BurstSender, scope: trio.CancelScope) -> ToolContext:
    options = model_call.execution_options

    async def report(payload: Any) -> None:
        # Stop the tool's clock while the consumer is behind.
        left, scope.deadline = scope.deadline - trio.current_time(), float("inf")
        try:
            await send.send((ToolProgress(call, payload),))
        except trio.ClosedResourceError:
            raise StreamError(
                f"the turn of tool call {call.id!r} is over, so nothing more can be emitted", reason="closed"
            ) from None
        scope.deadline = trio.current_time() + left

    return ToolContext(
        context=options.context,
        session_id=options.session_id,
        request_id=options.request_id,
        tool_call=call,
        engine=model_call.engine,
        report=report,
    )


def _thread_limiter() -> trio.CapacityLimiter:
    try:
        return _threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_THREADS)
        _threads.set(limiter)
        return limiter


def _is_nonempty_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""
