"""Compare this library with a bare loop and with other libraries, side by side in one run.

    python benchmarks/side_by_side [--rounds N] [--quick] [ROW ...]

Each candidate is a process with an environment of its own, which is made on the first run; a package that cannot be
installed is left out with a word. The candidates of a row take turns, round after round, so that they share whatever
else the machine does; a ratio is the median of the ratios of the rounds. Costs are those of the client process only.
Results go to benchmarks/results.json, the table also to docs/benchmarks.md, and the plots beside it. ROW is a part of a
row's name; then only those rows are run, and nothing is written.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rows import CANDIDATES, ROWS, Measure, Row

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = Path(os.environ.get("ALLM_BENCH_ENVIRONMENTS", ROOT / ".nox" / "bench"))
PACKAGES = ("allm-trio", "httpx", "httpx2", "httpcore", "msgspec", "trio")

Costs = dict[str, float]
Results = dict[str, Any]


def python_of(candidate: str) -> str | None:
    """The interpreter of a candidate's environment; None if its packages cannot be installed."""
    requirements = CANDIDATES[candidate][1]
    if not requirements:
        return sys.executable
    folder = ENVIRONMENTS / candidate
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text() != "\n".join(requirements):
        print(f"installing {candidate}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        failed = subprocess.run(command, capture_output=True, text=True, check=False)
        if failed.returncode:
            lines = failed.stderr.strip().splitlines()
            print(f"{candidate} is left out, since pip failed: {lines[-1] if lines else 'no message'}")
            return None
        stamp.write_text("\n".join(requirements))
    return str(python)


def versions_of(python: str, packages: Sequence[str]) -> dict[str, str]:
    code = (
        "import json, sys; from importlib.metadata import distributions\n"
        "found = {distribution.name.lower(): distribution.version for distribution in distributions()}\n"
        "print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))"
    )
    names = [name.partition("[")[0] for name in packages]
    asked = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(asked.stdout)
    return versions


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    # A start is measured with compiled modules, as after an installation.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def ask(worker: subprocess.Popen[str], row: str, arguments: dict[str, Any]) -> Costs:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps({"row": row, "arguments": arguments}) + "\n")
    worker.stdin.flush()
    answer: Costs = json.loads(worker.stdout.readline() or '{"error": "the process ended"}')
    return answer


def connections(url: str) -> int:
    with urllib.request.urlopen(f"{url}/connections") as response:  # noqa: S310
        return int(response.read())


class Candidates:
    """The running workers."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.url, self.stack = url, stack
        self.pythons = {name: python_of(name) for name in CANDIDATES}
        self.running: dict[str, subprocess.Popen[str]] = {}

    def costs(self, candidate: str, row: Row, size: int | None) -> Costs | None:
        """One round of one candidate; None if it cannot take part."""
        python = self.pythons[candidate]
        if python is None:
            return None
        command = [python, str(HERE / CANDIDATES[candidate][0])]
        arguments = {
            name: value.replace("{url}", self.url) if isinstance(value, str) else value
            for name, value in row.arguments.items()
        }
        if row.sizes is not None:
            arguments[row.sizes[0]] = size
        before = connections(self.url)
        if row.fresh:
            with process(command) as worker:
                costs = ask(worker, row.does, arguments)
        else:
            if candidate not in self.running:
                self.running[candidate] = self.stack.enter_context(process(command))
            costs = ask(self.running[candidate], row.does, arguments)
        if "error" in costs:
            print(f"{candidate} failed in {row.name!r}: {costs['error']}", flush=True)
            return None
        costs["connections"] = connections(self.url) - before - 1  # without the one that asks
        return costs


def run_row(row: Row, candidates: Candidates, rounds: int, *, quick: bool) -> Results:
    """Median, spread and ratio of each candidate, for each measure and size."""
    sizes = list(row.sizes[1]) if row.sizes else [None]
    if quick and row.sizes:
        sizes = sizes[:-1]
    result: Results = {"name": row.name, "sizes": sizes if row.sizes else None, "measures": []}
    measured: dict[tuple[str, int | None], list[Costs]] = {}
    for _ in range(min(rounds, row.rounds)):
        for size in sizes:
            for name in row.candidates:
                costs = candidates.costs(name, row, size)
                if costs is not None:
                    measured.setdefault((name, size), []).append(costs)
    for measure in row.measures:
        entry: Results = {"unit": measure.unit, "goal": measure.goal, "absolute": measure.absolute, "candidates": {}}
        for name in row.candidates:
            found = [one_size(measured, row.candidates[0], name, size, measure) for size in sizes]
            if all(found):
                entry["candidates"][name] = {"at": found}
                if row.sizes:
                    values = [size["median"] for size in found]
                    entry["candidates"][name]["exponent"] = exponent(sizes, values)
        result["measures"].append(entry)
    return result


def one_size(
    measured: dict[tuple[str, int | None], list[Costs]], base: str, name: str, size: int | None, measure: Measure
) -> Results:
    values = [costs[measure.key] / measure.per for costs in measured.get((name, size), [])]
    if not values:
        return {}
    bases = [costs[measure.key] / measure.per for costs in measured.get((base, size), [])]
    ratios = [value / other for value, other in zip(values, bases, strict=False) if other]
    ratio = statistics.median(ratios) if ratios else None
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "ratio": ratio}


def exponent(sizes: Sequence[float | None], values: Sequence[float]) -> float:
    """The slope in logarithms: 1 is linear, 0 is flat."""
    xs, ys = [math.log(size or 1) for size in sizes], [math.log(max(value, 1e-12)) for value in values]
    return statistics.linear_regression(xs, ys).slope


def table(results: Sequence[Results]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| row | candidate | cost (least to most) | ratio | goal | exponent |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in results:
        for measure in row["measures"]:
            for name, found in measure["candidates"].items():
                sizes = row["sizes"] or [None]
                for index, size in enumerate(found["at"]):
                    last = index == len(found["at"]) - 1
                    title = row["name"] + (f", {sizes[index]:,}" if row["sizes"] else "")
                    ratio = "" if size["ratio"] is None else f"{size['ratio']:.2f}"
                    grown = f"{found['exponent']:.2f}" if last and "exponent" in found else ""
                    lines.append(
                        f"| {title} | {name} | {number(size['median'])} {measure['unit']} "
                        f"({number(size['least'])} to {number(size['most'])}) | {ratio} "
                        f"| {goal_of(measure) if name == 'allm' else ''} | {grown} |"
                    )
    return "\n".join(lines)


def goal_of(measure: Results) -> str:
    if measure["goal"] is None:
        return ""
    return f"{measure['goal']:g}{' ' + measure['unit'] if measure['absolute'] else ''}"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> Results:
    with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "processor": f"{model}, {os.cpu_count()} cores",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="run only rows whose names contain this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="without the largest size of each row")
    options = parser.parse_args()
    chosen = [row for row in ROWS if not options.rows or any(part in row.name for part in options.rows)]
    results: list[Results] = []
    with ExitStack() as stack:
        server = stack.enter_context(process([sys.executable, str(HERE / "server.py")]))
        assert server.stdout is not None
        candidates = Candidates(f"http://127.0.0.1:{int(server.stdout.readline())}", stack)
        for row in chosen:
            results.append(run_row(row, candidates, options.rounds, quick=options.quick))
            print(table(results[-1:]).partition("\n")[2].partition("\n")[2], flush=True)
    versions = {
        name: versions_of(python, CANDIDATES[name][1] or PACKAGES)
        for name, python in candidates.pythons.items()
        if python
    }
    if not options.rows:
        document = {**machine(), "rounds": options.rounds, "versions": versions, "rows": results}
        (ROOT / "benchmarks" / "results.json").write_text(json.dumps(document, indent=1) + "\n")
        from report import write

        write(document, table(results), ROOT / "docs")


if __name__ == "__main__":
    main()
