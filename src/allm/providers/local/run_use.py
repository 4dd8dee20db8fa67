"""How a Trio run uses the servers: each that it needed is its own until it ends, or the process of it does."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import attrs
import trio

from allm.adapters import in_thread
from allm.data.errors import AdapterError
from allm.providers.local.server import STOP_SECONDS, Server, ServerSettings, enter, leave

__all__ = ["in_thread_of_its_own", "running"]

T = TypeVar("T")
Args = TypeVarTuple("Args")


async def in_thread_of_its_own(function: Callable[[*Args], T], *args: *Args) -> T:
    """Call a function of `server.py`, also where the program has used up the threads that Trio gives it."""
    return await in_thread(functools.partial(function, *args), limiter=trio.CapacityLimiter(1))


@attrs.define(eq=False)
class _Start:
    """A start that is under way, in a task of its own: callers may come and go."""

    done: trio.Event = attrs.field(factory=trio.Event)
    error: AdapterError | None = None


@attrs.define(eq=False)
class _Use:
    """A run's use of one server."""

    server: Server
    start: _Start | None = None

    async def hold(self) -> None:
        """Use the server until the run ends; with the last run, the server does."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(2 * STOP_SECONDS, shield=True):
                await in_thread_of_its_own(leave, self.server)

    async def run_start(self, start: _Start) -> None:
        try:
            # A thread that is left alone ends when `hold` stops what it starts.
            await in_thread_of_its_own(self.server.start)
        except AdapterError as error:
            start.error = error
        except Exception as error:  # such as a system without processes to spare: for the callers, not for Trio
            start.error = AdapterError(
                f"the local model cannot start ({type(error).__name__}: {error})",
                reason="provider_unavailable",
                provider="local",
                retryable=False,
            )
        finally:
            self.start = None
            start.done.set()


_uses: trio.lowlevel.RunVar[dict[ServerSettings, _Use]] = trio.lowlevel.RunVar("allm_local_models")


async def running(settings: ServerSettings) -> tuple[Server, str]:
    """The server with these settings, and its address; it is started if need be, once for all who wait for it.

    Raises:
        AdapterError: `provider_unavailable`: it does not start, and why.
    """
    try:
        uses = _uses.get()
    except LookupError:
        _uses.set(uses := {})
    use = uses.get(settings)
    if use is None:
        use = uses[settings] = _Use(enter(settings))
        trio.lowlevel.spawn_system_task(use.hold, name="allm: keep the local model")
    await trio.lowlevel.checkpoint()
    while (url := use.server.url) is None:
        start = use.start
        if start is None:
            start = use.start = _Start()
            trio.lowlevel.spawn_system_task(use.run_start, start, name="allm: start the local model")
        await start.done.wait()
        if start.error is not None:
            raise copy.copy(start.error)  # one for each caller, as each adds to it
    return use.server, url
