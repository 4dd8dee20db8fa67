"""The llama.cpp servers of this process: each model has one, which starts when it is first used.

llama.cpp loads a model while it holds the interpreter's lock, so that a thread of this process would stop every other
one, Trio's too, for as long as that takes. And where memory runs out, or llama.cpp aborts, the process is gone. So a
server is a child process (`program.py`), which listens on loopback and takes a key that only this process knows.

The functions of this module block, or are quick; `run_use.py` calls them from Trio.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import attrs

from allm.adapters import Secret, own_servers
from allm.data.errors import AdapterError, EngineError
from allm.providers.local import program

__all__ = ["Server", "ServerSettings", "check_installed", "descriptors", "enter", "leave"]

STOP_SECONDS = 5.0
"""Longest wait for a process that was killed, which takes milliseconds."""
_SMALLER = "try a smaller context (ALLM_LOCAL_CONTEXT_SIZE in the environment), or a smaller model"
_KILLED = -9  # by SIGKILL, which has no name on Windows
_LONGEST_MESSAGES = 4096  # bytes of what llama.cpp has said


@attrs.frozen(kw_only=True)
class ServerSettings:
    """What a server is: calls with equal settings share one.

    Attributes:
        model: The file with the weights.
        context_size: The most tokens of one conversation.
        parallel_calls: How many responses are computed at once.
        threads: How many threads compute.
        sampling: The temperature and the nucleus of calls that say nothing of them; None: llama.cpp's.
    """

    model: Path
    context_size: int
    parallel_calls: int
    threads: int
    sampling: tuple[float, float] | None = None


def check_installed() -> None:
    """Look for llama.cpp, without loading it.

    Raises:
        EngineError: `invalid_environment`: it is missing, and what to do.
    """
    if _package() is not None:
        return
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        what = "local models need the package xllamacpp: pip install 'allm-trio[local]'"
    else:
        what = (
            "local models need the package xllamacpp, which allm installs on x86_64 Linux only; elsewhere try pip "
            "install xllamacpp, or run a llama.cpp server or Ollama beside your program (llamacpp:..., ollama:...)"
        )
    raise EngineError(what, reason="invalid_environment")


def _package() -> Path | None:
    """The folder that xllamacpp is imported from, as an entry of `sys.path`."""
    try:
        found = importlib.util.find_spec("xllamacpp")
    except (ImportError, ValueError):  # somebody has put something else in its place
        return None
    if found is None or found.origin is None:
        return None
    place = Path(found.origin).parent
    return place if found.submodule_search_locations is None else place.parent


@attrs.define(eq=False)
class Server:
    """One server: at most one process at a time.

    Attributes:
        settings: What it is.
        key: What it asks of its clients.
        users: How many Trio runs use it.
    """

    settings: ServerSettings
    key: Secret = attrs.field(factory=lambda: Secret(secrets.token_urlsafe(32)), init=False)
    users: int = attrs.field(default=0, init=False)
    _url: str = attrs.field(default="", init=False)
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)
    _messages: IO[bytes] | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _starting: threading.Lock = attrs.field(factory=threading.Lock, init=False)  # held by the one that starts it
    _state: threading.Lock = attrs.field(factory=threading.Lock, init=False)  # held for a moment, to stop it meanwhile

    @property
    def url(self) -> str | None:
        """Where it listens; None if it does not run."""
        return self._url if self._url and self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it, if it does not run. Another thread that starts it meanwhile waits, and uses the same one.

        Raises:
            AdapterError: `provider_unavailable`: it does not start, and why.
        """
        with self._starting:
            if self.url is not None:
                return
            self._end()
            with self._state:
                if self._stopped:
                    raise _unavailable("the local model was stopped while it was starting")
                process = self._process = self._launched()
            answer = _answer_of(process)
            if "url" in answer:
                self._url = answer["url"]
                if process.stdout is not None:  # it has said all that it says
                    process.stdout.close()
                own_servers.add(self._url)
                return
            with suppress(subprocess.TimeoutExpired):  # it ends by itself, where it could not say why
                process.wait(0 if answer else STOP_SECONDS)
            why = self._why(str(answer.get("error", "")))
            self._end()
            raise _unavailable(f"llama.cpp cannot load {self.settings.model}: {why}")

    def _launched(self) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise _unavailable("the local model cannot start: this program does not know its Python (sys.executable)")
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `_end`)
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", program.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            start_new_session=True,  # Ctrl-C at the terminal is for this process only
        )
        settings = {
            **attrs.asdict(self.settings),
            "model": str(self.settings.model),
            "key": self.key.reveal(),
            "path": [str(_package() or "")],
        }
        with suppress(OSError):  # it has ended already, which is seen by its answer
            assert process.stdin is not None  # noqa: S101  (it was asked for)
            process.stdin.write(json.dumps(settings).encode() + b"\n")
            process.stdin.flush()
        return process

    def ended(self, seconds: float) -> str | None:
        """Why its process ended, in words; None if it still runs after so many seconds.

        A connection breaks a moment before the process is known to have ended.
        """
        process = self._process
        if process is None:
            return "it was stopped"
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self._why("")

    def _why(self, said: str) -> str:
        """What llama.cpp complained about, else what Python said, else how the process ended."""
        lines: list[str] = []
        if self._messages is not None:
            self._messages.seek(0)
            lines = self._messages.read(_LONGEST_MESSAGES).decode("utf-8", "replace").splitlines()
        errors = [line.partition(" E ")[2].partition(": ")[2].strip() for line in lines if " E " in line]
        code = None if self._process is None else self._process.returncode
        if code == _KILLED:
            return f"its process was killed, as the system does when memory runs out; {_SMALLER}"
        if any("alloc" in line or "memory" in line for line in errors):
            return f"there is not enough memory ({errors[0]}); {_SMALLER}"
        if errors:
            return f"{errors[0]} (a file that is damaged, or of a kind that this llama.cpp does not know)"
        return said or (lines[-1].strip() if lines else f"its process ended with code {code}")

    def stop(self) -> None:
        """End its process, for good; one that starts too."""
        with self._state:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
        with self._starting:
            self._end()

    def _end(self) -> None:
        own_servers.discard(self._url)
        process, self._process, self._url = self._process, None, ""
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was not written has nobody to read it
                        pipe.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        if self._messages is not None:
            self._messages.close()
            self._messages = None


def _answer_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What the program answered; empty if it has ended without an answer."""
    assert process.stdout is not None  # noqa: S101  (it was asked for)
    try:
        answer: dict[str, Any] = json.loads(process.stdout.readline())
    except ValueError:
        return {}
    return answer


def _unavailable(what: str) -> AdapterError:
    return AdapterError(what, reason="provider_unavailable", provider="local", retryable=False)


# --- those of this process -------------------------------------------------------------------------------------------

_servers: dict[ServerSettings, Server] = {}
_inherited: list[Server] = []  # in a forked process: its parent's, kept so that nothing of them is closed
_changing = threading.Lock()


def enter(settings: ServerSettings) -> Server:
    """The server with these settings, for one user more. It does not start yet."""
    with _changing:
        server = _servers.setdefault(settings, Server(settings))
        server.users += 1
        return server


def leave(server: Server) -> None:
    """One user less; after the last one the server stops."""
    with _changing:
        server.users -= 1
        if server.users:
            return
        if _servers.get(server.settings) is server:
            del _servers[server.settings]
    server.stop()


def descriptors() -> set[int]:
    """The open files of the servers that run, which stay open with them."""
    files = [
        file
        for server in list(_servers.values())
        if (process := server._process) is not None
        for file in (process.stdin, process.stdout, server._messages)
    ]
    return {file.fileno() for file in files if file is not None and not file.closed}


@atexit.register
def _stop_all() -> None:
    """For a run that the interpreter does not wait for, in a daemon thread."""
    for server in list(_servers.values()):
        server.stop()


def _forget() -> None:
    global _changing  # noqa: PLW0603  (another thread may have held it while this process was forked)
    _inherited.extend(_servers.values())
    _servers.clear()
    _changing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
