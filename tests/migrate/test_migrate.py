"""Each pair of programs in docs/migrate: both run, against the same server, and print the same.

The programs on the left need the other package: `nox -s migrate` makes an environment for each, and names their folder
in ALLM_PEERS. Those on the right run with every test run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from allm.testing import WireServer
from migrate.demo_server import answer

PAGES = Path(__file__).parents[2] / "docs" / "migrate"
PEERS = Path(os.environ.get("ALLM_PEERS", "/nowhere"))
PAIR = re.compile(r"^```py\n(.*?)^```\n\s*^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^## (.*)$", re.MULTILINE)


def pairs():
    """Every pair of programs: the page, the heading above, the two programs."""
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text("utf-8")
        for match in PAIR.finditer(text):
            title = [heading[1] for heading in HEADING.finditer(text, 0, match.start())][-1]
            yield pytest.param(page.stem, match[1], match[2], id=f"{page.stem}-{title}")


def test_every_program_of_another_package_has_its_pair():
    """What is in a block by itself would run nowhere."""
    for page in PAGES.glob("*.md"):
        text = page.read_text("utf-8")
        assert text.count("```py\n") == len(PAIR.findall(text)), page.name


async def output(python, program, server):
    """What a program prints."""
    names = ("PATH", "HOME", "PYTHONPATH", "SSL_CERT_FILE", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    environment |= {
        "OPENAI_API_KEY": "test",
        "OPENAI_BASE_URL": server.url("openai"),
        "ANTHROPIC_API_KEY": "test",
        "ANTHROPIC_BASE_URL": server.base_url,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a list at its start
        "NO_PROXY": "127.0.0.1",
        "PYTHONWARNINGS": "ignore",
    }
    done = await trio.run_process(
        [python, "-c", program],
        capture_stdout=True,
        capture_stderr=True,
        stdin=subprocess.DEVNULL,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.timeout(180)  # some packages take many seconds to be imported on a busy machine
@pytest.mark.parametrize(("peer", "left", "right"), list(pairs()))
async def test_both_programs_print_the_same(peer, left, right):
    """The other package's and ours."""
    async with WireServer(default=answer) as server:
        ours = await output(sys.executable, right, server)
        assert ours.strip()
        theirs = PEERS / peer / "bin" / "python"
        if not theirs.exists():
            pytest.skip("needs the other package: nox -s migrate")
        assert await output(str(theirs), left, server) == ours
