"""The programs of `examples/`: each runs as its docstring says, on the demo server, and does what it is for."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

import any_vendor
from allm.testing import WireServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# What each prints last, or somewhere: the effect that it is about.
EXPECTED = {
    "agent_with_files": ["The model wants: write_file", "# Notes\n\nBuy milk."],
    "answer_with_sources": ["Owls hunt at night.[^1]", "(https://handbook.example/owls)"],
    "bulk_with_budget": [
        "ended early [budget]: the budget of $0.003 is used up",
        "a budget of $0.1: 60 of 60 labels",
        "within the budget: True\n",
    ],
    "deadline": ["in time: False; kept: "],
    "extract_documents": [
        "250 invoices, 0 of them from the journal\nstopped half way",
        "500 invoices, ",
        "Cedar GmbH   166 invoices, 7389.17 EUR\nwithout a date of payment: 100",
    ],
    "fall_back": [
        "  crowded is asked\n  ready is asked, since the one before is overloaded\nAnybody there? Here I am.",
        "  crowded is left out: down\n  ready is asked\nStill there? Here I am.",
        "  slow is asked\n  ready is asked\nWho is first? Here I am.",
    ],
    "fill_a_form": ["Ada and Bob for 2 nights from 03 May 2027"],
    "guard": [
        "I am [address]. What does Bob order? And by the tool: Bob, [address], orders tea.",
        "in the program: I am ann@example.com.",
        "not sent: Project Owl is not for other ears",
    ],
    "mcp_tools": ["Emma is on shelf 7."],
    "pictures": ["drawn: fox.png", "changed: fox-2.png"],
    "research_agent": ["Bats hear what they cannot see.", " tokens in 8 requests", "; 22 requests are left"],
    "sort_tickets": ["bug      ! The app crashes"],
    "tenants": ["ada: billed to sk-ada\nbob: billed to sk-bob\neve: billed to sk-eve"],
    "terminal_chat": ["> You said: Hello", "> You said: Bye"],
    "two_workers": ["10 messages, saved 5 times, completed"],
    "voice": ["heard: How is the weather?", "said: How is the weather? It is sunny. Take a hat."],
    "watch_costs": ["tool: 0.1", "The turn cost $0.000480; run.jsonl has the rest.\nBoth are warm."],
    "web_api": ["{'answer': 'You asked: How are you?'}", '"type":"End"'],
}
# They need servers, and run in tests/distributed.
WITH_SERVERS = {"bulk_on_ray", "bulk_on_streaq"}
NEEDS = {"mcp_tools": "mcp_types"}
TOLD = "No model: this is the demo server. ALLM_MODEL=provider:id takes a real one.\n"
INPUT = {"terminal_chat": "Hello\nBye\n"}


CHATS = ("/chat/completions", "/messages", ":streamGenerateContent")


def clean():
    """The environment without settings and keys."""
    parts = ("ALLM_", "_API_KEY", "_BASE_URL")
    return {key: value for key, value in os.environ.items() if not any(part in key for part in parts)}


def where(server):
    """The environment in which every vendor is the server."""
    names = ("OPENAI", "ANTHROPIC", "GEMINI", "VOYAGE")
    keys = {f"{name}_API_KEY": "key" for name in names}
    openai = server.url("openai")
    return {
        **keys,
        "OPENAI_BASE_URL": openai,
        "VOYAGE_BASE_URL": openai,
        "ANTHROPIC_BASE_URL": server.base_url,
        "GOOGLE_GEMINI_BASE_URL": server.base_url,
    }


def needs(name):
    """Skip a test whose example needs an extra that is not installed."""
    if importlib.util.find_spec(NEEDS.get(name, "allm")) is None:
        pytest.skip("needs the extra mcp: nox -s mcp")


def run(name, *how, **environment):
    """Run an example as its reader does, or in another way: Python's arguments before the path, and after it."""
    return subprocess.run(
        [sys.executable, *how[:2], EXAMPLES / f"{name}.py", *how[2:]],
        input=INPUT.get(name, ""),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        cwd=ROOT,
        env={**clean(), "PYTHONIOENCODING": "utf-8", **environment},
    )


def test_every_example_is_here():
    """A new one needs a line in the table above."""
    programs = {path.stem for path in EXAMPLES.glob("*.py")} - {"demo"}
    assert programs == set(EXPECTED) | WITH_SERVERS


@pytest.mark.parametrize("name", EXPECTED)
def test_it_runs(name):
    """Without a key and without arguments."""
    needs(name)
    done = run(name)
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[name]:
        assert text in done.stdout
    assert done.stderr in {"", TOLD}, "nothing went wrong on the way"


MODELS = ("openai:gpt-5.4-mini", "anthropic:claude-sonnet-4-6", "gemini:gemini-3-flash-preview")


# Runs a program once for each model, in one process: most of the time goes into the imports.
WITH_EACH = """
import io, os, runpy, sys
path, *models = sys.argv[1:]
sys.argv, sys.path[0] = [path], os.path.dirname(path)
typed = sys.stdin.read()
for os.environ["ALLM_MODEL"] in models:
    sys.stdin = io.StringIO(typed)
    runpy.run_path(path, run_name="__main__")
"""


@pytest.mark.parametrize("name", EXPECTED)
async def test_it_runs_with_any_model(name):
    """With ALLM_MODEL it asks that model, whatever the vendor, and copes with answers that it cannot foresee."""
    needs(name)
    async with WireServer(default=any_vendor.answer) as server:
        done = await trio.to_thread.run_sync(lambda: run(name, "-c", WITH_EACH, *MODELS, **where(server)))
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "demo server" not in done.stderr
        for chat in CHATS:
            assert any(chat in request.path for request in server.requests), f"nothing was sent to {chat}"


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"tenants"}))  # its customers have keys of their own
def test_a_missing_key_is_told_in_a_line(name):
    """What a program cannot go on after is no traceback."""
    needs(name)
    done = run(name, ALLM_MODEL="anthropic:claude-sonnet-4-6", ANTHROPIC_BASE_URL="http://127.0.0.1:9")
    told = done.stderr + done.stdout
    assert "missing_key" in told or "set the environment variable" in told
    assert "Traceback" not in told
    assert "demo server" not in told


def test_an_unknown_provider_is_told_in_a_line():
    """A mistake in ALLM_MODEL is named."""
    done = run("deadline", ALLM_MODEL="nobody:model")
    assert done.returncode == 1
    assert done.stderr.startswith("unknown provider in 'nobody:model'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("name", ["bulk_with_budget", "deadline", "extract_documents"])
def test_ctrl_c_ends_it_with_a_line(name):
    """An interrupted program leaves no traceback and no server behind."""
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    with subprocess.Popen(command, env=clean(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        assert "demo server" in program.stderr.readline()
        program.send_signal(signal.SIGINT)
        _, told = program.communicate(timeout=20)
    assert told == "interrupted\n"
    assert program.returncode == -signal.SIGINT
