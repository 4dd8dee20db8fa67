"""The programs of `examples/`: each runs as its docstring says, on the demo server, and does what it is for."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# What each prints last, or somewhere: the effect that it is about.
EXPECTED = {
    "agent_with_files": ["The model wants: write_file", "# Notes\n\nBuy milk."],
    "answer_with_sources": ["Owls hunt at night.[^1]", "(https://handbook.example/owls)"],
    "bulk_with_budget": [
        "ended early [budget]: the budget of $0.001 is used up",
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
    "tenants": ["ada: billed to ada\nbob: billed to bob\neve: billed to eve"],
    "terminal_chat": ["> You said: Hello", "> You said: Bye"],
    "two_workers": ["10 messages, saved 5 times, completed"],
    "voice": ["heard: How is the weather", "said: How is the weather? It is sunny. Take a hat."],
    "watch_costs": ["Both are warm. It cost 0.000"],
    "web_api": ["{'answer': 'You asked: How are you?'}", '"type":"End"'],
}
# They need servers, and run in tests/distributed.
WITH_SERVERS = {"bulk_on_ray", "bulk_on_streaq"}
NEEDS = {"mcp_tools": "mcp_types"}
INPUT = {"terminal_chat": "Hello\nBye\n"}


def run(name, **environment):
    """Run an example as its reader does."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ALLM_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        input=INPUT.get(name, ""),
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        cwd=ROOT,
        env={**clean, "PYTHONIOENCODING": "utf-8", **environment},
    )


def test_every_example_is_here():
    """A new one needs a line in the table above."""
    programs = {path.stem for path in EXAMPLES.glob("*.py")} - {"demo"}
    assert programs == set(EXPECTED) | WITH_SERVERS


@pytest.mark.parametrize("name", EXPECTED)
def test_it_runs(name):
    """Without a key and without arguments."""
    if importlib.util.find_spec(NEEDS.get(name, "allm")) is None:
        pytest.skip("needs the extra mcp: nox -s mcp")
    done = run(name)
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[name]:
        assert text in done.stdout
    assert "Warning" not in done.stderr


ON_A_CHAT_MODEL = [
    *("bulk_with_budget", "deadline", "extract_documents", "fall_back", "fill_a_form", "guard"),
    *("research_agent", "sort_tickets", "two_workers"),
]


@pytest.mark.parametrize("name", ON_A_CHAT_MODEL)
def test_a_model_can_be_named(name):
    """With ALLM_MODEL the example asks that one: here a provider that is not there, which it says."""
    done = run(name, ALLM_MODEL="nobody:model")
    assert done.returncode != 0
    assert "nobody" in done.stderr
    assert "demo server" not in done.stderr
