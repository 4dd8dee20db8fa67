"""Running the calls of one answer: in parallel, each under its own time limit, each ending in exactly one message.

One nursery per batch, one task per call. A call's failure is its own result and never stops its siblings. Async
handlers are cancelled at their limit; sync handlers run in worker threads, which cannot be stopped: at the limit the
thread is abandoned, the turn goes on, and the event says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs
import trio

from allm.data.content import ImagePart, Part, TextPart, ToolCall
from allm.data.errors import StreamError, ToolError
from allm.data.events import (
    AskUserRequested,
    ToolExecutionCompleted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
)
from allm.data.json.text import dumps
from allm.data.message import Message
from allm.data.tool import Tool
from allm.data.tool_control import AWAITING_USER, RESERVED_REASONS, AskUser, Halt
from allm.data.types.structure import encode_result
from allm.execution.journal import ToolOutcome
from allm.execution.options import ModelCall
from allm.execution.stream.nurseries import collapse_exception_group
from allm.runtime import telemetry
from allm.runtime.tools import FunctionHandler, ToolContext, is_async

__all__ = ["ToolRunner", "error_message"]

MAX_THREADS = 64
"""Sync handlers that run at once in one Trio run; abandoned ones no longer count."""

_threads: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("allm_tool_threads")

EmitEvents = Callable[..., Awaitable[None]]
Content = str | tuple[Part, ...]


def _thread_limiter() -> trio.CapacityLimiter:
    try:
        return _threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(MAX_THREADS)
        _threads.set(limiter)
        return limiter


def error_message(call: ToolCall, kind: str, text: str) -> Message:
    """The result message of a call that failed, as the model reads it: two fields and nothing of the internals."""
    content = dumps({"error": {"type": kind, "message": text}}).decode()
    return Message("tool", content, tool_call_id=call.id, name=call.name, is_error=True)


class _Failure(Exception):
    """How a call failed, and whether its thread still runs."""

    def __init__(self, error: ToolError, *, abandoned: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.abandoned = abandoned


@attrs.define(eq=False)
class ToolRunner:
    """Runs batches of calls for one turn."""

    call: ModelCall
    emit: EmitEvents
    span: telemetry.Span | None = None
    _tools: dict[str, Tool] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tools = {tool.name: tool for tool in self.call.request.tools}

    async def run(self, calls: Sequence[ToolCall]) -> list[ToolOutcome]:
        """Run `calls` and return their outcomes in call order, whatever the order they end in.

        Raises:
            Exception: What the journal raised; the other calls are cancelled.
        """
        outcomes: list[ToolOutcome | None] = [None] * len(calls)
        failures: list[Exception] = []
        limiter = trio.CapacityLimiter(self.call.controls.max_concurrency or max(1, len(calls)))

        async def run_one(index: int) -> None:
            try:
                outcomes[index] = await self._run_call(calls[index])
            except Exception as error:
                failures.append(error)
                nursery.cancel_scope.cancel()
            finally:
                limiter.release_on_behalf_of(index)

        try:
            async with trio.open_nursery() as nursery:
                for index in range(len(calls)):
                    await limiter.acquire_on_behalf_of(index)  # here, so that calls start in their order
                    nursery.start_soon(run_one, index, name=f"allm tool {calls[index].name}")
        except BaseExceptionGroup as group:
            raise collapse_exception_group(group) from None
        if failures:
            raise failures[0]
        return [outcome for outcome in outcomes if outcome is not None]

    async def _run_call(self, call: ToolCall) -> ToolOutcome:
        span = telemetry.start_span("tool", parent=self.span, tool_name=call.name, tool_call_id=call.id)
        try:
            try:
                value = await self._execute(call)
                content = "" if isinstance(value, AskUser) else self._encode(call, value)
            except _Failure as failure:
                outcome = await self._failed(call, failure)
                span.stop(error=failure.error)
            else:
                outcome = await self._succeeded(call, value, content)
                span.stop()
            return outcome
        finally:
            span.stop(outcome="cancelled")

    async def _succeeded(self, call: ToolCall, value: Any, content: Content) -> ToolOutcome:
        completed = ToolExecutionCompleted(call, value)
        if isinstance(value, AskUser):
            message = self._message(call, AWAITING_USER)
            asked = AskUserRequested(call, value.question, message, hints=value.hints)
            return await self._ended(ToolOutcome(message=message, halt=value), completed, asked)
        message = self._message(call, content)
        if isinstance(value, Halt):
            halted = ToolHalted(call, value.reason, message, result=value.result)
            return await self._ended(ToolOutcome(message=message, halt=value), completed, halted)
        return await self._ended(ToolOutcome(message=message), completed, ToolResultEncoded(call, message))

    async def _ended(self, outcome: ToolOutcome, *events: Any) -> ToolOutcome:
        """Let the journal know before anyone else does."""
        if self.call.journal is not None:
            await self.call.journal.ended(outcome)
        await self.emit(*events)
        return outcome

    async def _failed(self, call: ToolCall, failure: _Failure) -> ToolOutcome:
        """`on_tool_error` decides, once."""
        error, policy = failure.error, self.call.controls.on_tool_error
        message = error_message(call, error.reason, error.message)
        halt: ToolError | None = error if policy == "halt" else None
        if callable(policy):
            try:
                answer = policy(call, error)
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer == "halt" and isinstance(answer, str):
                    halt = error
                else:
                    message = self._message(call, self._content(answer))
            except Exception as raised:
                halt = ToolError(
                    f"on_tool_error raised {type(raised).__name__}: {_text_of(raised)}; it was asked about: "
                    f"{error.message}",
                    reason="handler_raised",
                    tool_name=call.name,
                    tool_call_id=call.id,
                )
                halt.__cause__ = raised
        completed = ToolExecutionCompleted(call, error=error, abandoned=failure.abandoned)
        ended = ToolResultEncoded(call, message) if halt is None else ToolHalted(call, "tool_error", message)
        return await self._ended(ToolOutcome(message=message, halt=halt), completed, ended)

    async def _execute(self, call: ToolCall) -> Any:
        """The handler's return value.

        Raises:
            _Failure: It could not be run, raised, overran its limit, or returned what it may not return.
        """
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            raise self._failure(call, "unknown_tool", f"there is no tool {call.name!r}; the tools are: {known}")
        executor = self.call.engine.tool_executor
        if tool.handler is None and executor is None:
            raise self._failure(call, "no_handler", f"tool {call.name!r} cannot be run here")
        if call.arguments is None:
            raise self._failure(call, "invalid_arguments", "the arguments are not a JSON object; send valid JSON")
        limit = tool.timeout if tool.timeout is not None else self.call.controls.tool_timeout
        in_thread = executor is None and not is_async(_target(tool))
        async with AsyncExitStack() as stack:
            if in_thread:
                await stack.enter_async_context(_thread_limiter())
            await self.emit(ToolExecutionStarted(call))
            scope = trio.CancelScope(deadline=trio.current_time() + (float("inf") if limit is None else limit))
            context = self._context(call, scope)
            value: Any = None
            with scope:
                try:
                    value = await (
                        executor.execute(tool, call, context) if executor else _invoke(tool, call, context, in_thread)
                    )
                except ToolError as error:
                    raise _Failure(_named(error, call)) from error
                except Exception as error:
                    failure = self._failure(call, "handler_raised", _text_of(error))
                    failure.error.__cause__ = error
                    raise failure from error
            if scope.cancelled_caught:
                failure = self._failure(call, "timeout", f"the tool took longer than {limit} s")
                failure.abandoned = in_thread
                raise failure
        if isinstance(value, Halt) and not (_is_text(value.reason) and value.reason not in RESERVED_REASONS):
            why = f"the tool halted with {value.reason!r:.60}; expected a reason of its own, not a reserved one"
            raise self._failure(call, "invalid_return", why)
        if isinstance(value, AskUser) and not _is_text(value.question):
            raise self._failure(call, "invalid_return", f"the tool asked {value.question!r:.60}; expected a text")
        return value

    def _context(self, call: ToolCall, scope: trio.CancelScope) -> ToolContext:
        controls = self.call.controls

        async def report(payload: Any) -> None:
            left, scope.deadline = (
                scope.deadline - trio.current_time(),
                float("inf"),
            )  # the consumer's time, not the tool's
            try:
                await self.emit(ToolProgress(call, payload))
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
            engine=self.call.engine,
            report=report,
        )

    def _encode(self, call: ToolCall, value: Any) -> Content:
        try:
            return self._content(value.result if isinstance(value, Halt) else value)
        except Exception as error:
            why = f"the tool's result has no text form: {_text_of(error)}"
            raise self._failure(call, "encoding_failed", why) from error

    def _content(self, value: Any) -> Content:
        encoder = self.call.engine.tool_result_encoder
        if encoder is None:
            return encode_result(value)
        content = encoder.encode(value)
        if not isinstance(content, tuple):
            return str(content)
        for part in content:
            if not isinstance(part, TextPart | ImagePart):
                raise TypeError(f"the result encoder gave a {type(part).__name__}; expected TextPart or ImagePart")
        return content

    def _message(self, call: ToolCall, content: Content) -> Message:
        return Message("tool", content, tool_call_id=call.id, name=call.name)

    def _failure(self, call: ToolCall, reason: Any, message: str) -> _Failure:
        return _Failure(ToolError(message, reason=reason, tool_name=call.name, tool_call_id=call.id))


def _text_of(error: Exception) -> str:
    """What it says; of a group, as a handler's own nursery raises, what each one in it says."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(map(_text_of, error.exceptions))
    try:
        return str(error) or type(error).__name__
    except Exception:  # a class of the caller's, with a text that cannot be made
        return type(error).__name__


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _named(error: ToolError, call: ToolCall) -> ToolError:
    """A handler's own `ToolError`, with the call it belongs to."""
    error.tool_name = error.tool_name or call.name
    error.tool_call_id = error.tool_call_id or call.id
    return error


def _target(tool: Tool) -> Callable[..., Any]:
    handler = tool.handler
    assert handler is not None  # noqa: S101  (checked by the caller)
    return handler.function if isinstance(handler, FunctionHandler) else handler


async def _invoke(tool: Tool, call: ToolCall, context: ToolContext, in_thread: bool) -> Any:  # noqa: FBT001
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
