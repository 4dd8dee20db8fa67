"""The page of guarantees has a row for every trial, so that a new trial, or one that is gone, is not forgotten."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"


def trials():
    for path in sorted((ROOT / "tests" / "reliability").glob("test_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"[`{node.name}`](../{path.relative_to(ROOT).as_posix()})"


def test_the_page_names_every_trial():
    """With a link to its file; `nox -s reliability -- --long` writes the rows."""
    page = PAGE.read_text("utf-8")
    assert [trial for trial in trials() if trial not in page] == []


def test_the_page_names_no_trial_that_is_gone():
    """Each link of the page leads to a file of the project."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if "](../tests/" in line]
    assert rows
    for row in rows:
        name, _, path = row.partition("[`")[2].partition(")")[0].partition("`](../")
        assert f"def {name.rpartition('::')[2]}(" in (ROOT / path).read_text("utf-8")


def test_the_figures_are_those_of_whole_runs():
    """Of the long form with both HTTP libraries, in which every trial ran and none failed."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert "| httpx, long | httpx2, long |" in rows[0]
    assert [row for row in rows if "not run" in row or "FAILED" in row] == []
