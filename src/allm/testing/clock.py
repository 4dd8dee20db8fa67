"""Virtual time that is safe with sockets."""

from __future__ import annotations

import trio.testing

__all__ = ["loopback_clock"]


def loopback_clock() -> trio.testing.MockClock:
    """A clock that jumps over silences, and waits a moment of real time for bytes that are on their way.

    `MockClock(autojump_threshold=0)`, which is pytest-trio's `autojump_clock`, jumps as soon as every task waits, also
    when a task waits for a socket whose bytes the kernel has not delivered yet: a timeout may then fire too early. This
    one lets 20 ms pass first. Return it from a fixture; pytest-trio takes any clock it finds among a test's fixtures.
    """
    return trio.testing.MockClock(autojump_threshold=0.02)
