"""Virtual time for tests with sockets."""

from __future__ import annotations

import trio.testing

__all__ = ["loopback_clock"]


def loopback_clock() -> trio.testing.MockClock:
    """A clock that skips idle time, but first waits a moment of real time for bytes in transit.

    `MockClock(autojump_threshold=0)`, which is pytest-trio's `autojump_clock`, jumps as soon as every task waits, even
    if a task waits for a socket whose bytes the kernel has not delivered yet, so a timeout may fire too early. This one
    waits 20 ms first. Return it from a fixture; pytest-trio uses any clock it finds among a test's fixtures.
    """
    return trio.testing.MockClock(autojump_threshold=0.02)
