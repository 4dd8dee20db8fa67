"""Counting the steps of a call, to cancel it at each one.

A task's step ends when it waits or lets others run: at a checkpoint. Cancelling a call once after its first step, once
after its second, and so on, until it ends before its turn to be cancelled, therefore tries every checkpoint it has,
those of the tasks it starts included.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import final

import attrs
import trio

from allm.testing.conformance.checks import same

__all__ = ["Steps", "family"]


@final
@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Follows one task and its descendants.

    Attributes:
        scope: Cancelled after step number `at`.
        at: 0 cancels nothing here; cancel the scope before the call for that.
        count: Steps so far.
        tasks: Those alive, the followed one included.
    """

    root: trio.lowlevel.Task
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    at: int = 0
    count: int = 0
    tasks: set[trio.lowlevel.Task] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tasks = {self.root}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Follow what a followed task starts."""
        nursery = task.parent_nursery
        if nursery is not None and nursery.parent_task in self.tasks:
            self.tasks.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget a task that has ended."""
        self.tasks.discard(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count, and cancel when it is time."""
        if task in self.tasks:
            self.count += 1
            if self.count == self.at:
                self.scope.cancel()

    def check_joined(self, after: str) -> None:
        """Check that every task that was started has ended.

        Raises:
            AssertionError: One is alive.
        """
        left = sorted(task.name for task in self.tasks - {self.root})
        same(left, [], f"a task of the call is still alive {after}")


@contextmanager
def family(at: int = 0) -> Generator[Steps, None, None]:
    """Follow the current task in this block."""
    steps = Steps(trio.lowlevel.current_task(), at=at)
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
