"""`host`: turns that outlive their readers.

    async with allm.session.host(store) as host:
        turn = await host.reply("trip-1", engine, "Where are we?")
        async with host.attach("trip-1") as events:
            async for event in events: ...

Theory of operation. A hosted turn is a turn of `store.turn(id)` in a task of the host's block: leased, streamed and
saved as any other. Its reader is a loop that puts each event into a log (`execution/stream/event_log.py`), and the
readers that attach read the log, each at its own place. So nothing that a reader does, or fails to do, reaches the
turn; what ends one is its own end, `cancel`, or the end of the block.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Concatenate, ParamSpec, Unpack, final

import trio

from allm.data.errors import AllmError, SessionError
from allm.data.events import ChatCompleted
from allm.data.message import Message
from allm.data.response import OutputT
from allm.data.session import Session, SessionConflict
from allm.data.user_functions import call_user
from allm.execution.background import Background, background
from allm.execution.options import CallOptions
from allm.execution.stream.block import Block, StreamBlock
from allm.http.trio_task import outside_trio
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.session.hosted_stream import HostedStream, attached
from allm.session.hosted_turns import KEEP, HostedTurn, HostedTurns
from allm.session.stores.lease import SessionLease
from allm.session.stores.saving import SHIELD
from allm.session.stores.store import LEASE, SessionStore
from allm.session.turn import SessionStream
from allm.session.turn_start import SessionInput

__all__ = ["SessionHost", "host"]

P = ParamSpec("P")

logger: logging.Logger = logging.getLogger("allm")

_HOST = """\
async with allm.session.host(store) as host:
    await host.reply(...)"""

_ATTACH = """\
async with host.attach(...) as events:
    async for event in events: ..."""

_Open = Callable[[SessionLease], StreamBlock[SessionStream[Any]]]


@final
class SessionHost:
    """The value of `async with allm.session.host(store) as host`. Each session has one turn at a time.

    `start`, `reply`, `continue_` and `resume` begin the turns of `SessionLease` with the same names. They return when
    the turn has begun, with its id: it then runs to its end, whoever reads it. It has the context variables of the
    caller, and none of its cancel scopes. A turn that cannot begin raises what `SessionLease` raises. While a turn of
    the session runs here, they raise `SessionError(invalid_status)`; while it is being saved, they wait for that. They
    also wait while another worker has the session, as `store.turn` does: put a Trio deadline around them.
    """

    def __init__(
        self,
        store: SessionStore,
        tasks: Background,
        turns: HostedTurns,
        lease: float,
        on_unsaved: Callable[[SessionError], object] | None = None,
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._turns = turns
        self._lease = lease
        self._on_unsaved = on_unsaved

    async def start(
        self,
        session_id: str,
        /,
        engine: Engine,
        messages: SessionInput,
        *,
        version: int | None = None,
        **options: Unpack[CallOptions[OutputT]],
    ) -> str:
        """Begin the first turn of a new session. See `SessionLease.stream_start`.

        Args:
            session_id: The id of the session.
            engine: The engine for the turn.
            messages: As for `allm.session.stream_start`.
            version: The version that the caller has seen, as for `store.turn`.
            **options: As for `allm.chat`.

        Returns:
            The id of the turn.
        """
        seal(options)
        return await self._begin(session_id, version, lambda turn: turn.stream_start(engine, messages, **options))

    async def reply(
        self,
        session_id: str,
        /,
        engine: Engine,
        content: str | Message,
        *,
        version: int | None = None,
        **options: Unpack[CallOptions[OutputT]],
    ) -> str:
        """Begin a turn with a message of the user, which may answer a pending question. A new session starts empty.

        The other arguments, and what it returns, are as for `start`.
        """
        seal(options)
        return await self._begin(session_id, version, lambda turn: turn.stream_reply(engine, content, **options))

    async def continue_(
        self,
        session_id: str,
        /,
        engine: Engine,
        message: str | Message | None = None,
        *,
        version: int | None = None,
        **options: Unpack[CallOptions[OutputT]],
    ) -> str:
        """Begin a turn that goes on: after tool results, with approved calls, or again after an error.

        The other arguments, and what it returns, are as for `start`.
        """
        seal(options)
        return await self._begin(session_id, version, lambda turn: turn.stream_continue(engine, message, **options))

    async def resume(
        self,
        session_id: str,
        /,
        engine: Engine,
        *,
        version: int | None = None,
        **options: Unpack[CallOptions[OutputT]],
    ) -> str:
        """Finish the turn of a worker that was killed after tools had run. See `SessionLease.stream_resume`.

        The other arguments, and what it returns, are as for `start`.
        """
        seal(options)
        return await self._begin(session_id, version, lambda turn: turn.stream_resume(engine, **options))

    async def change(
        self,
        session_id: str,
        function: Callable[Concatenate[Session, P], Session],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Session:
        """Change a session between turns, and save it: with a result, an approval or a denial of a pending call.

            await host.change("trip-1", allm.session.approve, call_id)
            await host.continue_("trip-1", engine)

        If another worker changes the session meanwhile, the function is called again, with the newer one.

        Args:
            session_id: The id of the session.
            function: Such as `submit_tool_result`, `approve`, `deny`; gets the session, and `args` and `kwargs`.

        Raises:
            SessionError: What `function` raises, and as for `store.turn`; `invalid_status` while a turn runs here.
        """
        await _checkpoint()
        await self._turns.free(session_id)
        while True:
            has_entered = False
            try:
                async with self._store.turn(session_id, lease=self._lease) as turn:
                    has_entered = True
                    session = function(turn.session, *args, **kwargs)
                    await turn.save(session)
                    return session
            except SessionConflict:
                if has_entered:
                    raise

    def attach(self, session_id: str, *, after: int | None = 0, turn: str | None = None) -> StreamBlock[HostedStream]:
        """Read the turn that runs, or that has just ended; leaving the block lets it run on.

            async with host.attach("trip-1", after=17) as events:
                async for event in events:
                    print(events.number, event)

        Each reader gets every event, in its own time; the turn waits for none. The events of a turn stay in memory
        while it runs and for `keep` seconds after it, unless the next turn of the session begins.

        Args:
            session_id: The id of the session.
            after: The `events.number` to go on from; 0 for all events. None: only those that follow, which go on from
                the `events.outcome()` of this moment.
            turn: The id of the turn that `after` belongs to, from `start` or `events.turn`.

        Raises:
            SessionError: `not_found`: neither runs such a turn, nor are events of it kept: what it has left is in the
                store. `invalid_input`: the turn has had fewer events.
        """
        return StreamBlock(lambda: self._attach(session_id, after, turn), _ATTACH)

    def running(self, session_id: str) -> str | None:
        """The id of the turn of this session that runs here; None if none does."""
        turn = self._turns.running.get(session_id)
        return turn.id if turn is not None and turn.stream is not None else None

    def last_turn(self, session_id: str) -> str | None:
        """The id of the newest turn of this session here: the one that runs, or that ended last and is kept."""
        turn = self._turns.newest(session_id)
        return turn.id if turn is not None else None

    async def next_turn(self, session_id: str, *, after: str | None = None) -> str:
        """Wait until there is a newer turn than `after`, and return its id; None: than none, so any that is kept too.

        So a second page learns that the first one has begun a turn:

            last = host.last_turn("trip-1")
            session, _ = await store.load("trip-1")
            turn = await host.next_turn("trip-1", after=last)
        """
        await _checkpoint()
        return (await self._turns.newer(session_id, after)).id

    async def cancel(self, session_id: str, *, turn: str | None = None) -> bool:
        """End the turn that runs; the answer so far is saved. Returns when it is, and whether there was one.

        A turn that is still waiting for the session does not begin: what began it raises `SessionError`.

        Args:
            session_id: The id of the session.
            turn: Only if the turn has this id.
        """
        await _checkpoint()
        found = self._turns.running.get(session_id)
        if found is None or turn not in {None, found.id}:
            return False
        found.scope.cancel()
        await found.done.wait()
        return True

    async def until_idle(self) -> None:
        """Wait until no turn runs; put a Trio deadline around it, and leave the block, which cancels the others."""
        await _checkpoint()
        running = self._turns.running
        while running:
            await next(iter(running.values())).done.wait()

    def _attach(
        self, session_id: str, after: int | None, turn_id: str | None
    ) -> AbstractAsyncContextManager[HostedStream]:
        if after is not None and (type(after) is not int or after < 0):
            raise SessionError(
                f"after is {after!r:.60}; expected the number of an event, 0 or None", reason="invalid_input"
            )
        found = self._turns.newest(session_id)
        if found is None or turn_id not in {None, found.id}:
            what = f"no turn of session {session_id!r}" if turn_id is None else f"this turn of session {session_id!r}"
            is_not = "runs here or has just ended" if turn_id is None else "is over, or was never here"
            raise SessionError(f"{what} {is_not}: read the session with store.load(id)", reason="not_found")
        return attached(found, after)

    async def _begin(self, session_id: str, version: int | None, open_stream: _Open) -> str:
        await _checkpoint()
        turn = await self._turns.new(session_id)
        work = functools.partial(self._run, turn, version, open_stream)
        if not await self._tasks.begin(work, turn.scope, f"allm turn of {session_id}"):
            raise SessionError(
                f"the turn of session {session_id!r} was cancelled before it began", reason="invalid_status"
            )
        return turn.id

    async def _run(self, turn: HostedTurn, version: int | None, open_stream: _Open, begun: Callable[[], None]) -> None:
        """Run a turn to its end, and keep what comes; once it has begun, its failure is that of its readers."""
        failure: Exception | None = None
        try:
            async with self._store.turn(turn.session_id, version=version, lease=self._lease) as lease:
                before, is_saved = lease.version, True
                try:
                    async with open_stream(lease) as events:
                        self._turns.begun(turn, events)
                        begun()
                        async for event in events:
                            # Whoever has read the last event may begin the next turn.
                            turn.is_saving = type(event) is ChatCompleted
                            turn.log.add(event)
                        turn.is_saving = True
                except Exception:
                    is_saved = lease.version != before
                    raise
                finally:
                    turn.saved = lease.session if is_saved else None
        except Exception as error:
            if turn.stream is None:
                raise
            failure = error
            is_bug = not isinstance(error, AllmError)
            logger.error("a turn of session %r failed: %s", turn.session_id, error, exc_info=is_bug)  # noqa: TRY400
            if isinstance(error, SessionError) and error.session is not None and self._on_unsaved is not None:
                with trio.move_on_after(SHIELD, shield=True):
                    await self._hand_over(self._on_unsaved, error)
        finally:
            self._turns.ended(turn, failure)
            failure = None

    async def _hand_over(self, on_unsaved: Callable[[SessionError], object], error: SessionError) -> None:
        try:
            await call_user(on_unsaved, error)
        except Exception:
            logger.exception("on_unsaved failed")


async def _checkpoint() -> None:
    if not trio.lowlevel.in_trio_task():
        raise outside_trio()
    await trio.lowlevel.checkpoint()


def host(
    store: SessionStore,
    *,
    lease: float = LEASE,
    keep: float = KEEP,
    on_unsaved: Callable[[SessionError], object] | None = None,
) -> AbstractAsyncContextManager[SessionHost]:
    """Open a host of turns that outlive their readers: a reload of a page loses nothing, and two tabs see the same.

        async with allm.session.open_store("sqlite:///chat.db") as store, allm.session.host(store) as host:
            await host.reply("trip-1", engine, "Where are we?")
            async with host.attach("trip-1") as events:
                async for piece in events.text():
                    print(piece, end="")

    A turn that nobody reads runs to its end and is saved. Leaving the block cancels the turns that still run, and saves
    what they have, within the time limits of the store.

    Args:
        store: Where the sessions are.
        lease: As for `store.turn`.
        keep: Seconds for which the events of a turn can still be read when it has ended.
        on_unsaved: Called with the error of a turn that could not be saved, since the store stayed away: with the
            session as `error.session`, to be kept elsewhere. It has ten seconds.

    Raises:
        SessionError: `invalid_input`: it is no store.
    """
    return Block(lambda: _open(store, lease, keep, on_unsaved), _HOST)


@asynccontextmanager
async def _open(
    store: SessionStore, lease: float, keep: float, on_unsaved: Callable[[SessionError], object] | None
) -> AsyncGenerator[SessionHost]:
    if not isinstance(store, SessionStore):
        raise SessionError(
            f"host takes a store of sessions, got {type(store).__name__}: host(open_store(url))", reason="invalid_input"
        )
    for name, value in (("lease", lease), ("keep", keep)):
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{name} is {value!r}; expected a positive number of seconds")
    async with background() as tasks:
        turns = HostedTurns(keep)
        try:
            yield SessionHost(store, tasks, turns, lease, on_unsaved)
        finally:
            turns.close()
