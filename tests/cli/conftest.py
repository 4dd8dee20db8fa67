"""The command in this process with captured output, and as a process of its own, with or without a terminal."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import struct
import subprocess
import sys

import attrs
import pytest
import trio

from allm.cli import main
from allm.cli.terminal import Terminal
from allm.http import keys
from allm.testing import WireServer
from virtual_terminal import VirtualTerminal

if sys.platform != "win32":
    import fcntl
    import termios

COMMAND = [sys.executable, "-m", "allm"]
# Makes the inherited terminal the controlling one, as a shell's is: only then does ^C become a SIGINT.
CONTROLLED = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture(autouse=True)
def _settings(monkeypatch, tmp_path_factory):
    """Set a key, and hide the developer's own settings and keys."""
    folder = tmp_path_factory.mktemp("command")
    monkeypatch.setenv("ALLM_HOME", str(folder / "home"))
    monkeypatch.chdir(folder)  # which has no .env
    for name in ("ALLM_MODEL", "OPENAI_BASE_URL", "NO_COLOR", "FORCE_COLOR", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    yield
    keys.clear()  # those that a command in this process has read from files


@pytest.fixture
async def server():
    """A running server."""
    async with WireServer() as server:
        yield server


@pytest.fixture
def to_server(server):
    """The arguments that direct `generate` to the server."""
    return ["--model", "openai:scripted", "--base-url", server.url("openai")]


@pytest.fixture
def allm_main(capsys):
    """Run the command in a thread, beside the test's own Trio; returns exit code, output and error output."""

    async def run(*arguments):
        code = await trio.to_thread.run_sync(main, arguments)
        return (code, *capsys.readouterr())

    return run


class TerminalText(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self):
        """Yes."""
        return True


@pytest.fixture
def terminal():
    """A terminal in memory: `terminal.stdout.stream.getvalue()` is what was written."""
    return Terminal(TerminalText(), TerminalText(), TerminalText())


@pytest.fixture
def pipes():
    """The same, without a terminal."""
    return Terminal(io.StringIO(), io.StringIO(), io.StringIO())


PIPES = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@contextlib.asynccontextmanager
async def running(command, **options):
    """A process that ends with the block."""
    process = await trio.lowlevel.open_process(command, **options)
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()


@pytest.fixture
def on_pipes():
    """Start the command with pipes for its output; it ends with the block."""
    return lambda *arguments: running([*COMMAND, *arguments], **PIPES)


@attrs.define
class Screen:
    """A real terminal with the command on it."""

    process: trio.Process
    ours: trio.lowlevel.FdStream
    its: int
    before: list
    text: str = ""
    shown: VirtualTerminal = attrs.field(factory=VirtualTerminal)
    _decoder: codecs.IncrementalDecoder = attrs.field(factory=codecs.getincrementaldecoder("utf-8"))

    async def press(self, keys):
        """Type."""
        await self.ours.send_all(keys)

    async def read_until(self, ending):
        """Read until the screen has `ending`."""
        while ending not in self.text:
            await self.read_more()

    async def read_more(self):
        """Read the next output."""
        self._add(await self.ours.receive_some(65536))

    async def read_all(self):
        """Read until the command ends, and return its exit code."""
        code = await self.process.wait()
        with contextlib.suppress(BlockingIOError):
            while True:
                self._add(os.read(self.ours.fileno(), 65536))
        return code

    @property
    def settings_changed(self):
        """Whether the terminal's settings have changed."""
        return termios.tcgetattr(self.its) != self.before

    async def at_prompt(self, count=1, prompt="> "):
        """Wait for the `count`th prompt, with the cursor in its line: only then does the editor see the keys."""

        def prompts():
            return [line for line in self.shown.text.splitlines() if f"{line} ".startswith(prompt)]

        while len(prompts()) < count or not self.shown.cursor_line.startswith(prompt):
            await self.read_more()

    async def read_until_shown(self, text):
        """Read until a person can see `text`."""
        while text not in self.shown.text:
            await self.read_more()

    def resize(self, columns, rows):
        """Change the size of the terminal."""
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.shown.resize(columns, rows)

    def _add(self, data):
        text = self._decoder.decode(data)
        self.shown.feed(text)
        self.text += text.replace("\r\n", "\n")


@pytest.fixture
def on_a_terminal():
    """Start the command on a terminal of its own; it ends with the block."""

    @contextlib.asynccontextmanager
    async def start(*arguments, before=()):
        ours, its = os.openpty()
        settings = termios.tcgetattr(its)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), its)
        command = [sys.executable, "-c", CONTROLLED, *before, *COMMAND, *arguments]
        try:
            async with (
                trio.lowlevel.FdStream(ours) as stream,
                running(command, start_new_session=True, **streams) as process,
            ):
                yield Screen(process, stream, its, settings)
        finally:
            os.close(its)

    return start
