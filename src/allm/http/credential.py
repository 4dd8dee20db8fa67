"""Keys as they are sent: which header carries one, and how a key is had that is only known when it is needed.

A key that is a text is known in `prepare`. One that is a function (an expiring token, a secret store) is asked for by
the task that sends, just before it does. What the function gave is kept for all calls of the adapter until the provider
answers 401; then the function is asked once more.

However many calls need a key at once, the function runs once: the first one runs it, the others wait for the outcome.
Nobody is started for it, so the call that runs it may be cancelled; then the next of those that wait runs it instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, final
from weakref import WeakKeyDictionary

import attrs
import trio

from allm.data.errors import AdapterError
from allm.data.secret import Secret

__all__ = ["BEARER", "Credential", "KeyFunction", "KeyHeader", "KeySource", "is_sendable"]

KeyFunction = Callable[[], str | Awaitable[str]]
"""Gives the key. A function that waits for something has to be async: a sync one holds up every task of the program."""


def is_sendable(key: str) -> bool:
    """Whether a header can carry the key: printable ASCII without spaces around it."""
    return bool(key) and key.isascii() and key.isprintable() and key == key.strip()


@attrs.frozen
class KeyHeader:
    """The header that carries a key.

    Attributes:
        name: In lower case, such as `x-api-key`.
        prefix: What stands before the key, such as `"Bearer "`.
    """

    name: str
    prefix: str = ""


BEARER = KeyHeader("authorization", "Bearer ")


@final
@attrs.define(eq=False)
class KeySource:
    """A function that gives the key, asked once for all calls that need it at the same time.

    An `AdapterError` that it raises is the failure of the call, so that a source that cannot be reached may be asked
    again by the engine's retries. Anything else that it raises becomes `authentication_failed`.
    """

    _function: KeyFunction = attrs.field(repr=False)
    _outcome: Secret | AdapterError | None = attrs.field(default=None, init=False, repr=False)
    _asked: int = attrs.field(default=0, init=False)  # how often the function came to an end
    # A lock belongs to one Trio run, and an adapter may serve several.
    _locks: WeakKeyDictionary[trio.lowlevel.TrioToken, trio.Lock] = attrs.field(
        factory=WeakKeyDictionary[trio.lowlevel.TrioToken, trio.Lock], init=False, repr=False
    )

    async def key(self, rejected: Secret | None = None) -> Secret:
        """The key.

        Args:
            rejected: The provider did not take this one, so another is wanted.

        Raises:
            AdapterError: `authentication_failed`: the function failed, or gave what cannot be sent.
        """
        outcome = self._outcome
        if isinstance(outcome, Secret) and outcome != rejected:
            return outcome
        seen = self._asked
        async with self._locks.setdefault(trio.lowlevel.current_trio_token(), trio.Lock()):
            outcome = self._outcome
            # Whoever has waited takes the outcome of the one who asked, a failure as well.
            if self._asked == seen or outcome is None:
                outcome = await self._ask()
        if isinstance(outcome, AdapterError):
            raise _copy_of(outcome)
        return outcome

    async def _ask(self) -> Secret | AdapterError:
        self._outcome = None  # a call that begins now waits for the new key
        outcome: Secret | AdapterError
        try:
            outcome = await self._answer()
        except AdapterError as error:
            outcome = error
        self._outcome = outcome
        self._asked += 1  # not when it was cancelled: then the next one asks
        return outcome

    async def _answer(self) -> Secret:
        answer: Any
        try:
            answer = self._function()
            if inspect.isawaitable(answer):
                answer = await answer
        except AdapterError:
            raise
        except Exception as error:
            what = f"the function given as api_key raised {type(error).__name__}: {error}"
            raise AdapterError(what, reason="authentication_failed") from error
        if not isinstance(answer, str):
            what = f"the function given as api_key returned {type(answer).__name__}; expected str"
            raise AdapterError(what, reason="authentication_failed")
        if not is_sendable(answer):
            what = (
                "the function given as api_key returned a key that is empty, or has a line break, a space around it or "
                "a character outside ASCII, which an HTTP header cannot carry"
            )
            raise AdapterError(what, reason="authentication_failed")
        return Secret(answer)


def _copy_of(error: AdapterError) -> AdapterError:
    """The same failure for another call, which adds facts of its own to it."""
    copy = AdapterError(**{name: getattr(error, name) for name in AdapterError.fields})
    copy.__cause__ = error.__cause__
    return copy


@final
@attrs.frozen
class Credential:
    """The key of a call: the header that carries it, and where it comes from."""

    header: KeyHeader
    source: Secret | KeySource

    async def key(self, rejected: Secret | None = None) -> Secret:
        """The key to send.

        Args:
            rejected: The provider did not take this one. A key that is a text stays as it is.

        Raises:
            AdapterError: As `KeySource.key`.
        """
        return self.source if isinstance(self.source, Secret) else await self.source.key(rejected)

    def in_header(self, key: Secret) -> dict[str, str]:
        """The one header that has the key in it."""
        return {self.header.name: self.header.prefix + key.reveal()}
