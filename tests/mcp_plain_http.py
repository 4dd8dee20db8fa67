"""A server over HTTP whose answers a test writes byte by byte: one request for each connection."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

TOOL = {"name": "echo", "inputSchema": {"type": "object", "properties": {}}}


@attrs.define
class Asked:
    """A request: its method, path, headers (names in lower case), and message if it has one."""

    method: str
    path: str
    headers: dict[str, str]
    message: dict[str, object]

    @property
    def called(self) -> str:
        """The method of its message, or of the request."""
        return str(self.message.get("method", self.method))


def plain(status: int, body: bytes = b"", **headers: str) -> list[bytes]:
    """The chunks of a whole answer."""
    lines = {"content-length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
    return [head(status, **lines) + body]


def head(status: int, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Status", *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode()


def answer(asked: Asked, result: object, **headers: str) -> list[bytes]:
    """The answer to a message, in JSON."""
    body = json.dumps({"jsonrpc": "2.0", "id": asked.message["id"], "result": result}).encode()
    return plain(200, body, content_type="application/json", **headers)


def events(*data: object, **headers: str) -> list[bytes]:
    """A stream of events that ends after them; a text is written as it is."""
    lines = [item if isinstance(item, str) else f"data: {json.dumps(item)}\n\n" for item in data]
    return [head(200, content_type="text/event-stream", **headers), *(line.encode() for line in lines)]


def usual(asked: Asked, session: str | None = None) -> list[bytes]:
    """What a good server of 2025-11-25 answers."""
    message = asked.message
    if asked.called == "initialize":
        info = {"serverInfo": {"name": "plain", "version": "1"}, "capabilities": {"tools": {}}}
        result = {"protocolVersion": "2025-11-25", **info}
        return answer(asked, result, **({} if session is None else {"mcp_session_id": session}))
    if asked.called == "tools/list":
        return answer(asked, {"tools": [TOOL]})
    if asked.called == "tools/call":
        return answer(asked, {"content": [{"type": "text", "text": "hi"}]})
    if "id" in message:
        error = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}}
        return plain(404, json.dumps(error).encode(), content_type="application/json")
    return plain(202) if asked.method == "POST" else plain(405)


@attrs.define
class PlainServer:
    """Where it is, and what it was asked."""

    url: str = ""
    asked: list[Asked] = attrs.field(factory=list)

    def seen(self, called: str) -> list[Asked]:
        return [one for one in self.asked if one.called == called]


@asynccontextmanager
async def plain_http(reply: Callable[[Asked], list[bytes]]) -> AsyncGenerator[PlainServer]:
    """Run it."""
    server = PlainServer()
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, partial(_serve, server, reply), 0, host="127.0.0.1"))
        server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp"
        yield server
        nursery.cancel_scope.cancel()


async def _serve(server, reply, stream):
    try:
        read = b""
        while b"\r\n\r\n" not in read:
            if not (chunk := await stream.receive_some()):
                return
            read += chunk
        start, _, body = read.partition(b"\r\n\r\n")
        first, *lines = start.decode().split("\r\n")
        headers = {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += await stream.receive_some()
        method, path, _ = first.split(" ")
        asked = Asked(method, path, headers, json.loads(body) if body else {})
        server.asked.append(asked)
        for chunk in reply(asked):
            await stream.send_all(chunk)
    except trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(stream)
