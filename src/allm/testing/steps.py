"""Which tasks a block of code starts, and cancelling them at every moment that differs.

A task step runs from one checkpoint of a task to its next, and a pass of the scheduler runs one step of each task that
is ready. A cancellation that comes while a task waits ends the wait; one that comes when the task has been woken is
noticed at its next checkpoint only. So these moments differ:

    after a step of a task: it waits for what it asked for
    before a step of a task: its wait is over, and it does not know yet; others of the same pass may have run
    before a pass in which a task is ready: it runs in the same pass as those that the cancellation wakes, and in both
        orders, since Trio reverses the order of every other pass

The last is how a parent comes to cancel a child that has just been woken, such as one that waited for a connection.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import final

import attrs
import trio

__all__ = ["Lineage", "StepCounter", "instrumented", "stack_of"]


@attrs.define(eq=False)
class Lineage(trio.abc.Instrument):
    """The tasks that a task starts from now on, directly or through others, into whatever nursery.

    Attributes:
        root: The task.
        tasks: Those that are alive, including `root`.
    """

    root: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task)
    tasks: set[trio.lowlevel.Task] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tasks = {self.root}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Add a task that was started by one in `tasks`, or into a nursery of one."""
        # A nursery of the root may be older than the block, such as that of a server, which starts tasks in it.
        parent = None if task.parent_nursery is None else task.parent_nursery.parent_task
        if trio.lowlevel.current_task() in self.tasks or (parent in self.tasks and parent is not self.root):
            self.tasks.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Remove a task that has ended."""
        self.tasks.discard(task)


@final
@attrs.define(eq=False)
class StepCounter(Lineage):
    """Counts the moments of the lineage and cancels a scope at one of them.

    Attributes:
        at: The moment to cancel at, from 1. With 0 nothing is cancelled here; cancel the scope before the call instead.
        scope: The scope to cancel.
        moments: Moments so far.
        steps: Task steps so far.
        order: Makes Trio run the tasks of the next pass in one order or the other.
        cancelled_in: Name of the task that was looked at when the scope was cancelled.
        moment: Which moment of a step that was.
        stack: Where this task stood.
    """

    at: int = 0
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    moments: int = 0
    steps: int = 0
    order: Callable[[bool], object] = lambda _: None
    _is_ready: bool = False
    cancelled_in: str = ""
    moment: str = ""
    stack: traceback.StackSummary | None = None

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Note that a task will run in the next pass."""
        self._is_ready = self._is_ready or task in self.tasks

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - as the instrument is called
        """Count the moments before a pass."""
        if self._is_ready:
            self._is_ready = False
            for is_reversed in (False, True):
                if self.moments + 1 == self.at:
                    self.order(is_reversed)
                self._pass(self.root, "before a pass, while others are ready,")

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the moment at which a task has been woken and has not run."""
        if task in self.tasks:
            self._pass(task, "before a step")

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the step, and the moment at which a task waits or has ended."""
        if task in self.tasks:
            self.steps += 1
            self._pass(task, "after a step")

    def _pass(self, task: trio.lowlevel.Task, moment: str) -> None:
        self.moments += 1
        if self.moments == self.at:
            self.cancelled_in, self.moment, self.stack = task.name, moment, stack_of(task)
            self.scope.cancel(reason="cancel_everywhere")


def stack_of(task: trio.lowlevel.Task) -> traceback.StackSummary:
    """Where a task that is not running stands, outermost frame first."""
    return traceback.StackSummary.extract(task.iter_await_frames(), lookup_lines=False)


@contextmanager
def instrumented(*instruments: trio.abc.Instrument) -> Generator[None]:
    """Use instruments in this block."""
    for instrument in instruments:
        trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        for instrument in instruments:
            trio.lowlevel.remove_instrument(instrument)
