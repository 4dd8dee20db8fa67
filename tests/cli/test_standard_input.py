"""When standard input is read beside a prompt: files and pipelines are, and what nobody writes to is not waited for."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
import trio

from allm import fake
from allm.cli import standard_input
from allm.cli.standard_input import StandardInput
from allm.cli.terminal import Terminal
from allm.testing import Reply

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Do not wait for the first byte."""
    monkeypatch.setattr(standard_input, "PATIENCE", 0)


@contextmanager
def reading_from(descriptor, errors=None):
    """A command whose standard input is the descriptor; yields it, and what it wrote to standard error."""
    errors = errors or io.StringIO()
    with os.fdopen(descriptor, "r") as stdin:
        yield StandardInput(Terminal(stdin, io.StringIO(), errors)), errors


def test_a_pipe_that_only_the_starting_program_has_is_not_waited_for():
    """A program that starts the command and neither writes nor closes: a note says what would help."""
    reading, writing = os.pipe()
    try:
        with reading_from(reading) as (stdin, errors):
            assert stdin.piped() == ""
    finally:
        os.close(writing)

    assert errors.getvalue().startswith("Note: nothing came from standard input")
    assert "-f - waits for it, and < /dev/null" in errors.getvalue()


def test_a_socket_that_is_silent_is_not_waited_for():
    """As Node.js and sshd connect the programs that they start."""
    ours, its = socket.socketpair()
    with ours, reading_from(its.detach()) as (stdin, errors):
        assert stdin.piped() == ""

    assert "nothing came" in errors.getvalue()


def test_what_has_come_is_read_from_a_socket():
    """A socket that was written to is an input like any other."""
    ours, its = socket.socketpair()
    ours.sendall(b"text")
    ours.close()
    with reading_from(its.detach()) as (stdin, errors):
        assert stdin.piped() == "text"

    assert errors.getvalue() == ""


class Told(io.StringIO):
    """A standard error that lets another process write once it is told of the wait."""

    def write(self, text):
        """Pass text on to the process, which passes it to the pipe."""
        if text.startswith("waiting"):
            self.writer.communicate(b"at last")
        return super().write(text)


def test_a_pipeline_is_waited_for():
    """Another process of the session has the pipe, so its first line may still come: a note says that it waits."""
    reading, writing = os.pipe()
    told = Told()
    told.writer = subprocess.Popen([shutil.which("cat")], stdin=subprocess.PIPE, stdout=writing)
    os.close(writing)
    with reading_from(reading, told) as (stdin, errors):
        assert stdin.piped() == "at last"

    assert errors.getvalue() == "waiting for standard input; < /dev/null goes on without it\n"


def test_a_pipe_that_was_asked_for_is_waited_for_with_a_note(monkeypatch):
    """Whoever has it: `-f -` says that something comes."""
    reading, writing = os.pipe()
    monkeypatch.setattr(Told, "writer", os.fdopen(writing, "w"), raising=False)
    with reading_from(reading, LaterHere()) as (stdin, errors):
        assert stdin.text("-f -") == "at last"

    assert errors.getvalue() == "waiting for standard input\n"


class LaterHere(Told):
    """The same, where this process has the pipe."""

    def write(self, text):
        """Write to the pipe, and close it."""
        if text.startswith("waiting"):
            self.writer.write("at last")
            self.writer.close()
        return io.StringIO.write(self, text)


def test_a_terminal_that_was_asked_for_is_read(terminal):
    """A note says how to end."""
    terminal.stdin.write("typed")
    terminal.stdin.seek(0)

    assert StandardInput(terminal).text("the prompt -") == "typed"
    assert "type the prompt; Ctrl-D" in terminal.stderr.stream.getvalue()


def test_a_device_is_not_read():
    """Such as a terminal, or a random number generator, which never ends."""
    with reading_from(os.open("/dev/zero", os.O_RDONLY)) as (stdin, errors):
        assert stdin.piped() == ""

    assert errors.getvalue() == ""


def test_a_file_is_read(tmp_path):
    """`< file` is an input that somebody chose."""
    (tmp_path / "x").write_text("text")
    with reading_from(os.open(tmp_path / "x", os.O_RDONLY)) as (stdin, _):
        assert stdin.piped() == "text"


def test_an_input_that_cannot_be_read_is_none(tmp_path):
    """One that was opened for writing, or closed behind the program's back."""
    for flags in (os.O_WRONLY | os.O_CREAT, os.O_RDONLY):
        descriptor = os.open(tmp_path / "x", flags)
        with os.fdopen(os.dup(descriptor)) as keeps, reading_from(descriptor) as (stdin, _):
            if flags == os.O_RDONLY:
                stdin._terminal.stdin.close()
            assert stdin.piped() == ""
            assert keeps.fileno()


def test_processes_that_cannot_be_looked_at_may_write(monkeypatch, tmp_path):
    """Without /proc, a pipe counts as a pipeline; so does one that another user's process may have."""
    reading, writing = os.pipe()
    monkeypatch.setattr(standard_input, "_PROCESSES", tmp_path / "missing")
    assert standard_input._is_pipeline(reading)

    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(standard_input, "_PROCESSES", tmp_path)
    (tmp_path / "1" / "fd").mkdir(parents=True)
    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    assert standard_input._may_write(1, os.fstat(reading))
    os.close(reading)
    os.close(writing)


async def test_a_command_in_a_loop_gets_a_closed_input(server, to_server):
    """`< /dev/null` leaves the loop's own input alone."""
    server.add(Reply.script("openai", [fake.text("Yes.")]))
    done = await trio.run_process(
        [sys.executable, "-m", "allm", "generate", "hi", *to_server],
        stdin=subprocess.DEVNULL,
        capture_stdout=True,
        capture_stderr=True,
    )

    assert (done.stdout, done.stderr) == (b"Yes.\n", b"")
    assert server.requests[0].json()["messages"][0]["content"] == "hi"
