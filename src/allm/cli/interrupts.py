"""Ctrl-C and SIGTERM that cancel the running work, so that it can save what it has, and other keys that wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TextIO

import trio

from allm.cli.exit_codes import TERMINATED
from allm.execution.nurseries import start_task

if sys.platform != "win32":
    import termios

__all__ = ["keys_kept", "run_until_interrupted"]

_INPUT_FLAGS, _LOCAL_FLAGS = 0, 3  # places in what tcgetattr returns
_ENDING = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextmanager
def keys_kept(stdin: TextIO | None) -> Generator[None]:
    """Keep what is typed off the screen, where it would end up in the middle of an answer, until a prompt reads it.

    It is kept as the line editor gets it: Enter and Ctrl-D are keys. Ctrl-C is a signal. The terminal is as before
    after the block, and also if a signal ends the program or suspends it.

    Args:
        stdin: The terminal; None does nothing.
    """
    if sys.platform == "win32" or stdin is None:
        yield
        return
    terminal = stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[_INPUT_FLAGS] &= ~termios.ICRNL
    quiet[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)

    def end(number: int, _frame: object) -> None:
        with suppress(termios.error):  # SIGHUP: the terminal is gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def suspend(number: int, _frame: object) -> None:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # the program stops here, and goes on from here
        signal.signal(number, suspend)
        termios.tcsetattr(terminal, termios.TCSANOW, quiet)

    in_main = threading.current_thread() is threading.main_thread()
    wanted = {**dict.fromkeys(_ENDING, end), signal.SIGTSTP: suspend} if in_main else {}
    handlers = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        termios.tcsetattr(terminal, termios.TCSANOW, quiet)
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSANOW, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


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
                start_task(nursery, _cancel_at_first, signals, nursery.cancel_scope, received)
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
