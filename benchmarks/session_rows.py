"""What a turn of a stored session costs, by the length of the conversation: writes, CPU time, stalls of other tasks.

Each row is a session of so many messages in SQLite. It is saved and loaded; one worker leases it and replies to it a
few times, with a model that answers at once; then each reply has a lease of its own. Beside them a task only wakes up
every millisecond: the longest time between two of its wake-ups is the stall. On a busy machine that includes the time
of other processes, so `step` is the longest step of any task in CPU time, and `gc` the longest of Python's garbage
collections, which stop everything and are part of both. The ratio is that of the bytes that a turn writes to those of
the shortest session.

    python benchmarks/session_rows.py [messages ...]
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

import allm
from allm import fake
from allm.session import SessionStore, open_store

SIZES = [int(word) for word in sys.argv[1:]] or [100, 1_000, 10_000]
OPERATIONS = ("save", "load", "turn", "lease+turn")
FIGURES = ("CPU", "stall", "step", "gc")
TURNS = 5
PAUSE = 0.001  # seconds between the wake-ups of the task that is stalled


def conversation(messages: int) -> allm.Thread:
    """Turns of four messages: a question, a call, its result of a kilobyte, an answer of a kilobyte."""
    said: list[allm.Message] = []
    for number in range(messages // 4):
        call = allm.ToolCall(f"c{number}", "look", {"city": f"Zug {number}"}, f'{{"city":"Zug {number}"}}')
        said += [
            allm.user(f"Question {number}: what is the weather like? " * 5),
            allm.assistant(call),
            allm.tool_result(call.id, f"result {number} " * 80),
            allm.assistant(f"answer {number} " * 80),
        ]
    return allm.Thread(said)


def size_of(value: Any) -> int:
    """Bytes of the texts in the arguments of an operation."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if attrs.has(type(value)):
        value = attrs.asdict(value, recurse=False)
    if isinstance(value, Mapping):
        return sum(size_of(key) + size_of(item) for key, item in value.items())
    return sum(map(size_of, value)) if isinstance(value, (list, tuple, frozenset, set)) else 0


class Counting:
    """A backend that counts the bytes it is told to write."""

    def __init__(self, backend: Any) -> None:
        self.backend, self.written = backend, 0

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any, **options: Any) -> Any:
            if name in {"write", "append"}:
                self.written += size_of(arguments)
            return await getattr(self.backend, name)(*arguments, **options)

        return run


class Stall:
    """The longest time for which a task that wants to run every millisecond could not."""

    longest = 0.0

    async def watch(self) -> None:
        """Run beside the measured task until cancelled."""
        while True:
            before = time.perf_counter()
            await trio.sleep(PAUSE)
            self.longest = max(self.longest, time.perf_counter() - before - PAUSE)


class Steps(trio.abc.Instrument):
    """The longest step of a task, and the longest garbage collection, in seconds of CPU time."""

    def __init__(self) -> None:
        self.longest = self.longest_collection = 0.0
        self._begun = self._collecting = time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note the beginning."""
        self._begun = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note the end."""
        self.longest = max(self.longest, time.thread_time() - self._begun)

    def collected(self, phase: str, _info: dict[str, int]) -> None:
        """Be told of a collection by the garbage collector."""
        if phase == "start":
            self._collecting = time.thread_time()
        else:
            self.longest_collection = max(self.longest_collection, time.thread_time() - self._collecting)


@asynccontextmanager
async def measured(row: dict[str, float], name: str, times: int = 1) -> AsyncGenerator[None]:
    """Measure the block: CPU time per time, and the longest stall, in milliseconds."""
    gc.collect()
    stall, steps = Stall(), Steps()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall.watch)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        gc.callbacks.append(steps.collected)
        before = time.process_time()
        yield
        row[f"{name} CPU"] = (time.process_time() - before) / times * 1000
        await trio.sleep(3 * PAUSE)  # or a stall at the end of the block would not be seen
        gc.callbacks.remove(steps.collected)
        trio.lowlevel.remove_instrument(steps)
        row[f"{name} stall"] = stall.longest * 1000
        row[f"{name} step"] = steps.longest * 1000
        row[f"{name} gc"] = steps.longest_collection * 1000
        nursery.cancel_scope.cancel()


async def measure(messages: int, folder: str) -> dict[str, float]:
    """The figures of one length."""
    row: dict[str, float] = {"messages": messages}
    async with open_store(f"sqlite:///{folder}/{messages}.db") as opened:
        counting = Counting(opened._backend)
        store = SessionStore(counting)  # type: ignore[arg-type]
        session = allm.Session(id="s", thread=conversation(messages), status="completed")
        async with measured(row, "save"):
            await store.save(session)
        async with measured(row, "load"):
            await store.load("s")
        scripts = [[fake.text("It is sunny. " * 20)]] * (2 * TURNS)
        engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts))
        async with store.turn("s") as turn:
            counting.written = 0
            async with measured(row, "turn", TURNS):
                for number in range(TURNS):
                    await turn.reply(engine, f"And on day {number}?")
            row["bytes"] = counting.written / TURNS
        async with measured(row, "lease+turn", TURNS):
            for number in range(TURNS):
                async with store.turn("s") as turn:
                    await turn.reply(engine, f"And on day {number}?")
    return row


def main() -> None:
    """Measure every length and print the table."""
    print("bytes: written per turn; times in milliseconds: CPU per operation, stall, step and gc the longest one")
    print(f"{'messages':>9}{'bytes':>12}{'ratio':>8}   " + " ".join(f"{name:>36}" for name in OPERATIONS))
    print(" " * 32 + " ".join("".join(f"{what:>9}" for what in FIGURES) for _ in OPERATIONS))
    first = None
    with tempfile.TemporaryDirectory() as folder:
        for messages in SIZES:
            row = trio.run(measure, messages, folder)
            first = first or row["bytes"]
            figures = " ".join("".join(f"{row[f'{n} {what}']:>9.1f}" for what in FIGURES) for n in OPERATIONS)
            print(f"{messages:>9}{row['bytes']:>12,.0f}{row['bytes'] / first:>8.1f}   {figures}", flush=True)


if __name__ == "__main__":
    main()
