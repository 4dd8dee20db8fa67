"""`HostedStream`: what a reader gets that attaches to a turn of a host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, final

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import SessionError
from allm.data.events import Event
from allm.data.results import ChatResult
from allm.data.session import Session
from allm.execution.stream.event_log import open_reader
from allm.session.hosted_turns import HostedTurn
from allm.session.turn import SessionStream

__all__ = ["HostedStream", "attached"]


@final
@define(eq=False)
class HostedStream(SessionStream[ChatResult[Any]]):
    """The events of a turn that runs on its own, for one of its readers.

    A `SessionStream`, with these differences. `number` is the place of the event that was read last in the turn, for
    `attach(after=...)` after a break. `result()` and `outcome()` are those of the turn so far, which may be ahead of
    this reader: with `after=None` they are what the events that follow go on from. The iteration ends when the turn has
    been saved; `outcome()` is then what is in the store. Each reader gets the exception that has ended the turn.
    """

    _turn: HostedTurn = attrs.field(kw_only=True, alias="turn")

    @property
    def turn(self) -> str:
        """The id of the turn."""
        return self._turn.id

    @property
    def session(self) -> Session:
        """The session at the start of the turn, with the message that began it; its events add to this."""
        return self._session

    def numbered(self) -> AsyncIterator[tuple[int, Event]]:
        """The same events, each with its number: `async for number, event in events.numbered()`."""
        return _Numbered(self)

    def result(self) -> ChatResult[Any]:
        """The result of the turn so far."""
        return self.outcome()[1]

    def outcome(self) -> tuple[Session, ChatResult[Any]]:
        """The session and the result of the turn so far."""
        return self._turn.outcome()


@define(eq=False)
class _Numbered:
    _stream: HostedStream

    def __aiter__(self) -> _Numbered:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        event = await self._stream.__anext__()
        return self._stream.number, event


@asynccontextmanager
async def attached(turn: HostedTurn, after: int | None) -> AsyncGenerator[HostedStream]:
    """The block of a reader.

    Raises:
        SessionError: `invalid_input`: the turn has had fewer events.
    """
    assert turn.stream is not None  # noqa: S101  (nobody attaches before)
    count = len(turn.log.events)
    if after is not None and after > count:
        raise SessionError(
            f"the turn of session {turn.session_id!r} has had {count} events, so nothing can follow event {after}: "
            "name the turn that the number belongs to, attach(..., turn=events.turn)",
            reason="invalid_input",
        )
    reader = open_reader(turn.log, count if after is None else after)
    try:
        yield HostedStream(reader, turn.stream._session, turn=turn)
    finally:
        reader._close()
