"""What a bulk run costs beside a hand-written nursery with a limiter, for many calls that take 2 ms each.

python benchmarks/bulk.py [ITEMS]

The call is a stub, so that what is left is the work for each item: reading, looking up, starting, saving, delivering.
Each line is a process of its own; memory is the process's own peak, and what is traced is Python's, in the middle and
at the end, which a run that keeps anything could not hold equal.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import trio

import allm

LIMIT = 64
SECONDS = 0.002
RESPONSE = allm.Response(
    message=allm.assistant("An answer of some words, as labels and summaries are."), usage=allm.Usage()
)
ENGINE = allm.Engine(model="m")


async def stub(_engine: allm.Engine, _text: str) -> allm.Response:
    await trio.sleep(SECONDS)
    return RESPONSE


async def by_hand(count: int, _path: str | None) -> None:
    """The usual forty lines: a nursery, a limiter, a channel for the results."""
    send, receive = trio.open_memory_channel(4 * LIMIT)
    limiter = trio.Semaphore(LIMIT)

    async def one(index: int, text: str) -> None:
        try:
            response = await stub(ENGINE, text)
        finally:
            limiter.release()
        await send.send((index, response))

    async def feed() -> None:
        async with trio.open_nursery() as calls:
            for index in range(count):
                await limiter.acquire()
                calls.start_soon(one, index, f"q{index}")
        send.close()

    seen = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        async for _ in receive:
            seen += 1
    assert seen == count


async def bulk(count: int, path: str | None) -> None:
    """`allm.bulk`, with a journal if there is a path."""
    middle, seen = [], 0
    async with allm.bulk(ENGINE, (f"q{index}" for index in range(count)), call=stub, limit=LIMIT, journal=path) as run:
        async for _ in run:
            seen += 1
            if tracemalloc.is_tracing() and seen in {count // 4, count}:
                middle.append(tracemalloc.get_traced_memory()[0])
    assert run.done == count
    if middle:
        print(" ".join(f"{size / 1e6:.2f}" for size in middle), end=" ")


WAYS = {"by hand": by_hand, "bulk": bulk, "bulk, journal": bulk, "replay": bulk}


def measure(way: str, count: int, path: str | None, *, traced: bool) -> None:
    """Run one way in this process and print its microseconds an item and its memory."""
    if traced:
        tracemalloc.start()
        trio.run(WAYS[way], count, path)
        return
    trio.run(WAYS[way], 500, None)  # what is imported and compiled at first use
    before = time.perf_counter(), time.process_time()
    trio.run(WAYS[way], count, path)
    wall, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{wall / count * 1e6:.0f} {cpu / count * 1e6:.0f} {peak:.0f}")


def main(count: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.sqlite"
        baseline = None
        print(f"{count:,} items, {LIMIT} at once, {SECONDS * 1000:g} ms each\n")
        print("| way | µs an item | ratio | CPU µs | peak MB |\n| --- | ---: | ---: | ---: | ---: |")
        for way in WAYS:
            place = str(path) if way in {"bulk, journal", "replay"} else ""
            found = subprocess.run(
                [sys.executable, __file__, str(count), way, place], capture_output=True, text=True, check=True
            ).stdout.split()
            baseline = baseline or float(found[0])
            print(f"| {way} | {found[0]} | {float(found[0]) / baseline:.2f} | {found[1]} | {found[2]} |", flush=True)
        sizes = subprocess.run(
            [sys.executable, __file__, str(count // 4), "bulk, journal", str(path) + "2", "traced"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        print(f"\nMB that Python held after a quarter and at the end of {count // 4:,} items: {', '.join(sizes)}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(sys.argv[2], int(sys.argv[1]), sys.argv[3] or None, traced=len(sys.argv) > 4)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
