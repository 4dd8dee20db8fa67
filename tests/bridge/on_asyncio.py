"""Runs an async test function on asyncio, with what it needs from Trio."""

from __future__ import annotations

import asyncio
import functools
import threading
from contextlib import asynccontextmanager

import trio

from allm.aio.blocks import AsyncioBlock
from allm.bridge.thread import trio_thread
from allm.testing import WireServer


def on_asyncio(test):
    """Run a test on an event loop of its own, and see that it leaves no task, on the loop and in the Trio thread."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        async def main():
            before = tasks_in_trio()
            await asyncio.wait_for(test(*args, **kwargs), 30)
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert tasks_in_trio() == before

        with asyncio.Runner(debug=False) as runner:
            runner.run(main())

    del run.__wrapped__  # pytest-trio would take it for its own
    run.__signature__ = signature_of(test)
    return run


def signature_of(test):
    import inspect

    return inspect.signature(test)


def tasks_in_trio():
    """The names of the tasks in the Trio thread, without those of Trio itself."""

    def names():
        root = trio.lowlevel.current_root_task()
        found, waiting = [], [root]
        while waiting:
            task = waiting.pop()
            found.append(task.name)
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        return sorted(name for name in found if name.startswith("allm") and "HTTP clients" not in name)

    return trio_thread().call(names)


@asynccontextmanager
async def wire_server():
    """A `WireServer`, which runs in the Trio thread."""
    async with AsyncioBlock(WireServer(), lambda server, _: server) as server:
        yield server


def threads():
    """The names of all threads but Trio's workers, which it keeps for a while."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio thread"))
