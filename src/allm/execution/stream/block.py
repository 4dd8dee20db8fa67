"""Blocks that own tasks: `StreamBlock`, with clear errors for misuse, and nurseries that raise no exception groups.

Every function named `stream_...` returns a `StreamBlock`. It starts nothing by itself: `async with` enters the context
manager inside it, which owns the tasks and the connection and gives the stream. The nursery in it is invisible to
users: an exception comes out as itself, without a group around it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from textwrap import indent
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, final

import trio

from allm.data.errors import StreamError
from allm.http.trio_task import check_trio_task

__all__ = [
    "StreamBlock",
    "background_task",
    "collapse_exception_group",
    "nursery_boundary",
]

StreamT = TypeVar("StreamT")


@final
class StreamBlock(Generic[StreamT]):
    """The return value of a `stream_...` function: enter it once, with `async with`, to get the stream."""

    def __init__(self, manager: AbstractAsyncContextManager[StreamT], example: str) -> None:
        """Wrap the context manager of a stream.

        Args:
            manager: Owns everything that runs for the stream, and ends it when the block is left.
            example: Lines of code that show correct use, for the error messages.
        """
        self._manager = manager
        self._example = example
        self._entered = False

    async def __aenter__(self) -> StreamT:
        if self._entered:
            raise StreamError(
                f"this stream was entered before, and a call runs once; open another:\n{indent(self._example, '    ')}",
                reason="closed",
            )
        check_trio_task()
        self._entered = True
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (cancels its own tasks first)

    # Python's own errors for these mistakes mention protocols instead of the fix. Type checkers find the mistakes
    # before the code runs, and would no longer do so if they saw these methods.
    if not TYPE_CHECKING:

        def __aiter__(self) -> NoReturn:
            raise self._not_entered("`async for` reads the stream, not its block")

        def __iter__(self) -> NoReturn:
            raise self._not_entered("a plain `for` cannot read a stream")

        def __await__(self) -> NoReturn:
            raise self._not_entered("`await` does not open a stream")

        def __enter__(self) -> NoReturn:
            raise self._not_entered("a plain `with` does not open a stream")

        def __exit__(self, *_: object) -> None:
            """Never called; `with` looks it up before it calls `__enter__`."""

        def _not_entered(self, mistake: str) -> StreamError:
            right = f"open it with `async with`, which closes it for sure:\n{indent(self._example, '    ')}"
            return StreamError(f"{mistake}: {right}", reason="not_entered")


@asynccontextmanager
async def nursery_boundary() -> AsyncGenerator[trio.Nursery]:
    """A nursery that raises what its body raised, as itself.

    The tasks in it must hand their errors over instead of raising them. The only thing they may raise is an interrupt
    (`KeyboardInterrupt`, `SystemExit`), which takes precedence over the body's exception.
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
    # Outside of `except`, or the group would become the `__context__` of the exception.
    try:
        if raised is not None:
            raise raised
    finally:
        del raised, body_error  # breaks the reference cycle between the frame and its exception


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
            nursery.start_soon(run, name=name)
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


def collapse_exception_group(
    group: BaseExceptionGroup[BaseException], body_error: BaseException | None = None
) -> BaseException:
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
