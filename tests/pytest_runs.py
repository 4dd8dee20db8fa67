"""Runs pytest with our plugin in a process of its own, for tests of the plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

MARKS = {"pytest-trio": "pytest.mark.trio", "anyio": "pytest.mark.anyio"}
SOURCE = Path(__file__).parents[1] / "src"


def run_pytest(folder, tests, *options, **variables):
    """Run tests in a process of its own, with more environment variables; returns the failure of each, or None."""
    (folder / "test_it.py").write_text(tests, "utf-8")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "pytest_allm", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command += ["--rootdir", str(folder), "-c", os.devnull, *options, str(folder)]
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "NO_COLOR": "1", **variables}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=55)
    assert report.exists(), done.stdout + done.stderr
    found = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - our own file
        texts = [f"{child.tag}: {child.get('message')}\n{child.text}" for child in case if child.tag != "system-out"]
        found[case.get("name").partition("[")[0]] = "\n".join(texts) or None
    return found
