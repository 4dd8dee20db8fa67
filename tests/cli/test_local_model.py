"""A model on this machine from the command line: one process for a whole chat, and none after it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import trio

FAKE = Path(__file__).parents[1] / "providers" / "fake_llama"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfd_open is of Linux")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A file with weights for the scripted llama.cpp, which logs what it does."""
    monkeypatch.setenv("ALLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("ALLM_LOCAL_THREADS", "1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF" + json.dumps({"log": str(tmp_path / "log")}).encode())
    return path


def logged(model):
    """What the servers have done."""
    return (model.parent / "log").read_text().splitlines()


async def test_a_chat_on_a_terminal(model, on_a_terminal):
    """Ctrl-C ends an answer, and the model goes on with the next one; with the chat its process ends."""
    async with on_a_terminal("chat", "-m", f"local:{model}") as screen:
        await screen.at_prompt()
        await screen.press(b"hello\r")
        await screen.read_until("hello 8192 2 1")
        await screen.at_prompt(2)
        await screen.press(b"endless\r")
        await screen.read_until("endless 8192 2 1xx")
        await screen.press(b"\x03")
        await screen.at_prompt(3)
        await screen.press(b"again\r")
        await screen.read_until("again 8192 2 1")
        process = int(logged(model)[0].removeprefix("start "))
        ended = os.pidfd_open(process)
        await screen.at_prompt(4)
        await screen.press(b"\x04")
        assert await screen.read_all() == 0
    await trio.lowlevel.wait_readable(ended)
    os.close(ended)
    assert [line for line in logged(model) if not line.startswith("start")] == [
        "call hello",
        "call endless",
        "left",
        "call again",
    ]


async def test_one_answer_through_pipes(model, on_pipes):
    """The text alone is on standard output."""
    async with on_pipes("generate", "-m", f"local:{model}", "hello") as process:
        shown = b"".join([data async for data in process.stdout])
        assert shown == b"hello 8192 2 1\n"
        assert await process.wait() == 0
