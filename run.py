"""Run the project with only Python and pip; everything else is installed into the folder `.runenv` beside this file.

Usage:
    python3 run.py demo [arguments of `allm demo`]
    python3 run.py test [arguments of nox]
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  # an older Python must get this far to print the reason
    sys.exit("This needs Python 3.11 or newer and runs on {}.{}: try python3.12 run.py".format(*sys.version_info))

import subprocess
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".runenv"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

# Command: the requirements that pip installs, and the arguments that Python then runs with.
COMMANDS = {
    "demo": (["--editable", ".[cli]"], ["-m", "allm", "demo"]),
    "test": (["nox[uv]>=2025.5"], ["-m", "nox"]),
}


def install(command: str, requirements: list[str]) -> None:
    """Install what `command` needs, unless it was installed already for this pyproject.toml and this Python."""
    stamp = ENVIRONMENT / f".{command}"
    wanted = "\n".join([sys.version, *requirements, (ROOT / "pyproject.toml").read_text()])
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Preparing {ENVIRONMENT} for `{command}`, which takes a moment the first time.", flush=True)
    # An environment of another Python, or one whose interpreter no longer starts, is made anew.
    same_python = f"import pip, sys; sys.exit(sys.version != {sys.version!r})"
    if not PYTHON.exists() or subprocess.call([PYTHON, "-c", same_python], stderr=subprocess.DEVNULL):
        venv.create(ENVIRONMENT, clear=True, symlinks=sys.platform != "win32", with_pip=True)
    pip = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *requirements]
    if subprocess.call(pip, cwd=ROOT):
        sys.exit(f"pip could not install {' '.join(requirements)}; its messages are above.")
    stamp.write_text(wanted)


def main() -> int:
    """Run the named command and return its exit code."""
    command, *arguments = sys.argv[1:] or [""]
    if command not in COMMANDS:
        sys.exit(__doc__)
    requirements, run = COMMANDS[command]
    install(command, requirements)
    try:
        return subprocess.call([PYTHON, *run, *arguments], cwd=ROOT)
    except KeyboardInterrupt:
        return 130  # what a shell reports for Ctrl-C; the command itself received the signal too


if __name__ == "__main__":
    sys.exit(main())
