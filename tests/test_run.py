"""The commands of the README exist, and continuous integration runs one of them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_ci_runs_the_command_of_the_readme():
    """With `--all`, a user who follows the README sees what continuous integration sees."""
    [command] = re.findall(r"^exec (.*)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)

    assert command == "python3 run.py test --all"
    assert re.search(r"^python3 run\.py test +#.* --all", README, re.MULTILINE)


@pytest.mark.parametrize("arguments", [[], ["dmeo"]])
def test_anything_else_shows_the_commands(arguments):
    """A call without a known command installs nothing and lists the commands."""
    result = subprocess.run([sys.executable, ROOT / "run.py", *arguments], capture_output=True, text=True, check=False)

    assert result.returncode != 0
    assert all(
        f"python3 run.py {command}" in result.stderr
        for command in re.findall(r"^python3 run.py (\w+)", README, re.MULTILINE)
    )


@pytest.fixture
def run_module():
    """`run.py` as a module."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_quick_part_is_the_default(run_module):
    """`--all` runs what nox runs by default; everything else is passed on."""
    assert run_module.test_arguments([]) == ["-s", "quick"]
    assert run_module.test_arguments(["--all"]) == []
    assert run_module.test_arguments(["-s", "docs"]) == ["-s", "docs"]


def test_uv_gets_the_configuration_of_pip(run_module, monkeypatch):
    """The index of a company and its certificates: the environment wins over files, uv's own variables over both."""
    for name in run_module.UV_NAMES.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_FIND_LINKS", "mine")
    config = """\
:env:.cert='/etc/company.pem'
global.cert='/etc/ssl/cert.pem'
global.extra-index-url='https://more.example/simple'
global.find-links='theirs'
global.index-url='https://index.example/simple'
global.timeout='60'
install.index-url='https://other.example/simple'
"""
    assert run_module.uv_settings(config) == {
        "SSL_CERT_FILE": "/etc/company.pem",
        "UV_INDEX": "https://more.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_DEFAULT_INDEX": "https://other.example/simple",
    }


@pytest.fixture
def prepared(run_module, monkeypatch, tmp_path):
    """`run.py` with an environment that is there, and what pip was asked to install; it fails for these extras."""
    asked = []
    failing = set()

    def run_pip(arguments):
        asked.append(arguments[-1])
        return int(arguments[-1] in failing)

    monkeypatch.setattr(run_module, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(run_module, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(run_module, "run_pip", run_pip)
    monkeypatch.setattr(run_module.subprocess, "call", lambda *_, **__: 0)
    return run_module, asked, failing


def demo(run_module, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["run.py", "demo", *arguments])
    return run_module.main()


def test_the_scripted_demo_installs_no_model(prepared, monkeypatch):
    """Each form of the demo is prepared once."""
    run_module, asked, _ = prepared
    for arguments in (["--scripted"], [], ["--scripted"], []):
        assert demo(run_module, monkeypatch, *arguments) == 0
    assert asked == [".[cli]", ".[cli,local]"]


def test_the_demo_goes_on_without_a_model(prepared, monkeypatch):
    """Where llama.cpp cannot be installed; the next run tries again."""
    run_module, asked, failing = prepared
    failing.add(".[cli,local]")
    assert demo(run_module, monkeypatch) == 0
    assert demo(run_module, monkeypatch) == 0
    assert asked == [".[cli,local]", ".[cli]"] * 2
    failing.add(".[cli]")
    with pytest.raises(SystemExit, match="could not install"):
        demo(run_module, monkeypatch)


@pytest.mark.parametrize("step", ["install", "test_arguments"])
def test_an_interrupt_while_preparing(run_module, monkeypatch, capsys, step):
    """One line and the exit code of shells, without a traceback."""

    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "install", lambda *_: None)
    monkeypatch.setattr(run_module, "PYTHON", sys.executable)
    monkeypatch.setattr(run_module, step, press)
    monkeypatch.setattr("sys.argv", ["run.py", "test"])

    assert run_module.main() == 130
    assert capsys.readouterr().err.strip().startswith("interrupted")
