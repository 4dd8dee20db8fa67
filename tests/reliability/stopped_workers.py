"""Workers that are stopped in the middle of a turn and wake when another one has their session.

`python stopped_workers.py URL LOG STOPS SEED`. A worker stops itself with SIGSTOP at a random point; when its lease has
run out another worker goes on with the session; then the first one wakes. Facts go to LOG, as those of `worker.py` do.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "session"))

import worker
from worker import SESSIONS, TURNS, Fate, Log

import allm
from allm.session.stores.sql import SqlBackend

REFUSED = 3  # the exit code of a worker that was told that the session is no longer its own
# In the middle of a turn. Not inside a transaction: a database keeps its lock for as long as the process is stopped.
# Other tools of the turn save their results in threads meanwhile, so stopping waits for these.
TRANSACTION = threading.Lock()
POINTS = {point: times for point, times in worker.POINTS.items() if point.endswith((" append", " write", "ran"))}


class Stop(Fate):
    """A fate that stops the process instead of killing it."""

    def __call__(self, point):
        if point == self.point:
            self.left -= 1
            if self.left == 0:
                with TRANSACTION:
                    os.kill(os.getpid(), signal.SIGSTOP)


def watch_transactions():
    """Let no transaction run while a worker stops."""
    run = SqlBackend._in_thread

    def alone(self, work):
        with TRANSACTION:
            return run(self, work)

    SqlBackend._in_thread = alone


def refusable(live):
    """A life that may end because another worker has the session."""

    async def run(store, name, turns, fate, log):
        try:
            await live(store, name, turns, fate, log)
        except allm.SessionError as error:
            if error.reason not in {"lease_lost", "conflict"}:
                raise
            log("refused", name, error.reason)
            os._exit(REFUSED)

    return run


def check(pid, *codes):
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) not in codes:
        sys.exit(f"a worker ended with {status}")


def stop(url, path, stops, seed):
    """Stop workers until the given number have been stopped."""
    chance, log = random.Random(f"{seed} {url.partition(':')[0]}"), Log(path)
    allm.session.open_store(url)
    trio.run(worker.live, allm.session.open_store("memory://"), "warm-up", TURNS, Fate(), Log(f"{path}.warm-up"))
    worker.live = refusable(worker.live)
    watch_transactions()
    stopped = lives = 0
    while stopped < stops:
        name = f"{Path(path).name}-{lives % SESSIONS}"
        lives += 1
        point = chance.choice([*POINTS])
        first = worker.fork(url, name, TURNS, Stop(point, chance.randint(1, POINTS[point])), log)
        _, status = os.waitpid(first, os.WUNTRACED)
        if not os.WIFSTOPPED(status):  # it had no such point
            if os.waitstatus_to_exitcode(status):
                sys.exit(1)
            continue
        stopped += 1
        log("stopped", name, point)
        check(worker.fork(url, name, 1, Fate(), log), 0)  # waits for the lease to run out
        os.kill(first, signal.SIGCONT)
        check(first, 0, REFUSED)


if __name__ == "__main__":
    stop(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
