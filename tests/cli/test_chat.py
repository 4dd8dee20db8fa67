"""`allm chat` with scripted models: what is sent, stored and shown."""

from __future__ import annotations

import io
import signal
import subprocess

import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.cli.chat import Chat
from allm.cli.conversation import with_system
from allm.cli.exit_codes import exit_code_of
from allm.cli.interrupts import run_until_interrupted
from allm.cli.stores import open_stored_session
from allm.cli.terminal import Terminal
from allm.providers import Fake

WEATHER = allm.Tool("weather", "Tells it.", handler=lambda arguments: f"21 degrees in {arguments['city']}")
ASK = allm.Tool("ask", "Asks.", handler=lambda _: allm.AskUser("Which city?"))
APPROVE = allm.Tool("approve", "Asks the boss.", manual=True)


def chat(terminal, lines, *scripts, tools=(), place=None, system=None, **options):
    """The finished chat and its exit code."""
    adapter = Fake(scripts=list(scripts))
    terminal.stdin.write(lines)
    terminal.stdin.seek(0)
    held = Chat(
        engine=allm.Engine(adapter=adapter, model="scripted", tools=tools),
        options=options,
        terminal=terminal,
        stored=open_stored_session(place, None, terminal),
        system=system,
    )
    return held, exit_code_of(terminal, held.run)


def out(terminal):
    """The text on standard output."""
    return terminal.stdout.stream.getvalue()


def err(terminal):
    """The text on standard error."""
    return terminal.stderr.stream.getvalue()


def saved(place):
    """The session in the file."""

    async def load():
        async with allm.session.open_store(f"sqlite:///{place}") as store:
            session, _ = await store.load("chat")
            return session

    return trio.run(load)


def reading(stdin, terminal):
    """The terminal with another standard input."""
    return Terminal(stdin, terminal.stdout.stream, terminal.stderr.stream)


def roles(held):
    """The roles of the conversation's messages."""
    return [message.role for message in held.stored.session.thread.messages]


def test_a_line_is_a_turn(pipes):
    """Responses go to standard output, one per line; nothing else is written without a terminal."""
    held, code = chat(pipes, "One?\n\n  Two?  \n", [fake.text("1")], [fake.text("2")])

    assert (code, out(pipes), err(pipes)) == (0, "1\n2\n", "")
    assert [message.text for message in held.stored.session.thread.messages] == ["One?", "1", "Two?", "2"]


def test_tools_are_shown_as_they_run(pipes):
    """One line each for call and result; a second call of a tool has a number."""
    calls = [fake.tool_call("weather", {"city": city}) for city in ("Zug", "Bern")]
    held, code = chat(pipes, "Weather?\n", [fake.text("I look."), *calls], [fake.text("Warm.")], tools=[WEATHER])

    assert (code, out(pipes)) == (0, "I look.\nWarm.\n")
    assert sorted(err(pipes).splitlines()) == [
        '* weather#2(city="Bern")',
        '* weather(city="Zug")',
        "- weather = 21 degrees in Zug",
        "- weather#2 = 21 degrees in Bern",
    ]
    assert roles(held) == ["user", "assistant", "tool", "tool", "assistant"]


def test_long_values_are_cut(pipes):
    """A result of a megabyte with line ends is shown in one line."""
    noisy = allm.Tool("noisy", "", handler=lambda _: "line\n" * 200_000)
    call = fake.tool_call("noisy", {"text": "x" * 1000, "list": ["y" * 1000] * 10})

    chat(pipes, "?\n", [call], [fake.text("Done.")], tools=[noisy])

    lines = err(pipes).splitlines()
    assert len(lines) == 2
    assert all(len(line) < 120 and "..." in line for line in lines)


def test_progress_is_shown(pipes):
    """Progress that a tool reports is shown."""

    @allm.tool
    async def work(context: allm.ToolContext) -> str:
        await context.emit("half way")
        await context.emit({"done": 0.9})
        return "all"

    chat(pipes, "?\n", [fake.tool_call("work")], [fake.text("Done.")], tools=[work])

    assert err(pipes).splitlines() == ["* work()", "- work: half way", '- work: {"done": 0.9}', "- work = all"]


@pytest.mark.parametrize("arguments", [{"args": {}}, {"raw_arguments": "{broken"}])
def test_a_failing_tool_is_one_line(pipes, arguments):
    """The user and the model get the error, and the turn goes on."""

    def fail(_):
        raise ValueError("no\nidea")

    tool = allm.Tool("look", "", handler=fail)
    _, code = chat(pipes, "?\n", [fake.tool_call("look", **arguments)], [fake.text("Sorry.")], tools=[tool])

    assert (code, out(pipes)) == (0, "Sorry.\n")
    assert err(pipes).splitlines()[-1].startswith("- look failed: ")


def test_a_tool_can_ask_the_user(terminal):
    """The question is shown, and the next line answers it."""
    held, code = chat(terminal, "Weather?\nZug\n", [fake.tool_call("ask")], [fake.text("Warm.")], tools=[ASK])

    assert code == 0
    assert "Which city?\n" in out(terminal)
    assert roles(held) == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert held.stored.session.thread.messages[4].text == "Zug"


def test_several_questions_are_asked_one_after_the_other(terminal):
    """The model is called after the last answer."""
    when = allm.Tool("when", "Asks.", handler=lambda _: allm.AskUser("When?"))
    calls = [fake.tool_call("ask"), fake.tool_call("when")]
    held, code = chat(terminal, "Weather?\nZug\ntoday\n", calls, [fake.text("Warm.")], tools=[ASK, when])

    assert code == 0
    said = [message.text for message in held.stored.session.thread.messages[4:]]
    assert said == ["Which city?", "Zug", "When?", "today", "Warm."]
    assert out(terminal).index("Which city?\n") < out(terminal).index("When?\n") < out(terminal).index("Warm.")


def test_manual_calls_are_answered_by_the_user(terminal):
    """Each line is the result of the pending call that is shown."""
    calls = [fake.tool_call("approve", {"sum": total}, id=f"c{total}") for total in (1, 2)]
    held, code = chat(terminal, "May I?\nyes\nno\n", calls, [fake.text("One.")], tools=[APPROVE])

    assert code == 0
    assert "approve(sum=1) is pending" in err(terminal)
    assert "approve(sum=2) is pending" in err(terminal)
    results = [
        (message.tool_call_id, message.text)
        for message in held.stored.session.thread.messages
        if message.role == "tool"
    ]
    assert results == [("c1", "yes"), ("c2", "no")]
    assert roles(held)[-1] == "assistant"


def test_a_waiting_call_with_broken_arguments_is_shown_as_it_is(pipes):
    """The user sees the model's raw arguments."""
    chat(pipes, "?\n", [fake.tool_call("approve", raw_arguments="{sum: ")], tools=[APPROVE])

    assert err(pipes) == "* approve({sum:) is pending: the next line is its result\n"


def test_instructions_can_be_replaced():
    """`--system` replaces those of a resumed conversation; without it they stay."""
    thread = allm.Thread([allm.system("Be brief."), allm.user("Hello")], metadata={"id": 7})
    session = allm.Session(thread=thread)

    assert with_system(session, None) is session
    replaced = with_system(session, "Be long.").thread
    assert [message.text for message in replaced.messages] == ["Be long.", "Hello"]
    assert replaced.metadata == {"id": 7}


def test_a_manual_call_beside_a_question_is_answered_first(terminal):
    """The results are in call order, as providers require."""
    calls = [fake.tool_call("approve", id="c1"), fake.tool_call("ask", id="c2")]
    held, _ = chat(terminal, "?\nyes\nZug\n", calls, [fake.text("Fine.")], tools=[APPROVE, ASK])

    assert [m.tool_call_id for m in held.stored.session.thread.messages if m.role == "tool"] == ["c1", "c2"]
    assert roles(held) == ["user", "assistant", "tool", "tool", "assistant", "user", "assistant"]


def test_a_failed_turn_keeps_the_conversation(terminal):
    """The error is one line, and the partial response stays in the conversation."""
    broken = [fake.text("Four"), fake.error(allm.AdapterError("cut", reason="network_error"))]
    held, code = chat(terminal, "Legs?\nAnd?\n", broken, [fake.text("Sorry.")])

    assert code == 0
    assert err(terminal).count("Error: cut (model fake, reason network_error)") == 1
    assert [message.text for message in held.stored.session.thread.messages] == ["Legs?", "Four", "And?", "Sorry."]


def test_a_call_that_cannot_be_made_is_one_line(pipes):
    """The message is not in the conversation; the exit code shows the failure."""
    held, code = chat(pipes, "?\n", [], temperature=7)

    assert (code, roles(held), out(pipes)) == (1, [], "")
    assert err(pipes).startswith("Error: ")
    assert err(pipes).count("\n") == 1


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ([fake.text("Once"), fake.finish("length")], "'length'"),
        ([fake.text("Once"), fake.finish("other")], "'other'"),
        ([fake.tool_call("weather", {"city": "Zug"})], "after 1 model calls"),
        ([fake.tool_call("stop")], "a tool ended the turn: enough"),
    ],
)
def test_an_early_end_is_noted(pipes, script, says):
    """A note says why the response ended early."""
    stop = allm.Tool("stop", "", handler=lambda _: allm.Halt("enough"))
    _, code = chat(pipes, "?\n", script, tools=[WEATHER, stop], max_turns=1)

    assert code == 0
    assert says in err(pipes).splitlines()[-1]


def test_commands(terminal):
    """Commands are not sent; other lines that begin with a slash are."""
    lines = "Hello\n/help\n/etc/hosts?\n/thread\n/nope\n/clear\nHi\n/quit\nnever read\n"
    scripts = [
        [fake.text("Hm.")],
        [fake.tool_call("weather", {"city": "Zug"})],
        [fake.text("A file.")],
        [fake.text("Hi.")],
    ]
    held, code = chat(terminal, lines, *scripts, tools=[WEATHER], system="Be brief.")

    assert code == 0
    assert "/clear" in out(terminal)
    shown = 'assistant: Hm.\nuser: /etc/hosts?\ncall: weather(city="Zug")\ntool: 21 degrees in Zug\n'
    assert "system: Be brief.\nuser: Hello\n" in out(terminal)
    assert shown in out(terminal)
    assert "Unknown command /nope" in err(terminal)
    assert [message.text for message in held.stored.session.thread.messages] == ["Be brief.", "Hi", "Hi."]


class Whole:
    """An adapter whose blocks arrive without deltas, as some providers send them."""

    provider = "whole"

    def prepare(self, request, options):
        """Nothing to prepare."""

    async def stream(self, prepared, emit):
        """A whole block."""
        await emit(allm.MessageStarted(), allm.TextCompleted("1", "Yes."))
        await emit(allm.MessageCompleted(allm.assistant("Yes."), "stop"))


class Interrupted(Whole):
    """An adapter that emits half a response, then Ctrl-C."""

    async def stream(self, prepared, emit):
        """Half an answer."""
        await emit(allm.MessageStarted(), allm.TextDelta("0", "Four "), allm.TextDelta("0", "legs"))
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()


class Impatient(Interrupted):
    """An adapter that is interrupted a second time while it is being cancelled."""

    async def stream(self, prepared, emit):
        """Half an answer."""
        try:
            await super().stream(prepared, emit)
        finally:
            signal.raise_signal(signal.SIGINT)


def with_adapter(terminal, adapter, lines, place=None):
    """The chat with another adapter."""
    terminal.stdin.write(lines)
    terminal.stdin.seek(0)
    engine = allm.Engine(adapter=adapter, model="scripted")
    held = Chat(engine=engine, options={}, terminal=terminal, stored=open_stored_session(place, None, terminal))
    return held, exit_code_of(terminal, held.run)


def test_blocks_that_come_whole_are_shown(pipes):
    """Text without deltas is shown."""
    with_adapter(pipes, Whole(), "?\n")

    assert out(pipes) == "Yes.\n"


@pytest.mark.parametrize("adapter", [Interrupted(), Impatient()])
def test_ctrl_c_stops_a_turn(terminal, adapter, tmp_path):
    """The partial response is shown and stored, and the chat goes on."""
    place = str(tmp_path / "a.db")
    held, code = with_adapter(terminal, adapter, "Legs?\n/thread\n", place)

    assert code == 0
    assert "Four legs\n" in out(terminal)
    assert "assistant: Four legs\n" in out(terminal)
    assert err(terminal).count("interrupted\n") == 1
    assert roles(held) == ["user", "assistant"]
    assert saved(place) == held.stored.session


def test_ctrl_c_ends_a_chat_that_nobody_types(pipes):
    """With piped input, Ctrl-C ends the whole chat."""
    _, code = with_adapter(pipes, Interrupted(), "Legs?\nArms?\n")

    assert (code, out(pipes), err(pipes)) == (130, "Four legs\n", "interrupted\n")


def test_text_that_was_read_and_not_yet_written_is_written(terminal, monkeypatch):
    """Ctrl-C may strike during a wait for a slow reader."""

    async def never_ready(self):
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    monkeypatch.setattr("allm.cli.terminal.Output.ready", never_ready)
    held, _ = chat(terminal, "?\n", [fake.text("Four legs")])

    assert "Four legs\n" in out(terminal)
    assert held.stored.session.thread.last.text == "Four legs"


def test_ctrl_c_before_a_turn_begins_is_the_same(terminal, monkeypatch):
    """Nothing is shown, and nothing was said."""

    async def struck(work):
        pass

    monkeypatch.setattr("allm.cli.chat_turns.run_until_interrupted", struck)
    held, code = chat(terminal, "?\n", [])

    assert (code, roles(held)) == (0, [])
    assert "interrupted\n" in err(terminal)


@pytest.mark.parametrize(("typed", "expected"), [(True, 0), (False, 130)])
def test_ctrl_c_at_the_prompt_ends_the_chat(terminal, pipes, typed, expected):
    """On a terminal the chat ends with success, otherwise as interrupted."""

    class Pressed(io.StringIO):
        def isatty(self):
            return typed

        def readline(self, *_):
            signal.raise_signal(signal.SIGINT)

    streams = reading(Pressed(), terminal if typed else pipes)
    _, code = chat(streams, "", [])

    assert code == expected
    assert ("interrupted" in err(streams)) is not typed


def test_what_goes_wrong_with_the_output_comes_out_as_itself(pipes, tmp_path):
    """A broken pipe ends the chat, with the conversation saved."""

    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    streams = Terminal(pipes.stdin, Gone(), pipes.stderr.stream)
    place = str(tmp_path / "a.db")
    _, code = chat(streams, "?\n", [fake.text("Four legs")], place=place)

    assert code == 141
    assert [message.role for message in saved(place).thread.messages] == ["user", "assistant"]


def test_a_line_that_is_no_text_is_told(terminal):
    """On a terminal the user can try again."""
    lines = [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "a\udcff\n", ""]

    class Garbled(io.StringIO):
        def isatty(self):
            return True

        def readline(self, *_):
            line = lines.pop(0)
            if isinstance(line, Exception):
                raise line
            return line

    held, code = chat(reading(Garbled(), terminal), "", [fake.text("Yes?")])

    assert code == 0
    assert "not text" in err(terminal)
    assert held.stored.session.thread.messages[0].text == "a?"


def test_sources_are_listed_after_the_answer(terminal):
    """Each once, on standard error."""
    script = [
        fake.text("Yes."),
        fake.citation(0, 4, url="https://a.example", title="A"),
        fake.citation(0, 3, title="B"),
    ]
    chat(terminal, "hi\n", script)
    assert [line for line in err(terminal).splitlines() if "[1]" in line and "A https://a.example" in line]
    assert "[2] B" in err(terminal)


async def test_signals_are_left_alone_in_other_threads():
    """Signals reach the main thread only; in others the work just runs."""
    done = []

    async def work():
        done.append(True)

    await trio.to_thread.run_sync(trio.run, run_until_interrupted, work)

    assert done


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/copy", "there is no answer to copy"),
        ("/undo", "there is nothing to take back"),
        ("/retry", "there is no message to send again"),
        ("/save", "needs the name of a file"),
        ("/save /no/such/folder/a.md", "cannot write"),
        ("/model openai:x", "this chat has one model only"),
        ("/file", "no files are attached"),
        ("/file -", "no files are attached"),
        ("/usage now", "takes no argument"),
        ("/clr", "did you mean /clear?"),
        ("/zzz", "/help lists the commands"),
    ],
)
def test_a_command_that_is_not_possible_says_why(terminal, line, says):
    """In one line, and the chat goes on."""
    _, code = chat(terminal, f"{line}\n", [])

    assert code == 0
    assert says in err(terminal)


def test_only_a_whole_line_of_a_pipe_is_a_command(pipes):
    """What a program wrote goes to the model."""
    held, code = chat(pipes, "/model is a word\n//x\nexit\n/quit\nnever read\n", *[[fake.text("Yes.")]] * 3)

    texts = [message.text for message in held.stored.session.thread.messages if message.role == "user"]
    assert (code, texts) == (0, ["/model is a word", "//x", "exit"])


def test_the_instructions_can_be_removed(terminal):
    """`/system -`, and `/system` says that there are none."""
    held, _ = chat(terminal, "/system Be brief.\n/system -\n/system\n", [])

    assert roles(held) == []
    assert "no instructions" in out(terminal)


def test_a_plain_terminal_has_an_editor_too(terminal, monkeypatch):
    """What is saved is the message; nothing saved asks for a line."""
    written = ["from the editor\n", None]
    monkeypatch.setattr("click.edit", lambda *_, **__: written.pop(0))
    held, _ = chat(terminal, "/edit\n/edit\ntyped\n", [fake.text("1")], [fake.text("2")])

    texts = [message.text for message in held.stored.session.thread.messages if message.role == "user"]
    assert texts == ["from the editor", "typed"]


def test_an_answer_is_copied(terminal, monkeypatch):
    """By a program of the desktop, or by the terminal itself."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    chat(terminal, "?\n/copy\n", [fake.text("Yes.")])

    assert "\x1b]52;c;WWVzLg==\x07" in err(terminal)
    ran = []

    def run(command, **options):
        ran.append((command[0], options["input"]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("shutil.which", lambda name: name if name == "pbcopy" else None)
    monkeypatch.setattr("subprocess.run", run)
    terminal.stdin.truncate(0)
    terminal.stdin.seek(0)
    chat(terminal, "?\n/copy\n", [fake.text("Yes.")])

    assert ran == [("pbcopy", b"Yes.")]


def test_a_retry_that_fails_keeps_the_answer(terminal):
    """Whether the call fails, or the answer has nothing."""
    failed = [fake.error(allm.AdapterError("away", reason="network_error"))]
    held, _ = chat(terminal, "?\n/retry\n", [fake.text("Yes.")], failed)

    assert [message.text for message in held.stored.session.thread.messages] == ["?", "Yes."]
    assert "the earlier answer is kept" in err(terminal)


def test_the_reasoning_is_shown_where_it_is_asked_for(terminal):
    """In lines of its own, before the answer."""
    script = [fake.reasoning("Let me see."), fake.text("Yes.")]
    chat(terminal, "?\n", script)
    assert "Let me see." not in err(terminal)

    terminal.stdin.truncate(0)
    terminal.stdin.seek(0)
    terminal.stdin.write("?\n")
    terminal.stdin.seek(0)
    engine = allm.Engine(adapter=Fake(script=script), model="scripted")
    stored = open_stored_session(None, None, terminal)
    Chat(engine=engine, options={}, terminal=terminal, stored=stored, reasoning=True).run()
    assert "Let me see.\x1b[22m\n" in err(terminal)
