"""Render the results of `nox -s reliability` as a table: `python scripts/guarantees.py RESULTS... [--page PAGE]`.

RESULTS are the JSON files of tests/reliability_results.py, one for each HTTP library. Without a page the table is
printed; with one it replaces what is between the page's two markers.
"""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BEGIN, END = "<!-- results: written by scripts/guarantees.py -->", "<!-- end of results -->"
NOT_RUN = "not run"


def promise(trial: str) -> str:
    """The docstring of the trial's function, in one line."""
    path, *names = trial.split("::")
    place: ast.AST = ast.parse((ROOT / path).read_text("utf-8"))
    for name in names:
        place = next(node for node in ast.iter_child_nodes(place) if getattr(node, "name", None) == name)
    return " ".join((ast.get_docstring(place) or "").split()) if isinstance(place, _DOCUMENTED) else ""


def figures(trial: dict[str, Any] | None) -> str:
    """What one run found, in words."""
    if trial is None:
        return NOT_RUN
    outcomes = trial["outcomes"]
    said = [f"**{outcomes['failed']} FAILED**"] if "failed" in outcomes else []
    cases = outcomes.get("passed", 0)
    for name, value in (trial["figures"] or {"cases": cases}).items():
        said.append(f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}")
    if outcomes.get("skipped"):
        said.append(f"{outcomes['skipped']} skipped")
    return ", ".join(said)


def table(runs: list[dict[str, Any]]) -> str:
    """The table of all runs, with a line that says what they were."""
    conditions = [
        f"{run['http']}, Python {run['python']}, {run['platform']}: {run['form']}, {run['date']}, seed {run['seed']}"
        for run in runs
    ]
    trials = sorted({name for run in runs for name in run["trials"]})
    lines = [
        "Runs: " + "; ".join(conditions) + ".",
        "",
        "| promise | trial | " + " | ".join(f"{run['http'].split()[0]}, {run['form']}" for run in runs) + " |",
        "| --- | --- |" + " --- |" * len(runs),
    ]
    for name in trials:
        path, _, function = name.partition("::")
        cells = [figures(run["trials"].get(name)) for run in runs]
        lines.append(f"| {promise(name)} | [`{function}`](../{path}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    runs = [json.loads(path.read_text()) for path in arguments.results]
    made = table(runs)
    if arguments.page is None:
        print(made)
        return
    if NOT_RUN in made:
        raise SystemExit("A run was broken off, or of a part: the page has the figures of whole runs only.")
    before, begin, rest = arguments.page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{arguments.page} lacks the lines {BEGIN} and {END}")
    arguments.page.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
