"""`Background`: tasks that outlive the call that began them, and end with a block."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import final

import trio

from allm.execution.nurseries import nursery_boundary, start_task

__all__ = ["Background", "background"]

Work = Callable[[Callable[[], None]], Awaitable[None]]
"""An async function that calls its argument once, when what may be refused is behind it."""


@final
class Background:
    """Begins tasks; see `background`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def begin(self, work: Work, scope: trio.CancelScope, name: str) -> bool:
        """Run `work` in a task of its own, and wait until it says that it has begun; it goes on after that.

        It has the context variables of the caller, and none of its cancel scopes: if the caller is cancelled before
        `work` has begun, `scope` is cancelled, and after that nothing is.

        Args:
            work: What runs; it raises nothing once it has begun.
            scope: Is put around it.
            name: The name of the task.

        Returns:
            Whether it has begun; False if it was cancelled before.

        Raises:
            Exception: What `work` raised before it began.
        """
        decided = trio.Event()
        has_begun = False
        failure: Exception | None = None

        def begun() -> None:
            nonlocal has_begun
            has_begun = True
            decided.set()

        async def run() -> None:
            nonlocal failure
            try:
                with scope:
                    await work(begun)
            except Exception as error:
                if has_begun:
                    raise
                failure = error
            finally:
                decided.set()

        start_task(self._nursery, run, name=name)
        try:
            await decided.wait()
        except trio.Cancelled:
            if not has_begun:
                scope.cancel()
            raise
        try:
            if failure is not None:
                raise failure
        finally:
            failure = None  # breaks the reference cycle between the frame and its exception
        return has_begun


@asynccontextmanager
async def background() -> AsyncGenerator[Background]:
    """A block that owns tasks: leaving it, in any way, cancels them and waits for their ends."""
    async with nursery_boundary() as nursery:
        try:
            yield Background(nursery)
        finally:
            nursery.cancel_scope.cancel()
