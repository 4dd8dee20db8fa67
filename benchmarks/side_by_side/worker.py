"""A candidate in a process and an environment of its own: it does one row when asked, and says what that cost.

`serve(rows, run)` reads requests as JSON lines, `{"row": name, "arguments": {...}}`, and answers each with the costs
that the row measured, or `{"error": text}`. A row is an async function; it gets the arguments and a `Meter`, with which
it measures the part that counts, so that clients can be made and warmed up before.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = Callable[..., Awaitable[None]]


class Meter:
    """Costs of the measured part: `cpu` and `wall` in seconds, and what a row adds."""

    def __init__(self) -> None:
        self.costs: dict[str, float] = {}

    @contextmanager
    def measure(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.costs["cpu"] = self.costs.get("cpu", 0) + time.process_time() - cpu
        self.costs["wall"] = self.costs.get("wall", 0) + time.perf_counter() - wall

    def note(self, **costs: float) -> None:
        self.costs |= costs


def resident() -> int:
    """The bytes of memory that the process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_resident() -> int:
    """The most bytes of memory that the process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cpu_of(command: list[str]) -> float:
    """The CPU seconds of a command, in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size_of(folder: str) -> int:
    return sum(entry.stat().st_size for entry in Path(folder).iterdir())


def check(*, ok: bool, what: object) -> None:
    if not ok:
        raise AssertionError(f"the row did not do its work: {what!r}")


def serve(rows: dict[str, Row], run: Callable[[Callable[[], Awaitable[None]]], None]) -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        meter = Meter()

        async def main(asked: dict[str, Any] = asked, meter: Meter = meter) -> None:
            await rows[asked["row"]](meter, **asked["arguments"])

        try:
            run(main)
            answer: dict[str, Any] = meter.costs
        except BaseException as error:  # one row that fails must not end the others
            answer = {"error": "".join(traceback.format_exception_only(error))[:600]}
            traceback.print_exc()
        print(json.dumps(answer), file=answers, flush=True)
