"""What an open stream keeps: with a thousand of them, every object is memory, and time for Python's collector."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, GeneratorType

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.providers import OpenAI
from allm.testing import Reply, WireServer, loopback_clock

SOURCE = f"{Path(allm.__file__).parent}/"
SCRIPT = [fake.text("one two three"), fake.usage(input_tokens=1, output_tokens=3)]
FRAMES = {CoroutineType: "cr_code", GeneratorType: "gi_code", AsyncGeneratorType: "ag_code"}


@pytest.fixture
def clock():
    return loopback_clock()


def is_ours(kind):
    """Whether a class is of the library; others may have a descriptor in the place of the name."""
    module = str(kind.__module__)
    return module.startswith("allm.") and not module.startswith("allm.testing")


def kept():
    """Our own objects, and our own frames that wait, by kind."""
    gc.collect()
    found = Counter()
    for value in gc.get_objects():
        kind = type(value)
        if kind in FRAMES:
            place = getattr(value, FRAMES[kind]).co_filename
            if place.startswith(SOURCE) and "/testing/" not in place:
                found[f"{kind.__name__} {value.__qualname__}"] += 1
        elif is_ours(kind):
            found[kind.__qualname__] += 1
    return found


async def test_what_an_open_stream_keeps(clock):
    """Some fifty objects and frames of ours, and none that has done its work."""
    count = 20
    async with WireServer() as server:
        reply = Reply.script("openai", SCRIPT)
        server.default = attrs.evolve(reply, pauses={reply.body.index(b" three"): 1e6})
        adapter = OpenAI(base_url=server.url("openai"), api_key="k", endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="m")
        opened = 0

        async def one(*, task_status):
            nonlocal opened
            async with allm.stream_generate(engine, "hi", stream_timeout=None, first_event_timeout=None) as events:
                async for _ in events:
                    opened += 1
                    task_status.started()
                    await trio.sleep(1)  # the producer has read what there was, and waits for more
                    await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            await nursery.start(one)  # imports and caches what it needs
            await trio.sleep(5)
            before = kept()
            for _ in range(count):
                await nursery.start(one)
            await trio.sleep(5)
            found = kept() - before
            nursery.cancel_scope.cancel()
    assert opened == count + 1
    each = {kind: number / count for kind, number in found.items() if number >= count}
    frames = [kind for kind in each if kind.split()[0] in {"coroutine", "generator", "async_generator"}]
    assert "Chunks" in each
    assert len(frames) <= 14, frames
    assert sum(each.values()) <= 56, each
