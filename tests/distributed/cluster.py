"""What the tests of several workers share: servers, processes of an example, and a look at the journal."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import trio

from allm.runs.journal import open_journal

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("with_servers", ROOT / "tests" / "session" / "with_servers.py")
with_servers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(with_servers)

URL = os.environ.get("ALLM_TEST_POSTGRES")
COUNT, PART, LIMIT = 600, 50, 4


def rows(run):
    journal = open_journal(URL, run)
    try:
        return list(journal.rows())
    finally:
        journal.close()


async def complete(run):
    """Wait until the journal has every input; the processes that write it cannot tell us."""
    while True:
        found = await trio.to_thread.run_sync(rows, run)
        if len(found) >= COUNT:
            return found
        await trio.sleep(0.1)


def is_exact(found):
    """Whether each input has its own answer, once."""
    answers = {index: f"re: q{index}" for index in range(COUNT)}
    return [row.index for row in found] == list(answers) and all(
        row.status == "done" and answers[row.index] in row.value for row in found
    )


class Program:
    """An example that is run with a model at `server`."""

    def __init__(self, name, server, folder, **environment):
        self.path, self.folder = ROOT / "examples" / f"{name}.py", folder
        self.inputs = folder / "inputs.txt"
        self.inputs.write_text("".join(f"q{index}\n" for index in range(COUNT)), "utf-8")
        self.environment = {
            **os.environ,
            "ALLM_JOURNAL": URL,
            "ALLM_MODEL": "ollama:m",
            "OLLAMA_BASE_URL": server.removesuffix("/v1"),
            "ALLM_PART": str(PART),
            "ALLM_LIMIT": str(LIMIT),
            **environment,
        }

    def _open(self, words, log):
        return subprocess.Popen([sys.executable, self.path, *words], env=self.environment, stdout=log, stderr=log)

    async def run(self, *words):
        """Run it to its end; returns what it printed."""
        command = [sys.executable, self.path, *words]
        done = await trio.run_process(
            command, env=self.environment, capture_stdout=True, capture_stderr=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    @contextmanager
    def running(self, name, *words):
        """Run it for the length of the block, in which it may be ended."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = self._open(words, log)
            try:
                yield process
            finally:
                process.kill()
                process.wait()


async def ended(process):
    """The exit code of a process."""
    return await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
