"""The cost of a streamed token, compared with a bare loop over httpx and a JSON parser.

A server in another process sends the same Chat Completions response again and again, every token in its own HTTP chunk.
The candidates read it in turns, timed in CPU time of this process, without the server; the result is the fastest round
of each. The first row is the bare loop; the ratios of the others are relative to it.

    python benchmarks/per_token.py [tokens] [rounds]
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

import allm
from allm.testing import Reply, WireServer

TOKENS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 7


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "service_tier": "default",
    }
    return (
        b"data: " + json.dumps({**head, "choices": [choice], "usage": None, "obfuscation": "aB3x"}).encode() + b"\n\n"
    )


def scripted_reply(*, flush: bool) -> Reply:
    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": f" word{n}"}) for n in range(TOKENS)]
    events += [chunk({}, "stop"), b"data: [DONE]\n\n"]
    headers = {"content-type": "text/event-stream"}
    return Reply(headers=headers, body=b"".join(events), chunks=[len(event) for event in events], flush=flush)


def serve(connection: Any, flush: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        async with WireServer(default=scripted_reply(flush=flush)) as server:
            connection.send(server.url("openai"))
            await trio.to_thread.run_sync(connection.recv)

    trio.run(main)


async def bare_lines(client: Any, url: str) -> int:
    """Read with aiter_lines and the standard library's JSON, as a script would."""
    count = 0
    async with client.stream("POST", url + "/chat/completions", json={"stream": True}) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                count += bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))
    return count


async def bare_bytes(client: Any, url: str) -> int:
    """Raw reads, split as bytes, parsed by a C JSON library: the minimum."""
    count, decode, rest = 0, msgspec.json.Decoder().decode, b""
    async with client.stream("POST", url + "/chat/completions", json={"stream": True}) as response:
        async for data in response.aiter_raw():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                if event != b"data: [DONE]":
                    count += bool(decode(event[6:])["choices"][0]["delta"].get("content"))
    return count


def through(**options: Any) -> Callable[[Any, str], Awaitable[int]]:
    async def run(client: Any, url: str) -> int:
        adapter = allm.providers.OpenAI(api_key="k", base_url=url, http_client=client, endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="m")
        count = 0
        async with allm.stream_generate(engine, "hi", **options) as events:
            async for event in events:
                count += isinstance(event, allm.TextDelta)
        assert events.result().finish_reason == "stop"
        return count

    return run


async def blocking(client: Any, url: str) -> int:
    adapter = allm.providers.OpenAI(api_key="k", base_url=url, http_client=client, endpoint="chat_completions")
    response = await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")
    return response.output_text.count(" word")


async def measure(library: str, url: str) -> dict[str, float]:
    candidates: dict[str, Callable[[Any, str], Awaitable[int]]] = {
        "bare loop: raw bytes, C JSON": bare_bytes,
        "bare loop: lines, stdlib JSON": bare_lines,
        "allm, with raw chunks": through(include_raw_chunks=True),
        "allm, filter (the default)": through(),
        "allm, filter and observer": through(on_event=lambda event: None),
        "allm, blocking generate": blocking,
    }
    best = dict.fromkeys(candidates, float("inf"))
    async with importlib.import_module(library).AsyncClient(timeout=None) as client:
        for _ in range(ROUNDS):
            for name, candidate in candidates.items():
                start = time.process_time()
                count = await candidate(client, url)
                best[name] = min(best[name], time.process_time() - start)
                assert count == TOKENS, (name, count)
    return best


def compare(title: str, *, flush: bool) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there, flush), daemon=True)
    server.start()
    url = here.recv()
    for library in ("httpx", "httpx2"):
        try:
            version = importlib.import_module(library).__version__
        except ImportError:
            print(f"{library}: not installed")
            continue
        best = trio.run(measure, library, url)
        base = next(iter(best.values()))
        print(f"\n{title}; {library} {version}, {TOKENS} tokens, best of {ROUNDS}, CPU time of the client")
        print(f"{'':34}{'us per token':>14}{'ratio':>8}")
        for name, seconds in best.items():
            print(f"{name:34}{seconds / TOKENS * 1e6:14.1f}{seconds / base:8.2f}")
    here.send(None)
    server.join(5)


def main() -> None:
    compare("one network write for each token", flush=True)
    compare("as fast as the network allows", flush=False)


if __name__ == "__main__":
    main()
