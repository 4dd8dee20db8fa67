"""Programs may be told to stop at any moment. In real time, since they are processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.testing import Reply, WireServer

SERVICE = Path(__file__).with_name("service.py")
WORDS = [f"word{n} " for n in range(40)]
PACE = 0.02  # seconds between words
PATIENCE = 60  # seconds for a process to start or to end
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
QUESTION = "What is a cat?"


def slow_answer():
    answer = Reply.script("openai", [fake.text(word) for word in WORDS])
    return attrs.evolve(answer, pauses=dict.fromkeys(answer.event_ends, PACE))


async def saved(path, session_id):
    """The texts of the saved conversation."""
    async with allm.session.open_store(f"sqlite:///{path}") as store:
        session, _ = await store.load(session_id)
    allm.validate(session)
    return [(message.role, message.text) for message in session.thread.messages]


def check_partial(messages, shown):
    """The question and the beginning of the answer, which has at least what was shown."""
    assert messages[0] == ("user", QUESTION)
    said = "".join(text for role, text in messages[1:] if role == "assistant")
    assert len(messages) <= 2
    assert "".join(WORDS).startswith(said)
    assert said.strip().startswith(shown.strip())


async def ended(process, scope_seconds=PATIENCE):
    with trio.fail_after(scope_seconds):
        return await process.wait()


async def read_until(stream, size):
    """Read at least `size` bytes."""
    text = b""
    with trio.fail_after(PATIENCE):
        while len(text) < size:
            piece = await stream.receive_some(65536)
            assert piece, f"the output ended with {text!r}"
            text += piece
    return text.decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stop", SIGNALS, ids=lambda stop: stop.name)
async def test_a_signal_ends_a_chat_of_the_command_line(stop, tmp_path, long, chance, record_property):
    """Ctrl-C and SIGTERM end the turn of `allm chat`; what had arrived is in its session."""
    trials = 10 if long else 1
    for number in range(trials):
        path = tmp_path / f"{number}.db"
        async with WireServer(slow_answer()) as server:
            command = [sys.executable, "-m", "allm", "chat", "-m", "openai:m", "--base-url", server.url("openai")]
            process = await trio.lowlevel.open_process(
                [*command, "--session", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "OPENAI_API_KEY": "k"},
            )
            try:
                await process.stdin.send_all(f"{QUESTION}\nAnd a dog?\n".encode())
                shown = await read_until(process.stdout, chance.randint(1, 100))
                process.send_signal(stop)
                assert await ended(process) == SIGNALS[stop]
                shown += b"".join([piece async for piece in process.stdout]).decode()
                assert b"Traceback" not in b"".join([piece async for piece in process.stderr])
            finally:
                process.kill()
            with trio.fail_after(PATIENCE):
                await server.wait_idle()
            assert len(server.requests) == 1
        check_partial(await saved(path, "chat"), shown)
    record_property("signals", trials)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stop", SIGNALS, ids=lambda stop: stop.name)
async def test_a_signal_ends_a_service(stop, tmp_path, long, chance, record_property):
    """A web service on Trio that is stopped ends its turns, each saved with what had arrived."""
    trials, turns = (5, 20) if long else (1, 3)
    for number in range(trials):
        path = tmp_path / f"{number}.db"
        async with WireServer(slow_answer()) as server:
            process = await trio.lowlevel.open_process(
                [sys.executable, SERVICE, server.url("openai"), f"sqlite:///{path}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            try:
                port = int(await read_until(process.stdout, 2))
                shown = {}

                async def ask(name, port=port, shown=shown):
                    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                        head = f"POST /{name} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(QUESTION)}\r\n\r\n"
                        await stream.send_all(head.encode() + QUESTION.encode())
                        shown[name] = ""
                        while piece := await stream.receive_some(65536):
                            shown[name] += piece.decode()

                async with trio.open_nursery() as nursery:
                    for name in range(turns):
                        nursery.start_soon(ask, f"s{name}")
                    with trio.fail_after(PATIENCE):
                        while not all("word" in shown.get(f"s{name}", "") for name in range(turns)):
                            await trio.sleep(PACE)
                    await trio.sleep(chance.random() * PACE * 20)
                    process.send_signal(stop)
                    assert await ended(process) == 0
                assert b"".join([piece async for piece in process.stderr]) == b""
            finally:
                process.kill()
            with trio.fail_after(PATIENCE):
                await server.wait_idle()
        for name in range(turns):
            check_partial(await saved(path, f"s{name}"), "word0")
    record_property("signals", trials)
    record_property("turns", trials * turns)
