"""`allm generate --tools`: a turn with tools in one command, with or without a question before each call."""

from __future__ import annotations

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

later = allm.Toolset(lambda: [allm.Tool("time", "Tells it.", handler=lambda arguments: "noon")])
boss = allm.Tool("boss", "Asks the boss.", manual=True)
'''
CALL = [
    fake.text("Let me look."),
    fake.tool_call("weather", {"city": "Zug"}),
    fake.usage(input_tokens=1, output_tokens=2),
]
ANSWER = [fake.text("Warm in Zug."), fake.usage(input_tokens=3, output_tokens=4)]


@pytest.fixture
def tools(tmp_path):
    """The option for the tools file."""
    (tmp_path / "tools.py").write_text(TOOLS)
    return ["--tools", str(tmp_path / "tools.py")]


@pytest.fixture
def answers(server):
    """Queue scripted responses."""
    return lambda *scripts: server.add(*[Reply.script("openai", script) for script in scripts])


async def test_the_answer_is_all_that_a_pipe_gets(server, to_server, answers, allm_main, tools):
    """Calls and results are told on standard error; what the model says before them is not the answer."""
    answers(CALL, ANSWER)

    code, output, errors = await allm_main("generate", "Warm?", *tools, *to_server, "-u")

    assert (code, output) == (0, "Warm in Zug.\n")
    assert errors.splitlines()[:2] == ['* weather(city="Zug")', "- weather = 21 degrees in Zug"]
    assert errors.splitlines()[2].startswith("Usage: 4 tokens in, 6 out")
    assert server.requests[1].json()["messages"][-1]["content"] == "21 degrees in Zug"


async def test_a_terminal_shows_all_of_the_turn(to_server, answers, on_a_terminal, tools):
    """As it happens, each part on lines of its own."""
    answers(CALL, ANSWER)
    async with on_a_terminal("generate", "Warm?", *tools, *to_server) as screen:
        assert await screen.read_all() == 0

    plain = screen.text.replace("\x1b[2m", "").replace("\x1b[22m", "")
    assert plain == 'Let me look.\n* weather(city="Zug")\n- weather = 21 degrees in Zug\nWarm in Zug.\n'


async def test_a_terminal_can_have_the_answer_alone(to_server, answers, on_a_terminal, tools):
    """By `-o -`, as in a pipe."""
    answers(CALL, ANSWER)
    async with on_a_terminal("generate", "Warm?", "-o", "-", *tools, *to_server) as screen:
        assert await screen.read_all() == 0

    assert "Let me look." not in screen.text
    assert screen.text.endswith("Warm in Zug.\n")


async def test_a_set_that_is_loaded_later_works(to_server, answers, allm_main, tools):
    """Its tools are loaded with the call."""
    answers([fake.tool_call("time", {})], ANSWER)

    code, output, errors = await allm_main("generate", "?", *tools, *to_server)

    assert (code, output) == (0, "Warm in Zug.\n")
    assert "- time = noon" in errors


async def test_json_is_the_whole_turn(to_server, answers, allm_main, tools):
    """As a result that `from_json` reads."""
    answers(CALL, ANSWER)

    code, output, _ = await allm_main("generate", "Warm?", "--json", *tools, *to_server)

    result = allm.from_json(output, allm.ChatResult)
    assert (code, len(result.steps), result.output_text) == (0, 2, "Warm in Zug.")


async def test_verbose_tells_of_each_model_call(to_server, answers, allm_main, tools):
    """Times and ids of both."""
    answers(CALL, ANSWER)

    code, _, errors = await allm_main("generate", "Warm?", "--verbose", *tools, *to_server)

    assert code == 0
    assert errors.count("first token after") == 2


@pytest.mark.parametrize(
    ("call", "options", "says"),
    [
        ("weather", ["--max-turns", "1"], "Error: the model still calls tools after 1 model calls; --max-turns allows"),
        ("ask", [], "Error: a tool asks: Which city? Answer with --continue, or use allm chat"),
        ("boss", [], "Error: the calls of boss wait for their results, which allm chat takes"),
    ],
)
async def test_a_turn_without_an_answer_is_a_failure(
    to_server, answers, allm_main, tools, tmp_path, call, options, says
):
    """With what would help; the file for the answer is not made."""
    answers([fake.tool_call(call, {"city": "Zug"} if call == "weather" else {})])

    code, _, errors = await allm_main("generate", "?", *tools, *options, "-o", str(tmp_path / "x"), *to_server)

    assert code == 1
    assert errors.splitlines()[-1].startswith(says)
    assert not (tmp_path / "x").exists()


async def test_a_failure_in_the_second_call_is_told(server, to_server, answers, allm_main, tools):
    """The exit code is that of a failed call."""
    answers(CALL)
    server.add(Reply.error("openai", 400, message="No."))

    code, output, errors = await allm_main("generate", "?", *tools, *to_server)

    assert (code, output) == (1, "")
    assert "Error: No. (" in errors


@pytest.mark.parametrize("word", ["y", "n not now"])
async def test_a_tool_runs_once_it_is_approved(server, to_server, answers, on_a_terminal, tools, word):
    """The question goes to the terminal; a no, with its reason, is what the model reads."""
    answers(CALL, ANSWER)
    async with on_a_terminal("generate", "Warm?", "--approve", "ask", *tools, *to_server) as screen:
        await screen.read_until("show: ")
        assert len(server.requests) == 1
        await screen.press(word.encode() + b"\n")
        assert await screen.read_all() == 0

    assert screen.text.endswith("Warm in Zug.\n")
    told = server.requests[1].json()["messages"][-1]["content"]
    assert told == "21 degrees in Zug" if word == "y" else "not now" in told


async def test_always_asks_once(to_server, answers, on_a_terminal, tools):
    """Later calls of the same tool run without a question, and count together."""
    answers(CALL, CALL, ANSWER)
    command = ["generate", "Warm?", "--approve", "ask", "-u", *tools, *to_server]
    async with on_a_terminal(*command) as screen:
        await screen.read_until("show: ")
        await screen.press(b"a\n")
        assert await screen.read_all() == 0

    assert screen.text.count("show: ") == 1
    assert "5 tokens in, 8 out" in screen.text


@pytest.mark.parametrize("key", [b"\x03", b"\x04"])
async def test_the_turn_can_be_stopped_at_a_question(server, to_server, answers, on_a_terminal, tools, key):
    """By Ctrl-C or Ctrl-D: nothing runs, nothing more is sent."""
    answers(CALL)
    async with on_a_terminal("generate", "Warm?", "--approve", "ask", *tools, *to_server) as screen:
        await screen.read_until("show: ")
        await screen.press(key)
        assert await screen.read_all() == 130

    assert screen.text.endswith("interrupted\n")
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", ["boss", "weather"])
async def test_the_last_turn_allowed_is_not_asked_about(to_server, answers, on_a_terminal, tools, call):
    """Nor is a call that no word can run."""
    answers([fake.tool_call(call, {"city": "Zug"} if call == "weather" else {})])
    limit = ["--max-turns", "1"] if call == "weather" else []
    async with on_a_terminal("generate", "?", "--approve", "ask", *limit, *tools, *to_server) as screen:
        assert await screen.read_all() == 1

    assert "show: " not in screen.text
    assert ("--max-turns allows more" if call == "weather" else "allm chat takes") in screen.text.replace("\n", " ")


@pytest.mark.parametrize("how", ["auto", "ask"])
async def test_a_call_that_waits_at_the_provider(server, to_server, on_a_terminal, tmp_path, how):
    """No word at the terminal answers it, so the command says so and ends."""
    asked = {"server": "shop", "name": "pay"}
    server.add(Reply.script("openai_responses", [fake.hosted_call("mcp", asked, status="requires_action")]))
    (tmp_path / "hosted.py").write_text("import allm\nshop = allm.hosted.mcp('https://x.example', name='shop')\n")
    tools = ["--tools", str(tmp_path / "hosted.py")]
    async with on_a_terminal("generate", "?", "--approve", how, *tools, *to_server) as screen:
        assert await screen.read_all() == 1

    assert "wait for an approval or a screenshot" in screen.text.replace("\n", " ")
    assert len(server.requests) == 1


PIPED = """
import os, subprocess, sys
read, write = os.pipe()
os.write(write, b"some text")
os.close(write)
sys.exit(subprocess.run([sys.executable, "-m", "allm", *sys.argv[1:]], stdin=read, check=False).returncode)
"""


async def test_the_question_reaches_the_terminal_beside_a_pipe(
    server, to_server, answers, on_a_terminal, tools, monkeypatch
):
    """What is piped in is the prompt, and the terminal of the process is where the user types."""
    answers(CALL, ANSWER)
    monkeypatch.setattr("tests.cli.conftest.COMMAND", [sys.executable, "-c", PIPED])
    async with on_a_terminal("generate", "Warm?", "--approve", "ask", *tools, *to_server) as screen:
        await screen.read_until("show: ")
        await screen.press(b"y\n")
        assert await screen.read_all() == 0

    assert server.requests[0].json()["messages"][0]["content"] == "some text\n\nWarm?"


async def test_without_a_terminal_nobody_can_be_asked(server, to_server, tools):
    """That is wrong usage, before anything is sent."""
    command = [sys.executable, "-m", "allm", "generate", "?", "--approve", "ask", *tools, *to_server]
    done = await trio.run_process(
        command, stdin=b"", capture_stdout=True, capture_stderr=True, check=False, start_new_session=True
    )

    assert (done.returncode, server.requests) == (2, [])
    assert b"--approve ask needs a terminal" in done.stderr


@pytest.mark.parametrize("call", ["ask", "boss"])
async def test_a_turn_without_an_answer_can_be_continued(server, to_server, answers, allm_main, tools, call):
    """The question is answered by the next prompt; a call that waited has not run, and the model is told."""
    answers([fake.tool_call(call, {})], ANSWER)

    assert (await allm_main("generate", "?", "-L", *tools, *to_server))[0] == 1
    code, output, _ = await allm_main("generate", "-c", "Zug", *tools, *to_server)

    assert (code, output) == (0, "Warm in Zug.\n")
    told = server.requests[1].json()["messages"]
    assert told[-1] == {"role": "user", "content": "Zug"}
    if call == "boss":
        assert told[-2]["content"] == "the turn ended before this call ran"
