"""A turn of a session: its stream, and the session that it leaves, whole or cut short."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, assert_never, overload

import attrs
from typing_extensions import TypeForm

from allm.data.attrs_classes import define, frozen
from allm.data.content import ToolCall
from allm.data.errors import AdapterError, AllmError, BudgetExceeded
from allm.data.events import Event
from allm.data.message import Message, Thread, unanswered_in
from allm.data.response import Response
from allm.data.results import ChatResult, HaltCause, HandlerHalted, ManualCalls, StepResult, ToolFailed, UserAsked
from allm.data.session import Session, SessionStatus
from allm.execution.chat import open_chat, open_question, open_step
from allm.execution.journal import ToolJournal
from allm.execution.options import CallOptions
from allm.execution.stream.block import StreamBlock
from allm.execution.stream.event_stream import EventStream
from allm.execution.stream.listed import ListOf
from allm.runtime.engine import Engine
from allm.session.turn_start import TurnStart, with_session

__all__ = ["Save", "SessionStream", "chat_block", "open_session_stream", "project", "step_block"]

T = TypeVar("T", bound=ChatResult | StepResult)
T_co = TypeVar("T_co", bound=ChatResult | StepResult, covariant=True)
ItemT = TypeVar("ItemT")

_Listed = ChatResult[ListOf[ItemT]] | StepResult[ListOf[ItemT]]

EXAMPLE = """\
async with allm.session.stream_reply(...) as events:
    async for event in events: ..."""

Save = Callable[[tuple[Session, ChatResult | StepResult] | None], Awaitable[None]]


@define(eq=False)
class SessionStream(Generic[T_co]):
    """The events of one turn of a session: an `EventStream` with `outcome()`."""

    _events: EventStream[T_co]
    _session: Session

    def __aiter__(self) -> SessionStream[T_co]:
        return self

    async def __anext__(self) -> Event:
        """The next visible event.

        Raises:
            StreamError: Used outside its block, or by a second task.
            Exception: Raised by `on_event` or `halt_when`.
        """
        return await self._events.__anext__()

    def result(self) -> T_co:
        """The fold of the events read so far: at any time, in the block or after it."""
        return self._events.result()

    def outcome(self) -> tuple[Session, T_co]:
        """The session and the result after the events read so far.

        If the turn is cut short, the session keeps the user's message, the finished steps and the partial response, and
        is `idle`.
        """
        result = self._events.result()
        return project(self._session, result), result

    @property
    def number(self) -> int:
        """The number of the event that was read last; see `EventStream.number`."""
        return self._events.number

    def send_user(self, content: str | Message) -> None:
        """Let a message of the user join the turn while it runs; see `EventStream.send_user`."""
        self._events.send_user(content)

    async def until_done(self) -> T_co:
        """Read to the end and return the result."""
        return await self._events.until_done()

    def text(self, *, raise_on_error: bool = True) -> AsyncIterator[str]:
        """The visible text alone, piece by piece; see `EventStream.text`."""
        return self._events.text(raise_on_error=raise_on_error)

    def partial_output(self, *, raise_on_error: bool = True) -> AsyncIterator[Any]:
        """The structured output as far as it has come; see `EventStream.partial_output`."""
        return self._events.partial_output(raise_on_error=raise_on_error)

    @overload
    def elements(self: SessionStream[_Listed[ItemT]], *, raise_on_error: bool = True) -> AsyncIterator[ItemT]: ...
    @overload
    def elements(self, item: TypeForm[ItemT], *, raise_on_error: bool = True) -> AsyncIterator[ItemT]: ...
    @overload
    def elements(self, *, raise_on_error: bool = True) -> AsyncIterator[Any]: ...
    def elements(self, item: Any = None, *, raise_on_error: bool = True) -> AsyncIterator[Any]:
        """The items of a list, each as soon as it is whole; see `EventStream.elements`."""
        return self._events.elements(item, raise_on_error=raise_on_error)


def open_session_stream(
    make: Callable[[], StreamBlock[EventStream[T]]],
    session: Session,
    enter: Callable[[], Awaitable[None]] | None = None,
    save: Save | None = None,
) -> StreamBlock[SessionStream[T]]:
    """Wrap the event stream of a turn into a `SessionStream`.

    Args:
        make: Prepares the event stream of the turn. Without `enter` that is done at once, with it after it.
        session: The session at the start of the turn.
        enter: Called on entering the block, before anything else; may raise to prevent the turn.
        save: Called with the outcome when the block is left, after every task has ended; with None if nothing began.
    """
    if enter is None:
        block = make()
        make = lambda: block  # noqa: E731  (a type checker knows its type)
    return StreamBlock(functools.partial(_opened, make, session, enter, save), EXAMPLE)


@asynccontextmanager
async def _opened(
    make: Callable[[], StreamBlock[EventStream[T]]],
    session: Session,
    enter: Callable[[], Awaitable[None]] | None,
    save: Save | None,
) -> AsyncGenerator[SessionStream[T]]:
    if enter is not None:
        await enter()
    stream: SessionStream[T] | None = None
    try:
        async with make() as events:
            stream = SessionStream(events, session)
            yield stream
    finally:
        if save is not None:
            await save(stream.outcome() if stream is not None else None)  # noqa: ASYNC102  (shields itself, with a time limit)


def chat_block(
    engine: Engine,
    turn_start: TurnStart,
    options: CallOptions,
    *,
    journal: ToolJournal | None = None,
    enter: Callable[[], Awaitable[None]] | None = None,
    save: Save | None = None,
) -> StreamBlock[SessionStream[ChatResult]]:
    """The stream of a turn; see `open_session_stream` for `enter` and `save`."""
    options, thread = with_session(turn_start.session, options), turn_start.thread

    def make() -> StreamBlock[EventStream[ChatResult]]:
        if turn_start.questions:
            return open_question(engine, thread, options, turn_start.questions)
        return open_chat(engine, thread, options, journal=journal, unfinished=turn_start.unfinished)

    return open_session_stream(make, turn_start.session, enter, save)


def step_block(
    engine: Engine,
    turn_start: TurnStart,
    options: CallOptions,
    *,
    journal: ToolJournal | None = None,
    enter: Callable[[], Awaitable[None]] | None = None,
    save: Save | None = None,
) -> StreamBlock[SessionStream[StepResult]]:
    """The stream of one step; see `open_session_stream` for `enter` and `save`."""
    options = with_session(turn_start.session, options)
    return open_session_stream(
        lambda: open_step(engine, turn_start.thread, options, journal=journal), turn_start.session, enter, save
    )


# --- the session after a turn ----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class _End:
    """How a turn or a step ended; `over` is False if the model has more to do."""

    thread: Thread
    response: Response | None
    over: bool
    halt: HaltCause | None
    error: AllmError | None


def project(session: Session, result: ChatResult | StepResult) -> Session:
    """The session after a turn or a step that started from `session`."""
    end = _end_of_step(result) if isinstance(result, StepResult) else _end_of_chat(result)
    pending = _pending_calls(end.thread)
    return attrs.evolve(
        session,
        thread=end.thread,
        status=_status(end, pending),
        pending_tool_calls=pending,
        pending_questions=end.halt.questions if isinstance(end.halt, UserAsked) else (),
        approvals=(),
        error=end.error,
        halt=end.halt if isinstance(end.halt, HandlerHalted) else None,
        resume_at=_before_answer(end) if end.error is not None else None,
    )


def _end_of_chat(result: ChatResult) -> _End:
    if result.halted_reason == "cancelled" and result.steps:
        last = result.steps[-1]
        if result.thread == last.thread:
            # Cut short after the last step, before the turn's own result: the step has what is pending.
            return _end_of_step(last)
        if result.final_response == last.response:
            # The same, and there are messages of the user that have joined no step.
            return _end_of_step(attrs.evolve(last, thread=result.thread, done=False))
    failed = result.halted_reason in {"error", "tool_error"}
    return _End(
        thread=result.thread,
        response=result.final_response,
        over=result.halted_reason not in {"cancelled", "budget"},
        halt=result.halt,
        error=result.error or _error_of(result.final_response) if failed else None,
    )


def _end_of_step(step: StepResult) -> _End:
    thread, over = step.thread, True
    error: AllmError | None = None
    match step.halt:
        case UserAsked(questions):
            thread = thread.add(questions[0].to_message())
        case ToolFailed():
            error = step.halt.error
        case HandlerHalted():
            pass
        case ManualCalls() | None:
            over = step.done
            if isinstance(step.response.error, BudgetExceeded):
                over = False
            elif step.response.finish_reason == "error":
                error = _error_of(step.response)
        case _:
            assert_never(step.halt)
    return _End(thread=thread, response=step.response, over=over, halt=step.halt, error=error)


def _error_of(response: Response | None) -> AllmError:
    """The error of the response, or a generic one: events from another source may have none."""
    return (response.error if response is not None else None) or AdapterError("the turn failed")


def _status(end: _End, pending: tuple[ToolCall, ...]) -> SessionStatus:
    if pending:
        return "awaiting_tools"
    if isinstance(end.halt, UserAsked):
        return "awaiting_user"
    if end.error is not None:
        return "error"
    return "completed" if end.over else "idle"


def _pending_calls(thread: Thread) -> tuple[ToolCall, ...]:
    waiting = unanswered_in(thread)
    if not waiting:
        return ()
    calls = {call.id: call for message in thread.messages for call in message.tool_calls}
    return tuple(calls[call_id] for call_id in waiting)


def _before_answer(end: _End) -> int | None:
    """Index of the message of a failed response; None if it was not the response that failed, or nothing arrived."""
    if end.response is None or end.response.error is None:
        return None
    messages = end.thread.messages
    index = len(messages) - 1
    while index >= 0 and messages[index].role == "tool":
        index -= 1
    return index if index >= 0 and messages[index] == end.response.message else None
