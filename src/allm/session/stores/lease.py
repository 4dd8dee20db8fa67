"""One worker's hold on a session: turns that are saved when they end, and can be finished by another worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, Unpack, final

import attrs

from allm.data.errors import SessionError
from allm.data.message import Message, Thread
from allm.data.response import OutputT
from allm.data.results import ChatResult, StepResult
from allm.data.session import Session
from allm.execution.journal import Unfinished
from allm.execution.options import CallOptions
from allm.execution.stream.block import StreamBlock
from allm.runtime.engine import Engine
from allm.session.api import SessionStream, chat_block, step_block, with_session
from allm.session.stores.backend import Record, StoreBackend
from allm.session.stores.journal import TurnJournal, conflict, document_of, lease_lost, shielded, unreadable
from allm.session.turn_start import (
    SessionInput,
    TurnStart,
    approved_calls,
    open_continue,
    open_reply,
    open_start,
    open_step_of,
)

__all__ = ["SessionLease"]

T = TypeVar("T", bound=ChatResult | StepResult)


@final
class SessionLease:
    """What `async with store.turn(id) as turn` gives. Each turn is saved before its method returns.

    A stream is saved when its block is left, in whatever way: cut short, the session keeps what was said and done.
    Saving goes on under a shield when the task is cancelled. One turn at a time.
    """

    def __init__(self, backend: StoreBackend, key: str, token: str, record: Record, session: Session) -> None:
        self._backend = backend
        self._key = key
        self._token = token
        self._version = record.version
        self._session = session
        self._closed = False
        self._running = False
        self._journal = TurnJournal(self._append, session.thread)
        try:
            self._journal.read(record.journal)
        except Exception as error:
            raise unreadable(key, error) from error

    @property
    def session(self) -> Session:
        """The session as it was last saved; an empty one with the id while it never was."""
        return self._session

    @property
    def version(self) -> int:
        """Its version; 0 while it was never saved."""
        return self._version

    @property
    def interrupted(self) -> Thread | None:
        """The conversation of a turn that was killed after tools had run; None when there is none.

        `resume` finishes that turn, without running again what has a result here; `discard` forgets it. Nothing else
        is possible before.
        """
        return None if self._journal.response is None or self._running else self._journal.conversation

    def stream_start(
        self, engine: Engine, messages: SessionInput, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """The first turn, as a stream; the session must not be there yet. See `allm.session.stream_start`."""
        if self._version != 0:
            raise SessionError(
                f"session {self._key!r} is there already: go on with turn.reply(engine, text)", reason="invalid_status"
            )
        opening = open_start(messages, self._key)
        return self._chat(engine, opening, options)

    async def start(
        self, engine: Engine, messages: SessionInput, **options: Unpack[CallOptions[OutputT]]
    ) -> ChatResult[OutputT]:
        """The first turn, saved. See `allm.session.start`."""
        return await _until_done(self.stream_start(engine, messages, **options))

    def stream_reply(
        self, engine: Engine, content: str | Message, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """A turn that begins with what the user says, as a stream. See `allm.session.stream_reply`."""
        return self._chat(engine, open_reply(self._session, content), options)

    async def reply(
        self, engine: Engine, content: str | Message, **options: Unpack[CallOptions[OutputT]]
    ) -> ChatResult[OutputT]:
        """A turn that begins with what the user says, saved. See `allm.session.reply`."""
        return await _until_done(self.stream_reply(engine, content, **options))

    def stream_continue(
        self, engine: Engine, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """A turn that goes on, as a stream. See `allm.session.stream_continue`."""
        opening = open_continue(engine, self._session, message, with_session(self._session, options))
        return self._chat(engine, opening, options)

    async def continue_(
        self, engine: Engine, message: str | Message | None = None, **options: Unpack[CallOptions[OutputT]]
    ) -> ChatResult[OutputT]:
        """A turn that goes on, saved. See `allm.session.continue_`."""
        return await _until_done(self.stream_continue(engine, message, **options))

    def stream_step(
        self, engine: Engine, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[StepResult[OutputT]]]:
        """One model call and its tools, as a stream. See `allm.session.stream_step`."""
        self._check()
        return step_block(
            engine, open_step_of(self._session), options, journal=self._journal, enter=self._enter, save=self._settle
        )

    async def step(self, engine: Engine, **options: Unpack[CallOptions[OutputT]]) -> StepResult[OutputT]:
        """One model call and its tools, saved. See `allm.session.step`."""
        return await _until_done(self.stream_step(engine, **options))

    def stream_resume(
        self, engine: Engine, **options: Unpack[CallOptions[OutputT]]
    ) -> StreamBlock[SessionStream[ChatResult[OutputT]]]:
        """The rest of the turn that was killed, as a stream: its unfinished calls, then as many steps as it takes.

        Raises:
            SessionError: `invalid_status`: no turn was interrupted.
        """
        response = self._journal.response
        if response is None:
            raise SessionError("no turn of this session was interrupted", reason="invalid_status")
        unfinished = Unfinished(
            response=response, outcomes=self._journal.outcomes, approved=self._approved(engine, options)
        )
        opening = TurnStart(session=self._session, thread=self._journal.thread, unfinished=unfinished)
        return self._chat(engine, opening, options, resumes=True)

    async def resume(self, engine: Engine, **options: Unpack[CallOptions[OutputT]]) -> ChatResult[OutputT]:
        """The rest of the turn that was killed, saved: the fold of `stream_resume`."""
        return await _until_done(self.stream_resume(engine, **options))

    async def discard(self) -> None:
        """Forget the turn that was killed; the session stays as it was before that turn, what its tools did is done.

        Approvals that the turn may have used are used up.

        Raises:
            SessionError: `lease_lost`, `unavailable`, `invalid_status`; `SessionConflict` as `save`.
        """
        self._check(resumes=True)
        if self.interrupted is not None and self._session.approvals:
            await self._write(attrs.evolve(self._session, approvals=()))
        elif await shielded(lambda: self._backend.forget(self._key, self._token)):
            self._journal = TurnJournal(self._append, self._session.thread)
        else:
            raise lease_lost(self._key)

    async def save(self, session: Session) -> None:
        """Save a session that was changed between turns: with results, approvals, metadata.

        await turn.save(allm.session.submit_tool_result(turn.session, "c1", 42))

        Raises:
            SessionError: `lease_lost`, `unavailable`, `interrupted`; `invalid_input` for another session's id.
            SessionConflict: Someone saved the session in spite of this turn.
            ValidationError: It contradicts itself, holds something that has no JSON form, or is too large to be read.
        """
        self._check()
        await self._write(session)

    def close(self) -> None:
        """The block is left."""
        self._closed = True

    def _check(self, *, resumes: bool = False) -> None:
        if self._closed:
            raise SessionError(
                f"the turn of session {self._key!r} is over: enter `async with store.turn(id)` again",
                reason="lease_lost",
            )
        if self._running:
            raise SessionError(
                f"session {self._key!r} is in the middle of another turn; one at a time", reason="invalid_status"
            )
        if self.interrupted is not None and not resumes:
            raise SessionError(
                f"a turn of session {self._key!r} was interrupted after tools had run: finish it with "
                "turn.resume(engine), or forget it with turn.discard()",
                reason="interrupted",
            )

    def _chat(
        self, engine: Engine, opening: TurnStart, options: CallOptions, *, resumes: bool = False
    ) -> StreamBlock[SessionStream[ChatResult]]:
        self._check(resumes=resumes)
        return chat_block(
            engine,
            opening,
            options,
            journal=self._journal,
            enter=lambda: self._enter(resumes=resumes),
            save=self._settle,
        )

    def _enter(self, *, resumes: bool = False) -> None:
        self._check(resumes=resumes)
        self._running = True

    def _approved(self, engine: Engine, options: CallOptions) -> frozenset[str]:
        """Calls of the interrupted answer that were approved; only if it is that answer which was waiting."""
        response, session = self._journal.response, self._session
        if session.status != "awaiting_tools" or response is None:
            return frozenset()
        before = len(self._journal.thread.messages)
        if session.thread.messages[before : before + 1] != (response.message,):
            return frozenset()
        return approved_calls(engine, session, with_session(session, options))

    async def _settle(self, session: Session, result: ChatResult | StepResult) -> None:
        self._running = False
        await self._write(self._journal.settle(session, result))

    async def _write(self, session: Session) -> None:
        if not isinstance(session, Session) or session.id != self._key:
            raise SessionError(f"this turn saves the Session with the id {self._key!r} alone", reason="invalid_input")
        document, version = document_of(session), self._version
        if not await shielded(lambda: self._backend.write(self._key, document, version=version, token=self._token)):
            record = await shielded(lambda: self._backend.read(self._key))
            if record is not None and record.version != version:
                raise conflict(self._key, record)
            raise lease_lost(self._key)
        self._version, self._session = version + 1, session
        self._journal = TurnJournal(self._append, session.thread)

    async def _append(self, entries: Sequence[str]) -> None:
        if not await shielded(lambda: self._backend.append(self._key, self._token, entries)):
            raise lease_lost(self._key)


async def _until_done(block: StreamBlock[SessionStream[T]]) -> T:
    async with block as events:
        return await events.until_done()
