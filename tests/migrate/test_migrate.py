"""Each pair of programs in docs/migrate: both run, against the same server, and print the same.

The programs on the left need the other package: `nox -s migrate` makes an environment for each, and names their folder
in ALLM_PEERS. Those on the right run with every test run.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from contextlib import ExitStack, closing
from operator import attrgetter
from pathlib import Path

import pytest
import trio

from allm.testing import WireServer
from migrate.demo_server import DemoServer
from migrate.forks import Forks

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


NAMES = ("PATH", "HOME", "PYTHONPATH", "SSL_CERT_FILE", "LANG", "TMPDIR")
ENVIRONMENT = {name: os.environ[name] for name in NAMES if name in os.environ} | {
    "OPENAI_API_KEY": "test",
    "AZURE_OPENAI_API_KEY": "test",
    "ANTHROPIC_API_KEY": "test",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a list at its start
    "NO_PROXY": "127.0.0.1",
    "PYTHONWARNINGS": "ignore",
}


@pytest.fixture(scope="module")
def forks():
    """The process in which a Python has imported what its programs for a page import; importing takes seconds."""
    with ExitStack() as stack:

        @functools.cache
        def of(python, page):
            programs = [(left, right) for name, left, right in map(attrgetter("values"), pairs()) if name == page]
            of_allm = python == sys.executable
            modules = sorted(set().union(*(imported(pair[of_allm]) for pair in programs)))
            environment = ENVIRONMENT if of_allm else {n: v for n, v in ENVIRONMENT.items() if n != "PYTHONPATH"}
            return stack.enter_context(closing(Forks(python, modules, environment)))

        yield of


def imported(program):
    """The modules that a program imports."""
    for node in ast.walk(ast.parse(program)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module):
                yield module


async def output(forks, program, folder):
    """What a program prints, in a folder of its own and with a server of its own."""
    folder.mkdir()
    async with WireServer(default=DemoServer()) as server:
        addresses = {
            "OPENAI_BASE_URL": server.url("openai"),
            "AZURE_OPENAI_ENDPOINT": server.base_url,
            "ANTHROPIC_BASE_URL": server.base_url,
        }
        run = functools.partial(forks.run, program, folder=folder, environment=addresses, seconds=60)
        code, printed, errors = await trio.to_thread.run_sync(run)
    assert code == 0, errors.decode()
    return printed.decode()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.timeout(180)  # some packages take many seconds to be imported on a busy machine
@pytest.mark.parametrize(("peer", "left", "right"), list(pairs()))
async def test_both_programs_print_the_same(forks, peer, left, right, tmp_path):
    """The other package's and ours."""
    ours = await output(forks(sys.executable, peer), right, tmp_path / "ours")
    assert ours.strip()
    if PEERS is None:
        pytest.skip("needs the other package: nox -s migrate")
    assert await output(forks(str(PEERS / peer / "bin" / "python"), peer), left, tmp_path / "theirs") == ours
