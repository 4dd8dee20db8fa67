"""Streams that are slow, closed, full, or lack characters."""

from __future__ import annotations

import errno
import io
import os
import signal

import pytest
import trio

import allm
from allm.cli.exit_codes import exit_code_of
from allm.cli.terminal import Output, Terminal


def raises(error):
    """A command that ends with `error`."""

    def command():
        raise error

    return command


def test_characters_that_the_encoding_lacks_are_replaced():
    """Also lone surrogates; they are no reason to stop."""
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    output = Output(ascii_only)

    output.show("猫!")
    output.write("")
    output.write("\ud83d\n")

    assert ascii_only.buffer.getvalue() == b"?!?\n"


@pytest.fixture
def full_pipe():
    """The descriptor to read from, and the stream to write to."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65536)
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


async def test_a_slow_reader_holds_up_one_task_only(autojump_clock, full_pipe):
    """While a pager does not read, other tasks go on."""
    reader, stream = full_pipe
    output = Output(stream)

    with trio.move_on_after(3600) as an_hour:
        await output.ready()
    assert an_hour.cancelled_caught

    os.read(reader, 1 << 20)
    with trio.fail_after(3600):
        await output.ready()


async def test_a_file_is_always_ready(tmp_path):
    """A stream that does not support waiting is always ready."""
    with (tmp_path / "out").open("w") as stream:
        output = Output(stream)
        await output.ready()
        await output.ready()


def test_a_reader_that_has_gone_ends_the_command_quietly(pipes):
    """`| head -1` is not an error message."""
    assert exit_code_of(pipes, raises(BrokenPipeError())) == 141
    assert pipes.stderr.stream.getvalue() == ""


def test_a_full_disk_is_one_line(pipes):
    """Other output errors are reported."""
    assert exit_code_of(pipes, raises(OSError(errno.ENOSPC, "No space left on device"))) == 1
    assert pipes.stderr.stream.getvalue() == "Error: No space left on device\n"


def test_a_second_interrupt_is_obeyed_too():
    """A second Ctrl-C ends the command without a traceback."""

    class Impatient(io.StringIO):
        def write(self, text):
            signal.raise_signal(signal.SIGINT)

    terminal = Terminal(io.StringIO(), io.StringIO(), Impatient())

    assert exit_code_of(terminal, raises(KeyboardInterrupt())) == 130


def test_an_error_is_one_line_below_the_text(pipes):
    """An open line is ended first, and line ends in the message are folded."""
    pipes.stdout.show("half a word")

    assert exit_code_of(pipes, raises(allm.EngineError("no\n  model", reason="missing_model"))) == 1
    assert pipes.stdout.stream.getvalue() == "half a word\n"
    assert pipes.stderr.stream.getvalue() == "Error: no model [missing_model]\n"
