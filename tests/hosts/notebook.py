"""A host that is a Jupyter kernel, whose cells run on asyncio or on Trio."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hosts.programs import PATHS

SECONDS = 50  # for a kernel to start, and for a cell


class Notebook:
    """A kernel of Jupyter, in a process of its own."""

    title = "Jupyter"
    calls = "`allm.aio`"
    cancelled_by = "*Interrupt*"
    limited_by = "`asyncio.timeout`"
    loop = "asyncio"
    first_cell = ""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
            os.environ.setdefault(name, str(folder))
        from jupyter_client.manager import KernelManager

        self._kernel = KernelManager(connection_file=str(folder / "kernel.json"))
        env = {**os.environ, "PYTHONPATH": PATHS, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        self._kernel.start_kernel(env=env)
        self._client = self._kernel.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=SECONDS)
        self._cell(f"{self.first_cell}\nfrom hosts import calls, script")

    def close(self):
        self._client.stop_channels()
        self._kernel.shutdown_kernel(now=True)
        self._kernel.cleanup_resources()
        self._folder.cleanup()

    def _cell(self, code, *, interrupt=False):
        """Run a cell; returns what it printed. With `interrupt`, do that when it has printed something."""
        request = self._client.execute(code)
        printed, errors = [], []
        while True:
            message = self._client.get_iopub_msg(timeout=SECONDS)
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed.append(content["text"])
                if interrupt:
                    self._kernel.interrupt_kernel()
                    interrupt = False
            elif message["msg_type"] == "error":
                errors.append(content["ename"])
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                break
        return [json.loads(line) for line in "".join(printed).splitlines()], errors

    def _code(self, operation, url, store):
        call = f"calls.Call(url={url!r}, store={store!r}, loop=calls.LOOPS[{self.loop!r}])"
        return f"await calls.run({operation!r}, {call})"

    def run(self, operation, url, store):
        printed, errors = self._cell(self._code(operation, url, store))
        assert errors == []
        return printed

    def cut(self, operation, url, store):
        printed, _ = self._cell(self._code(operation, url, store), interrupt=True)
        assert printed[0] == "seen"
        again, errors = self._cell("print(1)")  # the kernel goes on
        assert (again, errors) == ([1], [])
        return printed[1:]


class TrioNotebook(Notebook):
    """A kernel that runs its cells on Trio."""

    title = "Jupyter, `%autoawait trio`"
    calls = "`allm`"
    cancelled_by = "*Interrupt*"
    limited_by = "`move_on_after`"
    loop = "trio"
    first_cell = "%autoawait trio"


class BlockingNotebook(Notebook):
    """Cells without `await`."""

    calls = "`allm.blocking`"
    limited_by = "`request_timeout`"

    def _code(self, operation, url, store):
        return f"script.OPERATIONS[{operation!r}](calls.Call(url={url!r}, store={store!r}))"
