"""How many threads compute where nobody says it.

The threads of llama.cpp wait for each other after every step, and spin meanwhile. Where other programs want the same
processors, one that is not running holds up all of them: on two processors with others at work, two threads made 4
tokens a second and one made 60; on idle ones it was 175 and 145.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["usual_threads"]

_MOST = 8  # more make it hardly faster: memory is the limit then
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""The limit of a container, which is not in the number of processors: https://docs.kernel.org/admin-guide/cgroup-v2.html"""


def usual_threads() -> int:
    """Half as many as there are processors, which mostly are two for each core, from 1 to 8."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = map(int, _QUOTA.read_text("ascii").split())
        processors = min(processors, max(quota // period, 1))
    except (OSError, ValueError):  # no container, or one without a limit, which is the word "max"
        pass
    return min(max(processors // 2, 1), _MOST)
