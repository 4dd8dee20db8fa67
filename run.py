"""Run the project with only Python and pip; everything else is installed into the folder `.runenv` beside this file.

Usage:
    python3 run.py demo [arguments of `allm demo`]    stream from a model on this machine, and from a scripted one
    python3 run.py demo --scripted                    the latter alone, which downloads 200 MB less
    python3 run.py test                               lint, types and the quick tests, on this Python
    python3 run.py test --all                         all that continuous integration checks
    python3 run.py test [arguments of nox]            single sessions: `test -l` lists them
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # an older Python must get this far to print the reason
    sys.exit("This needs Python 3.11 or newer and runs on {}.{}: try python3.12 run.py".format(*sys.version_info))

import ast
import os
import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".runenv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
INTERRUPTED = 130  # what a shell reports for Ctrl-C

# Command: the requirements that pip installs, and the arguments that Python then runs with.
COMMANDS = {
    "demo": (["--editable", ".[cli,local]"], ["-m", "allm", "demo"]),
    "test": (["nox[uv]>=2025.5"], ["-m", "nox"]),
}

INSTALL = ["install", "--disable-pip-version-check", "--progress-bar=off"]
SCRIPTED = ["--editable", ".[cli]"]  # what the demo needs without a model

# Uv does not read pip's configuration, in which companies name their index and certificates; the demo reads the index.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "HTTPS_PROXY",
}


def install(command: str, requirements: list[str], instead: list[str] | None = None) -> None:
    """Install what `command` needs, unless it was installed already for this pyproject.toml and this Python.

    Where that fails, `instead` is installed for this time, if there is something the command can do with it alone.
    """
    stamp = ENVIRONMENT / f".{command}"
    wanted = "\n".join([sys.version, *requirements, (ROOT / "pyproject.toml").read_text()])
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Preparing {ENVIRONMENT} for `{command}`, which takes a moment the first time.", flush=True)
    # An environment of another Python, or one whose interpreter no longer starts, is made anew.
    same_python = f"import pip, sys; sys.exit(sys.version != {sys.version!r})"
    if not PYTHON.exists() or subprocess.call([PYTHON, "-c", same_python], stderr=subprocess.DEVNULL):
        print("  creating the environment", flush=True)
        venv.create(ENVIRONMENT, clear=True, symlinks=sys.platform != "win32", with_pip=True)
    if run_pip([*INSTALL, *requirements]):
        if instead is not None and not run_pip([*INSTALL, *instead]):
            print("  going on without what could not be installed", flush=True)
            return
        sys.exit(f"pip could not install {' '.join(requirements)}; its messages are above.")
    stamp.write_text(wanted)


def run_pip(arguments: list[str]) -> int:
    """Run pip in the environment: show one line for each package, and all that it said if it fails."""
    command = [PYTHON, "-m", "pip", *arguments]
    said: list[str] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        for line in pip.stdout or ():
            said.append(line)
            if line.startswith(("Collecting ", "Building ", "Installing collected")):
                print(f"  {line.strip()[:72].lower()}", flush=True)
    if pip.returncode:
        print("".join(said), file=sys.stderr)
    return pip.returncode


def uv_settings(pip_config: str) -> dict[str, str]:
    """Pip's configuration, as `pip config list` prints it, in the environment variables that uv reads."""
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in pip_config.splitlines()]
    # Pip lets the environment win over the section of a command, and that over the global one.
    for section in ("global.", "install.", ":env:."):
        for name, _, value in lines:
            variable = UV_NAMES.get(name.removeprefix(section)) if name.startswith(section) else None
            if variable is not None and variable not in os.environ:
                found[variable] = str(ast.literal_eval(value))
    if "UV_INDEX" in found:  # pip takes the newest release of all indexes, uv by default those of the first
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return found


def test_arguments(arguments: list[str]) -> list[str]:
    """The arguments of nox: the quick session by default, its own default sessions with `--all`."""
    if "--all" in arguments:
        return [argument for argument in arguments if argument != "--all"]
    return arguments or ["-s", "quick"]


def main() -> int:
    """Run the named command and return its exit code."""
    command, *arguments = sys.argv[1:] or [""]
    if command not in COMMANDS:
        sys.exit(__doc__)
    requirements, run = COMMANDS[command]
    environment = dict(os.environ)
    try:
        if command == "demo" and "--scripted" in arguments:
            install("scripted", SCRIPTED)
        else:
            install(command, requirements, SCRIPTED if command == "demo" else None)
        ask = [PYTHON, "-m", "pip", "config", "list"]
        environment |= uv_settings(subprocess.run(ask, capture_output=True, text=True, check=False).stdout)
        if command == "test":
            arguments = test_arguments(arguments)
    except KeyboardInterrupt:
        print("\ninterrupted; the next run goes on from here", file=sys.stderr)
        return INTERRUPTED
    try:
        return subprocess.call([PYTHON, *run, *arguments], cwd=ROOT, env=environment)
    except KeyboardInterrupt:  # the command itself received the signal too, and said so
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
