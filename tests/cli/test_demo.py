"""`allm demo`: it runs without a key or network, and notices when the result is not as scripted."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

import allm
from allm import fake
from allm.cli import demo as demo_module, demo_script
from allm.cli.demo import Demo
from allm.cli.demo_screen import Screen, sequence
from allm.cli.exit_codes import exit_code_of

ESCAPE = "\x1b"


def shown(terminal):
    """The text on the screen."""
    return terminal.stdout.stream.getvalue()


def run(terminal, formats=("openai",)):
    """Run the demo without delays; returns the exit code."""
    return exit_code_of(terminal, Demo(terminal, fast=True, formats=formats).run)


def test_the_demo_shows_every_scene(pipes):
    """Text, a call, partial text with its error, events and usage; in every format, as asked for."""
    assert run(pipes, tuple(demo_script.FORMATS)) == 0

    text = shown(pipes)
    assert ESCAPE not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    for item in demo_script.SCENES[0].responses[0][0].text.splitlines():
        assert item in text
    assert 'get_weather {"city":"Lisbon","days":2}' in text
    assert "AdapterError stream_truncated" in text
    assert "kept: the 63 characters" in text
    assert "> Failed" in text
    assert '-> {"day 1":"rain in Lisbon","day 2":"rain in Lisbon"}' in text
    assert "167 input tokens, 77 output tokens" in text
    assert text.count("the same events as above") == len(demo_script.FORMATS) - 1 == 3


def test_one_conversation_and_then_the_way_on(pipes, monkeypatch):
    """By default one format is played; the last lines are commands that exist where they are read."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert run(pipes) == 0

    text = shown(pipes)
    assert text.count("What is a nursery in Trio?") == 1
    commands = [line.strip() for line in text.splitlines() if " -m allm " in line]
    assert [command.partition(" -m allm ")[2].split()[:2] for command in commands] == [
        ["demo", "--format"],
        ["generate", "--model"],
    ]
    python = commands[0].partition(" -m allm")[0]
    assert Path(python).resolve() == Path(sys.executable).resolve()
    for command in commands:
        run_it = [*shlex.split(command.partition(" --")[0]), "--help"]
        assert subprocess.run(run_it, capture_output=True, check=False).returncode == 0

    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/allm")
    assert run(pipes, ("gemini", "anthropic")) == 0
    assert "\n    allm demo --format all\n" in shown(pipes)


def test_the_demo_is_styled_on_a_terminal(terminal):
    """Colours are used, and reset at the end."""
    assert run(terminal) == 0

    assert f"{ESCAPE}[1m" in shown(terminal)
    assert shown(terminal).rpartition(ESCAPE)[2].startswith("[0m")


def test_a_proxy_is_not_asked(pipes, monkeypatch):
    """The demo connects directly even if a proxy is configured."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.com")

    assert run(pipes) == 0


def test_an_answer_that_ends_otherwise_is_a_failure(pipes, monkeypatch):
    """The demo says so, and the exit code is not 0."""
    scene = attrs.evolve(demo_script.SCENES[0], ends="error", responses=((fake.text("No."), fake.finish("length")),))
    monkeypatch.setattr(demo_module, "SCENES", (scene,))

    assert run(pipes) == 1
    assert "Not every response" in shown(pipes)


def test_an_interrupt_ends_the_demo(pipes, monkeypatch):
    """Ctrl-C in a scene ends the server and the call without a traceback."""

    def press(self, event):
        if isinstance(event, allm.TextDelta):
            self._piece(event.delta)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("allm.cli.demo_screen.Screen.event", press)

    assert run(pipes) == 130
    assert shown(pipes).endswith("A\n")
    assert pipes.stderr.stream.getvalue() == "interrupted\n"


def test_an_interrupt_of_the_server_ends_the_demo(pipes, monkeypatch):
    """In any task, the interrupt comes out as itself."""

    def press(_):
        raise BaseExceptionGroup("tasks", [KeyboardInterrupt(), ValueError()])

    monkeypatch.setattr("trio.run", press)

    assert run(pipes) == 130


def test_a_defect_is_not_hidden(pipes, monkeypatch):
    """A group of other exceptions comes out unchanged."""

    def fail(_):
        raise ExceptionGroup("tasks", [ValueError()])

    monkeypatch.setattr("trio.run", fail)

    with pytest.raises(ExceptionGroup):
        run(pipes)


def test_the_pace_is_that_of_a_model():
    """There is a pause before every event, and none with --fast."""
    scene = demo_script.SCENES[0]
    paced, fast = (demo_script.reply("openai", scene.responses[0], fast=fast) for fast in (False, True))

    assert paced.body == fast.body
    assert len(paced.pauses) == len(paced.event_ends) > 30
    assert 0.3 < paced.first_delay + sum(paced.pauses.values()) < 1.5
    assert not fast.pauses


@pytest.mark.parametrize("in_pieces", [False, True])
def test_arguments_are_shown_once(pipes, in_pieces):
    """Whether they arrive as deltas or whole."""
    pieces = [allm.ToolCallDelta("1", '{"day"'), allm.ToolCallDelta("1", ":2}")] if in_pieces else []
    screen = Screen(pipes.stdout)
    for event in [
        allm.ToolCallStarted("1", "look"),
        *pieces,
        allm.ToolCallCompleted("1", "look", {"day": 2}, '{"day":2}'),
    ]:
        screen.event(event)

    assert shown(pipes) == 'look {"day":2}'


def test_runs_of_one_event_are_told_once():
    """The summary is short, and does not depend on when usage is reported."""
    pieces = [allm.TextDelta("0", "a"), allm.UsageReported(allm.Usage()), allm.TextDelta("0", "b")]
    events = [allm.MessageStarted(), *pieces, allm.TextCompleted("0", "ab")]

    assert sequence(events) == "MessageStarted > TextDelta > TextCompleted"
