"""The stored session of a chat, leased from its store for one turn at a time, so that other processes can use it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import final

import attrs
import trio

import allm
from allm.cli.terminal import Terminal
from allm.session import SessionLease, SessionStore

__all__ = ["StoredSession"]

_PATIENCE = 1.0  # seconds before a chat says that it is waiting


@final
@attrs.define(eq=False)
class StoredSession:
    """One session in a store.

    Attributes:
        session: The session as the chat sees it; changes are saved with the next turn.
        version: The last known version in the store; None before the first turn.
    """

    store: SessionStore
    id: str
    terminal: Terminal
    version: int | None = attrs.field(default=None, init=False)
    session: allm.Session = attrs.field(factory=allm.Session, init=False)

    async def turn(self, work: Callable[[SessionLease], Awaitable[None]]) -> None:
        """Run `work` while holding the session's lease; shows a message if the lease takes a while.

        Raises:
            SessionConflict: Another process has saved the session; `session` is now the newer one.
            AllmError: The store or `work` failed.
        """
        try:
            patience = _PATIENCE
            while True:
                with trio.move_on_after(patience) as scope:
                    async with self.store.turn(self.id, version=self.version) as turn:
                        scope.deadline = math.inf
                        await self._run_in(turn, work)
                        return
                patience = math.inf
                self.terminal.line("waiting: another process has this conversation", dim=True)
        except allm.SessionConflict as conflict:
            self.session, self.version = conflict.session or allm.Session(id=self.id), conflict.version
            raise

    async def save(self) -> None:
        """Save the session; an interrupted turn is discarded."""

        async def save_over(turn: SessionLease) -> None:
            if turn.interrupted is not None:
                session = self.session
                await turn.discard()
                await turn.save(session)

        await self.turn(save_over)

    async def _run_in(self, turn: SessionLease, work: Callable[[SessionLease], Awaitable[None]]) -> None:
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
