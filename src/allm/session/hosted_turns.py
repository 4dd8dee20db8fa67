"""The turns of a host: `HostedTurn`, one of them, and `HostedTurns`, which of them run and which are kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.content import MediaPart, Part, media_of
from allm.data.errors import SessionError
from allm.data.results import ChatResult
from allm.data.session import Session
from allm.execution.stream.event_log import EventLog
from allm.session.turn import SessionStream

__all__ = ["KEEP", "HostedTurn", "HostedTurns"]

T = TypeVar("T")

KEEP = 60.0
"""Seconds for which the events of a turn that has ended can be read: longer than a browser takes to come back."""
MOST_KEPT = 256
"""Turns that have ended and whose events are kept, at most."""
MOST_EVENTS = 500_000
"""Events of them that are kept, at most, besides those of the turn that ended last: some 100 MB of deltas."""
MOST_BYTES = 200 * 1024 * 1024
"""Texts and files in their conversations, at most, besides that turn: ten of the largest requests of a provider."""


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
        size: Of its conversation then, about, in bytes.
    """

    session_id: str
    id: str = attrs.field(factory=lambda: secrets.token_hex(8), init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    stream: SessionStream[ChatResult] | None = attrs.field(default=None, init=False)
    log: EventLog[ChatResult] = attrs.field(init=False)
    saved: Session | None = attrs.field(default=None, init=False)
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    ended_at: float = attrs.field(default=0.0, init=False)
    size: int = attrs.field(default=0, init=False)
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
            thread = (self.saved or self.stream._session).thread
            self.size = sum(_size_of(part) for message in thread.messages for part in message.parts)
        self.done.set()

    def outcome(self) -> tuple[Session, ChatResult]:
        """The session and the result so far; from any thread."""
        return self._outcome() if self.done.is_set() else in_run(self._token, self._outcome)

    def _outcome(self) -> tuple[Session, ChatResult]:
        assert self.stream is not None  # noqa: S101  (nobody attaches before)
        session, result = self.stream.outcome()
        return self.saved or session, result


@define(eq=False)
class HostedTurns:
    """The turns of a host. A session has one that runs, and the events of the one before it until the next begins.

    Attributes:
        keep: Seconds for which the events of a turn that has ended are kept.
        running: By session; also those that have not begun yet.
        closed: None may begin any more.
    """

    keep: float
    running: dict[str, HostedTurn] = attrs.field(factory=dict[str, HostedTurn], init=False)
    closed: bool = attrs.field(default=False, init=False)
    _ended: dict[str, HostedTurn] = attrs.field(factory=dict[str, HostedTurn], init=False)  # the newest is the last
    _events: int = attrs.field(default=0, init=False)  # of those that have ended
    _bytes: int = attrs.field(default=0, init=False)
    # For the next one, by session.
    _waiting: dict[str, trio.lowlevel.ParkingLot] = attrs.field(factory=dict[str, trio.lowlevel.ParkingLot], init=False)

    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)

    async def new(self, session_id: str) -> HostedTurn:
        """A turn that may begin.

        Raises:
            SessionError: As for `free`.
        """
        await self.free(session_id)
        turn = self.running[session_id] = HostedTurn(session_id)
        return turn

    async def free(self, session_id: str) -> None:
        """Wait while a turn of the session is being saved.

        Raises:
            SessionError: `invalid_status`: one runs, or the host is closed.
        """
        while (other := self.running.get(session_id)) is not None:
            if not other.is_ending:
                raise SessionError(
                    f"a turn of session {session_id!r} is running: read it with host.attach(id), end it with "
                    "host.cancel(id), or let a message join it with events.send_user(text)",
                    reason="invalid_status",
                )
            await other.done.wait()
        self._check_open()

    def begun(self, turn: HostedTurn, stream: SessionStream[ChatResult]) -> None:
        """Take note that a turn has begun."""
        turn.begin(stream)
        self._drop(turn.session_id)
        if (waiting := self._waiting.get(turn.session_id)) is not None:
            waiting.unpark_all()

    def ended(self, turn: HostedTurn, failure: Exception | None) -> None:
        """Take note that a turn is over, and keep its events for a while."""
        del self.running[turn.session_id]
        turn.end(failure)
        if turn.stream is not None:
            self._ended[turn.session_id] = turn
            self._events += len(turn.log.events)
            self._bytes += turn.size
            self._forget()

    def close(self) -> None:
        """Let no turn begin any more."""
        self.closed = True
        for waiting in self._waiting.values():
            waiting.unpark_all()

    def newest(self, session_id: str) -> HostedTurn | None:
        """The turn that runs, or that ended last and is kept; from any thread."""
        return in_run(self._token, lambda: self._newest(session_id))

    def _newest(self, session_id: str) -> HostedTurn | None:
        self._forget()
        running = self.running.get(session_id)
        return running if running is not None and running.stream is not None else self._ended.get(session_id)

    async def newer(self, session_id: str, after: str | None) -> HostedTurn:
        """Wait until there is a newer turn than this one.

        Raises:
            SessionError: `invalid_status`: the host is closed, so there will be none.
        """
        while True:
            turn = self.newest(session_id)
            if turn is not None and turn.id != after:
                return turn
            self._check_open()
            waiting = self._waiting.setdefault(session_id, trio.lowlevel.ParkingLot())
            try:
                await waiting.park()
            finally:
                if not waiting:
                    self._waiting.pop(session_id, None)

    def _check_open(self) -> None:
        if self.closed:
            raise SessionError(
                "the host's block has been left, so it begins no turn: begin turns inside it", reason="invalid_status"
            )

    def _forget(self) -> None:
        """Drop the events that have been kept for long enough."""
        oldest = trio.current_time() - self.keep
        while self._ended:
            key, turn = next(iter(self._ended.items()))
            is_much = len(self._ended) > 1 and (
                len(self._ended) > MOST_KEPT or self._events > MOST_EVENTS or self._bytes > MOST_BYTES
            )
            if not is_much and turn.ended_at >= oldest:
                break
            self._drop(key)

    def _drop(self, session_id: str) -> None:
        dropped = self._ended.pop(session_id, None)
        if dropped is not None:
            self._events -= len(dropped.log.events)
            self._bytes -= dropped.size


def _size_of(part: Part) -> int:
    """Of its text or of the file in it, which is what makes a part large."""
    held = media_of(part).source[1] if isinstance(part, MediaPart) else getattr(part, "text", None)
    return len(held) if isinstance(held, (str, bytes)) else 0


def in_run(token: trio.lowlevel.TrioToken, function: Callable[[], T]) -> T:
    """Call a function in the thread of a Trio run, from any thread."""
    try:
        is_here = trio.lowlevel.current_trio_token() is token
    except RuntimeError:
        is_here = False
    return function() if is_here else trio.from_thread.run_sync(function, trio_token=token)
