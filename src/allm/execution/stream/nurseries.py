"""Nurseries whose users know nothing of nurseries: the one exception comes out as itself, without a group around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import trio

__all__ = ["background_task", "collapse_exception_group", "nursery_boundary"]


@asynccontextmanager
async def nursery_boundary() -> AsyncGenerator[trio.Nursery]:
    """A nursery that raises what its body raised, as itself.

    The tasks in it hand over what goes wrong instead of raising it. All that they may raise is an interrupt, which
    comes out before anything else.
    """
    body_error: BaseException | None = None
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                body_error = error
                raise
    except BaseExceptionGroup as group:
        raised = collapse_exception_group(group, body_error)
    # Outside of `except`, or the group would be told as the context of the exception.
    try:
        if raised is not None:
            raise raised
    finally:
        del raised, body_error  # the frame would keep its own exception alive


@asynccontextmanager
async def background_task(work: Callable[[], Awaitable[None]], name: str) -> AsyncGenerator[None]:
    """Run `work` while the block runs, and no longer.

    If `work` raises first, the block is cancelled, and that exception comes out instead of the cancellation.
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
            nursery.start_soon(run, name=name)
            yield
            nursery.cancel_scope.cancel()
    except trio.Cancelled:
        if failure is None:
            raise
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # the frame would keep its own exception alive


def collapse_exception_group(
    group: BaseExceptionGroup[BaseException], body_error: BaseException | None = None
) -> BaseException:
    """What to raise for the group that a nursery raised.

    A `KeyboardInterrupt` or `SystemExit` that hit one of its tasks comes first; else it is what the body raised.
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
