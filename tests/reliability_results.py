"""Collect what the trials of `nox -s reliability` found, for the table in docs/guarantees.md.

A trial is a test. It reports a figure with pytest's own `record_property("cancels", 1234)`; the figures of a test with
parameters are added up. `tests/conftest.py` registers this as a plugin when a file for the results is given, and
`scripts/guarantees.py` makes the table.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import attrs

LIBRARIES = ("httpx2", "httpx")  # the one that is used comes first


def http_library():
    """The HTTP library of this run, with its version."""
    for name in LIBRARIES:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    raise AssertionError("no HTTP library is installed")


@attrs.define(eq=False)
class Results:
    """A plugin of pytest that writes the results of a run to a JSON file."""

    path: Path
    form: str
    trials: dict = attrs.field(factory=dict)

    def pytest_runtest_logreport(self, report):
        """Add a finished test to the trial that it belongs to."""
        if report.when != "call" and not (report.failed or report.skipped):
            return
        trial = self.trials.setdefault(report.nodeid.partition("[")[0], {"outcomes": {}, "figures": {}, "seconds": 0.0})
        trial["outcomes"][report.outcome] = trial["outcomes"].get(report.outcome, 0) + 1
        trial["seconds"] += report.duration
        for name, value in report.user_properties if report.when == "call" else ():
            figures = trial["figures"]
            figures[name] = value if isinstance(value, str) else figures.get(name, 0) + value

    def pytest_runtest_logfinish(self):
        """Write the file, so that a run that is broken off has its results too."""
        document = {
            "form": self.form,
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "http": http_library(),
            "platform": sys.platform,
            "seed": int(os.environ["ALLM_SEED"]),
            "trials": self.trials,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(document, indent=1) + "\n")
