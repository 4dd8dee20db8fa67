"""`Hold`: a block that lives in a task of the Trio thread, for a reader in another thread."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, final

import attrs
import trio

from allm.bridge.thread import Job, TrioThread, trio_thread
from allm.data.attrs_classes import define
from allm.data.errors import StreamError
from allm.execution.stream.block import Block

__all__ = ["HeldStream", "Hold", "show_code"]


@final
@define(eq=False)
class Hold:
    """One block, entered and left in the same task, in which everything that belongs to it runs.

    Attributes:
        opened: Called in the Trio thread when the block has been entered.
        is_open: Whether it has been; stays true when it ends.
        stream: What the block gave; set before.
    """

    block: AbstractAsyncContextManager[Any]
    thread: TrioThread
    opened: Callable[[], None]
    is_open: bool = attrs.field(default=False, init=False)
    stream: Any = attrs.field(default=None, init=False)
    _has_ended: bool = attrs.field(default=False, init=False)
    _leave: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _send: trio.MemorySendChannel[Job[Any]] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Job[Any]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Job[Any]](math.inf)

    async def run(self) -> None:
        """Own the block until the reader leaves it.

        Raises:
            Exception: Raised by the block when it is entered or left.
        """
        try:
            async with self.block as self.stream:
                self.is_open = True
                self.opened()
                with self._leave:
                    while True:
                        await (await self._receive.receive()).run()
        finally:
            self._has_ended = True
            with suppress(trio.WouldBlock):
                while True:
                    self._receive.receive_nowait().fail(_left())

    def do(self, job: Job[Any]) -> None:
        """Run a job in the task of the block; from any thread. It fails if the block ends before its turn.

        It runs once, however often this is called.
        """

        def begin() -> None:
            if job.has_begun:
                return
            job.has_begun = True
            if self._has_ended:
                job.fail(_left())
            else:
                self._send.send_nowait(job)

        self.thread.soon(begin)

    def leave(self) -> None:
        """Let the block end."""
        self.thread.soon(self._leave.cancel)


class HeldStream:
    """A stream of batches or of sound, whose methods run in the task of its block. A subclass adds the iteration."""

    def __init__(self, stream: Any, block: Any) -> None:
        """Stand for `stream`; `block.do` runs an async function in the task of the block."""
        self._stream = stream
        self._block = block

    def _next(self) -> Any:
        """Ask for the next item, in the task of the block."""
        if self._block._left:  # the stream's own error shows how it is read in Trio
            raise _left()
        return self._block.do(self._stream.__anext__)

    def __getattr__(self, name: str) -> Any:
        thread = trio_thread()
        found = thread.call(lambda: getattr(self._stream, name))
        if not callable(found):
            return found
        is_async = inspect.iscoroutinefunction(found)

        def call(*args: Any, **kwargs: Any) -> Any:
            work = functools.partial(found, *args, **kwargs)
            return self._block.do(work) if is_async else thread.call(work)

        return call


def _left() -> StreamError:
    return StreamError("the block has ended, so nothing more can be read or done in it", reason="closed")


def show_code(block: Any, change: Callable[[str], str]) -> None:
    """Have the errors of a block of the library show the code that is right where it is used."""
    if isinstance(block, Block):
        block._example = change(block._example)
