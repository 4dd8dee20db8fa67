"""All checks of the project: `nox` runs those that a change must pass, `nox -l` lists every session."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # test with the installed versions
nox.options.error_on_missing_interpreters = False  # `pythons` reports the missing ones
nox.options.sessions = [
    "lint",
    "async_lint",
    "typing",
    "package",
    "tests",
    "validators",
    "servers",
    "stores",
    "distributed",
    "web",
    "mcp",
    "browser",
    "docs",
    "hosts",
    "migrate",
    "reliability",
    "pythons",
]

PYPROJECT = nox.project.load_toml("pyproject.toml")
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NEXT = "3.14"  # tested where it is installed; declared when that has been seen to pass
# The declared versions, and the running one in case it is newer, so that there is always one to test with.
PYTHONS = list(dict.fromkeys([*nox.project.python_versions(PYPROJECT), NEXT, THIS_PYTHON]))
USE_HTTP = [f"tests/{name}" for name in ("bridge", "execution", "http", "providers", "runs", "session", "testing")]
WITH_SERVERS = "tests/session/with_servers.py"
# One worker more than cores: tests wait for disks, sockets, processes. A few take as long as thousands of others.
PARALLEL = [f"--numprocesses={(os.cpu_count() or 1) + 1}", "--dist=worksteal"]
EXTRAS = "bedrock,cli,dotenv,otel,testing,vertex"
# Tests of the usual kind whose cases count as trials, by the form that runs them.
_SHORT_TRIALS = ["tests/http/test_addresses.py", "tests/providers/test_mutated_wire.py", "tests/session/test_kill.py"]
ALSO_TRIALS = {
    "short": _SHORT_TRIALS,
    "long": [
        *_SHORT_TRIALS,
        "tests/providers/test_keys_stay_hidden.py",
        "tests/session/test_silent_servers.py",
        "tests/session/test_drops.py",
        "tests/execution/test_fold_property.py",
    ],
}
tested: dict[str, list[str]] = {}  # Python version: HTTP libraries

# pyenv puts one Python on PATH and keeps the others in this folder.
_pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
_folders = [str(folder) for version in PYTHONS for folder in sorted(_pyenv.glob(f"{version}.*/bin"))]
os.environ["PATH"] = os.pathsep.join([*_folders, os.environ["PATH"]])

# The newest declared version that is installed: its tests run with httpx2 too.
_installed = [version for version in nox.project.python_versions(PYPROJECT) if shutil.which(f"python{version}")]
NEWEST = _installed[-1] if _installed else THIS_PYTHON

# Tests start hundreds of processes. Where this is set, as in many containers, each would compile all modules again.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(".nox/.cache/bytecode").resolve()))


def _tools(session: nox.Session, *groups: str) -> None:
    session.install(*nox.project.dependency_groups(PYPROJECT, *groups))


@nox.session(default=False)
def quick(session: nox.Session) -> None:
    """Check the style, the types and the quick tests on this Python: what to run while working."""
    session.install("--editable", f".[{EXTRAS}]")
    _tools(session, "lint", "typing", "tests")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("mypy")
    session.run("pytest", *(session.posargs or ["--quick", *PARALLEL, "-q"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check ruff's rules, the format and the spelling."""
    _tools(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def async_lint(session: nox.Session) -> None:
    """Check the Trio rules that ruff lacks."""
    _tools(session, "async-lint")
    # flake8-async takes a second for each module, so those without async code are left out.
    modules = [str(path) for path in Path("src").rglob("*.py") if "async" in path.read_text("utf-8")]
    # The checkpoint rules (910 to 913) also demand one on every path of private functions. Stages of the pipeline have
    # paths without a checkpoint on purpose: one per network read has to be enough.
    session.run("flake8", "--isolated", "--select=ASYNC", "--enable=ASYNC", "--disable=ASYNC91", *modules)


@nox.session
def typing(session: nox.Session) -> None:
    """Run mypy and pyright, both strict, and check that every public name has a complete type."""
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


@nox.session
def package(session: nox.Session) -> None:
    """Check what would be published: the sdist and the wheel made of it, from an index too, and the changelog."""
    _tools(session, "package")
    session.run("towncrier", "build", "--draft", "--version", "next")
    folder = session.cache_dir.resolve() / "package"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--installer=uv", "--outdir", str(folder / "built"))
    built = sorted(map(str, (folder / "built").iterdir()))
    session.run("twine", "check", "--strict", *built)
    sdist, wheel = sorted(built, key=lambda path: path.endswith(".whl"))
    session.run("check-wheel-contents", "--toplevel=allm,pytest_allm.py", wheel)
    session.install(wheel)  # without extras
    works = (
        "import allm, trio; from allm.providers import Fake; "
        "engine = allm.Engine(adapter=Fake(script=[allm.fake.text('It works.')])); "
        "print(trio.run(allm.generate, engine, 'Does it work?').output_text)"
    )
    session.run("python", "-c", works)
    session.install("--reinstall-package=allm-trio", f"{sdist}[{EXTRAS}]", *PYPROJECT["build-system"]["requires"])
    _tools(session, "tests")
    session.run("pytest", "-q", "tests/package", *session.posargs, env={"ALLM_DISTRIBUTIONS": str(folder / "built")})
    shutil.unpack_archive(sdist, folder / "unpacked")
    [unpacked] = (folder / "unpacked").iterdir()
    files = ("exports", "fragments", "guarantees", "layers", "run")  # these read the files of the project
    with session.chdir(unpacked):
        session.run("pytest", "-q", *(f"tests/test_{name}.py" for name in files))


def _wheel_folder(session: nox.Session) -> str:
    return str(session.cache_dir / "wheel")


@nox.session(python=PYTHONS, requires=["wheel"])
@nox.parametrize("http", ["httpx", "httpx2"])
def tests(session: nox.Session, http: str) -> None:
    """Run the tests on the built wheel on each Python, and those that use HTTP with httpx2 on the newest."""
    if http == "httpx2" and session.python != NEWEST and not session.posargs:
        session.skip(f"httpx2 is tested with Python {NEWEST}; with arguments after -- it runs here too")
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    # genai-prices needs httpx2.
    extras = EXTRAS if http == "httpx" else f"{EXTRAS},{http},prices"
    session.install(f"{built}[{extras}]")
    _tools(session, "tests")
    tested.setdefault(str(session.python), []).append(http)
    # The long tests run in one session only; see tests/conftest.py.
    full = session.python == THIS_PYTHON and http == "httpx"
    default = [*PARALLEL, *([] if full else ["--quick"])]
    session.run("pytest", *(session.posargs or [*default, *(USE_HTTP if http == "httpx2" else [])]))


def _npm(session: nox.Session, lock: str, folder: Path) -> None:
    """Install the packages of a lock file into a folder."""
    shutil.copytree(lock, folder, dirs_exist_ok=True)
    session.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), external=True)


@nox.session(requires=["wheel"])
def servers(session: nox.Session) -> None:
    """Test against third-party servers: llmock, llama.cpp with a real model, a collector and, with Node, aimock."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS}]")
    _tools(session, "tests", "servers")
    folder = session.cache_dir / "aimock"
    if shutil.which("npm"):
        _npm(session, "tests/servers/aimock", folder)
    options = session.posargs or ["--numprocesses=auto", "--dist=loadfile"]  # each file starts its own server
    home = {"ALLM_HOME": str(session.cache_dir.resolve() / "home")}
    session.run("allm", "models", "pull", "smollm2-135m", env=home)  # once: 93 MB
    tests = ["tests/servers", "tests/telemetry/test_otlp.py"]
    session.run("pytest", *tests, *options, env={"AIMOCK_MODULES": str(folder / "node_modules"), **home})


@nox.session(requires=["wheel"])
def stores(session: nox.Session) -> None:
    """Test sessions and bulk runs in PostgreSQL and Redis: kill 200 workers, drop 200 connections with each store."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS},postgres,redis]")
    _tools(session, "tests", "stores")
    options = session.posargs or PARALLEL
    tests = [f"tests/session/test_{name}.py" for name in ("stores", "turns", "host", "silent_servers", "drops", "kill")]
    tests += ["tests/runs/test_journal.py", "tests/runs/test_workers.py"]
    counts = {"ALLM_TEST_KILLS": "200", "ALLM_TEST_DROPS": "200"}
    session.run("python", WITH_SERVERS, "pytest", *tests, *options, env=counts)


@nox.session(requires=["wheel"])
def distributed(session: nox.Session) -> None:
    """Test bulk runs on two workers of streaQ: kill one, restart Redis, abort. With `-- --ray` on two nodes of Ray."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS},distributed,redis]")
    _tools(session, "tests", "stores")
    options = [option for option in session.posargs if option != "--ray"]
    if "--ray" in session.posargs:
        _tools(session, "ray")
    session.run("python", WITH_SERVERS, "pytest", "tests/distributed", *(options or PARALLEL))


@nox.session
def hosts(session: nox.Session) -> None:
    """Test the table of docs/environments.md in real hosts: kernels of Jupyter, uvicorn, Hypercorn, scripts."""
    session.install("--editable", f".[{EXTRAS}]")
    _tools(session, "tests", "hosts")
    session.run("pytest", "tests/hosts", *(session.posargs or PARALLEL))


PEERS = {
    "anthropic": ["anthropic==2.14.0"],
    "langchain": ["langchain==1.5.2", "langchain-openai==1.7.4", "numpy==2.4.6"],
    "litellm": ["litellm==1.110.2"],
    "openai": ["openai==3.57.0"],
    "pydantic-ai": ["pydantic-ai-slim[openai]==2.68.0"],
}
"""What docs/migrate compares with. Pinned, because the pages say how these versions are used."""


@nox.session(requires=["wheel"])
def migrate(session: nox.Session) -> None:
    """Run both programs of each pair in docs/migrate, the left one with the other package itself."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS}]")
    session.install("uv")
    _tools(session, "tests")
    folder = session.cache_dir.resolve() / "peers"
    for name, packages in PEERS.items():
        session.run("uv", "venv", "--quiet", "--allow-existing", str(folder / name))
        python = str(folder / name / "bin" / "python")
        session.run("uv", "pip", "install", "--quiet", "--python", python, *packages)
    session.run("pytest", "tests/migrate", *(session.posargs or PARALLEL), env={"ALLM_PEERS": str(folder)})


@nox.session(requires=["wheel"])
def web(session: nox.Session) -> None:
    """Let the real client packages of the AI SDK and of AG-UI read what `allm.web` writes, in Node."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS}]")
    _tools(session, "tests", "web")
    folder = session.cache_dir.resolve() / "web"
    shutil.copytree("tests/web/clients", folder, dirs_exist_ok=True)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
    session.run("npm", "ci", *quiet, "--prefix", str(folder))
    session.run("pytest", "tests/web", *(session.posargs or ["-q"]), env={"WEB_CLIENTS": str(folder)})


@nox.session(requires=["wheel"])
def mcp(session: nox.Session) -> None:
    """Test with real MCP servers: the SDK's and, with Node, the reference server. The SDK brings httpx2 along."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS},mcp]")
    _tools(session, "tests")
    folder = session.cache_dir / "everything"
    if shutil.which("npm"):
        _npm(session, "tests/mcp/everything", folder)
    options = session.posargs or ["tests/mcp", "tests/test_docs.py", "tests/examples", "-k", "mcp", *PARALLEL]
    session.run("pytest", *options, env={"EVERYTHING_MODULES": str((folder / "node_modules").resolve())})


@nox.session(requires=["wheel"])
def browser(session: nox.Session) -> None:
    """Test the pages of the chat and of a trace in a headless Chromium."""
    [built] = Path(_wheel_folder(session)).glob("*.whl")
    session.install(f"{built}[{EXTRAS}]")
    _tools(session, "tests", "browser")
    session.run("pytest", "tests/browser", *(session.posargs or PARALLEL), env={"ALLM_CHROMIUM": _chromium(session)})


def _chromium(session: nox.Session) -> str:
    """The browser of this machine; where there is none, Debian's is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if not any(map(shutil.which, names)):
        session.run("apt-get", "update", "-qq", external=True)
        session.run("apt-get", "install", "-qq", "--no-install-recommends", "chromium", external=True)
    return next(filter(None, map(shutil.which, names)))


@nox.session
@nox.parametrize("http", ["httpx", "httpx2"])
def reliability(session: nox.Session, http: str) -> None:
    """Try to break what docs/guarantees.md promises: a sample in a minute, or everything with `-- --long`."""
    form = "long" if "--long" in session.posargs else "short"
    if form == "short" and http != "httpx":
        session.skip("the long form runs with httpx2 too: nox -s reliability -- --long")
    session.install("--editable", f".[{EXTRAS},postgres,redis{',httpx2' if http == 'httpx2' else ''}]")
    _tools(session, "tests", "stores", "reliability")
    options = [option for option in session.posargs if option != "--long"]
    results = session.cache_dir / "reliability"
    session.run(
        "python",
        WITH_SERVERS,
        "pytest",
        "tests/reliability",
        *ALSO_TRIALS[form],
        f"--reliability={form}",
        f"--reliability-results={results / f'{form}-{http}.json'}",
        *options,
        env=dict.fromkeys(("ALLM_TEST_KILLS", "ALLM_TEST_DROPS"), "200" if form == "long" else "3"),
    )
    found = sorted(map(str, results.glob(f"{form}-*.json")))
    # The page has the figures of the long form; those of a sample only go to the log.
    session.run(
        "python", "scripts/guarantees.py", *found, *(["--page", "docs/guarantees.md"] if form == "long" else [])
    )


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Search for bytes that break a decoder, for a minute or with the arguments of libFuzzer after `--`."""
    session.install("--editable", f".[{EXTRAS}]")
    _tools(session, "tests", "fuzz")
    session.run("python", "tests/reliability/fuzz_decoders.py", *(session.posargs or ["-max_total_time=60"]))


@nox.session(python=False)
def pythons(session: nox.Session) -> None:
    """Report the Python versions that the tests of this run used."""
    for version in PYTHONS:
        session.log(f"Python {version}: {' and '.join(tested.get(version, [])) or 'NOT TESTED'}")
    if not tested:
        session.error("No tests ran; run this session after `tests`")


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Measure branch coverage, with all extras and stores."""
    session.install("--editable", f".[{EXTRAS},httpx2,mcp,prices,postgres,redis]")
    _tools(session, "tests", "coverage", "stores")
    session.run("coverage", "erase")
    options = session.posargs or ["-q", "--numprocesses=auto"]
    session.run("python", WITH_SERVERS, "coverage", "run", "-m", "pytest", *options)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def validators(session: nox.Session) -> None:
    """Validate the request bodies with the vendors' own types, which are large and depend on httpx2."""
    session.install("--editable", f".[{EXTRAS}]")
    _tools(session, "tests", "validators")
    # The other tests of providers would do the same as in `tests`.
    found = sorted(Path("tests/providers").glob("test_*.py"))
    files = [str(path) for path in found if "request_types" in path.read_text("utf-8")]
    session.run("pytest", *files, *(session.posargs or PARALLEL))
    _tools(session, "validators-anthropic-2026-10-21")
    session.run("pytest", *files, "-k", "anthropic", *(session.posargs or PARALLEL))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation with warnings as errors, and look at it in a browser. Its examples run in `tests`."""
    session.install("--editable", f".[{EXTRAS}]")
    _tools(session, "docs", "tests", "browser")
    site = Path("docs/_build/html")
    # Without -E a second build forgets the words of search_words.toml, which Sphinx does not keep.
    session.run("sphinx-build", "-E", "-W", "--keep-going", "-q", "-j", "auto", "-b", "html", "docs", str(site))
    env = {"ALLM_CHROMIUM": _chromium(session), "ALLM_SITE": str(site.resolve())}
    session.run("pytest", "-q", "tests/browser/test_site.py", *(session.posargs or PARALLEL), env=env)
    session.run("python", "scripts/site_screenshots.py", "docs/_build/screenshots", env=env)


@nox.session(default=False)
def catalog(session: nox.Session) -> None:
    """Regenerate the catalog of models from the packages in the group `catalog`."""
    session.install("--editable", ".")
    _tools(session, "catalog")
    session.run("python", "scripts/update_catalog.py")
    session.run("python", "scripts/update_unit_prices.py")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Compare with a bare loop and other packages, and write docs/benchmarks.md; after `--`, rows of the comparison."""
    session.install("--editable", f".[{EXTRAS},httpx2]")
    _tools(session, "bench")
    environments = {"ALLM_BENCH_ENVIRONMENTS": str(session.cache_dir / "bench")}
    session.run("python", "benchmarks/side_by_side", *session.posargs, env=environments)
