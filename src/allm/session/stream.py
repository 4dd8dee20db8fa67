"""The stream of a turn that also knows what becomes of the session."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar, final

import attrs

from allm.data.events import Event
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.stream.block import StreamBlock
from allm.execution.stream.event_stream import EventStream
from allm.session.projection import project

__all__ = ["Save", "SessionStream", "open_session_stream"]

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
