"""What docs/why-trio.md says of the streams of other packages is so; `nox -s migrate` makes their environments."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import trio

from allm import fake
from allm.testing import Reply, Stall, WireServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/why-trio.md").read_text("utf-8")
PEERS = Path(os.environ.get("ALLM_PEERS", "/nowhere"))
LOOP = {"end": "open", "break": "open", "exception": "open", "cancel": "closed", "cancel while busy": "open"}
BLOCK = LOOP | {"break": "closed", "exception": "closed", "cancel while busy": "closed"}
LATER = BLOCK | {"break": "closed later", "exception": "closed later"}
CASES = [
    *((package, "loop", LOOP) for package in ("openai", "anthropic", "litellm", "langchain")),
    *((package, "block", BLOCK) for package in ("openai", "anthropic", "pydantic-ai")),
    ("litellm", "block", LATER),
]


def answer(request):
    """A whole answer, or one that falls silent after its first words."""
    vendor = "anthropic" if request.path.endswith("/messages") else "openai"
    script = [fake.text("one "), fake.text("two "), fake.text("three")]
    reply = Reply.script(vendor, script)
    if "Stall" not in request.body.decode():
        return reply
    return Reply.script(vendor, script, fault=Stall(reply.event_ends[-3]))


@pytest.mark.timeout(180)  # some packages take many seconds to be imported on a busy machine
@pytest.mark.parametrize(("package", "form", "expected"), CASES, ids=lambda value: value if type(value) is str else "")
async def test_exits_of_another_package(package, form, expected):
    """Whether the connection is open when the next statement runs; after the end of an answer it is in the pool."""
    python = PEERS / package / "bin" / "python"
    if not python.exists():
        pytest.skip(f"needs {package}: run `nox -s migrate`")
    async with WireServer(default=answer) as server:
        url = server.base_url if package == "anthropic" else server.url("openai")
        done = await trio.run_process(
            [str(python), str(Path(__file__).with_name("exits.py")), package, form, url],
            capture_stdout=True,
            env={
                "PATH": os.environ["PATH"],
                "OPENAI_API_KEY": "test",
                "ANTHROPIC_API_KEY": "test",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a list at its start
                "NO_PROXY": "127.0.0.1",
                "PYTHONWARNINGS": "ignore",
            },
            stderr=subprocess.DEVNULL,
        )
    assert json.loads(done.stdout) == expected


def test_the_page_names_the_versions_that_are_run():
    """Those that `noxfile.py` installs."""
    pinned = dict(re.findall(r'"([\w-]+)(?:\[\w+\])?==([\d.]+)"', (ROOT / "noxfile.py").read_text("utf-8")))
    named = dict(re.findall(r"(openai|anthropic|litellm|langchain-openai|pydantic-ai-slim)\s([\d.]+\d)", PAGE))
    assert len(named) == 5
    assert {name: pinned[name] for name in named} == named
