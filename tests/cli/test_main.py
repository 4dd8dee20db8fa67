"""The command itself: version, help, and ways to start it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import allm
from allm.cli import main


def test_version(capsys):
    """`allm --version` names the program and its version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"allm {allm.__version__}\n"


@pytest.mark.parametrize("command", ["chat", "demo", "generate"])
def test_help_names_every_command(capsys, command):
    """`allm --help` lists the commands, and each has its own help."""
    assert main(["--help"]) == 0
    assert command in capsys.readouterr().out
    assert main([command, "-h"]) == 0
    assert f"allm {command}" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_usage(capsys):
    """Exit code 2, with a message."""
    assert main(["dmeo"]) == 2
    assert "dmeo" in capsys.readouterr().err


def test_python_m_allm_is_the_command():
    """`python -m allm` takes the same arguments and gives the same exit code."""
    shown = subprocess.run([sys.executable, "-m", "allm", "--version"], capture_output=True, text=True, check=False)
    wrong = subprocess.run([sys.executable, "-m", "allm", "dmeo"], capture_output=True, text=True, check=False)

    assert (shown.returncode, shown.stdout) == (0, f"allm {allm.__version__}\n")
    assert (wrong.returncode, wrong.stdout) == (2, "")


def test_importing_it_starts_nothing():
    """Importing `allm.__main__` does not run the command."""
    assert importlib.import_module("allm.__main__").main is main


def test_the_demo_command_runs_the_demo(capsys):
    """The demo runs to its closing line."""
    assert main(["demo", "--fast"]) == 0
    assert "allm generate" in capsys.readouterr().out


def test_an_interrupt_while_parsing_is_an_interrupt(capsys, monkeypatch):
    """Ctrl-C before the command began has exit code 130."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    commands = importlib.import_module("allm.cli.commands")
    monkeypatch.setattr(commands.command, "make_context", interrupted)

    assert main(["demo"]) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_an_interrupt_while_loading_is_an_interrupt(capsys, monkeypatch):
    """Ctrl-C during the import has exit code 130."""

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("allm.cli.commands.run", interrupted)

    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("name", ["click", "rich.console"])
def test_a_missing_package_of_the_extra_is_explained(capsys, monkeypatch, name):
    """One line names the package and the extra."""

    def broken(_):
        raise ModuleNotFoundError("no", name=name)

    monkeypatch.setattr("allm.cli.commands.run", broken)

    assert main([]) == 1
    message = f"allm: {name.partition('.')[0]} is missing: pip install 'allm-trio[cli]'\n"
    assert capsys.readouterr().err == message


def test_another_missing_module_is_a_defect(monkeypatch):
    """Other missing modules are not explained away."""

    def broken(_):
        raise ModuleNotFoundError("no", name="something_else")

    monkeypatch.setattr("allm.cli.commands.run", broken)

    with pytest.raises(ModuleNotFoundError):
        main([])
