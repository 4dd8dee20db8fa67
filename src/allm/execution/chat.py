"""The chat loop: steps until the model is done or something halts the turn.

Theory of operation. The loop is the producer of one stream. It folds what it emits with the same fold that the consumer
uses, so that it can end the turn at any point with what there is. After each step the gates of `_gate` are tried in
order and the first that matches ends the turn. Whatever ends it, the conversation it leaves can be sent again: every
tool call has one result, except those that are handed to the caller as manual calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Unpack

import attrs
import trio

from allm.data.builders import assistant, to_messages, user
from allm.data.errors import AllmError, ValidationError
from allm.data.events import ChatCompleted
from allm.data.message import Message
from allm.data.request import Request
from allm.data.results import ChatResult, StepResult
from allm.data.thread import Thread
from allm.data.validation import unanswered_tool_calls, validate
from allm.execution.journal import ToolJournal, Unfinished
from allm.execution.options import CallOptions, Input, ModelCall, check_adapter, output_type, prepare_call, resolve
from allm.execution.step import finish_step, run_step
from allm.execution.stream.channel import StreamContext
from allm.execution.stream.folds import ChatFold, StepFold, total_usage
from allm.execution.stream.pipeline import StreamBlock, open_stream
from allm.execution.stream.retrying import fail_at_limit
from allm.runtime.adapters import as_adapter
from allm.runtime.capability import needs_two_passes
from allm.runtime.engine import Engine

__all__ = ["chat", "open_chat", "open_step", "step", "stream", "stream_step"]

_FINISHED = frozenset({"stop", "length", "content_filter"})
_FINALIZED_AFTER = frozenset({"completed", "max_turns", "halt_when"})


def stream_step(engine: Engine, thread: Input, **options: Unpack[CallOptions]) -> StreamBlock[StepResult]:
    """One model call and the tools it asks for, as a stream that ends with `StepCompleted`.

    Args and errors: as `stream_generate`; and `ValidationError(unanswered_tool_call)` for a conversation with a tool
    call that has no result.
    """
    return open_step(engine, thread, options)


def open_step(
    engine: Engine, thread: Input, options: CallOptions, *, journal: ToolJournal | None = None
) -> StreamBlock[StepResult]:
    """`stream_step` with a journal."""
    turn = _ChatRun(engine, thread, options, journal=journal)
    call, prepared = turn.first

    async def produce(flow: StreamContext) -> None:
        fold = StepFold(turn.thread, turn.output_type)
        flow.send.delivered = fold.add
        with trio.move_on_after(turn.limit) as whole_call:
            await run_step(call, prepared, flow, fold)
        if whole_call.cancelled_caught:
            await fail_at_limit(flow, call.controls.request_timeout)

    return open_stream("step", produce, call.controls, StepFold(turn.thread, turn.output_type), **turn.facts)


async def step(engine: Engine, thread: Input, **options: Unpack[CallOptions]) -> StepResult:
    """One model call and the tools it asks for: the fold of `stream_step`."""
    async with stream_step(engine, thread, **options) as events:
        return await events.until_done()


def stream(engine: Engine, thread: Input, **options: Unpack[CallOptions]) -> StreamBlock[ChatResult]:
    """A whole turn as a stream: model calls and tools until the model is done or something halts.

    `ChatCompleted` comes last, once. After leaving the block early, `events.result()` gives the finished steps, the
    partial text, and a conversation in which every tool call is answered (`halted_reason == "cancelled"`).

    Args and errors: as `stream_step`.
    """
    return open_chat(engine, thread, options)


def open_chat(
    engine: Engine,
    thread: Input,
    options: CallOptions,
    *,
    journal: ToolJournal | None = None,
    unfinished: Unfinished | None = None,
) -> StreamBlock[ChatResult]:
    """`stream` with a journal, or from an answer whose calls are not all answered; `thread` ends before that."""
    turn = _ChatRun(engine, thread, options, journal=journal, unfinished=unfinished)
    return open_stream("chat", turn.produce, turn.first[0].controls, turn.fold(), **turn.facts)


async def chat(engine: Engine, thread: Input, **options: Unpack[CallOptions]) -> ChatResult:
    """A whole turn: the fold of `stream`.

    result = await allm.chat(engine, "What is the weather in Zug?", tools=[weather])
    result.output_text, result.thread, result.halted_reason
    """
    async with stream(engine, thread, **options) as events:
        return await events.until_done()


class _ChatRun:
    """A turn with its first call prepared, so that what is wrong with it is raised before anything runs."""

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
        self.engine = engine
        self.options = options
        self.journal = journal
        self.request = given if isinstance(given, Request) else Request(to_messages(given))
        self.thread = given if isinstance(given, Thread) else Thread(self.request.messages)
        validate(self.thread)
        _check_answered(self.thread)
        resolved = resolve(engine, self.request, options)
        self.two_pass = resolved.request.response_format is not None and (
            resolved.request.structured_finalize or _needs_two_passes(resolved)
        )
        self.output_type = output_type(resolved)
        self.limit = float("inf") if resolved.controls.request_timeout is None else resolved.controls.request_timeout
        self.unfinished = unfinished
        if unfinished is None:
            self.first = self._prepared(resolved, self.thread, final=False)
        else:
            response = attrs.evolve(unfinished.response, output_type=self.output_type)
            self.unfinished = attrs.evolve(unfinished, response=response)
            self.first = self._call(resolved, self.thread, final=False), None
        self.facts = {"provider": as_adapter(engine.adapter).provider, "model": resolved.request.model}

    def _prepared(self, call: ModelCall, thread: Thread, *, final: bool) -> tuple[ModelCall, Any]:
        call = self._call(call, thread, final=final)
        return call, prepare_call(call)

    def _call(self, call: ModelCall, thread: Thread, *, final: bool) -> ModelCall:
        changes: dict[str, Any] = {"messages": thread.messages, "structured_finalize": False}
        if self.two_pass and final:
            changes |= {"tools": (), "tool_choice": None}
        elif self.two_pass:
            changes["response_format"] = None
        return attrs.evolve(call, request=attrs.evolve(call.request, **changes), journal=self.journal)

    def _next(self, thread: Thread, *, final: bool) -> tuple[ModelCall, Any]:
        request = attrs.evolve(self.request, messages=thread.messages)
        return self._prepared(resolve(self.engine, request, self.options), thread, final=final)

    def fold(self) -> ChatFold:
        """A fold for the turn's events."""
        fold = ChatFold(self.thread, self.output_type)
        if self.unfinished is not None:
            fold.begin_with(self.unfinished)
        return fold

    async def produce(self, flow: StreamContext) -> None:
        """Run the turn."""
        fold = self.fold()
        flow.send.delivered = fold.add
        result: ChatResult | None = None
        with trio.move_on_after(self.limit):
            result = await self._run(flow, fold)
        if result is None:
            error = await fail_at_limit(flow, self.limit)
            partial = fold.result()
            result = attrs.evolve(partial, halted_reason="error", metadata={**partial.metadata, "error": error})
        await flow.send.send((ChatCompleted(result),))

    async def _run(self, flow: StreamContext, fold: ChatFold) -> ChatResult:
        result = await self._loop(flow, fold, self.thread, self.first, unfinished=self.unfinished)
        if not self.two_pass:
            return result
        first_halt = result.halted_reason
        passes: dict[str, Any] = {"pass_1_halted": first_halt}
        metadata = {**result.metadata, "structured_finalize": passes}
        if first_halt not in _FINALIZED_AFTER:
            return attrs.evolve(result, metadata=metadata)
        nudge = self.first[0].controls.structured_finalize_nudge
        thread = result.thread.add(user(nudge)) if nudge else result.thread
        try:
            prepared = self._next(thread, final=True)
        except AllmError as error:
            passes["pass_2_error"] = error
            return attrs.evolve(result, metadata=metadata)
        fold.next_step(thread)
        last = await self._loop(flow, fold, thread, prepared, steps=list(result.steps), final=True)
        return attrs.evolve(last, metadata={**last.metadata, "structured_finalize": passes})

    async def _loop(
        self,
        flow: StreamContext,
        fold: ChatFold,
        thread: Thread,
        prepared: tuple[ModelCall, Any],
        *,
        steps: list[StepResult] | None = None,
        final: bool = False,
        unfinished: Unfinished | None = None,
    ) -> ChatResult:
        steps = steps if steps is not None else []
        controls = prepared[0].controls
        turns, retries = 0, controls.validation_retries
        while True:
            if unfinished is None:
                result = await run_step(*prepared, flow, fold.current)
            else:
                result, unfinished = await finish_step(prepared[0], unfinished, flow, fold.current), None
            steps.append(result)
            turns += 1
            reason = await _gate(result, controls, 1 if final else controls.max_turns, turns)
            thread = result.thread
            problem = _invalid_output(result) if reason == "completed" and retries else None
            if problem is not None:
                retries -= 1
                thread = thread.add(user(f"That is not valid: {problem} Answer again, with the corrected JSON only."))
                fold.next_step(thread)
            elif reason is not None:
                return _finished(thread, steps, reason)
            try:
                prepared = self._next(thread, final=final)
            except AllmError as error:
                return attrs.evolve(_finished(thread, steps, "error"), metadata={"error": error})


async def _gate(result: StepResult, controls: Any, max_turns: int, turns: int) -> str | None:
    """Why the turn ends after this step, or None to go on. First match wins."""
    halted = result.metadata.get("halted_reason")
    if halted is not None:  # ask_user, tool_error, a handler's own reason
        return str(halted)
    if "manual_tool_calls" in result.metadata:
        return "manual_tool_calls"
    finish = result.response.finish_reason
    if finish == "error":
        return "error"
    # Providers end a forced call with "stop": an answer with calls that were run has not finished the turn.
    if finish in _FINISHED and not (finish == "stop" and result.tool_results):
        return "completed"
    if finish != "tool_calls" and finish != "stop":  # noqa: PLR1714
        return "incomplete"
    if controls.halt_when is not None:
        verdict = controls.halt_when(result)
        if await verdict if inspect.isawaitable(verdict) else verdict:
            return "halt_when"
    return "max_turns" if turns >= max_turns else None


def _finished(thread: Thread, steps: list[StepResult], reason: str) -> ChatResult:
    last = steps[-1]
    metadata = {
        key: value
        for key, value in last.metadata.items()
        if key in {"ask_user_hints", "halt_tool_call_id", "halt_result", "error"}
    }
    if last.response.error is not None and reason == "error":
        metadata["error"] = last.response.error
    question = last.metadata.get("pending_question") if reason == "ask_user" else None
    call_id = last.metadata.get("pending_tool_call_id")
    if question is not None:
        asked = attrs.evolve(assistant(question), metadata={"ask_user": True, "tool_call_id": call_id})
        thread = thread.add(asked)
    return ChatResult(
        thread=thread,
        final_response=last.response,
        steps=tuple(steps),
        halted_reason=reason,
        pending_question=question,
        pending_tool_call_id=call_id,
        manual_tool_calls=last.metadata.get("manual_tool_calls", ()),
        usage=total_usage(step.response for step in steps),
        metadata=metadata,
    )


def _invalid_output(result: StepResult) -> str | None:
    """What is wrong with the structured output of the step, if it has one."""
    if result.response.output_type is None:
        return None
    try:
        result.response.parsed()
    except ValidationError as error:
        return error.message
    return None


def _needs_two_passes(call: ModelCall) -> bool:
    """Whether the model cannot have tools and a response format in one call."""
    adapter = as_adapter(call.engine.adapter)
    asks = bool(call.request.tools) and adapter.needs_structured_finalize(call.request)
    return asks or needs_two_passes(adapter, call.request)


def _check_answered(thread: Thread) -> None:
    waiting = unanswered_tool_calls(thread.messages)
    if waiting:
        positions = {call.id: index for index, message in enumerate(thread.messages) for call in _calls(message)}
        raise ValidationError(
            [(("messages", positions[call_id], "tool_calls", call_id), "unanswered_tool_call") for call_id in waiting],
            reason="invalid_thread",
            message=f"these tool calls have no result: {', '.join(waiting)}; add allm.tool_result(id, content) for "
            "each before the conversation is sent again",
        )


def _calls(message: Message) -> tuple[Any, ...]:
    return message.tool_calls if message.role == "assistant" else ()
