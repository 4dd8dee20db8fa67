"""The commands of the README exist, and continuous integration runs one of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_ci_runs_the_command_of_the_readme():
    """A user who follows the README sees what continuous integration sees."""
    [command] = re.findall(r"^exec (.*)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)

    assert re.search(rf"^{re.escape(command)} +#", README, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["dmeo"]])
def test_anything_else_shows_the_commands(arguments):
    """A call without a known command installs nothing and lists the commands."""
    result = subprocess.run([sys.executable, ROOT / "run.py", *arguments], capture_output=True, text=True, check=False)

    assert result.returncode != 0
    assert all(
        f"python3 run.py {command}" in result.stderr
        for command in re.findall(r"^python3 run.py (\w+)", README, re.MULTILINE)
    )
