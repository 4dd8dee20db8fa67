"""`SessionLease`: one worker's exclusive use of a stored session, with turns that are saved when they end."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar, Unpack, final

import attrs
import trio

from allm.data.errors import SessionError
from allm.data.message import Message, Thread
from allm.data.problems import refuse
from allm.data.response import OutputT
from allm.data.results import ChatResult, StepResult, ToolOutcome
from allm.data.session import AnswerEntry, JoinedEntry, Session, session_problems
from allm.execution.journal import Unfinished
from allm.execution.options import CallOptions
from allm.execution.stream.block import StreamBlock
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.session.stores.backend import Change, Record, StoreBackend, conflict, lease_lost, unreadable
from allm.session.stores.reading import BlobMissingError, load, read_journal, read_record
from allm.session.stores.saving import TurnJournal, holds, persistently, uncancelled, with_users, write_change
from allm.session.stores.writing import Pace, Row, StoredSession, encode
from allm.session.turn import SessionStream, chat_block, step_block
from allm.session.turn_start import (
    SessionInput,
    TurnStart,
    approved_calls,
    open_continue,
    open_reply,
    open_start,
    open_step_of,
)

__all__ = ["SessionLease", "open_lease"]

T = TypeVar("T", bound=ChatResult | StepResult)


@final
class SessionLease:
    """The value of `async with store.turn(id) as turn`. Each turn is saved before its method returns.

    A streamed turn is saved when its block is left, for any reason; if it is cut short, the session keeps what was said
    and done. Saving is shielded from cancellation. Only one turn runs at a time. A turn whose messages could not be
    saved is refused on entering its block, before its request is prepared.
    """

    def __init__(
        self, backend: StoreBackend, key: str, token: str, stored: StoredSession, entries: Sequence[Any] = ()
    ) -> None:
        self._backend = backend
        self._key = key
        self._token = token
        self._stored = stored
        self._closed = False
        self._running = False
        self._unsaved: list[tuple[Session, Change]] = []  # saves of which it is unknown whether they took effect
        self._entries = len(entries)  # in the database
        self._new_entries: list[Row] = []
        self._appending = trio.Lock()  # entries have places, so one append at a time
        self._journal = self._empty_journal()
        try:
            self._journal.read(entries)
        except Exception as error:
            raise unreadable(key, error) from error

    @property
    def session(self) -> Session:
        """The session as last saved; an empty one with the id if it was never saved."""
        return self._stored.session

    @property
    def version(self) -> int:
        """The version of the session; 0 if it was never saved."""
        return self._stored.version

    @property
    def interrupted(self) -> Thread | None:
        """The conversation of a turn whose process died after tools had run; None if there is none.

        `resume` finishes that turn without repeating the calls that have a result here; `discard` drops it. No other
        operation is possible until then.
        """
        return None if self._journal.response is None or self._running else self._journal.conversation

    def stream_start(
        self, engine: Engine, messages: SessionInput, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """Run the first turn of a new session, as a stream. See `allm.session.stream_start`."""
        seal(options)
        if self.version != 0:
            raise SessionError(
                f"session {self._key!r} already exists: go on with turn.reply(engine, text)", reason="invalid_status"
            )
        turn_start = open_start(messages, self._key)
        return self._chat(engine, turn_start, options)

    async def start(
        self, engine: Engine, messages: SessionInput, **options: Unpack[CallOptions[OutputT]]
    ) -> ChatResult[OutputT]:
        """Run and save the first turn. See `allm.session.start`."""
        seal(options)
        return await _until_done(self.stream_start(engine, messages, **options))

    def stream_reply(
        self, engine: Engine, content: str | Message, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """Run a turn with a message of the user, as a stream. See `allm.session.stream_reply`."""
        seal(options)
        return self._chat(engine, open_reply(self.session, content), options)

    async def reply(
        self, engine: Engine, content: str | Message, **options: Unpack[CallOptions[OutputT]]
    ) -> ChatResult[OutputT]:
        """Run and save a turn with a message of the user. See `allm.session.reply`."""
        seal(options)
        return await _until_done(self.stream_reply(engine, content, **options))

    def stream_continue(
        self, engine: Engine, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """Continue the conversation, as a stream. See `allm.session.stream_continue`."""
        seal(options)
        turn_start = open_continue(engine, self.session, message, options)
        return self._chat(engine, turn_start, options)

    async def continue_(
        self, engine: Engine, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
    ) -> ChatResult[OutputT]:
        """Continue the conversation, and save it. See `allm.session.continue_`."""
        seal(options)
        return await _until_done(self.stream_continue(engine, message, **options))

    def stream_step(
        self, engine: Engine, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[StepResult[OutputT]]]:
        """Make one model call and run its tools, as a stream. See `allm.session.stream_step`."""
        seal(options)
        self._check()
        turn_start = open_step_of(self.session)
        return step_block(
            engine,
            turn_start,
            options,
            journal=self._journal,
            enter=lambda: self._enter(turn_start),
            save=self._settle,
        )

    async def step(self, engine: Engine, **options: Unpack[CallOptions[OutputT]]) -> StepResult[OutputT]:
        """Make one model call, run its tools, and save the session. See `allm.session.step`."""
        seal(options)
        return await _until_done(self.stream_step(engine, **options))

    def stream_resume(
        self, engine: Engine, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """Finish the interrupted turn, as a stream: run its unfinished calls, then as many steps as it takes.

        Raises:
            SessionError: `invalid_status`: no turn was interrupted.
        """
        seal(options)
        response = self._journal.response
        if response is None:
            raise SessionError("no turn of this session was interrupted", reason="invalid_status")
        unfinished = Unfinished(
            response=response,
            outcomes=self._journal.outcomes,
            approved=self._approved(engine, options),
            added=self._journal.added,
        )
        turn_start = TurnStart(session=self.session, thread=self._journal.thread, unfinished=unfinished)
        return self._chat(engine, turn_start, options, resumes=True)

    async def resume(self, engine: Engine, **options: Unpack[CallOptions[OutputT]]) -> ChatResult[OutputT]:
        """Finish the interrupted turn, and save it: the fold of `stream_resume`."""
        seal(options)
        return await _until_done(self.stream_resume(engine, **options))

    async def discard(self) -> None:
        """Drop the interrupted turn; the session stays as it was before, but effects of its tools are not undone.

        Approvals are dropped too, since the turn may have used them.

        Raises:
            SessionError: `lease_lost`, `unavailable`, `invalid_status`; `SessionConflict` as for `save`.
        """
        self._check(resumes=True)
        if self.interrupted is not None and self.session.approvals:
            await self._write(attrs.evolve(self.session, approvals=()))
        elif await persistently(lambda: self._backend.forget(self._key, self._token)):
            self._begin_journal()
        else:
            raise lease_lost(self._key)

    async def save(self, session: Session) -> None:
        """Save a session that was changed between turns: results, approvals, metadata.

            await turn.save(allm.session.submit_tool_result(turn.session, "c1", 42))

        After a turn that could not be saved, it saves `error.session`.

        Raises:
            SessionError: `lease_lost`, `unavailable`, `interrupted`; `invalid_input` for another session's id. The
                first two carry the session as `error.session`.
            SessionConflict: Someone saved the session in spite of this turn.
            ValidationError: It is inconsistent, or a message cannot be written as JSON or is too large.
        """
        self._check(resumes=bool(self._unsaved))
        await self._write(session)

    def close(self) -> None:
        """Mark the lease as closed, when its block is left."""
        self._closed = True

    def _check(self, *, resumes: bool = False) -> None:
        if self._closed:
            raise SessionError(
                f"the turn of session {self._key!r} is over: enter `async with store.turn(id)` again",
                reason="lease_lost",
            )
        if self._running:
            raise SessionError(
                f"a turn of session {self._key!r} is running: wait for its end, or let a message join it with "
                "events.send_user(text)",
                reason="invalid_status",
            )
        if self.interrupted is not None and not resumes and self._unsaved:
            raise SessionError(
                f"the last turn of session {self._key!r} could not be saved: save it with turn.save(error.session), or "
                "drop it with turn.discard()",
                reason="interrupted",
            )
        if self.interrupted is not None and not resumes:
            raise SessionError(
                f"a turn of session {self._key!r} was interrupted after tools had run: finish it with "
                "turn.resume(engine), or drop it with turn.discard()",
                reason="interrupted",
            )

    def _chat(
        self, engine: Engine, turn_start: TurnStart, options: CallOptions, *, resumes: bool = False
    ) -> StreamBlock[SessionStream[ChatResult]]:
        self._check(resumes=resumes)
        return chat_block(
            engine,
            turn_start,
            options,
            journal=self._journal,
            enter=lambda: self._enter(turn_start, resumes=resumes),
            save=functools.partial(self._settle, uses_approvals=turn_start.unfinished is not None and not resumes),
        )

    async def _enter(self, turn_start: TurnStart, *, resumes: bool = False) -> None:
        self._check(resumes=resumes)
        self._running = True
        try:
            # What cannot be saved is refused before the model is asked. The save uses the rows that are encoded here.
            await self._stored.change(turn_start.session)
        except BaseException:
            self._running = False
            raise

    def _approved(self, engine: Engine, options: CallOptions) -> frozenset[str]:
        """Approved calls of the interrupted response; empty unless the approvals were given for this response."""
        response, session = self._journal.response, self.session
        if session.status != "awaiting_tools" or response is None:
            return frozenset()
        before = len(self._journal.thread.messages)
        if session.thread.messages[before : before + 1] != (response.message,):
            return frozenset()
        return approved_calls(engine, session, options)

    async def _settle(
        self, outcome: tuple[Session, ChatResult | StepResult] | None, *, uses_approvals: bool = False
    ) -> None:
        self._running = False
        if outcome is None:
            return
        session, result = outcome
        if uses_approvals and self._journal.response is None and isinstance(result, ChatResult) and not result.steps:
            # No approved call has begun, such as where a set of tools could not be loaded: they still wait, approved.
            if (kept := with_users(self.session, result.thread.messages)) is not self.session:
                await self._write(kept)
            return
        await self._write(self._journal.settle(session, result))

    async def _write(self, session: Session) -> None:
        if not isinstance(session, Session) or session.id != self._key:
            raise SessionError(f"this turn can only save the session with the id {self._key!r}", reason="invalid_input")
        refuse(session_problems(session), reason="invalid_session")
        try:
            written = await self._try(session)
            if not written and await persistently(self._was_saved):
                written = await self._try(session)
            found = None if written else await persistently(lambda: load(self._backend, self._key))
        except SessionError as error:
            error.session = session
            raise
        if found is not None and found.version != self.version:
            raise conflict(self._key, found.session, found.version)
        if not written:
            raise lease_lost(self._key, session)
        self._begin_journal()

    async def _try(self, session: Session) -> bool:
        """Write a session once; returns whether nothing was in the way."""
        change = await uncancelled(lambda: self._stored.change(session))
        try:
            written = await write_change(self._backend, self._key, change, version=self.version, token=self._token)
        except SessionError:
            self._unsaved.append((session, change))
            raise
        if written:
            self._count(session, change)
        return written

    def _count(self, session: Session, change: Change) -> None:
        """Take note of a write that took effect, and emptied the journal."""
        self._stored.written(session, change)
        self._unsaved, self._entries = [], 0

    def _empty_journal(self) -> TurnJournal:
        return TurnJournal(self._encode, self._append, self.session.thread)

    def _begin_journal(self) -> None:
        self._entries, self._new_entries = 0, []
        self._journal = self._empty_journal()

    async def _was_saved(self) -> bool:
        """Whether an earlier save took effect although it failed; if so, it counts."""
        if not self._unsaved:
            return False
        record = await self._backend.read(self._key)
        for session, change in self._unsaved:
            if holds(record, change, self.version + 1):
                self._count(session, change)
                return True
        return False

    async def _encode(self, entries: Sequence[AnswerEntry | JoinedEntry | ToolOutcome]) -> list[Row]:
        pace = Pace()

        async def encoded() -> list[Row]:
            return [await encode(entry, pace) for entry in entries]

        return await uncancelled(encoded)

    async def _append(self, rows: Sequence[Row]) -> None:
        """Add entries to the journal; those that could not be added go with the next ones."""
        self._new_entries += rows
        await persistently(self._flush)

    async def _flush(self) -> None:
        async with self._appending:
            new = tuple(self._new_entries)
            if not new:
                return  # another call has written them
            while True:
                texts, blobs = [row.text for row in new], await self._stored.new_blobs(new)
                version, after = self.version, self._entries
                if await self._backend.append(self._key, self._token, texts, blobs, version=version, after=after):
                    break
                if not await self._was_saved():
                    raise lease_lost(self._key)
            self._stored.blobs = self._stored.blobs.union(blobs)
            self._entries += len(new)
            del self._new_entries[: len(new)]


async def open_lease(
    backend: StoreBackend, key: str, token: str, record: Record, known: StoredSession | None
) -> tuple[SessionLease, StoredSession]:
    """The lease of a session that was acquired with `token`, and what its turns know of the stored session.

    Raises:
        SessionError: `unreadable`, `unavailable`.
    """
    fetch = functools.partial(backend.blobs, key)
    stored, entries = StoredSession(Session(id=key), blobs=record.blobs), []
    try:
        if record.head is not None:
            stored = await read_record(key, record, fetch, known)
        if record.journal:
            entries = await read_journal(key, record, fetch)
    except BlobMissingError as error:
        raise unreadable(key, error) from error
    return SessionLease(backend, key, token, stored, entries), stored


async def _until_done(block: StreamBlock[SessionStream[T]]) -> T:
    async with block as events:
        return await events.until_done()
