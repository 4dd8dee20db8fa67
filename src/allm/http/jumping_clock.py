"""Worker threads, and test clocks that jump, such as pytest-trio's `autojump_clock`: they stand still meanwhile.

Such a clock jumps to the next deadline once every task waits, and the task of a threaded tool waits all the time: the
tool would always seem to run into its limit, or into that of the whole call. So the clock does not jump while a thread
works, for as much real time as the tool's limit; a thread that hangs then times out as it would in production. While
the thread itself waits for Trio, in `trio.from_thread.run`, jumps are due as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from math import inf
from typing import Any, TypeVar

import attrs
import trio

from allm.data.attrs_classes import define

__all__ = ["in_thread", "standing_still"]

T = TypeVar("T")


@define(eq=False)
class _Clock:
    """A clock, its own threshold in seconds of real time, and the threads that it waits for."""

    clock: Any
    threshold: float
    threads: list[_Thread] = attrs.field(factory=list["_Thread"])

    def update(self) -> None:
        limits = [thread.limit for thread in self.threads if not thread.tasks]
        self.clock.autojump_threshold = max([self.threshold, *limits])


@define(eq=False)
class _Thread(trio.abc.Instrument):
    """A thread of a tool, its limit in seconds, and how many tasks of Trio run for it."""

    of: _Clock
    limit: float
    tasks: int = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Take note of `trio.from_thread.run`."""
        self._count(task, 1)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Take note of its end."""
        self._count(task, -1)

    def _count(self, task: trio.lowlevel.Task, change: int) -> None:
        if task.context.get(_thread) is self:
            self.tasks += change
            self.of.update()


_thread: ContextVar[_Thread | None] = ContextVar("allm_tool_thread", default=None)
_clock: trio.lowlevel.RunVar[_Clock] = trio.lowlevel.RunVar("allm_jumping_clock")


def standing_still(limit: float | None = None) -> AbstractContextManager[None]:
    """Keep the clock from jumping, if it is one that does, while the block waits for a thread.

    Args:
        limit: For how many seconds of real time at most; None: until the thread ends.
    """
    clock = trio.lowlevel.current_clock()
    return _standing_still(clock, limit) if hasattr(clock, "autojump_threshold") else nullcontext()


@contextmanager
def _standing_still(clock: Any, limit: float | None) -> Generator[None]:
    try:
        state = _clock.get()
    except LookupError:
        _clock.set(state := _Clock(clock, inf))
    if not state.threads:
        state.threshold = clock.autojump_threshold
    thread = _Thread(state, inf if limit is None else limit)
    state.threads.append(thread)
    state.update()
    token = _thread.set(thread)
    trio.lowlevel.add_instrument(thread)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(thread)
        _thread.reset(token)
        state.threads.remove(thread)
        state.update()


async def in_thread(
    function: Callable[[], T], *, abandon: bool = True, limiter: trio.CapacityLimiter | None = None
) -> T:
    """Call the function in a worker thread. Test clocks that jump, as pytest-trio's does, stand still meanwhile.

    Args:
        function: It takes no arguments.
        abandon: Leave the thread alone if the call is cancelled meanwhile; False: the cancellation waits for its end.
        limiter: Of the threads; default: Trio's own.
    """
    with standing_still():
        return await trio.to_thread.run_sync(function, abandon_on_cancel=abandon, limiter=limiter)
