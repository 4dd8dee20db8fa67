"""`HostedTurn`: a turn that runs on its own; `HostedStream`: what a reader that attaches to it gets."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import SessionError
from allm.data.results import ChatResult
from allm.data.session import Session
from allm.execution.stream.event_log import EventLog, open_reader
from allm.session.turn import SessionStream

__all__ = ["HostedStream", "HostedTurn", "attached"]


@define(eq=False)
class HostedTurn:
    """One turn, while it runs and for a while after it.

    Attributes:
        id: Tells it from all other turns.
        scope: Cancels it.
        stream: Its events, once it has begun; `log` keeps them.
        saved: The session that it has left, once that is saved.
        done: It has ended, and nothing of it runs.
        ended_at: When that was, on the Trio clock.
    """

    session_id: str
    id: str = attrs.field(factory=lambda: secrets.token_hex(8), init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    stream: SessionStream[ChatResult] | None = attrs.field(default=None, init=False)
    log: EventLog[ChatResult] = attrs.field(init=False)
    saved: Session | None = attrs.field(default=None, init=False)
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    ended_at: float = attrs.field(default=0.0, init=False)
    is_saving: bool = attrs.field(default=False, init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)

    def begin(self, stream: SessionStream[ChatResult]) -> None:
        """Take note of its stream."""
        self.stream, self.log = stream, EventLog(stream._events)

    @property
    def is_ending(self) -> bool:
        """Whether it is only being saved, or about to be."""
        return self.is_saving or self.scope.cancel_called

    def end(self, failure: Exception | None) -> None:
        """Take note that it is over."""
        self.ended_at = trio.current_time()
        if self.stream is not None:
            self.log.end(failure)
        self.done.set()

    def outcome(self) -> tuple[Session, ChatResult]:
        """The session and the result so far; from any thread."""
        assert self.stream is not None  # noqa: S101  (nobody attaches before)
        if not self.done.is_set() and not self._is_here():
            return trio.from_thread.run_sync(self.outcome, trio_token=self._token)
        session, result = self.stream.outcome()
        return self.saved or session, result

    def _is_here(self) -> bool:
        """Whether this is the thread that the turn runs in."""
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False


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
        """The session at the start of the turn, with the message that began it: what its events add to."""
        return self._session

    def result(self) -> ChatResult[Any]:
        """The result of the turn so far."""
        return self.outcome()[1]

    def outcome(self) -> tuple[Session, ChatResult[Any]]:
        """The session and the result of the turn so far."""
        return self._turn.outcome()


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
