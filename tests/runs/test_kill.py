"""Runs that are killed: nothing lost, nothing doubled, at most what was under way is asked twice.

In real time, with real processes and a server on loopback that counts what it was asked; no time is asserted.
"""

from __future__ import annotations

import functools
import json
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from allm.runs.journal import open_journal
from allm.runs.saving import item_of

WORKER = Path(__file__).with_name("worker.py")
COUNT, LIMIT = 400, 8
CHUNK = (
    'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":'
    '{"role":"assistant","content":%s},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


class Answers:
    """A server that answers each text with itself, a little later, and counts."""

    def __init__(self):
        self.asked = Counter()
        self.reached = trio.Event()
        self.target = 0

    async def serve(self, stream):
        async with stream:
            data = b""
            while True:
                try:
                    piece = await stream.receive_some()
                except trio.BrokenResourceError:
                    return
                if not piece:
                    return
                data += piece
                while (end := data.find(b"\r\n\r\n")) >= 0:
                    length = int(re.search(rb"content-length: *(\d+)", data[:end], re.IGNORECASE)[1])
                    if len(data) < end + 4 + length:
                        break
                    body, data = json.loads(data[end + 4 : end + 4 + length]), data[end + 4 + length :]
                    await self._answer(stream, body["messages"][-1]["content"])

    async def _answer(self, stream, text):
        text = text if isinstance(text, str) else text[0]["text"]
        self.asked[text] += 1
        if self.asked.total() >= self.target:
            self.reached.set()
        await trio.sleep(0.002)
        body = (CHUNK % json.dumps(f"re: {text}")).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
        try:
            await stream.send_all(head + body)
        except trio.BrokenResourceError:
            return

    async def has_been_asked(self, times):
        self.target, self.reached = times, trio.Event()
        if self.asked.total() < times:
            await self.reached.wait()


@pytest.mark.timeout(300)
async def test_a_run_that_is_killed_three_times(tmp_path, nursery):
    """The journal is exact, and the consumer's own file has each item that was not under way."""
    server, out = Answers(), tmp_path / "out.jsonl"
    listeners = await nursery.start(functools.partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
    (_, port) = listeners[0].socket.getsockname()
    journal = tmp_path / "run.sqlite"
    command = [sys.executable, WORKER, journal, "run", f"http://127.0.0.1:{port}/v1", str(COUNT), str(LIMIT), out]
    for times in (80, 180, 300):
        process = await trio.lowlevel.open_process(command)
        await server.has_been_asked(times)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    await trio.run_process(command)
    nursery.cancel_scope.cancel()
    rows = list(open_journal(journal, "run").rows())
    assert [row.index for row in rows] == list(range(COUNT))
    for row in rows:
        assert row.status == "done"
        assert item_of(row, None, row.index).response.output_text == f"re: q{row.index}"
    assert set(server.asked) == {f"q{index}" for index in range(COUNT)}
    assert max(server.asked.values()) <= 4
    assert COUNT <= server.asked.total() <= COUNT + 3 * LIMIT
    delivered = [json.loads(line) for line in out.read_text().splitlines()]
    assert (
        len({key for key, _ in delivered}) == len(delivered) >= COUNT - 3 * 4 * LIMIT
    )  # what was saved when it was killed
