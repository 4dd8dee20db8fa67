"""`TrioThread`: one Trio run in a background thread, which runs the library's functions for the rest of a process.

A thread costs a program less than Trio's guest mode, which takes 1.5 to 1.9 times the CPU of each wake-up, and it goes
on while the event loop of the program is busy. The thread starts with the first call and ends with the process.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar, final

import attrs
import trio

from allm.data.attrs_classes import define

__all__ = ["Job", "TrioThread", "called_there", "trio_thread"]

T = TypeVar("T")

_ENDING = 2.0
"""Seconds that a process waits at its end for connections to be closed."""


@final
@define(eq=False)
class Job(Generic[T]):
    """An async function that runs in the Trio thread.

    Attributes:
        function: What runs.
        done: Called in the Trio thread when it has ended.
        value: What it returned.
        error: What it raised; None if it returned, or was cancelled.
        cancelled: It ended because of `cancel`.
        has_begun: It was started, or refused.
        has_ended: It has ended; `done` is called then.
    """

    function: Callable[[], Awaitable[T]]
    done: Callable[[], None]
    value: Any = attrs.field(default=None, init=False)
    error: BaseException | None = attrs.field(default=None, init=False)
    cancelled: bool = attrs.field(default=False, init=False)
    has_begun: bool = attrs.field(default=False, init=False)
    has_ended: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    thread: TrioThread = attrs.field(factory=lambda: trio_thread(), init=False)  # noqa: PLW0108  (defined below)

    def cancel(self) -> None:
        """Cancel it, from any thread; `done` is still called when it has ended."""
        self.thread.soon(self._scope.cancel)

    def result(self, cancelled: BaseException | None = None) -> T:
        """What it returned, once it has ended.

        Args:
            cancelled: What to raise in any case: the waiting task was cancelled meanwhile.

        Raises:
            BaseException: What it raised.
        """
        error, self.error = cancelled or self.error, None
        try:
            if error is not None:
                raise error
        finally:
            cancelled = error = None  # breaks the cycle between the frame and its exception
        value: T = self.value
        return value

    def fail(self, error: Exception) -> None:
        """End it with an error, in place of running it."""
        self.error, self.has_ended = error, True
        self.done()

    async def run(self) -> None:
        """Run it in a Trio task."""
        try:
            with self._scope:
                self.value = await self.function()
                return
            self.cancelled = True
        except trio.Cancelled:  # the thread is ending
            self.error = RuntimeError("the Trio thread has ended before this call did, since the process is ending")
            raise
        except BaseException as error:
            self.error = error
        finally:
            self.has_ended = True
            self.done()


@final
class TrioThread:
    """The thread, and what runs in it."""

    def __init__(self) -> None:
        self.pid: int = os.getpid()
        self._ready = threading.Event()
        self._stop: trio.CancelScope | None = None
        self._token: trio.lowlevel.TrioToken
        # A daemon, since a process must not wait for a call that nobody waits for any more.
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="allm trio", daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def alive(self) -> bool:
        """Whether it still runs, in this process: a fork has only the thread that forked."""
        return self.pid == os.getpid() and self._thread.is_alive()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._stop:
            self._ready.set()
            await trio.sleep_forever()

    def soon(self, function: Callable[[], object]) -> None:
        """Call a sync function in the Trio thread.

        Raises:
            trio.RunFinishedError: It has ended.
        """
        self._token.run_sync_soon(function)

    def start(self, job: Job[Any], context: Context) -> None:
        """Start a job in a context of its own; once, however often this is called.

        Raises:
            trio.RunFinishedError: It has ended.
        """

        def begin() -> None:
            if not job.has_begun:
                job.has_begun = True
                name = getattr(job.function, "__qualname__", "call")
                trio.lowlevel.spawn_system_task(job.run, name=f"allm {name}", context=context)

        self.soon(begin)

    def call(self, function: Callable[[], T]) -> T:
        """Call a sync function in the Trio thread, and wait for its result: for calls that take microseconds.

        Raises:
            Exception: What it raised.
        """
        if threading.current_thread() is self._thread:
            return function()
        over = threading.Event()
        returned: list[T] = []
        raised: list[Exception] = []

        def work() -> None:
            try:
                returned.append(function())
            except Exception as error:
                raised.append(error)
            finally:
                over.set()

        self.soon(work)
        over.wait()
        if raised:
            raise raised.pop()
        return returned[0]

    def end(self) -> None:
        """End the run, so that its connections are closed; what does not end in time is left behind."""
        if self.alive and self._stop is not None:
            self.soon(self._stop.cancel)
            self._thread.join(_ENDING)


_lock = threading.Lock()
_current: TrioThread | None = None


def trio_thread() -> TrioThread:
    """The Trio thread of this process, which is started if it does not run."""
    global _current  # noqa: PLW0603  (one for each process)
    thread = _current
    if thread is None or not thread.alive:
        with _lock:
            thread = _current
            if thread is None or not thread.alive:
                thread = _current = TrioThread()
                atexit.register(thread.end)
    return thread


def called_there(function: Callable[..., T]) -> Callable[..., T]:
    """The same sync function, called in the Trio thread and in the context of the caller.

    For methods of what tasks of that thread change at the same time, and of what asks for Trio's clock.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        context = copy_context()
        return trio_thread().call(lambda: context.run(function, *args, **kwargs))

    return call


def _forget_lock() -> None:
    """In a fork, another thread may have held the lock."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)
