"""`allm chat` as a process: on a terminal, with Ctrl-C, and on a pipe."""

from __future__ import annotations

import io
import sys

import pytest
import trio

import allm
from allm import fake
from allm.testing import Reply

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")

TOOLS = '''
import allm

@allm.tool
def weather(city: str) -> str:
    """Tells it."""
    return f"21 degrees in {city}"

@allm.tool
def ask() -> allm.AskUser:
    """Asks."""
    return allm.AskUser("Which city?")
'''
STALLED = [fake.text("Four legs,\none"), fake.error(allm.AdapterError("silence", reason="timeout"))]


@pytest.fixture
def tools(tmp_path):
    """The option for the tools file."""
    (tmp_path / "tools.py").write_text(TOOLS)
    return ["--tools", str(tmp_path / "tools.py")]


@pytest.fixture
def answers(server):
    """Queue scripted responses."""
    return lambda *scripts: server.add(*[Reply.script("openai", script) for script in scripts])


@pytest.fixture
def piped(to_server):
    """Run a chat with these lines on a pipe."""

    async def run(lines, *arguments):
        command = [sys.executable, "-m", "allm", "chat", *to_server, *arguments]
        return await trio.run_process(
            command, stdin=lines.encode(), capture_stdout=True, capture_stderr=True, check=False
        )

    return run


def sent(request):
    """Roles and texts of a request."""
    return [(message["role"], message.get("content")) for message in request.json()["messages"]]


def is_clean(screen):
    """Whether the terminal has its old settings, and every mode of the line editor is off."""
    on, off = screen.text.count("\x1b[?2004h"), screen.text.count("\x1b[?2004l")
    return not screen.settings_changed and on == off and "Traceback" not in screen.text


async def test_two_turns_with_a_tool(server, to_server, answers, on_a_terminal, tools):
    """A message, a tool call, a response, another message, and Ctrl-D."""
    answers(
        [fake.tool_call("weather", {"city": "Zug"})],
        [fake.text("Warm in Zug.")],
        [fake.text("You are welcome.")],
    )
    async with on_a_terminal("chat", *to_server, *tools) as screen:
        await screen.at_prompt(1)
        await screen.press(b"Is it warm in Bern\x7f\x7f\x7f\x7fZug?\r")
        await screen.read_until_shown("run it?")
        await screen.press(b"y\r")
        await screen.at_prompt(2)
        await screen.press(b"Thanks!\r")
        await screen.at_prompt(3)
        await screen.press(b"\x04")
        code = await screen.read_all()

        assert code == 0
        assert is_clean(screen)
        assert 'weather(city="Zug")' in screen.text
        assert "weather = 21 degrees in Zug" in screen.text
    assert sent(server.requests[0]) == [("user", "Is it warm in Zug?")]
    assert sent(server.requests[2])[-2:] == [("assistant", "Warm in Zug."), ("user", "Thanks!")]


async def test_ctrl_c_stops_a_turn_and_not_the_chat(server, to_server, answers, on_a_terminal, tmp_path):
    """The next turn sends the partial response; the connection is closed."""
    answers(STALLED, [fake.text("Sorry.")])
    async with on_a_terminal("chat", *to_server, "--session", str(tmp_path / "a.db")) as screen:
        await screen.at_prompt(1)
        await screen.press(b"What is a cat?\r")
        await screen.read_until("one")
        await screen.press(b"\x03")
        await screen.at_prompt(2)
        await screen.press(b"Shorter.\r")
        await screen.at_prompt(3)
        await screen.press(b"/quit\r")
        code = await screen.read_all()

        assert code == 0
        assert is_clean(screen)
        assert "one\ninterrupted\n" in screen.shown.text
    await server.wait_outcomes()
    assert server.requests[0].outcome == "client_closed"
    conversation = [("user", "What is a cat?"), ("assistant", "Four legs,\none"), ("user", "Shorter.")]
    assert sent(server.requests[1]) == conversation


async def test_sigterm_ends_a_turn_and_the_chat(server, to_server, answers, on_a_terminal, tmp_path):
    """What had arrived is saved."""
    answers(STALLED)
    async with on_a_terminal("chat", *to_server, "--session", str(tmp_path / "a.db")) as screen:
        await screen.at_prompt(1)
        await screen.press(b"What is a cat?\r")
        await screen.read_until("one")
        screen.process.terminate()

        assert await screen.read_all() == 143
        assert is_clean(screen)
    async with allm.session.open_store(f"sqlite:///{tmp_path}/a.db") as store:
        saved, _ = await store.load("chat")
    assert [message.text for message in saved.thread.messages] == ["What is a cat?", "Four legs,\none"]


async def test_a_question_is_answered_by_the_next_line(server, to_server, answers, on_a_terminal, tools):
    """After `AskUser` the next line continues the turn."""
    answers([fake.tool_call("ask")], [fake.text("Warm.")])
    async with on_a_terminal("chat", *to_server, *tools) as screen:
        await screen.at_prompt(1)
        await screen.press(b"Is it warm?\r")
        await screen.read_until_shown("run it?")
        await screen.press(b"always\r")
        await screen.at_prompt(2)
        assert "Which city?\n" in screen.shown.text
        await screen.press(b"Zug\r")
        await screen.at_prompt(3)
        await screen.press(b"\x04")

        assert await screen.read_all() == 0
    assert sent(server.requests[1])[-2:] == [("assistant", "Which city?"), ("user", "Zug")]


async def test_piped_lines_are_turns(server, answers, piped, tools):
    """Only responses are on standard output, without escape codes."""
    answers([fake.tool_call("weather", {"city": "Zug"})], [fake.text("Warm.")], [fake.text("Ciao.")])

    ended = await piped("Is it warm?\nBye", *tools, "--system", "Be brief.", "--option", "seed=7", "--max-turns", "3")

    assert (ended.returncode, ended.stdout) == (0, b"Warm.\nCiao.\n")
    assert ended.stderr == b'* weather(city="Zug")\n- weather = 21 degrees in Zug\n'
    assert sent(server.requests[0]) == [("system", "Be brief."), ("user", "Is it warm?")]
    assert server.requests[0].json()["seed"] == 7


async def test_a_chat_resumes_from_its_file(server, answers, piped, tmp_path):
    """A second process continues; new instructions replace the old ones."""
    answers([fake.text("One.")], [fake.text("Two.")], [fake.text("Other.")])
    session = ["--session", str(tmp_path / "trip.db")]

    await piped("First?\n", *session, "--system", "Be brief.")
    ended = await piped("Second?\n", *session, "--system", "Be long.")

    assert (ended.returncode, ended.stdout) == (0, b"Two.\n")
    roles = [("system", "Be long."), ("user", "First?"), ("assistant", "One."), ("user", "Second?")]
    assert sent(server.requests[1]) == roles
    async with allm.session.open_store(f"sqlite:///{tmp_path}/trip.db") as store:
        assert len((await store.load("chat"))[0].thread.messages) == 5
    await piped("Another?\n", "--session", f"sqlite:///{tmp_path}/trip.db", "--id", "other")
    assert sent(server.requests[2]) == [("user", "Another?")]


async def test_calls_that_wait_survive_the_process(server, answers, piped, tmp_path):
    """A resumed chat asks for the results of pending calls."""
    (tmp_path / "boss.py").write_text("import allm\napprove = allm.Tool('approve', '', manual=True)")
    arguments = ["--tools", str(tmp_path / "boss.py"), "--session", str(tmp_path / "trip.db")]
    answers([fake.tool_call("approve", {"sum": 7}, id="c1")], [fake.text("Done.")])

    first = await piped("Pay!\n", *arguments)
    second = await piped("yes\n", *arguments)

    assert b"approve(sum=7) is pending" in first.stderr
    assert (second.returncode, second.stdout) == (0, b"Done.\n")
    assert sent(server.requests[1])[-1] == ("tool", "yes")


async def test_a_failed_turn_does_not_end_a_chat(server, answers, piped):
    """The error is one line, later lines get responses, and the exit code shows it."""
    server.add(Reply.error("openai", 401, message="Bad key.\nTry another."))
    answers([fake.text("Hi.")])

    ended = await piped("Hello\nAgain\n")

    assert (ended.returncode, ended.stdout) == (1, b"Hi.\n")
    assert ended.stderr.startswith(b"Error: Bad key. Try another. (provider openai, model scripted, status 401")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tools", "{folder}/broken.py"], "broken.py: line 2: NameError: name 'x' is not defined"),
        (["--tools", "{folder}/missing.py"], "--tools"),
        (["--session", "{folder}/no/folder.db"], "does not exist"),
        (["--session", "{folder}/broken.py"], "has no conversations"),
        (["--session", "{folder}"], "cannot read"),
        (["--session", "mysql://host/x"], "no store has the scheme 'mysql'"),
        (["--session", "{folder}/new.db", "--id", ""], "--id"),
        (["--id", "trip"], "--session"),
        (["--id", "trip", "--session", "{folder}/new.json"], "--id"),
        (["--session", "{folder}/no/folder.json"], "does not exist"),
        (["--option", "seed"], "--option"),
        (["--max-turns", "0"], "--max-turns"),
    ],
)
async def test_wrong_usage_is_told_before_anything_is_sent(allm_main, tmp_path, arguments, says):
    """The exit code is 2, with a message and no traceback."""
    (tmp_path / "broken.py").write_text("import allm\nx\n")
    arguments = [argument.replace("{folder}", str(tmp_path)) for argument in arguments]

    code, output, errors = await allm_main("chat", "-m", "openai:x", *arguments)

    assert (code, output) == (2, "")
    assert says in errors
    assert "Traceback" not in errors


async def test_a_chat_in_another_thread(server, to_server, answers, allm_main, monkeypatch):
    """The command works in a thread that receives no signals."""
    answers([fake.text("Hi.")])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffGrüezi\n".encode()), encoding="ascii"))

    assert await allm_main("chat", *to_server, "--max-turns", "2") == (0, "Hi.\n", "")
    assert sent(server.requests[0]) == [("user", "Grüezi")]


async def test_piped_input_has_to_be_text(allm_main, monkeypatch):
    """Input that is not UTF-8 is a usage error."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="ascii"))

    code, _, errors = await allm_main("chat", "-m", "openai:x")

    assert code == 2
    assert "not UTF-8" in errors


async def test_a_call_that_waits_at_the_provider(server, piped, tmp_path):
    """A chat has no answer to it, and says so."""
    asked = {"server": "shop", "name": "pay"}
    server.add(Reply.script("openai_responses", [fake.hosted_call("mcp", asked, status="requires_action")]))
    (tmp_path / "hosted.py").write_text("import allm\nshop = allm.hosted.mcp('https://x.example', name='shop')\n")
    done = await piped("Pay.\n", "--tools", str(tmp_path / "hosted.py"))

    assert '* mcp "pay" (waits for you)' in done.stderr.decode()
    assert "Note: the provider waits for an approval or a screenshot" in done.stderr.decode()
