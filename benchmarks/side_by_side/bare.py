"""The limit: httpx, a C JSON parser and a loop on Trio, without any library."""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import msgspec
import trio
from worker import Meter, check, cpu_of, peak_resident, resident, serve

try:
    import httpx2 as httpx  # as the library does, which uses it where it is installed
except ImportError:
    import httpx

decode = msgspec.json.Decoder().decode
ENDPOINTS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse",
}
BODY = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def new_client() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx.AsyncClient(timeout=None, limits=limits)  # noqa: S113  # the server is this machine's


def text_of(format_: str, data: Any) -> str | None:
    """The new text in an event's data, or the new piece of a tool call's arguments."""
    match format_:
        case "chat":
            choices = data["choices"]
            if not choices:
                return None
            delta = choices[0]["delta"]
            return delta["tool_calls"][0]["function"]["arguments"] if "tool_calls" in delta else delta.get("content")
        case "responses":
            return data.get("delta")
        case "anthropic":
            delta = data.get("delta") or {}
            return delta.get("text") or delta.get("partial_json")
        case _:
            part = data["candidates"][0]["content"]["parts"][0]
            return part.get("text") or (json.dumps(part["functionCall"]["args"]) if "functionCall" in part else None)


async def read(client: httpx.AsyncClient, url: str, format_: str, *, stop_after: int | None = None) -> int:
    """Read a streamed answer, keep its text, and return how many pieces it had."""
    pieces: list[str] = []
    rest, separator = b"", b"\r\n\r\n" if format_ == "gemini" else b"\n\n"
    async with client.stream("POST", url + ENDPOINTS[format_], json=BODY) as response:
        async for received in response.aiter_raw():
            *events, rest = (rest + received).split(separator)
            for event in events:
                data = event[event.index(b"data: ") + 6 :]
                if data[:1] == b"{" and (text := text_of(format_, decode(data))):
                    pieces.append(text)
                    if len(pieces) == stop_after:
                        return len(pieces)
    "".join(pieces)
    return len(pieces)


async def tokens(meter: Meter, *, url: str, format: str, tokens: int) -> None:  # noqa: A002
    async with new_client() as client:
        await read(client, url.replace(f"tokens={tokens}", "tokens=20"), format)
        before = peak_resident()
        with meter.measure():
            count = await read(client, url, format)
    check(ok=count >= tokens or format == "gemini", what=count)
    meter.note(growth=peak_resident() - before)


async def short(meter: Meter, *, url: str, calls: int) -> None:
    """Without streaming, since that is what it is compared with."""
    async with new_client() as client:
        for warm in (True, False):
            with Meter().measure() if warm else meter.measure():
                for _ in range(5 if warm else calls):
                    response = await client.post(url + ENDPOINTS["chat"], json={**BODY, "stream": False})
                    text = decode(response.content)["choices"][0]["message"]["content"]
    check(ok="word19" in text, what=text)


async def first_token(meter: Meter, *, url: str, calls: int) -> None:
    async with new_client() as client:
        for warm in (True, False):
            with Meter().measure() if warm else meter.measure():
                for _ in range(5 if warm else calls):
                    await read(client, url, "chat", stop_after=1)


async def cold(meter: Meter, *, url: str) -> None:
    async with new_client() as client:
        await read(client, url, "chat", stop_after=1)
    meter.note(process=time.process_time())


async def command(meter: Meter) -> None:
    """A command line of click and rich with nothing behind it."""
    code = "import click, rich.console; click.Group(commands=[click.Command('a')])(['--help'])"
    meter.note(cpu=cpu_of([sys.executable, "-c", code]))


async def nothing(meter: Meter, *, calls: int) -> None:
    """A nursery with two tasks, which is what a call over an adapter that does nothing cannot do without."""
    with meter.measure():
        for _ in range(calls):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.lowlevel.checkpoint)
                nursery.start_soon(trio.lowlevel.checkpoint)


async def streams(meter: Meter, *, url: str, streams: int, tokens: int) -> None:
    async with new_client() as client:
        await read(client, url.replace("pause=", "no="), "chat")
        before, opened = resident(), 0

        async def one() -> None:
            nonlocal opened
            async with client.stream("POST", url + ENDPOINTS["chat"], json=BODY) as response:
                rest, count, is_open = b"", 0, False
                async for received in response.aiter_raw():
                    if not is_open:  # with its first event, as the others see it
                        opened, is_open = opened + 1, True
                        if opened == streams:
                            meter.note(open=trio.current_time() - start, memory=(resident() - before) / streams)
                    *events, rest = (rest + received).split(b"\n\n")
                    for event in events:
                        if event != b"data: [DONE]":
                            count += bool(text_of("chat", decode(event[6:])))
            check(ok=count == tokens, what=count)

        with meter.measure():
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(streams):
                    nursery.start_soon(one)


async def thread(meter: Meter, *, url: str, messages: int, turns: int) -> None:
    """`json.dumps` of the body and a request, for each turn."""
    sent = [{"role": ("user", "assistant")[n % 2], "content": f"message {n} " + "word " * 20} for n in range(messages)]
    async with new_client() as client:
        await read(client, url, "chat")
        with meter.measure():
            for turn in range(turns):
                sent.append({"role": "user", "content": f"question {turn}"})
                body = json.dumps({"model": "gpt-4.1-mini", "stream": True, "messages": sent})
                async with client.stream("POST", url + ENDPOINTS["chat"], content=body.encode()) as response:
                    await response.aread()
                sent.append({"role": "assistant", "content": "".join(f" word{n}" for n in range(20))})


async def codec(meter: Meter, *, messages: int, repeat: int) -> None:
    """The standard library's `json`, with dicts that say what a thread says."""
    parts = [[{"type": "text", "text": f"message {n} " + "word " * 20}] for n in range(messages)]
    value = {"messages": [{"role": ("user", "assistant")[n % 2], "parts": part} for n, part in enumerate(parts)]}
    with meter.measure():
        for _ in range(repeat):
            text = json.dumps(value)
    meter.note(encode=meter.costs["cpu"])
    with meter.measure():
        for _ in range(repeat):
            check(ok=json.loads(text) == value, what="json")
    meter.note(decode=meter.costs["cpu"] - meter.costs["encode"])


async def embeddings(meter: Meter, *, url: str, texts: int, batch: int) -> None:
    async with new_client() as client:
        with meter.measure():
            vectors = []
            for start in range(0, texts, batch):
                asked = [f"text {n}" for n in range(start, start + batch)]
                body = {"model": "m", "input": asked, "encoding_format": "base64"}
                response = await client.post(url + "/v1/embeddings", json=body)
                items = decode(response.content)["data"]
                vectors += [tuple(array("f", base64.b64decode(item["embedding"]))) for item in items]
    check(ok=len(vectors) == texts, what=len(vectors))


async def image(meter: Meter, *, url: str, megabytes: int) -> None:
    """Encode a picture as base64 into the body that is sent, piece by piece: what the limit of memory would be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(megabytes << 20))
        async with new_client() as client:
            await read(client, url, "chat")
            data = path.read_bytes()
            before = peak_resident()

            async def body() -> Any:
                yield b'{"model":"m","stream":true,"image":"'
                for start in range(0, len(data), 3 << 16):
                    yield base64.b64encode(data[start : start + (3 << 16)])
                yield b'"}'

            size = len(b'{"model":"m","stream":true,"image":""}') + (len(data) + 2) // 3 * 4
            with meter.measure():
                headers = {"content-length": str(size)}
                await client.post(url + ENDPOINTS["chat"], content=body(), headers=headers)
            meter.note(peak=peak_resident() - before + len(data))


ROWS = {
    "tokens": tokens,
    "short": short,
    "first_token": first_token,
    "cold": cold,
    "command": command,
    "nothing": nothing,
    "streams": streams,
    "thread": thread,
    "codec": codec,
    "embeddings": embeddings,
    "image": image,
}

if __name__ == "__main__":
    serve(ROWS, trio.run)
