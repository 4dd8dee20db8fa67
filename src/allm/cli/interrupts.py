"""Ctrl-C and SIGTERM that cancel the running work, so that it can save what it has."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from allm.cli.exit_codes import TERMINATED

__all__ = ["run_until_interrupted"]


async def run_until_interrupted(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`, and cancel it when the user presses Ctrl-C; outside this call Ctrl-C works as usual.

    SIGTERM cancels it too, and then ends the program, as whoever sends it wants. Exceptions of `work` come out as
    themselves. Signals reach the main thread only; in other threads `work` just runs.

    Raises:
        SystemExit: After SIGTERM, with the exit code for it.
    """
    if threading.current_thread() is not threading.main_thread():
        await work()
        return
    failure: Exception | None = None
    received: set[int] = set()
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_at_first, signals, nursery.cancel_scope, received)
                try:
                    await work()
                except Exception as error:  # raised below, outside the nursery, so that it is not in a group
                    failure = error
                nursery.cancel_scope.cancel()
    except KeyboardInterrupt:  # pressed again, or just before or after `work`: there is nothing left to stop
        pass
    if signal.SIGTERM in received:
        raise SystemExit(TERMINATED) from failure
    if failure is not None:
        raise failure


async def _cancel_at_first(signals: AsyncIterator[int], scope: trio.CancelScope, received: set[int]) -> None:
    async for number in signals:
        received.add(number)
        scope.cancel()
