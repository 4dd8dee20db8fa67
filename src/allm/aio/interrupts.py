"""*Interrupt* in a notebook, which ipykernel does not tell an event loop that is waiting.

Its handler of the signal asks the loop to cancel the cell, and does not wake the loop (ipykernel's issue 881). A cell
that waits for a silent provider would go on until something else happens.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import weakref
from contextlib import suppress

__all__ = ["wake_on_signals"]

_woken: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[socket.socket, socket.socket]]
_woken = weakref.WeakKeyDictionary()


def wake_on_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Let signals wake the loop of a notebook's kernel, once for each loop; elsewhere nothing is changed."""
    kernel = sys.modules.get("ipykernel.kernelapp")
    if kernel is None or not kernel.IPKernelApp.initialized() or loop in _woken:
        return
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        return
    reader, writer = _woken[loop] = socket.socketpair()
    reader.setblocking(False)  # noqa: FBT003  (its only argument)
    writer.setblocking(False)  # noqa: FBT003  (same)
    with suppress(NotImplementedError):  # a loop without `add_reader`
        loop.add_reader(reader, lambda: reader.recv(4096))
        if (before := signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)) != -1:
            signal.set_wakeup_fd(before)  # somebody else does this
