"""`async with` on an event loop, around a block that lives in the Trio thread."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, NoReturn, cast, final

import attrs

from allm.aio.calls import Waiter, call_context
from allm.aio.events import AsyncioStream
from allm.bridge.hold import Hold, show_code
from allm.bridge.reading import FedStream, read_through
from allm.bridge.thread import Job, trio_thread
from allm.execution.stream.event_stream import EventStream
from allm.session import SessionStream

__all__ = ["AsyncioBlock"]


@final
class AsyncioBlock:
    """Enters a block in a task of the Trio thread, and leaves it there.

    A cancellation while it is entered or left waits for the block, as everything in the library does. If the block ends
    by itself, because its lease was lost for example, the task in its body is cancelled, and its exception comes out.
    """

    def __init__(self, block: AbstractAsyncContextManager[Any], wrap: Callable[[Any, AsyncioBlock], Any]) -> None:
        """Take a block; `wrap` makes what `async with` gives from what the block gives."""
        self._block: Any = block
        show_code(block, lambda code: code.replace("allm.", "allm.aio.", 1))
        self._wrap = wrap
        self._waiter: Waiter
        self._hold: Hold
        self._job: Job[None]
        self._events: FedStream[Any] | None = None
        self._body: Callable[[], asyncio.Task[Any] | None]
        self._left = self._cut = False

    async def __aenter__(self) -> Any:
        self._waiter = Waiter()
        self._body = weakref.ref(cast("asyncio.Task[Any]", asyncio.current_task()))
        # Of the waiter, which refers to no task: the Trio thread refers to what it calls until that has returned, and a
        # collection meanwhile would leave the task of a closed loop, with its call.
        self._hold = Hold(self._block, trio_thread(), self._waiter.wake)
        self._job = Job(self._hold.run, _weakly(self._is_over))
        trio_thread().start(self._job, call_context())
        cancelled = await self._waiter.until(lambda: self._hold.is_open or self._job.has_ended, self._job.cancel)
        if cancelled is not None:  # it may have been entered before the cancellation reached it
            self._left = True
            await self._waiter.until(lambda: self._job.has_ended, self._job.cancel)
        if self._job.has_ended:
            self._job.result(cancelled)
            raise RuntimeError("the block has ended while it was being entered")
        return self._wrap(self._hold.stream, self)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._left = True
        if self._events is not None:
            self._events._close()
        self._hold.leave()
        if kind is GeneratorExit:  # the task is collected, and cannot wait
            return
        cancelled = await self._waiter.until(lambda: self._job.has_ended, self._job.cancel)
        if self._cut and (body := self._body()) is not None:
            body.uncancel()
        self._job.result(cancelled)

    def events(self, stream: EventStream[Any] | SessionStream[Any]) -> Any:
        """The same stream, read on the event loop."""
        inner = stream._events if isinstance(stream, SessionStream) else stream
        self._events = read_through(AsyncioStream, inner, self._hold, self._waiter)
        return attrs.evolve(stream, events=self._events) if isinstance(stream, SessionStream) else self._events

    async def do(self, function: Callable[[], Any]) -> Any:
        """Run an async function in the task of the block, and after the block in one of its own."""
        waiter = Waiter()
        job = Job(function, waiter.wake)
        if self._left:
            trio_thread().start(job, call_context())
        else:
            self._hold.do(job)
        cancelled = await waiter.until(lambda: job.has_ended, job.cancel)
        return job.result(cancelled)

    def _is_over(self) -> None:
        self._waiter.wake()
        if self._hold.is_open and not self._left:
            self._waiter.soon(self._cut_body)

    def _cut_body(self) -> None:
        if not self._left and (body := self._body()) is not None:
            self._cut = True
            body.cancel()

    # The library's own errors for these mistakes say what to write.

    def __aiter__(self) -> NoReturn:
        raise self._mistake("__aiter__")

    def __iter__(self) -> NoReturn:
        raise self._mistake("__iter__")

    def __await__(self) -> NoReturn:
        raise self._mistake("__await__")

    def __enter__(self) -> NoReturn:
        raise self._mistake("__enter__")

    def __getattr__(self, name: str) -> NoReturn:
        if name[:1] == "_":
            raise AttributeError(name)
        getattr(self._block, name)
        raise AttributeError(f"the block has no attribute {name!r}: enter it with `async with`")

    def __exit__(self, *_: object) -> None:
        """Never called; `with` looks it up before it calls `__enter__`."""

    def _mistake(self, name: str) -> Exception:
        try:
            getattr(self._block, name)()
        except AttributeError:
            return TypeError("this is a block: enter it with `async with`")
        except Exception as error:
            return error
        return TypeError("this is a block: enter it with `async with`")


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """Call a method if its object still is; see `Waiter`."""
    found = weakref.WeakMethod(method)

    def call() -> None:
        if (method := found()) is not None:
            method()

    return call
