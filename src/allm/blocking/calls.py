"""Calls from a plain thread into the Trio thread, and of the program's functions back in the thread that waits."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, TypeVar, final

import outcome
import trio

from allm.bridge.thread import Job, trio_thread
from allm.data.attrs_classes import frozen
from allm.data.user_functions import host

__all__ = ["ThreadHost", "Waiter", "call_context", "in_trio", "run"]

T = TypeVar("T")


def in_trio(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function of the library in the Trio thread, and wait for it.

    Ctrl-C cancels it; the `KeyboardInterrupt` goes on when it has ended.

    Raises:
        BaseException: What it raised.
    """
    waiter = Waiter()
    job = Job(function, waiter.wake)
    thread, context = trio_thread(), call_context(waiter)
    return job.result(waiter.until(lambda: job.has_ended, job.cancel, lambda: thread.start(job, context)))


def run(function: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
    """Run an async function that is written for Trio, and wait for it: one of your own, or a method such as `tool.run`.

    Args:
        function: The function.
        args, kwargs: Its arguments.

    Raises:
        BaseException: What it raised; `KeyboardInterrupt` after Ctrl-C, which cancels it.
    """
    return in_trio(lambda: function(*args, **kwargs))


def call_context(waiter: Waiter) -> Context:
    """A copy of the context, in which functions of the program are called by whoever waits with `waiter`."""
    context = copy_context()
    context.run(host.set, ThreadHost(waiter))
    return context


@final
class Waiter:
    """Lets a thread wait for the Trio thread, and call functions for it meanwhile."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def wake(self) -> None:
        """Wake the thread, from any other; also if it does not wait yet."""
        self._queue.put(None)

    def ask(self, function: Callable[[], None]) -> None:
        """Let the thread call a function, as soon as it waits."""
        self._queue.put(function)

    def wait(self) -> None:
        """Wait until `wake` is called, and call what is asked for meanwhile.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        while (function := self._queue.get()) is not None:
            function()

    def until(
        self, is_over: Callable[[], bool], cancel: Callable[[], None], begin: Callable[[], None]
    ) -> KeyboardInterrupt | None:
        """Begin something and wait until it is over; Ctrl-C is passed on as a cancellation, and returned at the end.

        Args:
            is_over: Whether it is; `wake` is called after it became true.
            cancel: Called for each Ctrl-C.
            begin: Called again if Ctrl-C may have come before its end, so what it begins must begin once.
        """
        interrupted: KeyboardInterrupt | None = None
        has_begun = False
        while True:
            try:
                if not has_begun:
                    begin()
                    has_begun = True
                while not is_over():
                    self.wait()
                return interrupted  # noqa: TRY300  (Ctrl-C may come here too)
            except KeyboardInterrupt as error:
                interrupted = error
                cancel()


@final
@frozen
class ThreadHost:
    """Calls sync functions of the program in its thread. What they return is awaited in Trio, if it is awaitable."""

    waiter: Waiter

    async def __call__(self, function: Callable[[], Any], /) -> Any:
        """See `Host`."""
        task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()
        context = copy_context()
        given_up = False

        def call() -> None:
            if given_up:
                return
            try:
                result: outcome.Outcome[Any] = outcome.Value(context.run(function))
            except KeyboardInterrupt:
                token.run_sync_soon(finish, outcome.Error(RuntimeError("interrupted")))
                raise
            except BaseException as error:  # noqa: ASYNC103  (raised in the Trio task)
                result = outcome.Error(error)
            token.run_sync_soon(finish, result)

        def finish(result: outcome.Outcome[Any]) -> None:
            if not given_up:
                trio.lowlevel.reschedule(task, result)

        def abort(_: Any) -> trio.lowlevel.Abort:
            nonlocal given_up
            given_up = True  # a sync function cannot be cancelled; like one in a worker thread, it is left behind
            return trio.lowlevel.Abort.SUCCEEDED

        self.waiter.ask(call)
        value = await trio.lowlevel.wait_task_rescheduled(abort)
        return await value if inspect.isawaitable(value) else value

    async def back(self, function: Callable[[], Awaitable[T]], /) -> T:
        """See `Host`: async functions of the program run in Trio here."""
        return await function()
