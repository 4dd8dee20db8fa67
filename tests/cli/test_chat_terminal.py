"""`allm chat` at a terminal: the keys, the commands, the approval of tools, and how the terminal is left."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.testing import Reply

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")

PASTE = b"\x1b[200~%b\x1b[201~"
CTRL_C, CTRL_D, CTRL_R, ALT_ENTER, UP = b"\x03", b"\x04", b"\x12", b"\x1b\r", b"\x1b[A"
TOOLS = '''
import allm

@allm.tool
def weather(city: str) -> str:
    """Tells it."""
    return f"21 degrees in {city}"

@allm.tool
def remove(path: str) -> str:
    """Remove a file."""
    with open(__file__ + ".log", "a") as log:
        log.write(path + "\\n")
    return "removed"
'''


@pytest.fixture
def tools(tmp_path):
    """The option for the tools file."""
    (tmp_path / "tools.py").write_text(TOOLS)
    return ["--tools", str(tmp_path / "tools.py")]


@pytest.fixture
def removed(tmp_path):
    """What the tool has removed."""
    log = tmp_path / "tools.py.log"
    return lambda: log.read_text().split() if log.exists() else []


@pytest.fixture
def answers(server):
    """Queue scripted responses."""
    return lambda *scripts: server.add(*[Reply.script("openai", script) for script in scripts])


@pytest.fixture
def chat(to_server, on_a_terminal):
    """Start a chat on a terminal."""
    return lambda *arguments: on_a_terminal("chat", *to_server, *arguments)


def sent(request):
    """Roles and texts of a request."""
    return [(message["role"], message.get("content")) for message in request.json()["messages"]]


def asked(server):
    """The last message of each request."""
    return [sent(request)[-1][1] for request in server.requests]


async def leave(screen, count):
    """End the chat at its `count`th prompt, and check what it leaves behind."""
    await screen.at_prompt(count)
    await screen.press(CTRL_D)
    assert await screen.read_all() == 0
    assert_restored(screen)


def assert_restored(screen):
    """The terminal has its old settings, every mode of the editor is off, and there is no traceback."""
    assert not screen.settings_changed
    assert screen.text.count("\x1b[?2004h") == screen.text.count("\x1b[?2004l")
    assert "Traceback" not in screen.text
    assert screen.text.endswith("\n") or screen.text.endswith("\x1b[?2004l")


async def test_pasted_lines_are_one_message(server, answers, chat):
    """Nothing is sent until Enter, and the lines are as they were."""
    answers([fake.text("Thanks.")])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(PASTE % b"def f():\n    return 1\n\n/quit\n")
        await screen.read_until_shown("/quit")
        await screen.press(b"\r")
        await leave(screen, 2)
    assert asked(server) == ["def f():\n    return 1\n\n/quit"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (b"one" + ALT_ENTER + b"two\r", "one\ntwo"),
        (b"one\\\rtwo\r", "one\ntwo"),
        (b'"""one\r\rtwo"""\r', "one\n\ntwo"),
        (PASTE % b'"""A docstring."""\nx = 1' + b"\r", '"""A docstring."""\nx = 1'),
        (b"//help me\r", "/help me"),
        (b" /help\r", "/help"),
        (b"/etc/hosts is what?\r", "/etc/hosts is what?"),
        (b"\xc3\xa9t\xc3\xa9 \xe6\x97\xa5\r", "été 日"),
        (b"wrong\x15right\r", "right"),
    ],
)
async def test_what_is_typed_is_what_is_sent(server, answers, chat, keys, message):
    """Several lines, slashes, other scripts, and the editor's own keys."""
    answers([fake.text("Thanks.")])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(keys)
        await leave(screen, 2)
    assert asked(server) == [message]


async def test_ctrl_c_clears_the_line_then_tells_how_to_leave_then_leaves(server, chat):
    """A text is never taken for the wish to leave; the text that was cleared comes back with Ctrl-Y."""
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"half a line")
        await screen.read_until_shown("> half a line")
        await screen.press(CTRL_C)
        while "half" in screen.shown.cursor_line:
            await screen.read_more()
        await screen.press(b"\x19")
        await screen.read_until_shown("> half a line")
        await screen.press(CTRL_C + CTRL_C)
        await screen.at_prompt(2)
        assert "Ctrl-C again or Ctrl-D ends the chat" in screen.shown.text
        await screen.press(CTRL_C)

        assert await screen.read_all() == 0
        assert_restored(screen)
    assert not server.requests


async def test_the_history_is_kept_for_its_owner_alone(server, answers, chat, tmp_path, monkeypatch):
    """Another chat finds what was entered before: with Up, and with Ctrl-R. A line after a space is not kept."""
    monkeypatch.setenv("ALLM_HOME", str(tmp_path / "home"))
    answers(*[[fake.text("Yes.")]] * 4)
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"a river\\\rin Zug\r")
        await screen.at_prompt(2)
        await screen.press(b" my secret\r")
        await leave(screen, 3)
    history = tmp_path / "home" / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "secret" not in history.read_text()
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(UP)
        await screen.read_until_shown("in Zug")
        await screen.press(b"?\r")
        await screen.at_prompt(2)
        await screen.press(CTRL_R + b"riv")
        await screen.read_until_shown("I-search")
        await screen.read_until_shown("> a river\n  in Zug?")
        await screen.press(b"\r\r")
        await leave(screen, 3)
    assert asked(server) == ["a river\nin Zug", "my secret", "a river\nin Zug?", "a river\nin Zug?"]


async def test_without_history_nothing_is_written(answers, chat, tmp_path, monkeypatch):
    """`--no-history` keeps the lines of this chat in memory only."""
    monkeypatch.setenv("ALLM_HOME", str(tmp_path / "home"))
    answers([fake.text("Yes.")])
    async with chat("--no-history", "--no-log") as screen:
        await screen.at_prompt(1)
        await screen.press(b"my secret\r")
        await screen.at_prompt(2)
        await screen.press(UP)
        await screen.read_until_shown("Yes.\n> my secret")
        await screen.press(CTRL_C + CTRL_D)
        assert await screen.read_all() == 0
    assert not [path for path in (tmp_path / "home").rglob("*") if b"secret" in path.read_bytes()]


async def test_tab_completes_commands_and_files(server, chat, tmp_path):
    """As a shell does."""
    (tmp_path / "a-long-name.txt").write_text("the content")
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"/usa\t\r")
        await screen.read_until_shown("Usage: ")
        await screen.at_prompt(2)
        await screen.press(b"/file " + str(tmp_path).encode() + b"/a-lo\t\r")
        await screen.read_until_shown("with the next message")
        await screen.at_prompt(3)
        await leave(screen, 3)
    assert "a-long-name.txt" in screen.shown.text


@pytest.mark.parametrize("keys", [b"draft\x18\x05", b"/edit draft\r"])
async def test_an_editor_writes_the_message(server, answers, chat, tmp_path, monkeypatch, keys):
    """`$EDITOR` gets the text; what it saves is at the prompt, to be sent with Enter."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "%s\\nby hand\\n" "$(cat "$1")" > "$1"\n')
    editor.chmod(0o700)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)
    answers([fake.text("Yes.")])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(keys)
        await screen.read_until_shown("> draft\n  by hand")
        await screen.press(b"\r")
        await screen.read_until_shown("Yes.")
        await screen.press(CTRL_D)
        assert await screen.read_all() == 0
        assert_restored(screen)
    assert asked(server) == ["draft\nby hand"]


async def test_standard_output_may_be_a_file(server, to_server, answers, on_a_terminal, tmp_path):
    """The prompt and its editor are on the terminal, and the file has the model's text as it came."""
    answers([fake.text("Some **bold** text.")])
    shell = ["sh", "-c", f'"$@" > {tmp_path}/out', "sh"]
    async with on_a_terminal("chat", *to_server, before=shell) as screen:
        await screen.at_prompt(1)
        await screen.press(b"wrong\x15right\r")
        await screen.at_prompt(2)
        await screen.press(CTRL_D)
        assert await screen.read_all() == 0
        assert_restored(screen)
    assert asked(server) == ["right"]
    assert (tmp_path / "out").read_text() == "Some **bold** text.\n"


async def test_a_terminal_that_goes_away_ends_the_chat(chat):
    """Without a traceback, and without a process that stays."""
    async with chat() as screen:
        await screen.at_prompt(1)
        screen.process.send_signal(signal.SIGHUP)
        code = await screen.read_all()
        assert code == -signal.SIGHUP
        assert not screen.settings_changed


async def test_sigterm_at_the_prompt_restores_the_terminal(chat):
    """Whoever sends it wants the chat to end."""
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"half a line")
        await screen.read_until_shown("half a line")
        screen.process.send_signal(signal.SIGTERM)

        assert await screen.read_all() == 143
        assert_restored(screen)


async def test_a_signal_at_the_prompt_is_ctrl_c(chat):
    """SIGINT from elsewhere does what the key does on an empty line."""
    async with chat() as screen:
        await screen.at_prompt(1)
        screen.process.send_signal(signal.SIGINT)
        await leave(screen, 2)
    assert "Ctrl-C again" in screen.shown.text


# Runs a command as a shell does: when it is suspended, says how the terminal is, and goes on with it.
SHELL = ["sh", "-mc", '"$@"; echo stopped:; stty -a | grep -o " -*icanon\\| -*echo "; fg > /dev/null; echo ended', "sh"]


async def test_a_chat_can_be_suspended(server, to_server, answers, on_a_terminal):
    """Ctrl-Z gives the shell a terminal as it was, and `fg` brings the line back."""
    answers([fake.text("Yes.")])
    async with on_a_terminal("chat", *to_server, before=SHELL) as screen:
        await screen.at_prompt(1)
        await screen.press(b"half")
        await screen.read_until_shown("> half")
        await screen.press(b"\x1a")
        await screen.read_until_shown("stopped:\n icanon\n echo")
        while not screen.shown.cursor_line.startswith("> half"):
            await screen.read_more()
        await screen.press(b" a line\r")
        await screen.read_until_shown("Yes.")
        await screen.at_prompt(2)
        await screen.press(CTRL_D)
        await screen.read_until_shown("ended")
    assert asked(server) == ["half a line"]


async def test_an_answer_can_be_suspended(server, to_server, on_a_terminal):
    """The shell has its terminal meanwhile, and the rest of the answer comes after it."""
    slow = Reply.script("openai", [fake.text("One."), fake.text(" Two."), fake.text(" Three.")])
    server.add(attrs.evolve(slow, pauses=dict.fromkeys(slow.event_ends, 0.5)))
    async with on_a_terminal("chat", *to_server, before=SHELL) as screen:
        await screen.at_prompt(1)
        await screen.press(b"?\r")
        await screen.read_until_shown("One.")
        await screen.press(b"\x1a")
        await screen.read_until_shown("stopped:\n icanon\n echo")
        await screen.read_until_shown("Three.")
        await screen.at_prompt(2)
        await screen.press(CTRL_D)
        await screen.read_until_shown("ended")
    assert "^Z" not in screen.shown.text


async def test_the_window_may_change_its_size(server, answers, chat):
    """At the prompt the line is drawn anew, and the answer has the new width."""
    answers([fake.text("word " * 30)])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"x" * 50)
        await screen.read_until_shown("x" * 50)
        screen.resize(40, 20)
        screen.shown.erased = 0
        while not screen.shown.erased:
            await screen.read_more()
        await screen.press(b"y\r")
        await screen.read_until_shown("word")
        await screen.at_prompt(2)
        await screen.press(CTRL_D)
        assert await screen.read_all() == 0
        assert_restored(screen)
    assert asked(server) == ["x" * 50 + "y"]
    answer = [line for line in screen.shown.text.splitlines() if line.startswith("word")]
    assert {len(line) for line in answer[:-1]} == {39}


async def test_what_is_typed_during_an_answer_waits_for_the_prompt(server, answers, chat):
    """It is not shown in the middle of the answer, and nothing of it is lost."""
    slow = Reply.script("openai", [fake.text("One moment."), fake.text(" Here."), fake.text(" It is.")])
    server.add(attrs.evolve(slow, pauses=dict.fromkeys(slow.event_ends, 0.2)))
    answers([fake.text("Again.")])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"first\r")
        await screen.read_until_shown("One moment.")
        await screen.press(b"second\r")
        await screen.read_until_shown("Again.")
        await leave(screen, 3)
    assert asked(server) == ["first", "second"]
    assert "One moment. Here. It is.\n" in screen.shown.text


async def test_markdown_is_rendered(answers, chat):
    """`--plain` shows it as it came."""
    text = "# Title\n\nSome **bold** text.\n\n- one\n"
    answers([fake.text(text)], [fake.text(text)])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"?\r")
        await leave(screen, 2)
    assert "> ?\nTitle\n\nSome bold text.\n\n• one\n" in screen.shown.text
    async with chat("--plain") as screen:
        await screen.at_prompt(1)
        await screen.press(b"?\r")
        await leave(screen, 2)
    assert text in screen.shown.text


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
async def test_a_terminal_without_styles_gets_the_text_as_it_is(answers, chat, monkeypatch, name, value):
    """Also the one in Emacs."""
    monkeypatch.setenv(name, value)
    answers([fake.text("Some **bold** text.")])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"?\r")
        await screen.read_until_shown("Some **bold** text.")
        await leave(screen, 2)


async def test_the_model_may_change_in_mid_conversation(server, answers, chat):
    """`/model` shows it or takes another one; the conversation goes on."""
    answers([fake.text("One.")], [fake.text("Two.")])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"First?\r")
        await screen.at_prompt(2)
        await screen.press(b"/model openai:other\r")
        await screen.at_prompt(3)
        assert "the model is openai:other" in screen.shown.text
        await screen.press(b"Second?\r")
        await screen.at_prompt(4)
        await screen.press(b"/model nowhere:x\r")
        await screen.at_prompt(5)
        await screen.press(b"/model\r")
        await leave(screen, 6)
    assert [request.json()["model"] for request in server.requests] == ["scripted", "other"]
    assert sent(server.requests[1]) == [("user", "First?"), ("assistant", "One."), ("user", "Second?")]
    assert "Error: " in screen.shown.text
    assert screen.shown.text.count("the model is openai:other") == 2


async def test_a_turn_is_taken_back_and_asked_again(server, answers, chat, tmp_path):
    """`/retry` replaces the answer, `/undo` removes the turn; a failed retry keeps the answer that there was."""
    answers([fake.text("One.")], [fake.text("Better.")])
    server.add(Reply.error("openai", 401, message="Bad key."))
    async with chat("--session", str(tmp_path / "a.json")) as screen:
        await screen.at_prompt(1)
        await screen.press(b"/retry\r")
        await screen.at_prompt(2)
        await screen.press(b"First?\r")
        await screen.at_prompt(3)
        await screen.press(b"/retry openai:better\r")
        await screen.at_prompt(4)
        await screen.press(b"/retry\r")
        await screen.at_prompt(5)
        kept = allm.from_json((tmp_path / "a.json").read_text(), allm.Session)
        await screen.press(b"/undo\r")
        await leave(screen, 6)
    assert [sent(request) for request in server.requests] == [[("user", "First?")]] * 3
    assert [request.json()["model"] for request in server.requests] == ["scripted", "better", "better"]
    assert [message.text for message in kept.thread.messages] == ["First?", "Better."]
    assert "the earlier answer is kept" in screen.shown.text
    assert "there is no message to send again" in screen.shown.text
    assert not allm.from_json((tmp_path / "a.json").read_text(), allm.Session).thread.messages


async def test_files_go_with_the_next_message(server, answers, chat, tmp_path):
    """Texts with their name, once; what cannot be read is told."""
    (tmp_path / "notes.txt").write_text("remember the milk")
    answers([fake.text("One.")], [fake.text("Two.")])
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"/file " + str(tmp_path / "missing").encode() + b"\r")
        await screen.at_prompt(2)
        await screen.press(b"/file " + str(tmp_path / "notes.txt").encode() + b"\r")
        await screen.at_prompt(3)
        await screen.press(b"What?\r")
        await screen.at_prompt(4)
        await screen.press(b"And?\r")
        await leave(screen, 5)
    first, second = asked(server)
    assert "remember the milk" in first
    assert first.endswith("What?")
    assert second == "And?"
    assert "Error: " in screen.shown.text


async def test_ctrl_c_stops_a_command_and_not_the_chat(chat):
    """A server that does not answer is left to itself, and nothing of it is attached."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        asked = trio.Event()

        async def never_answer(stream):
            await stream.receive_some()
            asked.set()
            await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, never_answer, listeners)
        async with chat() as screen:
            await screen.at_prompt(1)
            await screen.press(b"/file http://127.0.0.1:%d/\r" % port)
            await asked.wait()
            await screen.press(CTRL_C)
            await screen.at_prompt(2)
            await screen.press(b"/file\r")
            await screen.at_prompt(3)
            assert "interrupted" in screen.shown.text
            assert "no files are attached" in screen.shown.text
            await screen.press(CTRL_D)
            assert await screen.read_all() == 0
            assert_restored(screen)
        nursery.cancel_scope.cancel()


async def test_models_are_completed(chat):
    """The providers first, then the models of one."""
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"/model anthro\t")
        await screen.read_until_shown("/model anthropic:")
        await screen.press(CTRL_C + CTRL_D)
        assert await screen.read_all() == 0


async def test_a_conversation_is_saved_to_a_file(answers, chat, tmp_path):
    """As Markdown or JSON, by the name; a file is overwritten only by force."""
    answers([fake.text("Yes **indeed**.")])
    markdown, document = tmp_path / "a.md", tmp_path / "a.json"
    async with chat() as screen:
        await screen.at_prompt(1)
        await screen.press(b"Really?\r")
        await screen.at_prompt(2)
        for count, name in enumerate([markdown, document, document], 3):
            await screen.press(b"/save " + str(name).encode() + b"\r")
            await screen.at_prompt(count)
        await screen.press(b"/save --force " + str(document).encode() + b"\r")
        await leave(screen, 6)
    assert "Really?" in markdown.read_text()
    assert "Yes **indeed**." in markdown.read_text()
    saved = allm.from_json(document.read_text(), allm.Session)
    assert [message.text for message in saved.thread.messages] == ["Really?", "Yes **indeed**."]
    assert "already exists" in screen.shown.text.replace("\n", "")


async def test_other_commands(server, answers, chat):
    """Instructions, usage, unknown names with the nearest one, and the words of other programs."""
    answers([fake.text("Yes.")])
    async with chat() as screen:
        for count, line in enumerate([b"/system Be brief.", b"/system", b"Well?", b"/usage", b"/mdl x", b"/copy x"], 1):
            await screen.at_prompt(count)
            await screen.press(line + b"\r")
        await screen.at_prompt(7)
        await screen.press(b"exit\r")
        assert await screen.read_all() == 0
        assert_restored(screen)
    assert sent(server.requests[0]) == [("system", "Be brief."), ("user", "Well?")]
    assert "> /system\nBe brief.\n" in screen.shown.text
    assert "Usage: " in screen.shown.text
    assert "did you mean /model?" in screen.shown.text
    assert "/copy takes no argument" in screen.shown.text


# --- approval --------------------------------------------------------------------------------------------------------

REMOVE = [fake.tool_call("remove", {"path": "a\nb"}, id="c1"), fake.tool_call("remove", {"path": "c"}, id="c2")]


async def approving(screen, *words):
    """Answer the questions about calls, one after the other."""
    for count, word in enumerate(words, 1):
        while screen.shown.text.count("run it?") < count or not screen.shown.cursor_line.startswith("run it?"):
            await screen.read_more()
        await screen.press(word)


async def test_each_call_is_asked_about_in_turn(server, answers, chat, tools, removed):
    """Yes runs it, no tells the model why it did not run, show has the arguments in full."""
    answers(REMOVE, [fake.text("Done.")])
    async with chat(*tools) as screen:
        await screen.at_prompt(1)
        await screen.press(b"Remove them.\r")
        await approving(screen, b"what\r", b"show\r", b"no, keep that one\r", b"y\r")
        await leave(screen, 2)
    assert removed() == ["c"]
    assert sent(server.requests[1])[-2][1].find("keep that one") > 0
    assert sent(server.requests[1])[-1] == ("tool", "removed")
    assert "remove: Remove a file.\npath:\n    a\n    b\n" in screen.shown.text


async def test_always_is_for_the_rest_of_the_chat(server, answers, chat, tools, removed):
    """The other call of the same answer, and later ones; other tools are asked about."""
    answers(REMOVE, [fake.tool_call("remove", {"path": "d"})], [fake.tool_call("weather", {"city": "Zug"})], [])
    async with chat(*tools) as screen:
        await screen.at_prompt(1)
        await screen.press(b"Remove them.\r")
        await approving(screen, b"always\r", b"n\r")
        await leave(screen, 2)
    assert sorted(removed()) == ["a", "b", "c", "d"]
    assert screen.shown.text.count("run it?") == 2


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
async def test_ctrl_c_at_the_question_refuses_and_stops_the_turn(server, answers, chat, tools, removed, tmp_path, key):
    """Nothing runs, the model is not asked, and the conversation goes on from there."""
    answers(REMOVE, [fake.text("Fine.")])
    async with chat(*tools, "--session", str(tmp_path / "a.json")) as screen:
        await screen.at_prompt(1)
        await screen.press(b"Remove them.\r")
        await approving(screen, b"y\r", key)
        await screen.at_prompt(2)
        assert len(server.requests) == 1
        await screen.press(b"Never mind.\r")
        await leave(screen, 3)
    assert removed() == []
    roles = [role for role, _ in sent(server.requests[1])]
    assert roles == ["user", "assistant", "tool", "tool", "user"]


async def test_a_question_outlives_its_process(server, answers, chat, tools, removed, tmp_path):
    """A chat that was killed at the question asks it again."""
    answers(REMOVE[:1], [fake.text("Done.")])
    session = ["--session", str(tmp_path / "a.db")]
    async with chat(*tools, *session) as screen:
        await screen.at_prompt(1)
        await screen.press(b"Remove it.\r")
        await approving(screen)
        await screen.read_until_shown("run it?")
        screen.process.kill()
    async with chat(*tools, *session) as screen:
        await approving(screen, b"y\r")
        await screen.read_until_shown("Done.")
        await leave(screen, 1)
    assert removed() == ["a", "b"]


async def test_tools_run_without_a_question_where_the_user_says_so(answers, chat, tools, removed):
    """`--approve auto`."""
    answers(REMOVE, [fake.text("Done.")])
    async with chat(*tools, "--approve", "auto") as screen:
        await screen.at_prompt(1)
        await screen.press(b"Remove them.\r")
        await leave(screen, 2)
    assert sorted(removed()) == ["a", "b", "c"]
    assert "run it?" not in screen.shown.text


async def test_a_pipe_cannot_be_asked(allm_main, tools):
    """There the tools run, and asking for questions is wrong usage."""
    code, _, errors = await allm_main("chat", "-m", "openai:x", "--approve", "ask", *tools)

    assert code == 2
    assert "--approve ask needs a terminal" in errors


def test_the_editor_is_loaded_for_a_terminal_only():
    """A piped chat, and every other command, does without prompt_toolkit."""
    code = "import allm.cli.chat, allm.cli.commands, sys; print('prompt_toolkit' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
