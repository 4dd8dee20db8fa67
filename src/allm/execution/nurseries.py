"""Nurseries that raise no exception groups, and tasks that Ctrl-C cannot leave half started."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TypeVarTuple, Unpack, final

import trio

__all__ = ["background_task", "nursery_boundary", "start_task"]

Args = TypeVarTuple("Args")


@trio.lowlevel.enable_ki_protection
def start_task(
    nursery: trio.Nursery,
    function: Callable[[Unpack[Args]], Awaitable[object]],
    *args: *Args,
    name: str | None = None,
) -> None:
    """Start a task, as `nursery.start_soon` does, but wholly or not at all.

    Ctrl-C in the middle of `start_soon` would leave a task that the nursery waits for and that never runs.
    """
    nursery.start_soon(function, *args, name=name)


@final
class nursery_boundary:  # noqa: N801  (a `with` block, not a thing)
    """A nursery that raises what its body raised, as itself.

    The tasks in it must hand their errors over instead of raising them. The only thing they may raise is an interrupt
    (`KeyboardInterrupt`, `SystemExit`), which takes precedence over the body's exception.
    """

    __slots__ = ("_nursery",)

    @trio.lowlevel.enable_ki_protection  # Ctrl-C before Trio's own protection begins would leave it open
    async def __aenter__(self) -> trio.Nursery:
        self._nursery = trio.open_nursery()
        return await self._nursery.__aenter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        raised: BaseException
        try:
            return await self._nursery.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (cancels its own tasks first)
        except BaseExceptionGroup as group:
            raised = _the_one(group, error)
        # Outside of `except`, or the group would become the `__context__` of the exception.
        try:
            raise raised
        finally:
            del raised, error  # breaks the reference cycle between the frame and its exception


def _the_one(group: BaseExceptionGroup[BaseException], body_error: BaseException | None = None) -> BaseException:
    """The one exception to raise in place of the group that a nursery raised.

    A `KeyboardInterrupt` or `SystemExit` from one of its tasks comes first, then the body's own exception.
    """
    leaves = list(_leaves(group))
    of_body = {id(leaf) for leaf in _leaves(body_error)} if body_error is not None else set()
    for leaf in leaves:
        if id(leaf) not in of_body and not isinstance(leaf, (Exception, trio.Cancelled)):
            return leaf
    return body_error or leaves[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


@asynccontextmanager
async def background_task(work: Callable[[], Awaitable[None]], name: str) -> AsyncGenerator[None]:
    """Run `work` while the block runs, and no longer.

    If `work` raises while the block runs, the block is cancelled, and raises that exception instead of `Cancelled`.
    """
    failure: Exception | None = None

    async def run() -> None:
        nonlocal failure
        try:
            await work()
        except Exception as error:
            failure = error
            nursery.cancel_scope.cancel()

    try:
        async with nursery_boundary() as nursery:
            start_task(nursery, run, name=name)
            yield
            nursery.cancel_scope.cancel()
    except trio.Cancelled:  # noqa: ASYNC103  (the failure that caused the cancellation comes out instead)
        if failure is None:
            raise
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # breaks the reference cycle between the frame and its exception
