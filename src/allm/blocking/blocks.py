"""`with` in a plain thread, around a block that lives in the Trio thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, NoReturn, TypeVar, final

import attrs

from allm.blocking.calls import Waiter, call_context, in_trio
from allm.blocking.events import BlockingEvents, HostedEvents, ThreadStream
from allm.bridge.hold import Hold, show_code
from allm.bridge.reading import FedStream, read_through
from allm.bridge.thread import Job, trio_thread
from allm.data.errors import StreamError
from allm.data.events import Event
from allm.execution.stream.event_stream import EventStream
from allm.session import HostedStream, SessionStream

__all__ = ["BlockingBlock", "EventsBlock"]

T = TypeVar("T")


class BlockingBlock:
    """Enters a block in a task of the Trio thread, and leaves it there.

    Ctrl-C while it is entered or left waits for the block, as everything in the library does.
    """

    def __init__(self, block: AbstractAsyncContextManager[Any], wrap: Callable[[Any, Any], Any]) -> None:
        """Take a block; `wrap` makes what `with` gives from what the block gives."""
        self._block: Any = block
        show_code(block, _without_async)
        self._wrap = wrap
        self._waiter = Waiter()
        self._hold: Hold
        self._job: Job[None]
        self._events: FedStream[Any] | None = None
        self._left = self._waits = False
        self._entered_by = 0

    def __enter__(self) -> Any:
        self._entered_by = threading.get_ident()
        self._hold = Hold(self._block, trio_thread(), self._waiter.wake)
        self._job = Job(self._hold.run, self._waiter.wake)
        thread, context = trio_thread(), call_context(self._waiter)
        interrupted = self._waiter.until(
            lambda: self._hold.is_open or self._job.has_ended,
            self._job.cancel,
            lambda: thread.start(self._job, context),
        )
        if interrupted is not None:  # it may have been entered before the cancellation reached it
            self._waiter.until(lambda: self._job.has_ended, self._job.cancel, self._job.cancel)
        if self._job.has_ended:
            self._job.result(interrupted)
            raise RuntimeError("the block has ended while it was being entered")
        return self._wrap(self._hold.stream, self)

    def __exit__(self, *_: object) -> None:
        self._job.result(self._waiter.until(lambda: self._job.has_ended, self._job.cancel, self._leave))

    def __getattr__(self, name: str) -> NoReturn:
        problem = f"the block has no attribute {name!r}"
        right = f"open it with `with`, which closes it for sure:\n    with ... as opened:\n        opened.{name}"
        raise AttributeError(f"{problem}: {right}" if name[:1] != "_" else problem)

    def events(self, stream: EventStream[Any] | SessionStream[Any]) -> BlockingEvents[Any]:
        """The same stream, read by this thread."""
        inner = stream._events if isinstance(stream, SessionStream) else stream
        self._events = events = read_through(ThreadStream, inner, self._hold, self._waiter)
        read = attrs.evolve(stream, events=events) if isinstance(stream, SessionStream) else events
        return HostedEvents(read) if isinstance(read, HostedStream) else BlockingEvents(read)

    def do(self, function: Callable[[], Any]) -> Any:
        """Run an async function in the task of the block, and after the block in one of its own."""
        if self._left:
            return in_trio(function)
        # What runs in the block asks the thread that entered it to call the functions of the program, so that thread
        # has to listen while it waits.
        waiter = self._waiter if threading.get_ident() == self._entered_by else Waiter()
        job: Job[Any] = Job(function, waiter.wake)
        inside, self._waits = self._waits, True
        try:
            return job.result(waiter.until(lambda: job.has_ended, job.cancel, lambda: self._hold.do(job)))
        finally:
            self._waits = inside
            if inside:  # a function that was called meanwhile: whoever called it may have been woken too
                self._waiter.wake()

    def _leave(self) -> None:
        self._left = True
        if self._events is not None:
            self._events._close()
        self._hold.leave()


@final
class EventsBlock(BlockingBlock, Generic[T]):
    """A call whose events are read with `for`, which closes it at its end, or with `with`, which closes it for sure."""

    _given: BlockingEvents[T] | None = None

    def __enter__(self) -> BlockingEvents[T]:
        events: BlockingEvents[T] = super().__enter__()
        self._given = events
        return events

    def __iter__(self) -> Iterator[Event]:
        with self as events:
            yield from events

    def result(self) -> T:
        """The fold of the events read so far.

        Raises:
            StreamError: Nothing was read.
        """
        if self._given is None:
            raise StreamError("nothing was read: for event in events: ...", reason="not_entered")
        return self._given.result()


def _without_async(code: str) -> str:
    """The code of an example, as it is written with `allm.blocking`."""
    return code.replace("async ", "").replace("await ", "").replace("allm.", "allm.blocking.", 1)
