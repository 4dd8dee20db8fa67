"""Bulk runs from asyncio and from plain threads."""

from __future__ import annotations

import asyncio
import threading

import pytest
import trio

import allm
import allm.aio
import allm.blocking
from allm import fake
from allm.providers import Fake
from bulk_inputs import texts


def echo(*before):
    """An engine whose functions run wherever the program does."""

    def respond(request):
        return [*before, fake.text(f"re: {request.messages[-1].text}")]

    return allm.Engine(adapter=Fake(respond=respond), model="m")


def test_on_asyncio(tmp_path):
    """Inputs, keys, progress and the call may all be functions of the event loop."""
    loops, progress = set(), []

    async def inputs():
        for text in texts(20):
            loops.add(asyncio.get_running_loop())
            await asyncio.sleep(0)
            yield text

    async def key(_index, text):
        loops.add(asyncio.get_running_loop())
        return text

    async def call(engine, text):
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return (await allm.aio.generate(engine, text)).output_text

    async def main():
        engine = echo()
        for _ in range(2):
            block = allm.aio.bulk(
                engine,
                inputs(),
                limit=4,
                key=key,
                call=call,
                on_progress=lambda run: progress.append(run.done),
                journal=tmp_path / "run.sqlite",
            )
            async with block as run:
                items = [item async for item in run]
            assert {item.key: item.response for item in items} == {text: f"re: {text}" for text in texts(20)}
            assert run.done == 20
        assert run.replayed == 20
        assert loops == {asyncio.get_running_loop()}
        assert progress[-1] == 20

    asyncio.run(main())


def test_cancelled_on_asyncio():
    """The run has ended when the cancellation goes on."""
    ended = []

    async def call(_engine, _text):
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    async def read():
        async with allm.aio.bulk(echo(), texts(20), limit=4, call=call) as run:
            async for _ in run:
                pass

    async def main():
        nonlocal begun
        begun = asyncio.Event()
        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    begun = None
    asyncio.run(main())


def test_in_a_thread(tmp_path):
    """With `with` and `for`, and a shard as one call."""
    engine, journal = echo(), tmp_path / "run.sqlite"
    with allm.blocking.bulk(engine, texts(10), limit=2, journal=journal, ordered=True) as run:
        assert [item.response.output_text for item in run] == [f"re: {text}" for text in texts(10)]
        assert (run.done, run.failed) == (10, 0)
    report = allm.blocking.run_shard(engine, texts(12), journal=journal, run="run")
    assert (report.done, report.replayed) == (12, 10)


def test_functions_of_a_thread(tmp_path):
    """Keys, calls, progress and what an adapter asks for are called in the thread that reads, which may use the run."""
    threads, progress = set(), []

    def key(_index, text):
        threads.add(threading.get_ident())
        return text

    def call(engine, text):
        threads.add(threading.get_ident())
        return allm.blocking.generate(engine, text).output_text

    def on_progress(run):
        threads.add(threading.get_ident())
        progress.append(run.done)

    async def respond(request):
        await trio.lowlevel.checkpoint()
        return f"re: {request.messages[-1].text}"

    engine = allm.Engine(adapter=Fake(respond=respond), model="m")
    for options in ({}, {"call": call}):
        with allm.blocking.bulk(
            engine, texts(20), limit=3, key=key, on_progress=on_progress, ordered=True, **options
        ) as run:
            keys = [item.key for item in run]
        assert keys == texts(20)
    assert threads == {threading.get_ident()}
    assert progress[-1] == 20


def test_stop_in_a_thread():
    """Whoever reads may stop the run."""
    items = []
    with allm.blocking.bulk(echo(), texts(1000), limit=2) as run, pytest.raises(allm.BulkError) as caught:
        for item in run:
            items.append(item)
            run.stop()
    assert caught.value.reason == "stopped"
    assert len(items) < 20
