"""A loopback server that plays the vendors' endpoints as fast as asyncio can, for the benchmarks.

What it answers is in the first part of the path, so that every client can ask for it through its base URL:

    http://127.0.0.1:PORT/tokens=2000,events=50/v1/chat/completions

`tokens` is the number of tokens, `events` how many server-sent events one HTTP chunk holds, `pause` the seconds between
two chunks, `tool` whether the tokens are pieces of a tool call's arguments, `latency` the seconds before the answer,
`dimensions` those of an embedding. `GET /connections` tells how many connections were accepted.

    python server.py    prints its port
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import struct
from base64 import b64encode
from collections.abc import Callable
from typing import Any

DEFAULTS = {"tokens": 20.0, "events": 1.0, "pause": 0.0, "tool": 0.0, "latency": 0.0, "dimensions": 256.0}
accepted = 0


def event(data: dict[str, Any], *, named: bool = False, end: str = "\n\n") -> bytes:
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {json.dumps(data, separators=(',', ':'))}{end}".encode()


def words(tokens: int) -> list[str]:
    return [f" word{n}" for n in range(tokens)]


def pieces(tokens: int) -> list[str]:
    """A JSON object in pieces, as the arguments of a tool call arrive."""
    return ['{"text":"', *(f"word{n} " for n in range(tokens - 2)), '"}']


def chat_events(tokens: int, *, tool: bool) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4.1-mini"}
    head |= {"service_tier": "default", "system_fingerprint": "fp_1"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice], "usage": None, "obfuscation": "aB3x"})

    if tool:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "write", "arguments": ""}}
        deltas = [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in pieces(tokens)]
        opening: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    else:
        deltas, opening = [{"content": text} for text in words(tokens)], {"role": "assistant", "content": ""}
    details = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    usage = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": tokens + 8, **details}
    return [
        chunk(opening),
        *map(chunk, deltas),
        chunk({}, "tool_calls" if tool else "stop"),
        event({**head, "choices": [], "usage": usage, "obfuscation": ""}),
        b"data: [DONE]\n\n",
    ]


def chat_body(tokens: int) -> bytes:
    message = {"role": "assistant", "content": "".join(words(tokens)), "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 8, "completion_tokens": tokens, "total_tokens": tokens + 8}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4.1-mini"}
    return json.dumps({**body, "choices": [choice], "usage": usage}).encode()


def responses_events(tokens: int, *, tool: bool) -> list[bytes]:
    numbers = iter(range(tokens + 20))

    def sent(kind: str, **fields: Any) -> bytes:
        return event({"type": kind, "sequence_number": next(numbers), **fields}, named=True)

    response: dict[str, Any] = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5-mini"}
    response |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "error": None}
    started = {**response, "status": "in_progress", "output": [], "usage": None}
    texts = pieces(tokens) if tool else words(tokens)
    text = "".join(texts)
    if tool:
        item = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "write"}
        first, last = (
            {**item, "status": "in_progress", "arguments": ""},
            {**item, "status": "completed", "arguments": text},
        )
        place: dict[str, Any] = {"item_id": "fc_1", "output_index": 0}
        kind, before, after = "function_call_arguments", [], []
    else:
        part = {"type": "output_text", "annotations": [], "logprobs": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant"}
        first = {**item, "status": "in_progress", "content": []}
        last = {**item, "status": "completed", "content": [{**part, "text": text}]}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        kind = "output_text"
        before = [lambda: sent("response.content_part.added", **place, part={**part, "text": ""})]
        after = [lambda: sent("response.content_part.done", **place, part={**part, "text": text})]
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 8, "output_tokens": tokens, "total_tokens": tokens + 8, **details}
    finished = {**response, "status": "completed", "output": [last], "usage": usage}
    extra: dict[str, Any] = {} if tool else {"logprobs": []}
    return [
        sent("response.created", response=started),
        sent("response.in_progress", response=started),
        sent("response.output_item.added", output_index=0, item=first),
        *(make() for make in before),
        *(sent(f"response.{kind}.delta", **place, delta=piece, **extra, obfuscation="aB3x") for piece in texts),
        sent(f"response.{kind}.done", **place, **({"arguments": text} if tool else {"text": text, **extra})),
        *(make() for make in after),
        sent("response.output_item.done", output_index=0, item=last),
        sent("response.completed", response=finished),
    ]


def anthropic_events(tokens: int, *, tool: bool) -> list[bytes]:
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None}
    message["usage"] = {"input_tokens": 8, "output_tokens": 1, "cache_read_input_tokens": 0}
    block: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}}
    block = block if tool else {"type": "text", "text": ""}
    kind, field = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
    deltas = [{"type": kind, field: text} for text in (pieces(tokens) if tool else words(tokens))]
    stop = {"stop_reason": "tool_use" if tool else "end_turn", "stop_sequence": None}
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": tokens}},
        {"type": "message_stop"},
    ]
    return [event(data, named=True) for data in events]


def gemini_events(tokens: int, *, tool: bool) -> list[bytes]:
    def chunk(part: dict[str, Any], count: int, **more: Any) -> bytes:
        candidate = {"content": {"parts": [part], "role": "model"}, **more, "index": 0}
        usage = {"promptTokenCount": 8, "candidatesTokenCount": count, "totalTokenCount": count + 8}
        usage["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": 8}]  # type: ignore[assignment]
        head = {"modelVersion": "gemini-3-flash", "responseId": "r1"}
        return event({"candidates": [candidate], "usageMetadata": usage, **head}, end="\r\n\r\n")

    if tool:  # Gemini sends a call in one piece
        arguments = json.loads("".join(pieces(tokens)))
        return [chunk({"functionCall": {"name": "write", "args": arguments}}, tokens, finishReason="STOP")]
    texts = words(tokens)
    body = [chunk({"text": text}, n + 1) for n, text in enumerate(texts)]
    return [*body, chunk({"text": ""}, tokens, finishReason="STOP")]


EVENTS: dict[str, Callable[..., list[bytes]]] = {
    "/chat/completions": chat_events,
    "/responses": responses_events,
    "/messages": anthropic_events,
    ":streamGenerateContent": gemini_events,
}


@functools.lru_cache(maxsize=64)
def chunks(endpoint: str, tokens: int, events: int, tool: bool) -> list[bytes]:  # noqa: FBT001
    """The HTTP chunks of a streamed answer."""
    sent = EVENTS[endpoint](tokens, tool=tool)
    groups = [b"".join(sent[i : i + events]) for i in range(0, len(sent), events)]
    return [b"%x\r\n%s\r\n" % (len(group), group) for group in groups]


@functools.lru_cache(maxsize=8)
def embedding(dimensions: int) -> tuple[list[float], str]:
    numbers = [((n * 37) % 101 - 50) / 1000 for n in range(dimensions)]
    return numbers, b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()


def embeddings(body: bytes, dimensions: int) -> bytes:
    asked = json.loads(body)
    texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    value = embedding(dimensions)[asked.get("encoding_format") == "base64"]
    data = [{"object": "embedding", "index": index, "embedding": value} for index in range(len(texts))]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return json.dumps({"object": "list", "data": data, "model": asked["model"], "usage": usage}).encode()


class Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        global accepted  # noqa: PLW0603
        accepted += 1
        self.transport: Any = transport
        self.received = bytearray()
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self.tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.received[:end])
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(found[1]) if found else 0
        if len(self.received) < end + 4 + size:
            return
        body = bytes(self.received[end + 4 : end + 4 + size])
        del self.received[: end + 4 + size]
        task = asyncio.ensure_future(self.answer(head.split(b" ", 2)[1].decode(), body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, path: str, body: bytes) -> None:
        if path == "/connections":
            self.send_body(json.dumps(accepted).encode())
            return
        options = DEFAULTS | {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", path)}
        if options["latency"]:
            await asyncio.sleep(options["latency"])
        tokens, path = int(options["tokens"]), path.partition("?")[0]
        endpoint = next((ending for ending in EVENTS if path.endswith(ending)), None)
        if path.endswith("/embeddings"):
            self.send_body(embeddings(body, int(options["dimensions"])))
        elif endpoint is None or (endpoint == "/chat/completions" and not re.search(rb'"stream": ?true', body)):
            self.send_body(chat_body(tokens))
        else:
            await self.stream(chunks(endpoint, tokens, int(options["events"]), bool(options["tool"])), options["pause"])

    async def stream(self, parts: list[bytes], pause: float) -> None:
        write = self.transport.write
        write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number, part in enumerate(parts):
            if pause:
                await asyncio.sleep(pause)
            elif number % 64 == 63:
                while self.transport.get_write_buffer_size() > 1 << 18:  # noqa: ASYNC110  # a slow reader
                    await asyncio.sleep(0.001)
            write(part)
        write(b"0\r\n\r\n")

    def send_body(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % len(body) + body)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
