"""The one exception that comes out of a block with tasks in it: its callers know nothing of nurseries and groups."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import trio

__all__ = ["collapse_exception_group", "nursery_boundary"]


def collapse_exception_group(
    group: BaseExceptionGroup[BaseException], body_error: BaseException | None = None
) -> BaseException:
    """What to raise for the group that a nursery raised.

    The tasks here hand over what goes wrong, and raise nothing but an interrupt: a `KeyboardInterrupt` or `SystemExit`
    that hit one of them. It comes first; else it is what the body raised, whatever that is.
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
async def nursery_boundary() -> AsyncGenerator[trio.Nursery]:
    """A nursery that raises what its body raised, as itself, and never a group.

    Like every nursery it waits for its tasks. They hand over what goes wrong, and raise nothing but an interrupt.
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
    try:
        # Outside of `except`, so that the group does not become the context of the exception. A body that the nursery's
        # own scope cancelled raises nothing here: that cancellation has ended with the scope.
        if raised is not None:
            raise raised
    finally:
        del body_error, raised  # the frame would keep its own exceptions alive
