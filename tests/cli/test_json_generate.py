"""`allm generate`: which part of a response goes to which stream, and how it looks on a terminal."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.cli.answer import Form
from allm.cli.exit_codes import exit_code_of
from allm.cli.generate import Generation
from allm.providers import Fake


def ask(adapter, terminal, **options):
    """The exit code for a response of `adapter`."""
    engine = allm.Engine(adapter=adapter, model="scripted")
    answer = Generation(engine=engine, messages=(allm.user("?"),), options={}, terminal=terminal, form=Form(**options))
    return exit_code_of(terminal, answer.run)


def play(items, terminal, **options):
    """The exit code for a scripted response."""
    return ask(Fake(script=items), terminal, **options)


def written(output):
    """The text on `output`."""
    return output.stream.getvalue()


def test_a_terminal_gets_no_control_characters(terminal):
    """A model cannot move the cursor; line ends and tabs stay."""
    play([fake.text("a\tb\n\x1b]0;title\x07\x9b31m\x7f")], terminal)

    assert written(terminal.stdout) == "a\tb\n\u241b]0;title\u2407\ufffd31m\u2421\n"


def test_a_pipe_gets_the_text_as_it_is(pipes):
    """Another program gets the model's text unchanged."""
    play([fake.text("a\x1b[31m\r\n")], pipes)

    assert written(pipes.stdout) == "a\x1b[31m\r\n"


def test_reasoning_is_shown_apart(terminal, pipes):
    """On standard error, dim and on lines of its own on a terminal."""
    script = [fake.reasoning("Hm."), fake.text("Yes."), fake.reasoning("Or?"), fake.text(" No.")]
    for streams in (terminal, pipes):
        assert play(script, streams, reasoning=True) == 0

    assert written(terminal.stdout) == "Yes.\n No.\n"
    assert "\x1b[2mHm.\x1b[22m" in written(terminal.stderr)
    assert written(pipes.stdout) == "Yes. No.\n"
    assert written(pipes.stderr) == "Hm.\nOr?\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_escape_codes_can_be_declined(terminal, monkeypatch, name, value):
    """NO_COLOR and a dumb terminal get no styles."""
    monkeypatch.setenv(name, value)

    play([fake.reasoning("Hm."), fake.text("Yes.")], terminal, reasoning=True)

    assert "\x1b" not in written(terminal.stderr)


def test_reasoning_is_hidden_by_default(pipes):
    """Without `--show-reasoning` only the response is shown."""
    play([fake.reasoning("Hm."), fake.text("Yes.")], pipes)

    assert (written(pipes.stdout), written(pipes.stderr)) == ("Yes.\n", "")


def test_an_early_end_is_noted(pipes):
    """A truncated or filtered response is a success with a note."""
    assert play([fake.text("Once upon"), fake.finish("length")], pipes) == 0

    assert written(pipes.stdout) == "Once upon\n"
    assert written(pipes.stderr).startswith("Note: ")
    assert "length" in written(pipes.stderr)


def test_a_call_is_noted(pipes):
    """A tool call, which is not run here, is named."""
    assert play([fake.tool_call("get_weather", {"city": "Lisbon"})], pipes) == 0

    assert written(pipes.stdout) == ""
    assert "get_weather" in written(pipes.stderr)


class Whole:
    """An adapter whose blocks arrive without deltas, as some providers send them."""

    provider = "whole"

    def prepare(self, request, options):
        """Nothing to prepare."""

    async def stream(self, prepared, emit):
        """Two whole blocks."""
        await emit(allm.MessageStarted(), allm.ReasoningCompleted("0", "Hm."), allm.TextCompleted("1", "Yes."))
        await emit(allm.MessageCompleted(allm.assistant("Yes."), "stop"))


def test_blocks_that_come_whole_are_shown(pipes):
    """Text without deltas is shown."""
    assert ask(Whole(), pipes, reasoning=True) == 0

    assert (written(pipes.stdout), written(pipes.stderr)) == ("Yes.\n", "Hm.\n")


class Interrupted:
    """An adapter that is interrupted before the consumer has seen the second half."""

    provider = "interrupted"

    def prepare(self, request, options):
        """Nothing to prepare."""

    async def stream(self, prepared, emit):
        """Half an answer."""
        await emit(allm.MessageStarted(id="resp_1"), allm.TextDelta("0", "Four "), allm.TextDelta("0", "legs"))
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()


def test_an_interrupt_keeps_what_had_arrived(pipes):
    """The text and one line, no traceback, exit code 130."""
    assert ask(Interrupted(), pipes) == 130

    assert written(pipes.stdout) == "Four legs\n"
    assert written(pipes.stderr) == "interrupted\n"


def test_an_interrupt_keeps_the_document(pipes):
    """With `--json` the partial response is printed."""
    assert ask(Interrupted(), pipes, as_json=True) == 130

    response = allm.from_json(written(pipes.stdout), allm.Response)
    assert (response.output_text, response.finish_reason, response.id) == ("Four legs", None, "resp_1")


def test_text_that_was_read_and_not_yet_written_is_written(pipes, monkeypatch):
    """Ctrl-C may strike during a wait for a slow reader."""

    async def never_ready(self):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("allm.cli.terminal.Output.ready", never_ready)

    assert play([fake.text("Four legs")], pipes) == 130
    assert written(pipes.stdout) == "Four legs\n"


def test_an_interrupt_before_the_call_is_the_same(pipes, monkeypatch):
    """Nothing is printed."""
    monkeypatch.setattr("trio.run", lambda _: signal.raise_signal(signal.SIGINT))

    assert play([fake.text("Four legs")], pipes) == 130
    assert (written(pipes.stdout), written(pipes.stderr)) == ("", "interrupted\n")
