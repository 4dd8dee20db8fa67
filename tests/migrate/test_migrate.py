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
from migrate.demo_server import DemoServer

PAGES = Path(__file__).parents[2] / "docs" / "migrate"
PEERS = Path(os.environ["ALLM_PEERS"]) if "ALLM_PEERS" in os.environ else None
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


def test_every_page_has_the_calls_that_people_use_most():
    """Ten or more of each package run; the page about the Elixir original, whose programs cannot, has none."""
    counts = {page.stem: len(PAIR.findall(page.read_text("utf-8"))) for page in PAGES.glob("*.md")}
    assert counts.pop("elixir") == 0
    assert [page for page, count in counts.items() if count < 10] == []


async def output(python, program, folder):
    """What a program prints, in a folder of its own and with a server of its own."""
    names = ("PATH", "HOME", "PYTHONPATH", "SSL_CERT_FILE", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    async with WireServer(default=DemoServer()) as server:
        environment |= {
            "OPENAI_API_KEY": "test",
            "OPENAI_BASE_URL": server.url("openai"),
            "AZURE_OPENAI_API_KEY": "test",
            "AZURE_OPENAI_ENDPOINT": server.base_url,
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
            cwd=folder,
        )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.timeout(180)  # some packages take many seconds to be imported on a busy machine
@pytest.mark.parametrize(("peer", "left", "right"), list(pairs()))
async def test_both_programs_print_the_same(peer, left, right, tmp_path):
    """The other package's and ours."""
    folders = [tmp_path / "ours", tmp_path / "theirs"]
    for folder in folders:
        folder.mkdir()
    ours = await output(sys.executable, right, folders[0])
    assert ours.strip()
    if PEERS is None:
        pytest.skip("needs the other package: nox -s migrate")
    assert await output(str(PEERS / peer / "bin" / "python"), left, folders[1]) == ours
