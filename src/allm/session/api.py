"""The turns of a session: each operation as a stream that knows what becomes of the session, and as its fold.

    session, result = await allm.session.start(engine, "Plan a trip to Zug", id="trip-1")
    session, result = await allm.session.reply(engine, session, "In winter")

    async with allm.session.stream_reply(engine, session, "In winter") as events:
        async for event in events: ...
    session, result = events.outcome()

Cut short, the session keeps the user's message, the finished steps and the partial answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar, Unpack, cast, final

import attrs

from allm.data.events import Event
from allm.data.message import Message
from allm.data.response import OutputT
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.chat import open_chat, open_question, open_step
from allm.execution.journal import ToolJournal
from allm.execution.options import CallOptions
from allm.execution.stream.block import StreamBlock
from allm.execution.stream.event_stream import EventStream
from allm.runtime.engine import Engine
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

EXAMPLE = """\
async with allm.session.stream_reply(...) as events:
    async for event in events: ..."""

Save = Callable[[Session, ChatResult | StepResult], Awaitable[None]]


@final
@attrs.define(eq=False)
class SessionStream(Generic[T]):
    """The events of one turn of a session: an `EventStream` with `outcome()`."""

    _events: EventStream[T]
    _session: Session

    def __aiter__(self) -> SessionStream[T]:
        return self

    async def __anext__(self) -> Event:
        """The next visible event.

        Raises:
            StreamError: Used outside its block, or by a second task.
            Exception: What `on_event` or `halt_when` raised, as itself.
        """
        return await self._events.__anext__()

    def result(self) -> T:
        """The fold of what has been read so far: at any time, in the block or after it."""
        return self._events.result()

    def outcome(self) -> tuple[Session, T]:
        """The session and the result as of what has been read so far.

        Cut short, the session keeps the user's message, the finished steps and the partial answer, and is `idle`.
        """
        result = self._events.result()
        return project(self._session, result), result

    async def until_done(self) -> T:
        """Read to the end and return the result."""
        return await self._events.until_done()

    def text(self) -> AsyncIterator[str]:
        """The visible text alone, piece by piece."""
        return self._events.text()


def open_session_stream(
    block: StreamBlock[EventStream[T]],
    session: Session,
    enter: Callable[[], None] | None = None,
    save: Save | None = None,
) -> StreamBlock[SessionStream[T]]:
    """The stream of a turn around the stream of its events.

    Args:
        session: As it is when the turn begins.
        enter: Called first; may refuse that the turn begins.
        save: Given the outcome when the block is left, after every task has ended.
    """
    return StreamBlock(_opened(block, session, enter, save), EXAMPLE)


@asynccontextmanager
async def _opened(
    block: StreamBlock[EventStream[T]], session: Session, enter: Callable[[], None] | None, save: Save | None
) -> AsyncGenerator[SessionStream[T]]:
    if enter is not None:
        enter()
    stream: SessionStream[T] | None = None
    try:
        async with block as events:
            stream = SessionStream(events, session)
            yield stream
    finally:
        if save is not None and stream is not None:
            await save(*stream.outcome())  # noqa: ASYNC102  (shields itself, within a limit)


def stream_start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """The first turn of a conversation, as a stream.

    Args:
        messages: A text, messages, a `Thread`, or a `Session` of your own making (with `context`, `metadata`).
        id: The session's id; stores need one.
        options: As those of `allm.chat`. `context` goes over the session's own, `session_id` is the session's id.

    Raises:
        SessionError: The session's status does not allow it; the message says what to call.
        ValidationError, EngineError, OptionError, AdapterError: As `allm.stream`. Nothing has been sent.
    """
    return chat_block(engine, open_start(messages, id), options)


async def start(
    engine: Engine, messages: SessionInput, *, id: str | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """The first turn of a conversation: the fold of `stream_start`."""
    return await _outcome(stream_start(engine, messages, id=id, **options))


def stream_reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """A turn that begins with what the user says, or answers what was asked, as a stream.

    Args and errors: as `stream_start`.
    """
    return chat_block(engine, open_reply(session, content), options)


async def reply(
    engine: Engine, session: Session, content: str | Message, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """A turn that begins with what the user says, or answers what was asked: the fold of `stream_reply`."""
    return await _outcome(stream_reply(engine, session, content, **options))


def stream_continue(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
    """A turn that goes on, as a stream: after results, with approved calls, or again after an error.

    Args:
        message: What to say first; None where nothing is to be said.

    Errors: as `stream_start`; and `SessionError(not_approved)` for a call that may not run after all.
    """
    return chat_block(engine, open_continue(engine, session, message, with_session(session, options)), options)


async def continue_(
    engine: Engine, session: Session, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, ChatResult[OutputT]]:
    """A turn that goes on: the fold of `stream_continue`."""
    return await _outcome(stream_continue(engine, session, message, **options))


def stream_step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> StreamBlock[SessionStream[StepResult[OutputT]]]:
    """One model call and the tools it asks for, as a stream. The session is `idle` while there is more to do.

    Args and errors: as `stream_start`.
    """
    return step_block(engine, open_step_of(session), options)


async def step(
    engine: Engine, session: Session, **options: Unpack[CallOptions[OutputT]]
) -> tuple[Session, StepResult[OutputT]]:
    """One model call and the tools it asks for: the fold of `stream_step`."""
    async with stream_step(engine, session, **options) as events:
        await events.until_done()
    return events.outcome()


def chat_block(
    engine: Engine,
    opening: TurnStart,
    options: CallOptions,
    *,
    journal: ToolJournal | None = None,
    enter: Callable[[], None] | None = None,
    save: Save | None = None,
) -> StreamBlock[SessionStream[ChatResult]]:
    """The stream of a turn; `enter` may refuse that it begins, `save` gets how it ended when the block is left."""
    options = with_session(opening.session, options)
    if opening.questions:
        block = open_question(engine, opening.thread, options, opening.questions)
    else:
        block = open_chat(engine, opening.thread, options, journal=journal, unfinished=opening.unfinished)
    return open_session_stream(block, opening.session, enter, save)


def step_block(
    engine: Engine,
    opening: TurnStart,
    options: CallOptions,
    *,
    journal: ToolJournal | None = None,
    enter: Callable[[], None] | None = None,
    save: Save | None = None,
) -> StreamBlock[SessionStream[StepResult]]:
    """The stream of one step; `enter` may refuse that it begins, `save` gets how it ended when the block is left."""
    block = open_step(engine, opening.thread, with_session(opening.session, options), journal=journal)
    return open_session_stream(block, opening.session, enter, save)


async def _outcome(block: StreamBlock[SessionStream[ChatResult]]) -> tuple[Session, ChatResult]:
    async with block as events:
        await events.until_done()
    return events.outcome()


def with_session(session: Session, options: CallOptions) -> CallOptions:
    """The session's own context and id under those of the call."""
    merged: dict[str, Any] = dict(cast("Mapping[str, Any]", options))
    if session.context:
        given = merged.get("context", {})
        if isinstance(given, Mapping):
            merged["context"] = {**session.context, **given}
    if session.id is not None:
        merged.setdefault("session_id", session.id)
    return cast("CallOptions", merged)
