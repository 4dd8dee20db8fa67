"""A server that answers each text with itself, a little later, and counts what it was asked."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter

import trio

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

    async def start(self, nursery):
        """Serve in this nursery; returns the URL."""
        listeners = await nursery.start(functools.partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
        return f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/v1"

    async def _serve(self, stream):
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
        """Wait until it was asked so often in all."""
        self.target, self.reached = times, trio.Event()
        if self.asked.total() < times:
            await self.reached.wait()
