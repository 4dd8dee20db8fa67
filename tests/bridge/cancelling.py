"""`cancel_everywhere` for a function that an event loop runs, and that calls into the Trio thread.

A run has two kinds of moments. `"trio"` are those of `allm.testing.cancel_everywhere`, in the tasks that the function
has in the Trio thread: the thread stands still there until the loop has cancelled the task. `"loop"` is after each pass
of the event loop; what Trio does meanwhile is left to chance. The task is cancelled by itself, by a time limit, or by
Ctrl-C.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextlib import suppress

import attrs
import trio

import allm.aio
from allm.aio.blocks import AsyncioBlock
from allm.bridge.thread import trio_thread
from allm.testing.cancelling import _unanswered
from allm.testing.leaks import Holdings, after_settling, tasks_left
from allm.testing.steps import StepCounter

SECONDS = 20
"""A loop that does not answer the Trio thread for so long hangs."""
IN_A_ROW = 5
"""Runs that must have ended before their cancellation, since the number of passes of a loop varies."""


class FromElsewhere:
    """Stands for the cancel scope of a `StepCounter`: cancels the task on its loop, while the Trio thread waits."""

    def __init__(self, loop, cut):
        self._loop = loop
        self._cut = cut
        self.cancel_called = self.is_over = False

    def cancel(self, **_):
        self.cancel_called = True
        done = threading.Event()
        end = time.monotonic() + SECONDS

        def cut():
            self._cut()
            done.set()

        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(cut)
            # When the function has ended, the loop may wait for this thread.
            while not done.wait(0.01) and not self.is_over:
                assert time.monotonic() < end, "the loop is blocked"


class Moments(StepCounter):
    """The moments of all that is called from other threads."""

    is_over = False  # what is called from now on looks what is left

    def task_spawned(self, task):
        if self.is_over:
            return
        if task.name.startswith("allm "):
            self.tasks.add(task)
        else:
            super().task_spawned(task)


class CountingLoop(asyncio.SelectorEventLoop):
    """Calls `cut` after one of its passes."""

    passes = at = 0
    cut = staticmethod(lambda: None)

    def _run_once(self):
        super()._run_once()
        self.passes += 1
        if self.at and self.passes == self.at:
            self.at = 0
            self.cut()


@attrs.define
class Trial:
    """One run, as a check sees it."""

    number: int
    stage: object
    cancelled: bool = False
    caught: bool = False
    result: object = None


def instrument(counter, *, on):
    change = trio.lowlevel.add_instrument if on else trio.lowlevel.remove_instrument
    trio_thread().call(lambda: change(counter))


def new_counter(scope, at):
    def make():
        counter = Moments(at=at, scope=scope)
        counter.tasks.clear()  # the root is the task of Trio that calls this
        return counter

    return trio_thread().call(make)


def ways(task, limit):
    """How a task may come to be cancelled."""
    return {
        "cancel": task.cancel,
        "timeout": lambda: limit.reschedule(asyncio.get_running_loop().time() - 1),
        "interrupt": lambda: signal.raise_signal(signal.SIGINT),
    }


async def within(limit, function, stage):
    async with limit:
        return await function(stage)


async def trial(function, around, check, known, *, where, how, number, at):
    """Run the function once, cancelled at a moment."""
    async with AsyncioBlock(around(), lambda stage, _: stage) as stage:
        loop = asyncio.get_running_loop()
        one = Trial(number, stage)
        before = Holdings.now(known)
        limit = asyncio.timeout(None)
        task = asyncio.create_task(within(limit, function, stage))

        def cut():
            if not task.done():
                one.cancelled = True
                ways(task, limit)[how]()

        scope = FromElsewhere(loop, cut)
        counter = new_counter(scope, at if where == "trio" else 0)
        instrument(counter, on=True)
        try:
            loop.passes, loop.at, loop.cut = -1, at if where == "loop" else 0, cut  # the pass that runs now is not one
            if number and at == 0:  # before it starts
                one.cancelled = task.cancel()
            try:
                one.result = await task
            except (asyncio.CancelledError, TimeoutError):
                one.caught = True
            finally:
                counter.at, counter.is_over, loop.at, scope.is_over = 0, True, 0, True
            # At once: a call has ended when its cancellation goes on.
            left = [f"{other} is running" for other in asyncio.all_tasks() - {asyncio.current_task()}]
            left += trio_thread().call(lambda: tasks_left(counter))
            if number:
                before = before.with_new_pools()
                left += await allm.aio.run(after_settling, lambda: [*tasks_left(counter), *before.left(counter)])
        finally:
            instrument(counter, on=False)
        checked = await check(one)
        left += _unanswered((one.result, checked))
        when = f"run {number}, cancelled {counter.moment or where} of {counter.cancelled_in!r}"
        assert not left, f"{when} left:\n" + "\n".join(left)
        return one


async def checks_nothing(_):
    """Nothing but what every run is checked for."""


def cancel_everywhere(function, around, *, check=checks_nothing, where="trio", how="cancel", stride=1, most=20_000):
    """Cancel a function at every moment that it has, each time in a new run on a new loop, and look what is left.

    `stride` is 1 for every moment, 3 for every third. How many passes a loop has, is left to chance: events that arrive
    together are read in one.
    """

    def run(known, number, at):
        with asyncio.Runner(loop_factory=CountingLoop) as runner:
            try:
                return runner.run(trial(function, around, check, known, where=where, how=how, number=number, at=at))
            except BaseException as error:
                error.add_note(f"in run {number} of {where}, cancelled at {at}")
                raise

    run(Holdings.now(), 0, 0)  # opens what is kept for all of them
    known = Holdings.now()
    late = 0
    for number in range(1, most):
        one = run(known, number, (number - 1) * stride)
        late = 0 if one.cancelled else late + 1
        if late == IN_A_ROW:
            assert number - late > (10 if where == "trio" else 2)
            return
    raise AssertionError("the function does not end")
