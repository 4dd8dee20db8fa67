"""Streamed answers in the words of each vendor, and a server in another process that sends them.

Each vendor's events are those that its service sends today: with usage in every chunk of Gemini's, padding in
Anthropic's, `obfuscation` in OpenAI's.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import Any

VENDORS = ("openai", "openai_responses", "anthropic", "gemini")


def _event(data: dict[str, Any], name: str = "", *, pad: str = "", end: bytes = b"\n\n") -> bytes:
    head = f"event: {name}\ndata: " if name else "data: "
    return head.encode() + json.dumps(data, separators=(",", ":"))[:-1].encode() + pad.encode() + b"}" + end


def _chat(texts: Iterable[str], *, call: bool) -> Iterator[bytes]:
    head = {"id": "chatcmpl-C1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-mini"}
    head |= {"service_tier": "default", "system_fingerprint": None}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**head, "choices": [choice], "usage": None, "obfuscation": "aB3x"})

    if call:
        function = {"name": "write", "arguments": ""}
        first = {"index": 0, "id": "call_1", "type": "function", "function": function}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [first], "refusal": None})
        for text in texts:
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})
    else:
        yield chunk({"role": "assistant", "content": "", "refusal": None})
        for text in texts:
            yield chunk({"content": text})
    yield chunk({}, "tool_calls" if call else "stop")
    counts = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    yield _event({**head, "choices": [], "usage": counts, "obfuscation": ""})
    yield b"data: [DONE]\n\n"


def _responses(texts: Iterable[str], *, call: bool) -> Iterator[bytes]:
    number, said = iter(range(1 << 40)), list[str]()

    def event(kind: str, **fields: Any) -> bytes:
        return _event({"type": f"response.{kind}", "sequence_number": next(number), **fields}, f"response.{kind}")

    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5-mini", "error": None}
    yield event("created", response={**response, "status": "in_progress", "output": []})
    if call:
        place: dict[str, Any] = {"item_id": "fc_1", "output_index": 0}
        item = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "write"}
        yield event("output_item.added", item={**item, "status": "in_progress", "arguments": ""}, output_index=0)
    else:
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        item = {"id": "msg_1", "type": "message", "role": "assistant"}
        yield event("output_item.added", item={**item, "status": "in_progress", "content": []}, output_index=0)
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        yield event("content_part.added", **place, part=part)
    kind = "function_call_arguments.delta" if call else "output_text.delta"
    more = {} if call else {"logprobs": []}
    for text in texts:
        said.append(text)
        yield event(kind, **place, delta=text, **more, obfuscation="aB3x")
    text = "".join(said)
    content = [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]
    item |= {"status": "completed", **({"arguments": text} if call else {"content": content})}
    yield event("output_item.done", item=item, output_index=0)
    usage = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    yield event("completed", response={**response, "status": "completed", "output": [item], "usage": usage})


def _anthropic(texts: Iterable[str], *, call: bool) -> Iterator[bytes]:
    number = iter(range(1 << 40))

    def event(kind: str, **fields: Any) -> bytes:
        return _event({"type": kind, **fields}, kind, pad=" " * (next(number) % 16))

    usage = {"input_tokens": 9, "output_tokens": 1, "service_tier": "standard"}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": []}
    yield event("message_start", message={**message, "stop_reason": None, "usage": usage})
    block = {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {}}
    yield event("content_block_start", index=0, content_block=block if call else {"type": "text", "text": ""})
    yield event("ping")
    kind, field = ("input_json_delta", "partial_json") if call else ("text_delta", "text")
    for text in texts:
        yield event("content_block_delta", index=0, delta={"type": kind, field: text})
    yield event("content_block_stop", index=0)
    delta = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": 5})
    yield event("message_stop")


def _gemini(texts: Iterable[str], *, call: bool) -> Iterator[bytes]:
    """Arguments in pieces are those of Vertex AI."""

    def chunk(part: dict[str, Any], count: int, **more: Any) -> bytes:
        usage = {"promptTokenCount": 9, "candidatesTokenCount": count, "totalTokenCount": count + 9}
        more_usage = {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}], "serviceTier": "standard"}
        candidate = {"content": {"parts": [part], "role": "model"}, **more, "index": 0}
        fields = {"candidates": [candidate], "usageMetadata": {**usage, **more_usage}}
        return _event({**fields, "modelVersion": "gemini-3.5-flash", "responseId": "r1"}, end=b"\r\n\r\n")

    if call:
        yield chunk({"functionCall": {"name": "write", "willContinue": True}}, 1)
    for number, text in enumerate(texts):
        piece = {"jsonPath": "$.text", "stringValue": text, "willContinue": True}
        part = {"functionCall": {"partialArgs": [piece], "willContinue": True}} if call else {"text": text}
        yield chunk(part, number + 1)
    yield chunk({"functionCall": {}} if call else {"text": ""}, 5, finishReason="STOP")


_EVENTS = {"openai": _chat, "openai_responses": _responses, "anthropic": _anthropic, "gemini": _gemini}


def pieces(count: int, *, call: bool = False, vendor: str = "openai") -> Iterator[str]:
    """The pieces of an answer: words, or the arguments of a call."""
    if call and vendor != "gemini":
        return chain(('{"text":"',), (f"word{n} " for n in range(count - 2)), ('"}',))
    return (f" word{n}" for n in range(count))


def events(vendor: str, count: int, *, call: bool = False) -> Iterator[bytes]:
    """The server-sent events of one answer of `count` pieces of text, or of a call's arguments."""
    return _EVENTS[vendor](pieces(count, call=call, vendor=vendor), call=call)


def http_chunks(vendor: str, count: int, per_chunk: int, *, call: bool) -> Iterator[bytes]:
    """The same as chunks of HTTP, with so many events in each."""
    sent = events(vendor, count, call=call)
    while group := b"".join(islice(sent, per_chunk)):
        yield b"%x\r\n%b\r\n" % (len(group), group)
    yield b"0\r\n\r\n"


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WRITE = 64  # chunks that are written at once
_KEPT = 200_000  # the longest answer that is kept; a longer one is made while it is sent


def _answer(connection: socket.socket, chunks: Any, one_by_one: bool) -> None:  # noqa: FBT001
    """Answer each request of a connection with the same chunks."""
    received = b""
    with connection, suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            while b"\r\n\r\n" not in received:
                if not (data := connection.recv(65536)):
                    return
                received += data
            head, _, received = received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            while len(received) < length:
                received += connection.recv(65536)
            received = received[length:]
            connection.sendall(_HEAD)
            sent = iter(chunks())
            while group := b"".join(islice(sent, 1 if one_by_one else _WRITE)):
                connection.sendall(group)


def _serve(pipe: Any, vendor: str, count: int, per_chunk: int, options: dict[str, bool]) -> None:
    def made() -> Iterable[bytes]:
        return http_chunks(vendor, count, per_chunk, call=options["call"])

    kept = list(made()) if count <= _KEPT else None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            connection, _ = listener.accept()
            args = (connection, made if kept is None else lambda: kept, options["one_by_one"])
            threading.Thread(target=_answer, args=args, daemon=True).start()


@contextmanager
def served(
    vendor: str, count: int, per_chunk: int = 1, *, call: bool = False, one_by_one: bool = False
) -> Iterator[str]:
    """A server in another process that gives this answer to every request; yields its address.

    Args:
        vendor: One of `VENDORS`.
        count: Pieces of the answer.
        per_chunk: Events in each chunk of HTTP.
        call: The pieces are those of a call's arguments.
        one_by_one: Write each chunk by itself; else as many as go, so that the client is never the one who waits.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    options = {"call": call, "one_by_one": one_by_one}
    process = context.Process(target=_serve, args=(there, vendor, count, per_chunk, options), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()
