"""A key that goes in comes out nowhere but in the header of the request."""

from __future__ import annotations

import os
import sys

import pytest
import trio

from allm import fake
from allm.testing import Cut, GarbageHead, Reply, Reset, WireServer
from calls import KEY

TELLING = KEY[:16]  # a piece that is cut off tells enough
SAID = f"the key {KEY} is wrong"
TOOLS = '''
import allm

@allm.tool
async def look(n: int) -> str:
    """Asks another model, which fails."""
    engine = allm.Engine(adapter=allm.providers.OpenAI(), model="m", retry=None)
    return allm.unwrap(await allm.generate(engine, "hi"))
'''
CALL = Reply.script("openai", [fake.tool_call("look", {"n": 1}, id="c1")])
ANSWER = Reply.script("openai", [fake.text("done")])
FAILURES = {
    "echoed in an error": Reply.json({"error": {"message": SAID, "code": KEY, "type": KEY}}, status=401),
    "echoed in a header": Reply.json({"error": {"message": "no"}}, status=429, headers={"x-request-id": KEY}),
    "echoed in HTML": Reply(status=502, body=f"<html>{SAID}</html>".encode()),
    "echoed in a redirect": Reply(status=307, headers={"location": f"http://127.0.0.1:9/?key={KEY}"}),
    "echoed in a stream": Reply.sse([(None, {"choices": []}), ("error", {"error": {"message": SAID}})]),
    "echoed as garbage": Reply(body=SAID.encode()),
    "no HTTP": Reply(fault=GarbageHead(f"{KEY}\r\n\r\n".encode())),
    "cut": Reply(body=SAID.encode(), fault=Cut(9)),
    "reset": Reply(body=SAID.encode(), fault=Reset(9)),
}
COMMANDS = {
    "generate": ["generate", "hi"],
    "generate --json": ["generate", "hi", "--json"],
    "chat": ["chat", "--session", "{folder}/chat.db"],
    "chat in a file": ["chat", "--session", "{folder}/chat.json"],
    "embed": ["embed", "hi"],
    "image": ["image", "a cat", "-o", "{folder}/cat.png"],
}


async def run(folder, server, command, **environment):
    """Everything that the command printed and wrote."""
    words = [word.replace("{folder}", str(folder)) for word in command]
    ended = await trio.run_process(
        [sys.executable, "-m", "allm", *words, "-m", "openai:m", "--base-url", server.url("openai")],
        stdin=b"hi\n",
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "OPENAI_API_KEY": KEY, **environment},
        cwd=folder,
    )
    said = ended.stdout + ended.stderr
    assert b"Traceback" not in said, said
    return said + b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "tools.py"
    )


@pytest.mark.timeout(300)
@pytest.mark.sample(4)
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("command", COMMANDS)
async def test_commands_do_not_show_a_key(command, failure, tmp_path, record_property):
    """A command whose call fails in any way shows and writes no part of the key, whatever the server echoes."""
    async with WireServer(FAILURES[failure]) as server:
        said = await run(tmp_path, server, COMMANDS[command])
        assert server.requests, said
    assert TELLING.encode() not in said
    record_property("commands", 1)


@pytest.mark.timeout(300)
@pytest.mark.sample(2)
@pytest.mark.parametrize("store", ["chat.db", "chat.json"])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_tool_whose_call_fails(failure, store, tmp_path, record_property):
    """What a failed call inside a tool tells the model, the terminal and the session has no part of the key."""
    (tmp_path / "tools.py").write_text(TOOLS)
    async with WireServer(ANSWER) as server:
        server.add(CALL, FAILURES[failure])
        command = ["chat", "--session", f"{{folder}}/{store}", "--tools", "{folder}/tools.py"]
        said = await run(tmp_path, server, command, OPENAI_BASE_URL=server.url("openai"))
        assert len(server.requests) == 3, said
        assert "error" in server.requests[2].body.decode()
        assert TELLING not in server.requests[2].body.decode()
    assert TELLING.encode() not in said
    record_property("commands", 1)


@pytest.mark.timeout(300)
async def test_a_key_in_an_unusual_place(tmp_path, long, chance, record_property):
    """A key in the user part or the query of a base URL, or in an .env file, is shown nowhere."""
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    async with WireServer(FAILURES["echoed in an error"]) as server:
        host = server.base_url.removeprefix("http://")
        places = [
            f"http://me:{KEY}@{host}/v1",
            f"http://{host}/v1?key={KEY}",
            f"http://{host}/v1#{KEY}",
            f"nowhere:{KEY}",
        ]
        commands = [["generate", "hi"], ["chat", "--session", "{folder}/chat.db"]]
        trials = [[*command, "--base-url", place] for place in places for command in commands]
        for trial in trials if long else chance.sample(trials, 1):
            said = await run(tmp_path, server, trial)
            assert TELLING.encode() not in said.replace((tmp_path / ".env").read_bytes(), b""), said
            record_property("commands", 1)
