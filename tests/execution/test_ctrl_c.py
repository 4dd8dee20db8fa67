"""Ctrl-C between two statements of the library: what it would leave behind is done first."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.stream.block import Block
from allm.providers import Fake


def press():
    signal.raise_signal(signal.SIGINT)


def interrupted(main):
    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_task_is_started_whole():
    """Ctrl-C while a task is being started: it runs, and its nursery cancels it and ends."""
    seen = []

    async def work():
        seen.append("started")
        await trio.sleep_forever()

    def begin():
        task = work()
        press()
        seen.append("given to the nursery")
        return task

    async def main():
        async with nursery_boundary() as nursery:
            start_task(nursery, begin)
            await trio.testing.wait_all_tasks_blocked()
            seen.append("went on")

    interrupted(main)
    assert seen[0] == "given to the nursery"
    assert "went on" not in seen


@pytest.mark.parametrize("moment", ["entering", "leaving"])
def test_a_block_is_entered_and_left_whole(moment):
    """Ctrl-C in the middle: the statements behind it run, and the body does not begin after it."""
    seen = []

    def note(what):
        if what == moment:
            press()
        seen.append(what)

    @asynccontextmanager
    async def opening():
        note("entering")
        try:
            yield "stream"
        finally:
            note("leaving")

    async def main():
        async with Block(opening, "async with ..."):
            seen.append("body")
            await trio.lowlevel.checkpoint()
            seen.append("rest of it")
        await trio.lowlevel.checkpoint()
        seen.append("went on")

    interrupted(main)
    expected = {"entering": ["entering", "body", "leaving"], "leaving": ["entering", "body", "rest of it", "leaving"]}
    assert seen == expected[moment]


def test_a_stream_is_started_whole():
    """Ctrl-C while the tasks of a stream are started: a reader that goes on reads it to its end."""
    texts = []

    class Instrument(trio.abc.Instrument):
        def task_spawned(self, task):
            if task.name == "allm producer":
                press()

    async def main():
        engine = allm.Engine(adapter=Fake([fake.text("a"), fake.delay(1), fake.text("b")]), model="m")
        async with allm.stream_generate(engine, "Hi") as events:
            for _ in range(2):
                try:
                    async for text in events.text():
                        texts.append(text)
                except KeyboardInterrupt:
                    texts.append("Ctrl-C")
        texts.append(events.result().output_text)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[Instrument()])
    assert texts == ["Ctrl-C", "a", "b", "ab"]
