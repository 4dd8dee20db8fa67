"""What of an answer goes to which stream, and what happens to it on a terminal."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.cli.exit_codes import settle
from allm.cli.generate import Answer
from allm.providers import Fake


def ask(adapter, terminal, **options):
    """The exit code of an answer of `adapter`."""
    engine = allm.Engine(adapter=adapter, model="scripted")
    answer = Answer(engine=engine, request=allm.request("?"), options={}, terminal=terminal, **options)
    return settle(terminal, answer.run)


def play(items, terminal, **options):
    """The exit code of a scripted answer."""
    return ask(Fake(script=items), terminal, **options)


def written(output):
    """What is on `output`."""
    return output.stream.getvalue()


def test_a_terminal_gets_no_control_characters(terminal):
    """A model cannot move the cursor or rename the window; line ends and tabs stay."""
    play([fake.text("a\tb\n\x1b]0;title\x07\x9b31m\x7f")], terminal)

    assert written(terminal.stdout) == "a\tb\n\u241b]0;title\u2407\ufffd31m\u2421\n"


def test_a_pipe_gets_the_text_as_it_is(pipes):
    """Another program has to see what the model said."""
    play([fake.text("a\x1b[31m\r\n")], pipes)

    assert written(pipes.stdout) == "a\x1b[31m\r\n"


def test_reasoning_is_shown_apart(terminal, pipes):
    """Thinking goes to standard error: dim, on lines of its own on a terminal, and never into the answer."""
    script = [fake.reasoning("Hm."), fake.text("Yes."), fake.reasoning("Or?"), fake.text(" No.")]
    for streams in (terminal, pipes):
        assert play(script, streams, show_reasoning=True) == 0

    assert written(terminal.stdout) == "Yes.\n No.\n"
    assert "\x1b[2mHm.\x1b[22m" in written(terminal.stderr)
    assert written(pipes.stdout) == "Yes. No.\n"
    assert written(pipes.stderr) == "Hm.\nOr?\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_escape_codes_can_be_declined(terminal, monkeypatch, name, value):
    """A terminal that is said to want no styles gets none."""
    monkeypatch.setenv(name, value)

    play([fake.reasoning("Hm."), fake.text("Yes.")], terminal, show_reasoning=True)

    assert "\x1b" not in written(terminal.stderr)


def test_reasoning_is_hidden_by_default(pipes):
    """Without `--show-reasoning` there is only the answer."""
    play([fake.reasoning("Hm."), fake.text("Yes.")], pipes)

    assert (written(pipes.stdout), written(pipes.stderr)) == ("Yes.\n", "")


def test_an_early_end_is_noted(pipes):
    """A cut or filtered answer is a success with a note, since its text alone does not tell."""
    assert play([fake.text("Once upon"), fake.finish("length")], pipes) == 0

    assert written(pipes.stdout) == "Once upon\n"
    assert written(pipes.stderr).startswith("Note: ")
    assert "length" in written(pipes.stderr)


def test_a_call_is_noted(pipes):
    """A call that nothing will run is named."""
    assert play([fake.tool_call("get_weather", {"city": "Lisbon"})], pipes) == 0

    assert written(pipes.stdout) == ""
    assert "get_weather" in written(pipes.stderr)


class Whole:
    """An adapter whose blocks come without deltas, as a provider may send them."""

    provider = "whole"

    def prepare(self, request, options):
        """Nothing to prepare."""

    async def stream(self, prepared, emit):
        """Two whole blocks."""
        await emit(allm.MessageStarted(), allm.ReasoningCompleted("0", "Hm."), allm.TextCompleted("1", "Yes."))
        await emit(allm.MessageCompleted(allm.assistant("Yes."), "stop"))


def test_blocks_that_come_whole_are_shown(pipes):
    """No delta, no loss."""
    assert ask(Whole(), pipes, show_reasoning=True) == 0

    assert (written(pipes.stdout), written(pipes.stderr)) == ("Yes.\n", "Hm.\n")


class Interrupted:
    """An adapter that presses Ctrl-C in the middle of its answer, before the consumer has seen the second half."""

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
    """Ctrl-C prints no traceback: the text, a line end, one line that says so, exit code 130."""
    assert ask(Interrupted(), pipes) == 130

    assert written(pipes.stdout) == "Four legs\n"
    assert written(pipes.stderr) == "interrupted\n"


def test_an_interrupt_keeps_the_document(pipes):
    """With `--json` the response as far as it came is printed, without an end."""
    assert ask(Interrupted(), pipes, as_json=True) == 130

    response = allm.from_json(written(pipes.stdout), allm.Response)
    assert (response.output_text, response.finish_reason, response.id) == ("Four legs", None, "resp_1")


def test_text_that_was_read_and_not_yet_written_is_written(pipes, monkeypatch):
    """The interrupt may strike while the command waits for a slow reader."""

    async def never_ready(self):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("allm.cli.terminal.Output.ready", never_ready)

    assert play([fake.text("Four legs")], pipes) == 130
    assert written(pipes.stdout) == "Four legs\n"


def test_an_interrupt_before_the_call_is_the_same(pipes, monkeypatch):
    """Nothing has arrived, so nothing is printed."""
    monkeypatch.setattr("trio.run", lambda _: signal.raise_signal(signal.SIGINT))

    assert play([fake.text("Four legs")], pipes) == 130
    assert (written(pipes.stdout), written(pipes.stderr)) == ("", "interrupted\n")
