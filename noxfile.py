"""Every check of the project: `nox` runs what a change must pass, `nox -l` lists the rest too."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # test with what is installed
nox.options.error_on_missing_interpreters = False  # `pythons` says which were missing
nox.options.sessions = ["lint", "async_lint", "typing", "tests", "validators", "servers", "stores", "pythons"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# The declared Pythons, and this one should it be newer: so that there is always one to test with.
PYTHONS = list(dict.fromkeys([*nox.project.python_versions(PYPROJECT), THIS_PYTHON]))
WITH_SERVERS = "tests/session/with_servers.py"
EXTRAS = "cli,dotenv,otel,testing"
tested: dict[str, list[str]] = {}  # Python version: HTTP libraries

# pyenv puts one Python on PATH and keeps the others here.
_pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
_folders = [str(folder) for version in PYTHONS for folder in sorted(_pyenv.glob(f"{version}.*/bin"))]
os.environ["PATH"] = os.pathsep.join([*_folders, os.environ["PATH"]])


def _tools(session: nox.Session, *groups: str) -> None:
    session.install(*nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format, and spelling."""
    _tools(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def async_lint(session: nox.Session) -> None:
    """The Trio rules that ruff does not have."""
    _tools(session, "async-lint")
    # It takes a second for each module, so those without async code are left out.
    modules = [str(path) for path in Path("src").rglob("*.py") if "async" in path.read_text("utf-8")]
    # The rules on checkpoints (910 to 913) also want one on every path of private functions, where a stage of the
    # pipeline takes the way without a checkpoint on purpose: once per network read has to be enough.
    session.run("flake8", "--isolated", "--select=ASYNC", "--enable=ASYNC", "--disable=ASYNC91", *modules)


@nox.session
def typing(session: nox.Session) -> None:
    """Mypy and pyright, both strict, and that every public name has a complete type."""
    session.install("--editable", f".[{EXTRAS},httpx2,postgres,redis]")
    _tools(session, "typing")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "allm", "--ignoreexternal")


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel that `tests` installs."""
    session.install(*PYPROJECT["build-system"]["requires"])
    session.run("hatchling", "build", "--clean", "--target", "wheel", "--directory", _wheel_folder(session))


def _wheel_folder(session: nox.Session) -> str:
    return str(session.cache_dir / "wheel")


@nox.session(python=PYTHONS, requires=["wheel"])
@nox.parametrize("http", ["httpx", "httpx2"])
def tests(session: nox.Session, http: str) -> None:
    """The tests, on the built wheel, for each Python and each HTTP library."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    # genai-prices needs httpx2.
    extras = EXTRAS if http == "httpx" else f"{EXTRAS},{http},prices"
    session.install(f"{built}[{extras}]")
    _tools(session, "tests")
    tested.setdefault(str(session.python), []).append(http)
    # The long replays of wire samples run once; see tests/conftest.py.
    every = session.python == THIS_PYTHON and http == "httpx"
    default = ["--numprocesses=auto", *([] if every else ["--quick"])]
    session.run("pytest", *(session.posargs or default))


@nox.session(requires=["wheel"])
def servers(session: nox.Session) -> None:
    """The adapters against servers that others wrote: llmock, llama.cpp and, where Node is, aimock."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS}]")
    _tools(session, "tests", "servers")
    folder = session.cache_dir / "aimock"
    if shutil.which("npm"):
        shutil.copytree("tests/servers/aimock", folder, dirs_exist_ok=True)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
        session.run("npm", "ci", *quiet, "--prefix", str(folder), external=True)
    options = session.posargs or ["--numprocesses=auto", "--dist=loadfile"]  # each file has a server of its own
    session.run("pytest", "tests/servers", *options, env={"AIMOCK_MODULES": str(folder / "node_modules")})


@nox.session(requires=["wheel"])
def stores(session: nox.Session) -> None:
    """Sessions in PostgreSQL and Redis, and workers that are killed 200 times with each store."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS},postgres,redis]")
    _tools(session, "tests", "stores")
    options = session.posargs or ["--numprocesses=auto"]
    tests = [f"tests/session/test_{name}.py" for name in ("stores", "turns", "silent_servers", "kill")]
    session.run("python", WITH_SERVERS, "pytest", *tests, *options, env={"ALLM_TEST_KILLS": "200"})


@nox.session(python=False)
def pythons(session: nox.Session) -> None:
    """Say which Pythons the tests of this run had."""
    for version in PYTHONS:
        session.log(f"Python {version}: {' and '.join(tested.get(version, [])) or 'NOT TESTED'}")
    if not tested:
        session.error("No tests ran; this session belongs after `tests`")


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Branch coverage, with every extra and every store."""
    session.install("--editable", f".[{EXTRAS},httpx2,prices,postgres,redis]")
    _tools(session, "tests", "coverage", "stores")
    session.run("coverage", "erase")
    options = session.posargs or ["-q", "--numprocesses=auto"]
    session.run("python", WITH_SERVERS, "coverage", "run", "-m", "pytest", *options)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def validators(session: nox.Session) -> None:
    """Judge the request bodies by the vendors' own types, which are large and bring httpx2 along."""
    session.install("--editable", f".[{EXTRAS}]")
    _tools(session, "tests", "validators")
    options = session.posargs or ["--numprocesses=auto", "--quick"]
    session.run("pytest", "tests/providers", *options)
    _tools(session, "validators-anthropic-2026-10-21")
    session.run("pytest", "tests/providers", "-k", "anthropic", *options)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error. Its examples run in `tests`."""
    session.install("--editable", f".[{EXTRAS}]")
    _tools(session, "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session(default=False)
def catalog(session: nox.Session) -> None:
    """Write the catalog of models anew, from the packages of the group `catalog`."""
    session.install("--editable", ".")
    _tools(session, "catalog")
    session.run("python", "scripts/update_catalog.py")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run benchmarks/*.py, or those named after `--`."""
    session.install("--editable", f".[{EXTRAS},httpx2]")
    scripts = session.posargs or sorted(str(script) for script in Path("benchmarks").glob("*.py"))
    for script in scripts:
        session.run("python", script)
