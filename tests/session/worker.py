"""Workers in processes of their own, for the tests of stores that need real ones.

`python worker.py kill URL LOG KILLS` kills workers in the middle of turns. It forks each from a process without
threads that has loaded everything, so that a new one costs milliseconds. Workers and killer write what they know to
LOG, one JSON array per line, each line synced before the worker goes on.

`python worker.py reply URL SESSION HOW` loads the session, says so, waits for a line, replies, and prints what came of
it; HOW is "save" or "turn".
"""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import trio

import allm
from allm import fake
from allm.session.stores import sql_rows

SESSIONS = 8  # in turn, so that the lease of a killed worker has mostly run out when its session is next
LEASE = 0.4  # seconds, short for the same reason
TURNS = 3  # of one life
LIMIT = 60.0  # seconds for one life: a worker that hangs is found, not waited for
DELAY = 0.12  # seconds, at most, until a worker dies that no point kills: about half a life
OPERATIONS = {"acquire": 1, "append": 15, "write": 3, "release": 1}
POINTS = {  # and how often a life passes them
    **{f"{when} {name}": times for when in ("before", "after") for name, times in OPERATIONS.items()},
    "statement": 40,  # inside a transaction; not with Redis
    "ran": 9,
    "acknowledged": 3,
}


class Log:
    """Facts in the order in which they became known."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __call__(self, *fact):
        os.write(self.file, json.dumps(fact).encode() + b"\n")
        os.fsync(self.file)


class Fate:
    """The point at which this worker dies, if it gets there, as the n-th passing of a named point."""

    def __init__(self, point=None, passings=1):
        self.point, self.left = point, passings

    def __call__(self, point):
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A backend that passes points, and logs which results are safe."""

    def __init__(self, backend, fate, log):
        self.backend, self.fate, self.log = backend, fate, log

    def __getattr__(self, name):
        operation = getattr(self.backend, name)
        return functools.partial(self.run, name, operation) if name in OPERATIONS else operation

    async def run(self, name, operation, *args, **options):
        self.fate(f"before {name}")
        result = await operation(*args, **options)
        self.fate(f"after {name}")
        if name == "acquire" and result is not None:
            self.log("found", args[0], result.version)
        entries = result.journal if name == "acquire" and result is not None else ()
        if name == "append" and result:
            entries = args[2]
        for entry in map(allm.from_json, entries):
            if type(entry).__name__ == "ToolOutcome":
                self.log("journaled", entry.message.tool_call_id)
        return result


def script(name, number):
    """The responses of the model in a numbered turn: two calls at once, then one, then a text."""
    calls = [fake.tool_call("act", {"call": f"{name}/{number}/{n}"}, id=f"{name}/{number}/{n}") for n in range(3)]
    return [[fake.text("Looking."), *calls[:2]], calls[2:], [fake.text(f"done {number}")]]


async def live(store, name, turns, fate, log):
    """Finish what an earlier worker left, then reply."""

    async def act(arguments):
        result = f"{arguments['call']} {random.getrandbits(32):x}"
        log("ran", arguments["call"], result)
        fate("ran")
        await trio.sleep(random.random() / 500)
        return result

    def engine(number, answers=0):
        adapter = allm.providers.Fake(scripts=script(name, number)[answers:])
        return allm.Engine(adapter=adapter, tools=[allm.Tool("act", "Acts.", handler=act)])

    def said(thread):
        return [index for index, message in enumerate(thread.messages) if message.role == "user"]

    with trio.fail_after(LIMIT):
        async with store.turn(name, lease=LEASE) as turn:
            for _ in range(turns):
                left = turn.interrupted
                if left is not None:
                    number = len(said(left))
                    answers = sum(message.role == "assistant" for message in left.messages[said(left)[-1] :])
                    await turn.resume(engine(number, answers))
                else:
                    number = len(said(turn.session.thread)) + 1
                    await turn.reply(engine(number), f"turn {number}")
                log("acknowledged", name, turn.version, number)
                fate("acknowledged")
        await store.aclose()


def fork(url, name, turns, fate, log):
    """Start a worker; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        random.seed()
        change = sql_rows.Transaction.change
        sql_rows.Transaction.change = lambda self, *args: (fate("statement"), change(self, *args))[1]
        store = allm.session.open_store(url)
        store._backend = Watched(store._backend, fate, log)
        trio.run(live, store, name, turns, fate, log)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def kill(url, path, kills):
    """Kill workers until the given number have died, then let one live for each session."""
    log = Log(path)
    # Load whatever a life needs, once. A store in memory starts no threads, which would not survive a fork.
    allm.session.open_store(url)
    trio.run(live, allm.session.open_store("memory://"), "warm-up", TURNS, Fate(), Log(f"{path}.warm-up"))
    gc.freeze()  # or every child would copy what it only looks through
    killed = lives = 0
    while killed < kills:
        name = f"{Path(path).name}-{lives % SESSIONS}"
        lives += 1
        if lives % 2:
            point = random.choice([*POINTS])
            pid = fork(url, name, TURNS, Fate(point, random.randint(1, POINTS[point])), log)
        else:
            pid = fork(url, name, TURNS, Fate(), log)
            time.sleep(random.random() * DELAY)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            killed += 1
            log("killed", name)
        elif os.waitstatus_to_exitcode(status):
            sys.exit(1)
    for number in range(SESSIONS):
        _, status = os.waitpid(fork(url, f"{Path(path).name}-{number}", 1, Fate(), log), 0)
        if status:
            sys.exit(1)


async def reply(url, name, how):
    """One of two workers that reply at once."""
    async with allm.session.open_store(url) as store:
        session, version = await store.load(name)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        engine = allm.Engine(adapter=allm.providers.Fake(script=[fake.text("done")]))
        try:
            if how == "save":
                session, _ = await allm.session.reply(engine, session, str(os.getpid()))
                version = await store.save(session, version=version)
            else:
                async with store.turn(name, version=version) as turn:
                    await turn.reply(engine, str(os.getpid()))
                session, version = turn.session, turn.version
            print(json.dumps(["won", version, allm.to_json(session)]))
        except allm.SessionConflict as conflict:
            print(json.dumps(["conflict", conflict.version, allm.to_json(conflict.session)]))


if __name__ == "__main__":
    _, command, *arguments = sys.argv
    if command == "kill":
        kill(arguments[0], arguments[1], int(arguments[2]))
    else:
        trio.run(reply, *arguments)
