"""`examples/bulk_on_ray.py` on two nodes: the journal is exact when one is killed, and when the program is."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

import cluster
from bulk_server import Answers
from cluster import COUNT, LIMIT, Program, complete, ended, is_exact

pytestmark = [
    pytest.mark.skipif(cluster.URL is None, reason="no server; `nox -s distributed -- --ray` starts one"),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.timeout(240),
]
START = [Path(sys.executable).with_name("ray"), "start", "--node-ip-address=127.0.0.1", "--num-cpus=1"]
START += ["--object-store-memory=80000000", "--disable-usage-stats"]


class Nodes:
    """Two of them, with one core each."""

    def __init__(self, environment):
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path, since it has Unix sockets
        self.address = f"127.0.0.1:{cluster.with_servers.free_port()}"
        self.environment = environment

    def start(self):
        port = self.address.rpartition(":")[2]
        for words in (["--head", f"--port={port}", "--include-dashboard=false"], [f"--address={self.address}"]):
            folder = [f"--temp-dir={self.folder}"] if "--head" in words else []
            subprocess.run([*START, *words, *folder], check=True, env=self.environment, stdout=subprocess.DEVNULL)

    def processes(self, word=""):
        """Those of ours whose command has the word."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if str(self.folder) in command and word in command:
                yield int(path.parent.name)

    def kill_second(self):
        """Kill a node, whose workers end with it."""
        [raylet] = (pid for pid in self.processes("raylet_socket_name=") if is_raylet_of_second(pid))
        os.kill(raylet, signal.SIGKILL)

    def stop(self):
        """End all; `ray stop` would end those of others too, and leaves some."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def is_raylet_of_second(pid):
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[0].endswith(b"/raylet") and any(
        word.startswith(b"--raylet_socket_name=") and word.endswith(b"raylet.1") for word in words
    )


@pytest.fixture
async def answers(nursery):
    """The model, which counts what it is asked."""
    server = Answers()
    server.url = await server.start(nursery)
    return server


@pytest.fixture
def program(answers, tmp_path):
    """The example."""
    return Program("bulk_on_ray", answers.url, tmp_path)


@pytest.fixture
def nodes(program):
    """A cluster."""
    started = Nodes(program.environment)
    program.environment["RAY_ADDRESS"] = started.address
    try:
        started.start()
        yield started
    finally:
        started.stop()


async def test_a_killed_node(program, answers, nodes):
    """Its parts run elsewhere; then the program is interrupted in a run, and goes on with it."""
    run = f"run-{uuid.uuid4()}"
    with program.running("first", program.inputs, run) as process:
        await answers.has_been_asked(COUNT // 4)
        nodes.kill_second()
        assert await ended(process) == 0
    assert is_exact(await complete(run))
    assert answers.asked.total() <= COUNT + LIMIT
    other = f"run-{uuid.uuid4()}"
    with program.running("second", program.inputs, other) as process:
        await answers.has_been_asked(COUNT + COUNT // 2)
        process.send_signal(signal.SIGINT)
        await ended(process)
    await program.run(program.inputs, other)
    assert is_exact(await complete(other))
    assert answers.asked.total() <= 2 * COUNT + 3 * LIMIT
