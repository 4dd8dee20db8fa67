"""Calls from an event loop into the Trio thread, and of the program's functions back on the loop."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast, final

import attrs
import outcome
import trio

from allm.aio.interrupts import wake_on_signals
from allm.bridge.thread import Job, trio_thread
from allm.data.attrs_classes import define, frozen
from allm.data.user_functions import host

__all__ = ["LoopHost", "Waiter", "call_context", "in_trio", "run"]

T = TypeVar("T")


async def in_trio(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function of the library in the Trio thread.

    If the task is cancelled, so is the function, and it has ended when the cancellation goes on.

    Raises:
        BaseException: What it raised.
    """
    waiter = Waiter()
    job = Job(function, waiter.wake)
    trio_thread().start(job, call_context())
    cancelled = await waiter.until(lambda: job.has_ended, job.cancel)
    return job.result(cancelled)


async def run(function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
    """Run an async function that is written for Trio: one of your own, or a method such as `tool.run`.

    If the task is cancelled, so is the function, and it has ended when the cancellation goes on.

    Args:
        function: The function.
        args, kwargs: Its arguments.

    Raises:
        BaseException: What it raised.
    """
    return await in_trio(lambda: function(*args, **kwargs))


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop that runs this task.

    Raises:
        RuntimeError: None does.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "allm.aio runs in tasks of asyncio, and this is none. On Trio: the same function of allm. In a script: "
            "asyncio.run(main), or the same function of allm.blocking. The page docs/environments.md has examples"
        ) from None


def call_context() -> Context:
    """A copy of the context, in which functions of the program are called on this loop."""
    context = copy_context()
    loop = running_loop()
    context.run(host.set, LoopHost(loop, weakref.ref(cast("asyncio.Task[Any]", asyncio.current_task(loop)))))
    return context


@final
class Waiter:
    """Lets one task of a loop wait for the Trio thread.

    The Trio thread refers to this, and this refers to no task. So a task that nobody waits for any more, since its loop
    was closed, is collected, and its call is cancelled.
    """

    def __init__(self) -> None:
        self._loop = running_loop()
        wake_on_signals(self._loop)
        self._future: Callable[[], asyncio.Future[None] | None] = _none

    def wake(self) -> None:
        """Wake the task, from any thread; also if it does not wait."""
        self.soon(self._set)

    def soon(self, function: Callable[[], None]) -> None:
        """Call a function on the loop, from any thread, unless the loop was closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def _set(self) -> None:
        future = self._future()
        if future is not None and not future.done():
            future.set_result(None)

    async def wait(self) -> None:
        """Wait until `wake` is called after this, or somebody else waits."""
        await self._next()

    def _next(self) -> asyncio.Future[None]:
        self._set()  # for another task that still waits: the block that it reads is being left
        future: asyncio.Future[None] = self._loop.create_future()
        self._future = weakref.ref(future)
        return future

    async def until(self, is_over: Callable[[], bool], cancel: Callable[[], None]) -> asyncio.CancelledError | None:
        """Wait until something is over; a cancellation of the task is passed on, and returned at the end.

        Args:
            is_over: Whether it is; `wake` is called after it became true.
            cancel: Called for each cancellation.
        """
        cancelled: asyncio.CancelledError | None = None
        while True:
            future = self._next()
            if is_over():
                return cancelled
            try:
                await future
            except asyncio.CancelledError as error:  # noqa: ASYNC103  (raised by the caller, once it is over)
                cancelled = error
                cancel()
            except GeneratorExit:  # nobody waits any more
                cancel()
                raise


def _none() -> None:
    """In place of a reference, when there is nothing yet."""


_CLOSED = "the event loop that this function belongs to was closed during the call"


@final
@frozen
class LoopHost:
    """Calls functions of the program on its event loop.

    Attributes:
        caller: The task whose call this is, while it is.
    """

    loop: asyncio.AbstractEventLoop
    caller: Callable[[], asyncio.Task[Any] | None]

    async def __call__(self, function: Callable[[], Any], /) -> Any:
        """See `Host`: called in a Trio task. If that is cancelled, so is the function, and it has ended after this."""
        call = _LoopCall(self.loop, self.caller, function)
        return await call.wait()

    async def back(self, function: Callable[[], Awaitable[T]], /) -> T:
        """See `Host`."""
        if trio.lowlevel.in_trio_task():
            return await function()
        return await in_trio(function)


@final
@define(eq=False)
class _LoopCall:
    """One call of a function on a loop, that a Trio task waits for.

    A loop may be stopped and closed at any time, and refers to its tasks weakly. So the task of an async function is
    held by that of the caller, and not by the Trio thread: they are collected together, and the wait is over.
    """

    loop: asyncio.AbstractEventLoop
    caller: Callable[[], asyncio.Task[Any] | None]
    function: Callable[[], Any]
    _context: Context = attrs.field(factory=copy_context, init=False)
    _reader: Any = attrs.field(factory=trio.lowlevel.current_task, init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)
    _to_begin: list[None] = attrs.field(factory=lambda: [None], init=False)  # whoever takes the item decides
    _task: Callable[[], asyncio.Task[Any] | None] = attrs.field(default=_none, init=False)
    _left: asyncio.Task[Any] | None = attrs.field(default=None, init=False)  # by a caller that has ended
    _raise_cancel: Callable[[], Any] | None = attrs.field(default=None, init=False)
    _is_over: bool = attrs.field(default=False, init=False)  # for the Trio task

    async def wait(self) -> Any:
        self._on_loop(self._begin)
        return await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _on_loop(self, function: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError as error:
            raise RuntimeError(_CLOSED) from error

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._raise_cancel = raise_cancel
        if not self._take():
            try:
                self._on_loop(self._cancel)
            except RuntimeError:  # it cannot end any more
                pass
            else:
                return trio.lowlevel.Abort.FAILED
        self._is_over = True
        return trio.lowlevel.Abort.SUCCEEDED

    def _take(self) -> bool:
        """Take the decision whether the function begins, from any thread; false if it has been taken before."""
        try:
            self._to_begin.pop()
        except IndexError:
            return False
        return True

    def _resume(self, result: outcome.Outcome[Any]) -> None:
        if not self._is_over:
            self._is_over = True
            trio.lowlevel.reschedule(self._reader, result)

    # --- on the loop ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._take():  # it was cancelled before
            return
        try:
            value = self._context.run(self.function)
        except BaseException as error:  # noqa: ASYNC103  (raised in the Trio task)
            self._finish(outcome.Error(error))
            return  # noqa: ASYNC104  (same)
        if not inspect.isawaitable(value):
            self._finish(outcome.Value(value))
            return
        task = self.loop.create_task(_awaited(value), context=self._context)
        self._task = weakref.ref(task, self._lost)
        task.add_done_callback(self._ended)
        self._hold(task)

    def _hold(self, task: asyncio.Task[Any]) -> None:
        """Let the caller hold the task while both run."""

        def keep(_: object) -> None:
            self._left = None if task.done() else task  # of a turn that outlives the call that began it

        def release(_: object) -> None:
            self._left = None
            if (caller := self.caller()) is not None:
                caller.remove_done_callback(keep)

        caller = self.caller()
        if caller is None or caller.done():
            keep(None)
        else:
            caller.add_done_callback(keep)
        task.add_done_callback(release)

    def _cancel(self) -> None:
        if (task := self._task()) is not None:
            task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._task = _none  # it cannot be lost any more
        if not task.cancelled():
            error = task.exception()
            self._finish(outcome.Value(task.result()) if error is None else outcome.Error(error))
        else:
            self._cut(RuntimeError("the function was cancelled on its event loop"))

    def _lost(self, _: object) -> None:
        """The task was collected, since its loop was closed; in whatever thread that was."""
        self._cut(RuntimeError(_CLOSED))

    def _cut(self, error: RuntimeError) -> None:
        raise_cancel = self._raise_cancel
        self._finish(outcome.Error(error) if raise_cancel is None else outcome.capture(raise_cancel))

    def _finish(self, result: outcome.Outcome[Any]) -> None:
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._resume, result)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value
