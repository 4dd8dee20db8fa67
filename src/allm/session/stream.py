"""The stream of a turn that also knows what becomes of the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Generic, NoReturn, TypeVar, final

import attrs

from allm.data.errors import StreamError
from allm.data.events import Event
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.stream.event_stream import EventStream
from allm.execution.stream.pipeline import StreamBlock
from allm.session.projection import project

__all__ = ["Save", "SessionBlock", "SessionStream"]

T = TypeVar("T", bound=ChatResult | StepResult)

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


@final
@attrs.define(eq=False)
class SessionBlock(Generic[T]):
    """What `stream_reply` and its like return: enter it with `async with` to get the `SessionStream`."""

    _block: StreamBlock[T]
    _session: Session
    _enter: Callable[[], None] | None = None
    _save: Save | None = None
    _stream: SessionStream[T] | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> SessionStream[T]:
        if self._stream is not None:
            raise StreamError("this stream was entered before; a turn runs once: open another", reason="closed")
        if self._enter is not None:
            self._enter()
        events = await self._block.__aenter__()
        self._stream = SessionStream(events, self._session)
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (cancels its own tasks first)
        finally:
            if self._save is not None and self._stream is not None:
                await self._save(*self._stream.outcome())  # noqa: ASYNC102  (shields itself, within a limit)

    def __aiter__(self) -> NoReturn:
        raise StreamError(
            "a stream is opened with `async with`, which closes it for sure:\n"
            "    async with allm.session.stream_reply(...) as events:\n"
            "        async for event in events: ...",
            reason="not_entered",
        )
