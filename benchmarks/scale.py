"""What saturates first with 10, 100 and 1,000 workers: unit costs of this machine, and what they come to.

    python tests/session/with_servers.py python benchmarks/scale.py [--write]

Prints the tables of docs/scale.md, and with `--write` puts them there. Each measurement is a process of its own, and
they take turns; a figure is the median of the rounds. Without a PostgreSQL server its rows are missing. The server that
answers calls is another process on the same machine. The simulation is in `scale_simulation.py`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import bulk as stub_calls
import scale_simulation
import trio

import allm
import calls
from allm.runs.journal import Row, open_journal
from allm.runs.saving import Finished, row_of

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
POSTGRES = os.environ.get("ALLM_TEST_POSTGRES", "")
ROUNDS = 3
CALLS, STUBS, SECONDS, OPEN = 600, 6_000, 1.0, 1000
LIMIT, ANSWER = 64, 2.0
"""Calls at once of a worker, as by default, and seconds that an answer takes, in the last table."""
SHAPE = allm.Usage(input_tokens=500, output_tokens=100, total_tokens=600)
MODELS = (
    "gemini:gemini-2.5-flash-lite",
    "openai:gpt-5.4-nano",
    "openai:gpt-5.4-mini",
    "anthropic:claude-haiku-4-5",
    "openai:gpt-5.4",
    "anthropic:claude-sonnet-4-6",
)


# --- units: each is run in a process of its own and returns numbers --------------------------------------------------


def _place(journal: str, folder: str) -> str | None:
    return {"none": None, "SQLite": f"{folder}/{uuid.uuid4()}.sqlite", "PostgreSQL": POSTGRES}[journal]


async def _bulk(engine: allm.Engine, count: int, place: str | None, **options: Any) -> None:
    texts = (f"q{index}" for index in range(count))
    async with allm.bulk(engine, texts, journal=place, run=str(uuid.uuid4()), limit=LIMIT, **options) as run:
        async for _ in run:
            pass
    assert (run.done, run.failed) == (count, 0)


def _cpu(run: Callable[[int], None], count: int) -> float:
    """Microseconds of CPU of one item, after some that load and compile what is used."""
    run(200)
    before = time.process_time()
    run(count)
    return (time.process_time() - before) / count * 1e6


def stub(journal: str) -> list[float]:
    """An item whose call is a stub of 2 ms: what bulk itself takes."""
    with tempfile.TemporaryDirectory() as folder:

        def run(count: int) -> None:
            place = _place(journal, folder)
            trio.run(lambda: _bulk(stub_calls.ENGINE, count, place, call=stub_calls.stub))

        return [_cpu(run, STUBS)]


def by_hand(_: str) -> list[float]:
    """The same stub in a nursery with a limiter."""
    return [_cpu(lambda count: trio.run(stub_calls.by_hand, count, None), STUBS)]


def call(journal: str) -> list[float]:
    """An item whose call goes to a server on this machine and has an answer of 20 tokens."""
    with calls.server() as url, tempfile.TemporaryDirectory() as folder:

        def run(count: int) -> None:
            trio.run(lambda: _bulk(calls.engine(url, "/short"), count, _place(journal, folder)))

        return [_cpu(run, CALLS)]


def _rows(first: int, count: int) -> list[Row]:
    made = []
    for index in range(first, first + count):
        text = "An answer of some words, as labels and summaries are. " * 8
        response = allm.Response(message=allm.assistant(text), usage=SHAPE)
        item = allm.BulkItem(key=str(index), index=index, request="q", response=response)
        made.append(row_of(Finished(item, "f" * 32, 0.001)))
    return made


def rows(journal: str, connections: str, group: str, runs: str = "one") -> list[float]:
    """Rows a second, `group` in each transaction, that connections save to one run or many; bytes of a row's value."""
    count, size = int(connections), int(group)
    names = [str(uuid.uuid4())] * count if runs == "one" else [str(uuid.uuid4()) for _ in range(count)]
    saved = [0] * count
    with tempfile.TemporaryDirectory() as folder:
        place = _place(journal, folder)
        assert place is not None
        opened = [open_journal(place, run) for run in names]
        ready = threading.Barrier(count + 1)
        end = [0.0]

        def work(number: int) -> None:
            sample, next_index = _rows(0, size), number * 10**8
            ready.wait()
            while time.perf_counter() < end[0]:
                batch = [
                    attrs.evolve(row, key=str(next_index + at), index=next_index + at) for at, row in enumerate(sample)
                ]
                opened[number].save(batch, 0.001 * size)
                next_index += size
                saved[number] += size

        threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        begun = time.perf_counter()
        end[0] = begun + SECONDS
        ready.wait()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begun
        for one in opened:
            one.close()
    return [sum(saved) / seconds, len(_rows(0, 1)[0].value)]


def _pss(pid: int | str = "self") -> float:
    """KB of memory, with its part of what is shared."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise AssertionError("no Pss")


def _sockets() -> int:
    return sum("socket:" in os.path.realpath(path) for path in Path("/proc/self/fd").iterdir())


def under_way(_: str) -> list[float]:
    """KB of a worker before it has calls, KB and sockets of each call that is being answered."""
    with calls.server() as url:
        found: list[float] = []

        async def main() -> None:
            none = _sockets()
            await _bulk(calls.engine(url, "/short"), LIMIT, None)
            before = _pss()
            engine = calls.engine(url, "/slow/60")
            texts = (f"q{index}" for index in range(4 * OPEN))
            async with allm.bulk(engine, texts, limit=OPEN) as run, trio.open_nursery() as nursery:
                nursery.start_soon(run.__anext__)
                with trio.fail_after(60):
                    while _sockets() < none + OPEN:  # noqa: ASYNC110  (the operating system opens them)
                        await trio.sleep(0.2)
                    await trio.sleep(1)  # until the last have their first tokens
                found.extend((before, (_pss() - before) / OPEN, (_sockets() - none) / OPEN))
                nursery.cancel_scope.cancel()

        trio.run(main)
        return found


def backend(_: str) -> list[float]:
    """KB of PostgreSQL for each connection of a worker."""
    run = str(uuid.uuid4())
    opened: list[Any] = [open_journal(POSTGRES, run) for _ in range(20)]
    for number, one in enumerate(opened):
        one.save(_rows(100 * number, 64), 0.064)
    sizes = [_pss(one._connection.info.backend_pid) for one in opened]
    for one in opened:
        one.close()
    return [statistics.median(sizes)]


UNITS: dict[str, Callable[..., list[float]]] = {
    unit.__name__: unit for unit in (by_hand, stub, call, rows, under_way, backend)
}


# --- the tables ------------------------------------------------------------------------------------------------------


def _measure(wanted: list[tuple[str, ...]]) -> dict[tuple[str, ...], list[list[float]]]:
    """The rounds of each unit; the units take turns."""
    found: dict[tuple[str, ...], list[list[float]]] = {unit: [] for unit in wanted}
    for _ in range(ROUNDS):
        for unit in wanted:
            command = [sys.executable, __file__, "--unit", *unit]
            output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found[unit].append(json.loads(output.splitlines()[-1]))
            print(unit, found[unit][-1], file=sys.stderr, flush=True)
    return found


class Figures:
    """Medians of the rounds, and how far these are apart."""

    def __init__(self, found: dict[tuple[str, ...], list[list[float]]]) -> None:
        self._found = found

    def __contains__(self, unit: tuple[str, ...]) -> bool:
        return unit in self._found

    def get(self, *unit: str, at: int = 0) -> float:
        """The median."""
        return statistics.median(numbers[at] for numbers in self._found[unit])

    def cells(self, *unit: str, at: int = 0) -> str:
        """The cells of a table: median, least and most."""
        numbers = [numbers[at] for numbers in self._found[unit]]
        return f"{statistics.median(numbers):,.0f} | {min(numbers):,.0f} to {max(numbers):,.0f}"


JOURNALS = ("none", "SQLite") + (("PostgreSQL",) if POSTGRES else ())
GROUPS = ("1", "64")
CONNECTIONS = ("1", "8", "80")


def _row_units() -> Iterator[tuple[str, ...]]:
    yield from (("rows", "SQLite", "1", group) for group in GROUPS)
    if POSTGRES:
        yield from (("rows", "PostgreSQL", many, group) for many in CONNECTIONS for group in GROUPS)
        yield from (("rows", "PostgreSQL", CONNECTIONS[-1], group, "each") for group in GROUPS)


def _units() -> Iterator[tuple[str, ...]]:
    yield ("by_hand", "none")
    yield from ((what, journal) for what in ("stub", "call") for journal in JOURNALS)
    yield from _row_units()
    yield ("under_way", "none")
    if POSTGRES:
        yield ("backend", "none")


def _unit_tables(figures: Figures) -> Iterator[str]:
    yield "| CPU of an item | µs | least to most | requests a second and core |\n| --- | ---: | ---: | ---: |"
    names = {"by_hand": "stub in a nursery with a limiter", "stub": "stub in `allm.bulk`", "call": "call over HTTP"}
    for unit in (unit for unit in _units() if unit[0] in names):
        journal = "" if unit[1] == "none" else f", {unit[1]}"
        yield f"| {names[unit[0]]}{journal} | {figures.cells(*unit)} | {1e6 / figures.get(*unit):,.0f} |"
    yield "\n| journal | connections | runs | rows in a transaction | rows a second | least to most |"
    yield "| --- | ---: | --- | ---: | ---: | ---: |"
    for unit in _row_units():
        yield f"| {unit[1]} | {unit[2]} | {(*unit, 'one')[4]} | {unit[3]} | {figures.cells(*unit)} |"
    size = figures.get("rows", "SQLite", "1", "1", at=1)
    yield f"\nThe value of a row was {size:,.0f} bytes of JSON.\n"
    yield "| memory and sockets | | least to most |\n| --- | ---: | ---: |"
    yield f"| a worker with no call, KB | {figures.cells('under_way', 'none')} |"
    yield f"| each call under way, KB | {figures.cells('under_way', 'none', at=1)} |"
    yield f"| sockets for each call under way | {figures.cells('under_way', 'none', at=2)} |"
    if POSTGRES:
        yield f"| PostgreSQL for each worker, KB | {figures.cells('backend', 'none')} |"


def _money() -> Iterator[str]:
    yield "| model | a million requests |\n| --- | ---: |"
    for model in MODELS:
        price = allm.price(SHAPE, model)
        assert price is not None
        yield f"| `{model}` | ${price * 1e6:,.0f} |"


def _ports() -> int:
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(high) - int(low) + 1


def _workers(figures: Figures) -> Iterator[str]:
    """What so many workers need, in per cent of what there is, with all calls under way all the time."""
    cpu = figures.get("call", JOURNALS[-1])
    most_rows = max(figures.get(*unit) for unit in _row_units() if unit[1] == JOURNALS[-1] and "each" not in unit)
    base, each = (figures.get("under_way", "none", at=at) for at in (0, 1))
    dollars = allm.price(SHAPE, "openai:gpt-5.4-mini")
    assert dollars is not None
    columns: dict[str, list[str]] = {}
    for workers in (10, 100, 1000):
        rate = workers * LIMIT / ANSWER
        used = {
            "the workers' cores": 100 * LIMIT / ANSWER * cpu / 1e6,
            "rows of the journal": 100 * rate / most_rows,
            f"ports of one address ({_ports():,})": 100 * workers * LIMIT / _ports(),
        }
        waits = {}
        if POSTGRES:  # where the saves of a run wait for each other, and what waits is saved together
            each_second = figures.get("rows", "PostgreSQL", CONNECTIONS[-1], "1")
            used["connections of PostgreSQL (100)"] = 100 * workers / 100
            waits = {
                "rows that are saved together": f"{max(1.0, rate / each_second):,.0f}",
                "seconds until an answer is saved": f"{workers / each_second:,.2f}",
            }
        full = sorted((name for name in used if used[name] >= 100), key=lambda name: -used[name])
        column = {
            "requests a minute, which the account must have": f"{60 * rate:,.0f}",
            "sockets": f"{workers * LIMIT:,}",
            "memory of the workers, GB": f"{workers * (base + LIMIT * each) / 1e6:,.1f}",
            "dollars an hour (`openai:gpt-5.4-mini`)": f"{3600 * rate * dollars:,.0f}",
            **{f"{name}, in use": f"{share:,.0f} %" for name, share in used.items()},
            **waits,
            "saturated, the first one first": ", ".join(full) or "nothing",
        }
        for name, cell in column.items():
            columns.setdefault(name, []).append(cell)
    yield "| workers | 10 | 100 | 1,000 |\n| --- | ---: | ---: | ---: |"
    for name, cells in columns.items():
        yield f"| {name} | {' | '.join(cells)} |"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def results() -> Iterator[str]:
    """The page's part that is measured."""
    load = os.getloadavg()[0]
    figures = Figures(_measure(list(_units())))
    yield (
        f"Measured with Python {platform.python_version()} on {os.cpu_count()} cores ({_processor()}), which other "
        f"programs used too (load {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end). Medians of "
        f"{ROUNDS} rounds.\n"
    )
    yield "## What one thing costs\n"
    yield from _unit_tables(figures)
    yield "\n## What so many workers need\n"
    yield (
        f"Each worker has one core and {LIMIT} calls under way all the time, which take {ANSWER:g} seconds: "
        f"{LIMIT / ANSWER:g} requests a second. The rows a second are the most that were measured above, for "
        f"{JOURNALS[-1]}.\n"
    )
    yield from _workers(figures)
    most = ANSWER * 1e6 / figures.get("call", JOURNALS[-1])
    yield f"\nWith a larger `limit=`, one worker fills its core at {most:,.0f} calls under way.\n"
    yield "## What a million requests cost\n"
    yield f"With {SHAPE.input_tokens} tokens of input and {SHAPE.output_tokens} of output each, by `allm.price`:\n"
    yield from _money()
    yield "\n## One account for all workers\n"
    one = next(scenario for _, scenario in scale_simulation.scenarios())
    yield (
        f"A simulation in virtual time: {one.items:,} inputs, an account that allows {one.rate:g} requests a second, "
        f"answers that take {one.latency[0]:g} to {one.latency[1]:g} s. At best that is {one.items / one.rate:.0f} s.\n"
    )
    yield from scale_simulation.table()


BEGIN, END = "<!-- results: written by benchmarks/scale.py -->\n", "<!-- end of results -->"


def main() -> None:
    """Print the tables; write them where that is asked for."""
    lines = []
    for line in results():
        print(line, flush=True)
        lines.append(line)
    if "--write" in sys.argv:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, tail = rest.partition(END)
        PAGE.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n\n" + END + tail, encoding="utf-8")


if __name__ == "__main__":
    if "--unit" in sys.argv:
        unit, *given = sys.argv[sys.argv.index("--unit") + 1 :]
        print(json.dumps(UNITS[unit](*given)))
    else:
        main()
