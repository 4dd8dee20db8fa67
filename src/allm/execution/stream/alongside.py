"""A task beside a block: it runs as long as the block does, and the block does not outlive its failure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from allm.execution.stream.nurseries import collapse_exception_group

__all__ = ["background_task"]


@asynccontextmanager
async def background_task(work: Callable[[], Awaitable[None]], name: str) -> AsyncGenerator[None]:
    """Run `work` while the block runs.

    What the block raises comes out as itself, and no group around it. If `work` raises first, the block is cancelled
    and that exception comes out instead of the cancellation.
    """
    failure: Exception | None = None
    body_error: BaseException | None = None

    async def run() -> None:
        nonlocal failure
        try:
            await work()
        except Exception as error:
            failure = error
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, name=name)
            try:
                yield
            except BaseException as error:  # noqa: ASYNC103  (raised again below, once the task has ended)
                body_error = error
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        body_error = collapse_exception_group(group, body_error)
    try:
        if failure is not None and (body_error is None or isinstance(body_error, trio.Cancelled)):
            raise failure
        if body_error is not None:
            raise body_error
    finally:
        del body_error, failure  # the frame would keep its own exceptions alive
