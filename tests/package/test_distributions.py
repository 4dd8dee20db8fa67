"""What is published: the files of the sdist and of the wheel, and the installation by name from an index.

`nox -s package` builds them and names their folder in ALLM_DISTRIBUTIONS; without it, these tests are skipped.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import venv
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import allm

ROOT = Path(__file__).parents[2]
BUILT = Path(os.environ.get("ALLM_DISTRIBUTIONS", "/nowhere"))
pytestmark = pytest.mark.skipif(not BUILT.exists(), reason="needs the built distributions: nox -s package")


def run(*command, **variables):
    """The output of a command that has to succeed."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=ROOT, env=env | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_in_git(*options):
    """The files of the clone, sorted as text."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone")
    return set(run("git", "ls-files", *options).splitlines())


def test_the_sdist_has_the_files_of_the_clone():
    """All that git knows, so that everything can be built and tested from it, and nothing that git ignores."""
    [path] = BUILT.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
    assert sorted(files_in_git() - names) == []
    assert sorted(names - files_in_git("--cached", "--others", "--exclude-standard")) == ["PKG-INFO"]


def test_the_wheel_has_the_source_and_its_license():
    """All of `src`, with the mark of a typed package and the data that modules read, and nothing else."""
    [path] = BUILT.glob("*.whl")
    names = set(zipfile.ZipFile(path).namelist())
    source = {name.removeprefix("src/") for name in files_in_git("--cached", "--others", "--exclude-standard", "src")}
    made = {name.partition("/")[2] for name in names - source}
    assert "allm/py.typed" in names
    assert sorted(source - names) == []
    assert made == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}


def metadata(**variables):
    """What a build here would declare."""
    return json.loads(run(sys.executable, "-m", "hatchling", "metadata", **variables))


def test_an_address_makes_the_links_of_the_readme_whole():
    """Where the address is known, the page of an index links to files there; else nothing claims an address."""
    declared = metadata(ALLM_PROJECT_URL="https://git.example/allm/")
    files = "https://git.example/allm/blob/HEAD/"
    links = re.findall(r"\]\(([^)]*)\)", declared["readme"]["text"])
    ours = [link.removeprefix(files).partition("#")[0] for link in links if link.startswith(files)]
    assert declared["urls"]["Source"] == "https://git.example/allm"
    assert len(ours) > 40
    assert [link for link in ours if not (ROOT / link).is_file()] == []
    assert all(link.startswith("https://") for link in links)
    plain = metadata(ALLM_PROJECT_URL="")
    assert "urls" not in plain
    assert plain["readme"]["text"] == (ROOT / "README.md").read_text("utf-8")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_args):
        """Nothing."""


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The address of an index with this project alone: a folder of files, listed by the server (PEP 503)."""
    folder = tmp_path_factory.mktemp("index")
    shutil.copytree(BUILT, folder / "simple" / "allm-trio", ignore=shutil.ignore_patterns(".*"))
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple/"
        server.shutdown()
        thread.join()


INSTALLERS = {
    "pip": ["{python}", "-m", "pip", "install", "--quiet", "--extra-index-url"],
    "uv": ["uv", "pip", "install", "--quiet", "--python", "{python}", "--index"],
}


@pytest.mark.timeout(600)  # the dependencies come from the machine's index
@pytest.mark.parametrize("installer", INSTALLERS)
def test_it_installs_by_name_from_an_index(installer, index, tmp_path):
    """Into an empty environment, with an extra; then the command runs and no dependency is missing."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    command = [part.format(python=python) for part in INSTALLERS[installer]]
    run(*command, index, f"allm-trio[cli]=={allm.__version__}")
    assert run(tmp_path / "venv" / "bin" / "allm", "--version") == f"allm {allm.__version__}\n"
    run(python, "-m", "pip", "check")
