"""Hosts without a server: a program on Trio, one on asyncio, and a script."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import trio

from hosts import calls
from hosts.calls import Call

PATHS = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
"""Where a process of its own finds the same modules."""


class Trio:
    """A program on Trio, in this process."""

    title = "Trio"
    calls = "`allm`"
    cancelled_by = "`CancelScope`"
    limited_by = "`move_on_after`"

    def close(self):
        """Nothing lasts."""

    def run(self, operation, url, store):
        noted = []
        trio.run(calls.run, operation, Call(url=url, store=store, note=noted.append))
        return noted

    def cut(self, operation, url, store):
        """Run an operation and cancel it from outside when it has seen the first words."""
        noted = []

        async def main():
            seen = trio.Event()
            call = Call(url=url, store=store, seen=lambda _: seen.set(), note=noted.append)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(calls.run, operation, call)
                await seen.wait()
                nursery.cancel_scope.cancel()

        trio.run(main)
        return noted


class Asyncio(Trio):
    """A program on asyncio, in this process."""

    title = "asyncio"
    calls = "`allm.aio`"
    cancelled_by = "`Task.cancel`"
    limited_by = "`asyncio.timeout`"

    def run(self, operation, url, store):
        noted = []
        call = Call(url=url, store=store, note=noted.append, loop=calls.OnAsyncio)
        asyncio.run(calls.run(operation, call))
        return noted

    def cut(self, operation, url, store):
        noted = []

        async def main():
            seen = asyncio.Event()
            call = Call(url=url, store=store, seen=lambda _: seen.set(), note=noted.append, loop=calls.OnAsyncio)
            task = asyncio.create_task(calls.run(operation, call))
            await seen.wait()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        asyncio.run(main())
        return noted


class Script(Trio):
    """A plain script, in a process of its own."""

    title = "a script or thread"
    calls = "`allm.blocking`"
    cancelled_by = "Ctrl-C"
    limited_by = "`request_timeout`"

    def _started(self, operation, url, store):
        command = [sys.executable, "-m", "hosts.script", operation, url, store]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PATHS}, stdout=subprocess.PIPE, text=True)

    def run(self, operation, url, store):
        with self._started(operation, url, store) as process:
            lines = process.communicate(timeout=50)[0].splitlines()
        assert process.returncode == 0
        return [json.loads(line) for line in lines]

    def cut(self, operation, url, store):
        with self._started(operation, url, store) as process:
            assert json.loads(process.stdout.readline()) == "seen"
            process.send_signal(signal.SIGINT)
            lines = process.communicate(timeout=50)[0].splitlines()
        assert process.returncode == 0
        return [json.loads(line) for line in lines]
