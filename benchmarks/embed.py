"""The cost of embedding a hundred thousand texts, compared with a bare loop over httpx and a JSON parser.

A server in another process responds to each request as fast as it can, with vectors in base64. The bare loop sends the
same batches one after another and decodes them in the same way. CPU time is that of this process, without the server;
wall time includes sharing the machine with it. The result is the fastest round of each candidate.

The second table is Python's peak memory, for a tenth of the texts and for all of them: a candidate that keeps every
vector grows with their number, one that streams does not.

    python benchmarks/embed.py [texts] [dimensions] [rounds]
"""

from __future__ import annotations

import array
import base64
import functools
import gc
import importlib
import itertools
import json
import multiprocessing
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
import trio

import allm
from allm.testing import Reply, WireServer

TEXTS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
DIMENSIONS = int(sys.argv[2]) if len(sys.argv) > 2 else 256
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 3
BATCH = 1000
VECTOR = base64.b64encode(array.array("f", [0.5] * DIMENSIONS)).decode()

Candidate = Callable[[Any, str, int], Awaitable[int]]


@functools.cache
def scripted_reply(count: int) -> Reply:
    data = [{"object": "embedding", "index": index, "embedding": VECTOR} for index in range(count)]
    usage = {"prompt_tokens": 4 * count, "total_tokens": 4 * count}
    return Reply.json({"object": "list", "data": data, "model": "m", "usage": usage})


def serve(connection: Any) -> None:
    decode = msgspec.json.Decoder().decode

    async def main() -> None:
        async with WireServer() as server:

            def reply(request: Any) -> Reply:
                server.requests.clear()  # they would fill the memory
                return scripted_reply(len(decode(request.body)["input"]))

            server.default = reply
            connection.send(server.url("openai"))
            await trio.to_thread.run_sync(connection.recv)

    trio.run(main)


def texts(count: int) -> Iterator[str]:
    return (f"short text number {number}" for number in range(count))


async def bare(client: Any, url: str, count: int, *, loads: Callable[[bytes], Any]) -> int:
    """Send one request after another; decode every vector and keep none."""
    done, source = 0, texts(count)
    while batch := list(itertools.islice(source, BATCH)):
        body = {"model": "m", "input": batch, "encoding_format": "base64"}
        response = await client.post(url + "/embeddings", json=body, headers={"authorization": "Bearer k"})
        for item in loads(response.content)["data"]:
            vector = array.array("f")
            vector.frombytes(base64.b64decode(item["embedding"]))
            done += 1
    return done


def engine(client: Any, url: str) -> allm.Engine:
    adapter = allm.providers.OpenAIEmbeddings(api_key="k", base_url=url, http_client=client)
    return allm.Engine(embedding_adapter=adapter, embedding_model="m")


async def stream(client: Any, url: str, count: int, **options: Any) -> int:
    done = 0
    async with allm.stream_embed(engine(client, url), texts(count), batch_size=BATCH, **options) as batches:
        async for batch in batches:
            done += len(batch.embeddings)
    return done


async def whole(client: Any, url: str, count: int) -> int:
    response = await allm.embed(engine(client, url), texts(count), batch_size=BATCH)
    return len(response.embeddings)


CANDIDATES: dict[str, Candidate] = {
    "bare loop: httpx, C JSON": functools.partial(bare, loads=msgspec.json.Decoder().decode),
    "bare loop: httpx, stdlib JSON": functools.partial(bare, loads=json.loads),
    "allm.stream_embed, 1 at a time": functools.partial(stream, max_concurrency=1),
    "allm.stream_embed, 4 at a time": stream,
    "allm.embed, 4 at a time": whole,
}


async def measure(library: str, url: str) -> None:
    best = {name: (float("inf"), float("inf")) for name in CANDIDATES}
    async with importlib.import_module(library).AsyncClient(timeout=None) as client:
        for _ in range(ROUNDS):
            for name, candidate in CANDIDATES.items():
                gc.collect()
                cpu, wall = time.process_time(), time.perf_counter()
                assert await candidate(client, url, TEXTS) == TEXTS
                times = (time.process_time() - cpu, time.perf_counter() - wall)
                best[name] = min(best[name], times)
    base = next(iter(best.values()))
    print(f"\n{library}: {TEXTS} texts, {DIMENSIONS} dimensions, {BATCH} in a request, best of {ROUNDS}")
    print(f"{'':34}{'texts/s (CPU)':>14}{'ratio':>8}{'texts/s (wall)':>16}{'ratio':>8}")
    for name, (cpu, wall) in best.items():
        print(f"{name:34}{TEXTS / cpu:14,.0f}{cpu / base[0]:8.2f}{TEXTS / wall:16,.0f}{wall / base[1]:8.2f}")


async def peak(library: str, url: str, candidate: Candidate, count: int) -> float:
    async with importlib.import_module(library).AsyncClient(timeout=None) as client:
        await candidate(client, url, BATCH)  # a first run, so that lazy imports are not measured
        gc.collect()
        tracemalloc.start()
        await candidate(client, url, count)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return size / 1e6


async def memory(library: str, url: str) -> None:
    small = TEXTS // 10
    print(f"\n{library}: peak memory, in MB")
    print(f"{'':34}{small:>14,}{TEXTS:>14,}")
    for name in ("bare loop: httpx, C JSON", "allm.stream_embed, 4 at a time", "allm.embed, 4 at a time"):
        sizes = [await peak(library, url, CANDIDATES[name], count) for count in (small, TEXTS)]
        print(f"{name:34}{sizes[0]:14.1f}{sizes[1]:14.1f}")


async def leave(library: str, url: str) -> None:
    """Cancel half-way: the finished embeddings are available at once, and no request goes on."""
    reports: list[int] = []
    async with importlib.import_module(library).AsyncClient(timeout=None) as client:
        with trio.CancelScope() as scope:

            def progress(done: int, _total: int | None) -> None:
                reports.append(done)
                if done >= TEXTS // 2:
                    scope.cancel()

            block = allm.stream_embed(engine(client, url), texts(TEXTS), batch_size=BATCH, on_progress=progress)
            async with block as batches:
                await batches.until_done()
        kept = len(batches.result().embeddings)
    print(f"\ncancelled at {reports[-1]:,} after {len(reports)} reports of progress: {kept:,} embeddings kept")


def main() -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there,), daemon=True)
    server.start()
    url = here.recv()
    for library in ("httpx", "httpx2"):
        try:
            importlib.import_module(library)
        except ImportError:
            print(f"{library}: not installed")
            continue
        trio.run(measure, library, url)
        trio.run(memory, library, url)
        trio.run(leave, library, url)
    here.send(None)
    server.join(5)


if __name__ == "__main__":
    main()
