"""The block around a stream, and what every misuse of it is told.

All functions named `stream_...` return one `StreamBlock`. It starts nothing by itself: `async with` enters the context
manager inside it, which owns the tasks and the connection and gives the stream.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from textwrap import indent
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, final

import trio

from allm.data.errors import StreamError

__all__ = ["StreamBlock", "check_trio_task"]

StreamT = TypeVar("StreamT")


@final
class StreamBlock(Generic[StreamT]):
    """What a `stream_...` function returns: enter it once, with `async with`, to get the stream."""

    def __init__(self, manager: AbstractAsyncContextManager[StreamT], example: str) -> None:
        """Wrap the context manager of a stream.

        Args:
            manager: Owns everything that runs for the stream, and ends it when the block is left.
            example: The right lines of code, for the errors.
        """
        self._manager = manager
        self._example = example
        self._entered = False

    async def __aenter__(self) -> StreamT:
        if self._entered:
            raise StreamError(
                f"this stream was entered before; a call runs once: open another\n{indent(self._example, '    ')}",
                reason="closed",
            )
        check_trio_task()
        self._entered = True
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (cancels its own tasks first)

    # Python's own errors for these mistakes speak of its protocols. Type checkers find the mistakes without running the
    # code, and would stop doing so if they saw these methods.
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
            """Never runs; `with` looks for it before it calls `__enter__`."""

        def _not_entered(self, mistake: str) -> StreamError:
            right = f"open it with `async with`, which closes it for sure:\n{indent(self._example, '    ')}"
            return StreamError(f"{mistake}: {right}", reason="not_entered")


def check_trio_task() -> None:
    """Refuse to run outside Trio, before one of its internals does so in words of its own.

    Raises:
        RuntimeError: The caller is not a Trio task.
    """
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            "this library runs on Trio, and the caller is not a Trio task: trio.run(main), not asyncio.run(main())"
        )
