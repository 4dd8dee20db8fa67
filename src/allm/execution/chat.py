"""The chat loop: run steps until the model is done or something halts the turn.

Theory of operation. The loop is the producer of one stream. It folds the events it emits with the same fold that the
consumer uses, so it can end the turn at any point with a partial result. After each step the gates of `_gate` are tried
in order, and the first that matches ends the turn. However a turn ends, its conversation can be sent again: every tool
call has one result, except the manual calls that are left to the caller.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Unpack, assert_never, overload

import attrs
import trio
from typing_extensions import TypeForm

from allm.data.attrs_classes import define
from allm.data.errors import AllmError, BudgetExceeded
from allm.data.events import ChatCompleted, MessagesAdded
from allm.data.message import Message, Thread, user
from allm.data.response import OutputT
from allm.data.results import (
    ChatResult,
    FinalizeReport,
    HaltedReason,
    HandlerHalted,
    ManualCalls,
    PendingQuestion,
    StepResult,
    ToolFailed,
    UserAsked,
)
from allm.data.user_functions import call_user
from allm.execution.before_step import CHANGES, added_by, ask, changed_call
from allm.execution.journal import ToolJournal, Unfinished
from allm.execution.options import CallOptions, Input, ModelCall, engine_for_chat, prepare_call, resolve
from allm.execution.retrying import fail_at_limit
from allm.execution.step import PreparedCall, TurnCalls, finish_step, run_step
from allm.execution.stream.block import StreamBlock, open_stream, until_done
from allm.execution.stream.event_stream import EventStream, StreamContext
from allm.execution.stream.folds import ChatFold, StepFold, total_usage
from allm.execution.stream.inbox import Inbox, with_messages
from allm.execution.telemetry_facts import call_content, call_facts
from allm.execution.tool_sets import with_loaded_changes, with_loaded_tools
from allm.runtime.call_options import ExecutionOptions, OtherOptions
from allm.runtime.costs import charged
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal

__all__ = ["chat", "open_chat", "open_question", "open_step", "step", "stream", "stream_step"]

_FINISHED = frozenset({"stop", "length", "content_filter"})
_INCONCLUSIVE = frozenset({"stop", "other"})
"""Finish reasons after which the content of the response decides whether the turn goes on."""
_FINALIZED_AFTER = frozenset({"completed", "max_turns", "halt_when"})


@overload
def stream_step(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> StreamBlock[EventStream[StepResult[OutputT]]]: ...
@overload
def stream_step(
    engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[EventStream[StepResult[OutputT]]]: ...
def stream_step(
    engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[EventStream[StepResult[OutputT]]]:
    """Make one model call and run the tools it asks for, as a stream that ends with `StepCompleted`.

    Args and errors: as for `stream_generate`, plus `ValidationError(unanswered_tool_call)` when a tool call of the
    conversation has no result.
    """
    seal(options)
    return open_step(engine, thread, options)


def open_step(
    engine: Engine, thread: Input, options: CallOptions, *, journal: ToolJournal | None = None
) -> StreamBlock[EventStream[StepResult]]:
    """`stream_step` with a journal."""
    turn = TurnCalls(engine, thread, options, journal=journal)
    call, _ = turn.first

    async def produce(context: StreamContext) -> None:
        own = context.send.folded(StepFold(turn.thread, turn.output_type, fold.tools))
        with trio.move_on_after(turn.limit) as whole_call:
            await run_step(*await _first_call(turn, context), context, own)
        if whole_call.cancelled_caught:
            await fail_at_limit(context, call.execution_options.request_timeout, call)

    fold = StepFold(turn.thread, turn.output_type)
    return open_stream("step", produce, call.execution_options, fold, turn.facts, turn.content)


@overload
async def step(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> StepResult[OutputT]: ...
@overload
async def step(engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]) -> StepResult[OutputT]: ...
async def step(engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]) -> StepResult[OutputT]:
    """Make one model call and run the tools it asks for: the fold of `stream_step`."""
    seal(options)
    return await until_done(stream_step(engine, thread, **options))


@overload
def stream(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> StreamBlock[EventStream[ChatResult[OutputT]]]: ...
@overload
def stream(
    engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[EventStream[ChatResult[OutputT]]]: ...
def stream(
    engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[EventStream[ChatResult[OutputT]]]:
    """Run a whole turn as a stream: model calls and tools until the model is done or something halts the turn.

    `ChatCompleted` is the last event. If the block is left early, `events.result()` has the finished steps, the partial
    text, and a conversation in which every tool call has a result (`halted_reason == "cancelled"`).

    Args and errors: as for `stream_step`.
    """
    seal(options)
    return open_chat(engine, thread, options)


def open_chat(
    engine: Engine,
    thread: Input,
    options: CallOptions,
    *,
    journal: ToolJournal | None = None,
    unfinished: Unfinished | None = None,
) -> StreamBlock[EventStream[ChatResult]]:
    """`stream` with a journal, or resumed from an `unfinished` response; `thread` ends before that response."""
    turn = TurnCalls(engine, thread, options, journal=journal, unfinished=unfinished)

    inbox = Inbox()

    async def produce(context: StreamContext) -> None:
        loop = _ChatLoop(turn, context, context.send.folded(turn.fold(inbox)), inbox)
        result: ChatResult | None = None
        try:
            with trio.move_on_after(turn.limit):
                result = await loop.run()
            if result is None:
                error = await fail_at_limit(context, turn.limit, turn.first[0])
                result = attrs.evolve(loop.fold.result(), halted_reason="error", error=error)
            elif inbox.waiting:
                thread = with_messages(result.thread, inbox.waiting, result.halt)
                result = attrs.evolve(result, thread=thread)
        finally:
            inbox.closed = True  # in the same step, so that a message either is in the result or is refused
        await context.send.send((ChatCompleted(result),))

    options_ = turn.first[0].execution_options
    return open_stream("chat", produce, options_, turn.fold(inbox), turn.facts, turn.content, inbox)


def open_question(
    engine: Engine, thread: Thread, options: CallOptions, questions: Sequence[PendingQuestion]
) -> StreamBlock[EventStream[ChatResult]]:
    """A turn that asks the user the first of `questions` and ends without calling the model."""
    call = resolve(engine_for_chat(engine), thread, options)
    asked = thread.add(questions[0].to_message())
    completed = ChatCompleted(ChatResult(thread=asked, halted_reason="ask_user", halt=UserAsked(questions)))
    fold = ChatFold(thread)
    fold.add(completed)  # before anything is read, so that leaving the block early loses no question

    async def produce(context: StreamContext) -> None:
        await context.send.send((completed,))

    facts, content = functools.partial(call_facts, call), functools.partial(call_content, call)
    return open_stream("chat", produce, call.execution_options, fold, facts, content)


@overload
async def chat(
    engine: Engine, thread: Input, *, response_format: TypeForm[OutputT], **options: Unpack[OtherOptions]
) -> ChatResult[OutputT]: ...
@overload
async def chat(engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]) -> ChatResult[OutputT]: ...
async def chat(engine: Engine, thread: Input, **options: Unpack[CallOptions[OutputT]]) -> ChatResult[OutputT]:
    """Run a whole turn: the fold of `stream`.

        result = await allm.chat(engine, "What is the weather in Zug?", tools=[weather])
        result.output_text, result.thread, result.halted_reason

    A failure of the provider is not raised: it is in `result.error`, beside what there was before it.

    Args and errors: as for `stream_step`.
    """
    seal(options)
    return await until_done(stream(engine, thread, **options))


@define(eq=False)
class _ChatLoop:
    """The steps of one running turn.

    Attributes:
        fold: Receives every event that is emitted.
        inbox: Messages of the user that are to join.
    """

    turn: TurnCalls
    context: StreamContext
    fold: ChatFold
    inbox: Inbox
    _steps: list[StepResult] = attrs.field(factory=list, init=False)

    async def run(self) -> ChatResult:
        """Run the turn, in one pass or in two (see `TurnCalls`)."""
        result = await self._pass(await _first_call(self.turn, self.context), self.turn.unfinished)
        if not self.turn.two_pass:
            return result
        report = FinalizeReport(result.halted_reason)
        if report.first_pass not in _FINALIZED_AFTER:
            return attrs.evolve(result, finalize=report)
        nudge = self.turn.first[0].execution_options.structured_finalize_nudge
        last_call = await self._next((user(nudge),) if nudge else (), final=True)
        if isinstance(last_call, AllmError):
            return attrs.evolve(result, finalize=attrs.evolve(report, error=last_call))
        return attrs.evolve(await self._pass(last_call, final=True), finalize=report)

    async def _next(
        self, added: tuple[Message, ...] = (), *, earlier: tuple[Message, ...] = (), final: bool = False
    ) -> PreparedCall | AllmError:
        """Prepare the next call, or say why it cannot be made; then the messages join that come before it.

        Args:
            added: The library's own.
            earlier: Those of an earlier run of the turn, which has asked `before_step` about this call.
        """
        added = (*earlier, *added, *self.inbox.waiting)
        thread = self.fold.current.thread.add(*added)
        try:
            call = self.turn.next(thread, final=final)
            if call.loads_tools:
                call = await with_loaded_tools(call)
        except AllmError as error:
            return error
        asked, given = call.execution_options.before_step is not None, None
        if asked:  # outside of `try`: what the function raises comes out of the turn, as itself
            given = await ask(call, thread, index=len(self._steps), last=self._steps[-1], final=final)
        try:
            if asked:
                given = given if final else await with_loaded_changes(given)
                call = changed_call(call, thread, given, only=_allowed(final=final, known=bool(earlier)))
                added = (*added, *added_by(call))
            prepared = prepare_call(call)
        except AllmError as error:
            return error
        if added:
            await _join(added, call, self.fold.current.thread, self.context)
            self.inbox.joined(added)
        return call, prepared

    async def _pass(
        self, prepared: PreparedCall, unfinished: Unfinished | None = None, *, final: bool = False
    ) -> ChatResult:
        """Run steps until a gate ends the pass; the final pass makes one model call, and validation retries."""
        options = prepared[0].execution_options
        max_turns = 1 if final else options.max_turns
        turns, retries = 0, options.validation_retries
        check = self.turn.check if final or not self.turn.two_pass else None
        while True:
            added: tuple[Message, ...] = ()
            earlier: tuple[Message, ...] = ()
            if unfinished is None:
                step = await run_step(*prepared, self.context, self.fold.current)
            else:
                earlier = unfinished.added
                step, unfinished = await finish_step(prepared[0], unfinished, self.context, self.fold.current), None
            self._steps.append(step)
            turns += 1
            reason = await _gate(step, options, max_turns, turns)
            is_checked = check is not None and reason == "completed" and retries > 0
            correction = check.correction(step.response) if check is not None and is_checked else None
            if reason == "completed" and (self.inbox.waiting or earlier):
                reason = None if len(self._steps) < options.max_turns else "max_turns"
            elif correction is not None:
                retries -= 1
                reason = None
                added = (correction,)
            if reason is not None:
                ended = self._ended(reason)
                return (
                    attrs.evolve(ended, thread=with_messages(ended.thread, earlier, ended.halt)) if earlier else ended
                )
            following = await self._next(added, earlier=earlier, final=final)
            if isinstance(following, AllmError):
                ended = self._ended("budget" if isinstance(following, BudgetExceeded) else "error")
                return attrs.evolve(ended, thread=ended.thread.add(*earlier, *added), error=following)
            prepared = following

    def _ended(self, reason: HaltedReason) -> ChatResult:
        """The turn after its last step."""
        if reason == "budget":
            from allm.execution.budgeting import turn_over_budget

            return turn_over_budget(self._steps)
        last = self._steps[-1]
        thread = last.thread
        error: AllmError | None = last.response.error if reason == "error" else None
        match last.halt:
            case UserAsked(questions):
                thread = thread.add(questions[0].to_message())
            case ToolFailed():
                error = last.halt.error
            case HandlerHalted() | ManualCalls() | None:
                pass
            case _:
                assert_never(last.halt)
        return ChatResult(
            thread=thread,
            final_response=last.response,
            steps=tuple(self._steps),
            halted_reason=reason,
            halt=last.halt,
            error=error,
            usage=total_usage(self._steps),
        )


async def _first_call(turn: TurnCalls, context: StreamContext) -> PreparedCall:
    """The first call, as `before_step` changes it; for a turn that resumes, with the tools for its calls."""
    if turn.loads_tools:
        await turn.load_tools()
    call, _ = turn.first
    if call.execution_options.before_step is None:
        return turn.first
    given = await with_loaded_changes(await ask(call, turn.thread, index=0, last=None, final=False))
    if turn.unfinished is not None:
        return changed_call(call, turn.thread, given, only={"tools"}), None
    call = changed_call(call, turn.thread, given)
    prepared = prepare_call(call)
    if added := added_by(call):
        await _join(added, call, turn.thread, context)
    return call, prepared


async def _join(messages: tuple[Message, ...], call: ModelCall, thread: Thread, context: StreamContext) -> None:
    """Let messages join the conversation; in a journal before anyone sees them."""
    if call.journal is not None:
        await call.journal.record_messages(thread.add(*messages))
    await context.send.send((MessagesAdded(messages),))


def _allowed(*, final: bool, known: bool) -> frozenset[str]:
    """What `before_step` may change: in the final call not the tools, and no messages that are known from before."""
    return CHANGES - ({"tools", "tool_choice"} if final else set()) - ({"messages"} if known else set())


async def _gate(step: StepResult, options: ExecutionOptions, max_turns: int, turns: int) -> HaltedReason | None:
    """Why the turn ends after this step, or None to continue. The first match wins."""
    if charged.get() is not None:
        from allm.execution.budgeting import budget_error

        if budget_error(step) is not None:
            return "budget"
    if step.halt is not None:
        return step.halt.reason
    finish = step.response.finish_reason
    if finish == "error":
        return "error"
    # Providers end a forced call with "stop", and some use unknown finish reasons. If all calls were run, the turn goes
    # on, unless the reason is known to mean that the response is truncated.
    goes_on = finish == "tool_calls" or (finish in _INCONCLUSIVE and _all_calls_ran(step))
    if not goes_on:
        return "completed" if finish in _FINISHED else "incomplete"
    if options.halt_when is not None and await call_user(options.halt_when, step):
        return "halt_when"
    return "max_turns" if turns >= max_turns else None


def _all_calls_ran(step: StepResult) -> bool:
    """Whether the response has calls, and each of them is complete and was run."""
    calls = step.response.tool_calls
    whole = step.response.finish_reason == "stop" or all(call.arguments is not None for call in calls)
    return bool(step.tool_results) and whole
