"""The conversation of a chat: taken from its store for one turn at a time, since other processes may want it too."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import final

import attrs
import trio

import allm
from allm.cli.terminal import Terminal
from allm.session import SessionLease, SessionStore

__all__ = ["Kept"]

_PATIENCE = 1.0  # seconds until a chat says what it waits for


@final
@attrs.define(eq=False)
class Kept:
    """One session of a store.

    Attributes:
        session: As the chat sees it; what differs from the store is saved with the next turn.
        version: What the store had last; None before the first turn.
    """

    store: SessionStore
    id: str
    terminal: Terminal
    version: int | None = attrs.field(default=None, init=False)
    session: allm.Session = attrs.field(factory=allm.Session, init=False)

    async def turn(self, work: Callable[[SessionLease], Awaitable[None]]) -> None:
        """Do `work` while nobody else has the session; say so if that takes a while.

        Raises:
            SessionConflict: Somebody else has saved it since; theirs is the session now.
            AllmError: From the store, and from `work`.
        """
        try:
            patience = _PATIENCE
            while True:
                with trio.move_on_after(patience) as scope:
                    async with self.store.turn(self.id, version=self.version) as turn:
                        scope.deadline = math.inf
                        await self._within(turn, work)
                        return
                patience = math.inf
                self.terminal.line("waiting: another process has this conversation", dim=True)
        except allm.SessionConflict as conflict:
            self.session, self.version = conflict.session or allm.Session(id=self.id), conflict.version
            raise

    async def save(self) -> None:
        """Save the session; a turn that was interrupted is none of it."""

        async def work(turn: SessionLease) -> None:
            if turn.interrupted is not None:
                session = self.session
                await turn.discard()
                await turn.save(session)

        await self.turn(work)

    async def _within(self, turn: SessionLease, work: Callable[[SessionLease], Awaitable[None]]) -> None:
        if self.version is None:
            self.session = turn.session
        elif turn.interrupted is None and turn.session != self.session:
            await turn.save(self.session)
        found = turn.version
        try:
            await work(turn)
        finally:
            if turn.version != found:
                self.session = turn.session
            self.version = turn.version
