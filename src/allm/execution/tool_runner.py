"""Running the calls of one answer: in parallel, each under its own time limit, each ending in exactly one message.

One nursery per batch, one task per call. A call's failure is its own result and never stops its siblings.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import attrs
import trio

from allm.data.content import ImagePart, Part, TextPart, ToolCall
from allm.data.errors import ToolError
from allm.data.events import AskUserRequested, ToolExecutionCompleted, ToolHalted, ToolResultEncoded
from allm.data.halt import HandlerHalted, PendingQuestion, ToolFailed, ToolOutcome, UserAsked
from allm.data.message import Message
from allm.data.tool_control import AWAITING_USER, AskUser, Halt, error_message
from allm.data.types.encode import encode_result
from allm.execution.options import ModelCall
from allm.execution.stream.nurseries import nursery_boundary
from allm.execution.tool_handler import CallFailure, EmitEvents, call_failure, run_handler, text_of
from allm.runtime import telemetry

__all__ = ["ToolRunner"]

Content = str | tuple[Part, ...]


@attrs.define(eq=False)
class ToolRunner:
    """Runs batches of calls for one turn."""

    call: ModelCall
    emit: EmitEvents
    span: telemetry.Span | None = None

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

        async with nursery_boundary() as nursery:
            for index in range(len(calls)):
                await limiter.acquire_on_behalf_of(index)  # here, so that calls start in their order
                nursery.start_soon(run_one, index, name=f"allm tool {calls[index].name}")
        if failures:
            raise failures[0]
        return [outcome for outcome in outcomes if outcome is not None]

    async def _run_call(self, call: ToolCall) -> ToolOutcome:
        span = telemetry.start_span("tool", parent=self.span, tool_name=call.name, tool_call_id=call.id)
        try:
            try:
                value = await run_handler(self.call, call, self.emit)
                content = "" if isinstance(value, AskUser) else self._encode(call, value)
            except CallFailure as failure:
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
            question = PendingQuestion(value.question, call.id, hints=value.hints)
            asked = AskUserRequested(call, value.question, message, hints=value.hints)
            return await self._ended(ToolOutcome(message=message, halt=UserAsked([question])), completed, asked)
        message = self._message(call, content)
        if isinstance(value, Halt):
            halted = ToolHalted(call, value.reason, message, result=value.result)
            halt = HandlerHalted(value.reason, call.id, message.text)
            return await self._ended(ToolOutcome(message=message, halt=halt), completed, halted)
        return await self._ended(ToolOutcome(message=message), completed, ToolResultEncoded(call, message))

    async def _ended(self, outcome: ToolOutcome, *events: Any) -> ToolOutcome:
        """Let the journal know before anyone else does."""
        if self.call.journal is not None:
            await self.call.journal.ended(outcome)
        await self.emit(*events)
        return outcome

    async def _failed(self, call: ToolCall, failure: CallFailure) -> ToolOutcome:
        message, halting = await self._decide(call, failure.error)
        completed = ToolExecutionCompleted(call, error=failure.error, abandoned=failure.abandoned)
        if halting is None:
            return await self._ended(ToolOutcome(message=message), completed, ToolResultEncoded(call, message))
        halt = ToolFailed(halting)
        halted = ToolHalted(call, halt.reason, message)
        return await self._ended(ToolOutcome(message=message, halt=halt), completed, halted)

    async def _decide(self, call: ToolCall, error: ToolError) -> tuple[Message, ToolError | None]:
        """The result message, and the error that halts the turn, if `on_tool_error`, asked once, decides so."""
        policy = self.call.controls.on_tool_error
        message = error_message(call, error.reason, error.message)
        if not callable(policy):
            return message, error if policy == "halt" else None
        try:
            answer = policy(call, error)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer == "halt" and isinstance(answer, str):
                return message, error
            return self._message(call, self._content(answer)), None
        except Exception as raised:  # whatever the caller's function or encoder raises
            halting = ToolError(
                f"on_tool_error raised {type(raised).__name__}: {text_of(raised)}; it was asked about: {error.message}",
                reason="handler_raised",
                tool_name=call.name,
                tool_call_id=call.id,
            )
            halting.__cause__ = raised
            return message, halting

    def _encode(self, call: ToolCall, value: Any) -> Content:
        try:
            return self._content(value.result if isinstance(value, Halt) else value)
        except Exception as error:
            why = f"the tool's result has no text form: {text_of(error)}"
            raise call_failure(call, "encoding_failed", why) from error

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
