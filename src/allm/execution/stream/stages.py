"""The stages of a pipeline behind its producer, each of which is there only if an option gives it work.

`Observer` calls `on_event`, `Filter` hides deltas. A stage never raises into the nursery: the exception of a failing
`on_event` is handed to the consumer, and a stage whose receiver is gone just stops.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, get_args

import trio

from allm.data.attrs_classes import frozen
from allm.data.events import AdapterEvent
from allm.data.user_functions import host
from allm.execution.stream.event_stream import Burst, ChannelSender, StreamContext, receive_waiting
from allm.execution.stream.fold import Hidden

__all__ = ["Filter", "Observer", "Work", "run_stage"]

_ADAPTER_EVENTS = frozenset(get_args(AdapterEvent))


class Work(Protocol):
    """The work of a stage."""

    name: ClassVar[str]

    async def __call__(self, burst: Burst) -> Burst:
        """Return the burst that the stage passes on in place of this one."""
        ...


async def run_stage(
    scope: trio.CancelScope,
    work: Work,
    receive: trio.MemoryReceiveChannel[Burst],
    send: ChannelSender,
    context: StreamContext,
) -> None:
    """Do the work of a stage until its source has ended."""
    with scope, receive, send.channel:
        try:
            while True:
                burst = receive_waiting(receive) or await receive.receive()
                try:
                    burst = await work(burst)
                except _ObserverFailed as failed:
                    # The consumer gets the events before the failing one first, then the exception.
                    if failed.index:
                        await send.send(burst[: failed.index])
                    context.fail(failed.error)
                    return
                await send.send(burst)
        except trio.EndOfChannel:
            pass


@frozen
class Filter:
    """Wraps the events that the options hide in `Hidden`."""

    name: ClassVar[str] = "filter"
    hidden: frozenset[type]

    async def __call__(self, burst: Burst) -> Burst:
        """Wrap the events of a burst."""
        hidden = self.hidden
        for event in burst:
            if type(event) in hidden:
                return tuple(Hidden(event) if type(event) in hidden else event for event in burst)
        return burst


class _ObserverFailed(Exception):
    def __init__(self, index: int, error: Exception) -> None:
        super().__init__(index, error)
        self.index = index
        self.error = error


@frozen(eq=False)
class Observer:
    """Calls `on_event` with every adapter event."""

    name: ClassVar[str] = "observer"
    on_event: Callable[[Any], Any]

    async def __call__(self, burst: Burst) -> Burst:
        """Call it with the events of a burst."""
        elsewhere = host.get()
        for index, event in enumerate(burst):
            if type(event) in _ADAPTER_EVENTS:
                try:
                    if elsewhere is not None:
                        await elsewhere(functools.partial(self.on_event, event))
                        continue
                    returned = self.on_event(event)
                    if returned is not None and inspect.isawaitable(returned):  # skips the slow check per token
                        await returned
                except Exception as error:
                    raise _ObserverFailed(index, error) from error
        return burst
