"""How much work a function does, as a number that is the same on every machine and on every run."""

from __future__ import annotations

import sys


def steps(function, *args):
    """The lines of Python that a call runs, loops of one line included.

    What C does, such as looking through a list, is not seen.
    """
    count = 0

    def trace(_frame, event, _arg):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(before)
    return count


def growth(work, size):
    """How much more work there is for twice the size: 2 where it is in proportion, 4 where it is in its square.

    Args:
        work: Makes what is measured from a size: a function, and its arguments.
        size: The smaller of the two sizes.
    """
    for warm in (1, 2):  # caches, imports, converters
        function, *args = work(warm)
        function(*args)
    counts = []
    for n in (size, 2 * size):
        function, *args = work(n)
        counts.append(steps(function, *args))
    return counts[1] / counts[0]
