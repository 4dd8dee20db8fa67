"""The operations of a session, each as a stream whose `outcome()` has the updated session, and as its fold.

    session, result = await allm.session.start(engine, "Plan a trip to Zug", id="trip-1")
    session, result = await allm.session.reply(engine, session, "In winter")

    async with allm.session.stream_reply(engine, session, "In winter") as events:
        async for event in events: ...
    session, result = events.outcome()

If a turn is cut short, the session keeps the user's message, the finished steps and the partial response.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, Unpack, cast, final, overload

import attrs
from typing_extensions import TypeForm

from allm.data.events import Event
from allm.data.message import Message
from allm.data.response import OutputT
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.chat import open_chat, open_question, open_step
from allm.execution.journal import ToolJournal
from allm.execution.options import CallOptions
from allm.execution.stream.block import StreamBlock
from allm.execution.stream.event_stream import EventStream, ListOf
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.session.status import project
from allm.session.turn_start import SessionInput, TurnStart, open_continue, open_reply, open_start, open_step_of

__all__ = [
    "Save",
    "SessionStream",
    "chat_block",
    "continue_",
    "open_session_stream",
    "reply",
    "start",
    "step",
    "step_block",
    "stream_continue",
    "stream_reply",
    "stream_start",
    "stream_step",
    "with_session",
]

T = TypeVar("T", bound=ChatResult | StepResult)
T_co = TypeVar("T_co", bound=ChatResult | StepResult, covariant=True)
ItemT = TypeVar("ItemT")

_Listed = ChatResult[ListOf[ItemT]] | StepResult[ListOf[ItemT]]

EXAMPLE = """\
async with allm.session.stream_reply(...) as events:
    async for event in events: ..."""

Save = Callable[[tuple[Session, ChatResult | StepResult] | None], Awaitable[None]]


@final
@attrs.define(eq=False)
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
    return StreamBlock(_opened(make, session, enter, save), EXAMPLE)


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


def stream_start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """Run the first turn of a conversation, as a stream.

    Args:
        engine: The engine for the turn.
        messages: A text, messages, a `Thread`, or a new `Session` (with `context` or `metadata`).
        id: The id of the session; stores need one.
        options: As for `allm.chat`. `context` is merged over the session's own; `session_id` defaults to its id.

    Raises:
        SessionError: The session's status does not allow it; the message says what to call instead.
        ValidationError, EngineError, OptionError, AdapterError: As for `allm.stream`. Nothing was sent.
    """
    seal(options)
    return chat_block(engine, open_start(messages, id), options)


async def start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """Run the first turn of a conversation: the fold of `stream_start`."""
    seal(options)
    return await _outcome(stream_start(engine, messages, id=id, **options))


def stream_reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """Run a turn with a message of the user, which may answer a pending question, as a stream.

    Args and errors: as for `stream_start`.
    """
    seal(options)
    return chat_block(engine, open_reply(session, content), options)


async def reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """Run a turn with a message of the user, which may answer a pending question: the fold of `stream_reply`."""
    seal(options)
    return await _outcome(stream_reply(engine, session, content, **options))


def stream_continue(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """Continue the conversation, as a stream: after tool results, with approved calls, or again after an error.

    Args:
        engine: The engine for the turn.
        session: The session to continue.
        message: A message to add first, or None.
        options: As for `stream_start`.

    Errors: as for `stream_start`, plus `SessionError(not_approved)` if the approval of a call is not valid.
    """
    seal(options)
    return chat_block(engine, open_continue(engine, session, message, with_session(session, options)), options)


async def continue_(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """Continue the conversation: the fold of `stream_continue`."""
    seal(options)
    return await _outcome(stream_continue(engine, session, message, **options))


def stream_step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[StepResult[OutputT]]]:
    """Make one model call and run the tools it asks for, as a stream. The session is `idle` while there is more to do.

    Args and errors: as for `stream_start`.
    """
    seal(options)
    return step_block(engine, open_step_of(session), options)


async def step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, StepResult[OutputT]]:
    """Make one model call and run the tools it asks for: the fold of `stream_step`."""
    seal(options)
    async with stream_step(engine, session, **options) as events:
        await events.until_done()
    return events.outcome()


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


async def _outcome(block: StreamBlock[SessionStream[ChatResult]]) -> tuple[Session, ChatResult]:
    async with block as events:
        await events.until_done()
    return events.outcome()


def with_session(session: Session, options: CallOptions) -> CallOptions:
    """The options of the call, with the session's context and id as defaults."""
    merged: dict[str, Any] = dict(cast("Mapping[str, Any]", options))
    if session.context:
        given = merged.get("context", {})
        if isinstance(given, Mapping):
            merged["context"] = {**session.context, **given}
    if session.id is not None:
        merged.setdefault("session_id", session.id)
    return cast("CallOptions", merged)
