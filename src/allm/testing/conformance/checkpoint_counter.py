"""Count the task steps of a call, to cancel it at each one.

A task step ends when the task waits or yields: at a checkpoint. Cancelling a call after its first step, then after its
second, and so on until it ends before it is cancelled, therefore tries each of its checkpoints, including those of the
tasks it starts.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import final

import attrs
import trio

from allm.testing.conformance.checks import same

__all__ = ["StepCounter", "count_steps"]


@final
@attrs.define(eq=False)
class StepCounter(trio.abc.Instrument):
    """Counts the steps of a task and its descendants.

    Attributes:
        root: The task.
        scope: Cancelled after step number `at`.
        at: The step to cancel after. With 0 nothing is cancelled here; cancel the scope before the call instead.
        count: The number of steps so far.
        tasks: The tasks that are alive, including `root`.
    """

    root: trio.lowlevel.Task
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    at: int = 0
    count: int = 0
    tasks: set[trio.lowlevel.Task] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tasks = {self.root}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Add a task that was started by one in `tasks`."""
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self.tasks:
            self.tasks.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Remove a task that has ended."""
        self.tasks.discard(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the step, and cancel the scope at step `at`."""
        if task in self.tasks:
            self.count += 1
            if self.count == self.at:
                self.scope.cancel()

    def check_joined(self, after: str) -> None:
        """Check that every started task has ended.

        Raises:
            AssertionError: A task is alive.
        """
        left = sorted(task.name for task in self.tasks - {self.root})
        same(left, [], f"a task of the call is still alive {after}")


@contextmanager
def count_steps(at: int = 0) -> Generator[StepCounter, None, None]:
    """Count the steps of the current task and its descendants in this block."""
    steps = StepCounter(trio.lowlevel.current_task(), at=at)
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
