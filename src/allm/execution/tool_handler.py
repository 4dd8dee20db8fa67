"""Running the handler of one call, under its own time limit.

Async handlers are cancelled at their limit; sync handlers run in worker threads, which cannot be stopped: at the limit
the thread is abandoned, the turn goes on, and the event says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import trio

from allm.data.content import ToolCall
from allm.data.errors import StreamError, ToolError, ToolReason
from allm.data.events import ToolExecutionStarted, ToolProgress
from allm.data.halt import RESERVED_REASONS
from allm.data.tool import Tool
from allm.data.tool_control import AskUser, Halt
from allm.execution.options import ModelCall
from allm.runtime.tools import FunctionHandler, ToolContext, is_async

__all__ = ["CallFailure", "EmitEvents", "call_failure", "run_handler", "text_of"]

MAX_THREADS = 64
"""Sync handlers that run at once in one Trio run; abandoned ones no longer count."""

_threads: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("allm_tool_threads")

EmitEvents = Callable[..., Awaitable[None]]


class CallFailure(Exception):
    """How a call failed, and whether its thread still runs."""

    def __init__(self, error: ToolError, *, abandoned: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.abandoned = abandoned


def call_failure(call: ToolCall, reason: ToolReason, message: str, *, abandoned: bool = False) -> CallFailure:
    """A failure of `call`, to be raised."""
    error = ToolError(message, reason=reason, tool_name=call.name, tool_call_id=call.id)
    return CallFailure(error, abandoned=abandoned)


async def run_handler(model_call: ModelCall, call: ToolCall, emit: EmitEvents) -> Any:
    """The handler's return value.

    Raises:
        CallFailure: It could not be run, raised, overran its limit, or returned what it may not return.
    """
    tool = _find(model_call, call)
    value = await _run(model_call, tool, call, emit)
    _check_returned(call, value)
    return value


def _find(model_call: ModelCall, call: ToolCall) -> Tool:
    """The tool of the call, if it can be run with these arguments."""
    tools = {tool.name: tool for tool in model_call.request.tools}
    tool = tools.get(call.name)
    if tool is None:
        known = ", ".join(tools) or "none"
        raise call_failure(call, "unknown_tool", f"there is no tool {call.name!r}; the tools are: {known}")
    if tool.handler is None and model_call.engine.tool_executor is None:
        raise call_failure(call, "no_handler", f"tool {call.name!r} cannot be run here")
    if call.arguments is None:
        raise call_failure(call, "invalid_arguments", "the arguments are not a JSON object; send valid JSON")
    return tool


async def _run(model_call: ModelCall, tool: Tool, call: ToolCall, emit: EmitEvents) -> Any:
    limit = tool.timeout if tool.timeout is not None else model_call.controls.tool_timeout
    in_thread = model_call.engine.tool_executor is None and not is_async(_target(tool))
    async with AsyncExitStack() as stack:
        if in_thread:
            await stack.enter_async_context(_thread_limiter())
        await emit(ToolExecutionStarted(call))
        # After the events and the wait for a thread, so that the limit counts the tool's own time.
        scope = trio.CancelScope(deadline=trio.current_time() + (float("inf") if limit is None else limit))
        context = _context(model_call, call, emit, scope)
        value: Any = None
        with scope:
            value = await _returned(tool, call, context, in_thread=in_thread)
        if scope.cancelled_caught:
            raise call_failure(call, "timeout", f"the tool took longer than {limit} s", abandoned=in_thread)
    return value


async def _returned(tool: Tool, call: ToolCall, context: ToolContext, *, in_thread: bool) -> Any:
    """What the handler returns; what it raises is the call's failure."""
    executor = context.engine.tool_executor
    try:
        if executor is not None:
            return await executor.execute(tool, call, context)
        return await _invoke(tool, call, context, in_thread=in_thread)
    except ToolError as error:  # the handler's own, which may not say whose it is
        error.tool_name = error.tool_name or call.name
        error.tool_call_id = error.tool_call_id or call.id
        raise CallFailure(error) from error
    except Exception as error:
        failure = call_failure(call, "handler_raised", text_of(error))
        failure.error.__cause__ = error
        raise failure from error


def _check_returned(call: ToolCall, value: Any) -> None:
    """Refuse a halt that nobody could tell from another, and a question that nobody could answer."""
    if isinstance(value, Halt) and not (_is_text(value.reason) and value.reason not in RESERVED_REASONS):
        why = f"the tool halted with {value.reason!r:.60}; expected a reason of its own, not a reserved one"
        raise call_failure(call, "invalid_return", why)
    if isinstance(value, AskUser) and not _is_text(value.question):
        raise call_failure(call, "invalid_return", f"the tool asked {value.question!r:.60}; expected a text")


def _context(model_call: ModelCall, call: ToolCall, emit: EmitEvents, scope: trio.CancelScope) -> ToolContext:
    controls = model_call.controls

    async def report(payload: Any) -> None:
        # While the consumer is behind, the time is the consumer's and not the tool's.
        left, scope.deadline = scope.deadline - trio.current_time(), float("inf")
        try:
            await emit(ToolProgress(call, payload))
        except trio.ClosedResourceError:
            raise StreamError(
                f"the turn of tool call {call.id!r} is over, so nothing more can be emitted", reason="closed"
            ) from None
        scope.deadline = trio.current_time() + left

    return ToolContext(
        context=controls.context,
        session_id=controls.session_id,
        request_id=controls.request_id,
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


def text_of(error: Exception) -> str:
    """What it says; of a group, as a handler's own nursery raises, what each one in it says."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(map(text_of, error.exceptions))
    try:
        return str(error) or type(error).__name__
    except Exception:  # a class of the caller's, with a text that cannot be made
        return type(error).__name__


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _target(tool: Tool) -> Callable[..., Any]:
    handler = tool.handler
    assert handler is not None  # noqa: S101  (checked by the caller)
    return handler.function if isinstance(handler, FunctionHandler) else handler


async def _invoke(tool: Tool, call: ToolCall, context: ToolContext, *, in_thread: bool) -> Any:
    handler: Any = tool.handler
    arguments = dict(call.arguments or {})
    args = (arguments, context) if _takes_context(handler) else (arguments,)
    if in_thread:
        # In a list, since Trio takes no coroutine from a thread, and a lambda may give one. A limiter of its own: the
        # runner has counted this thread already, and stops counting it once it is abandoned.
        [value] = await trio.to_thread.run_sync(
            lambda: [handler(*args)], abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
    else:
        value = handler(*args)
    return await value if inspect.isawaitable(value) else value


def _takes_context(function: Callable[..., Any]) -> bool:
    """Whether a plain handler has a second positional parameter."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # some built-ins have no signature
        return False
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)
