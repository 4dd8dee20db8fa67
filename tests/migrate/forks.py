"""Runs programs as `python -c` does, each in a fork of a process that has imported their packages already.

`Forks` is the side of the tests. This file itself is what the other process runs, with the Python of another package:
`python forks.py MODULE ...`, then a JSON object in a line of standard input for each program.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path


class Forks:
    """A process that has imported `modules` in an environment, and forks to run a program; one program at a time."""

    def __init__(self, python, modules, environment):
        self._process = subprocess.Popen(
            [python, __file__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, program, *, folder, environment, seconds):
        """Run a program in a folder with more of an environment: its exit code, negative for a signal, and its output.

        Its time is limited to so many seconds.
        """
        files = [f"{folder}.out", f"{folder}.err"]
        job = {"program": program, "folder": str(folder), "files": files, "environment": environment}
        self._process.stdin.write(json.dumps({**job, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        printed, errors = (Path(file).read_bytes() for file in files)
        return code, printed, errors

    def close(self):
        """End the process."""
        with self._process:
            self._process.stdin.close()


def next_program():
    """Wait for programs, and return in each fork with what it is to run."""
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            return job
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer to `Forks.run`
    sys.exit()


def become(job):
    """Take over the files, the folder and the environment of a program; it is stopped after its time."""
    signal.alarm(job["seconds"])
    printed, errors = job["files"]
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (file, flags) in enumerate([(os.devnull, os.O_RDONLY), (printed, new), (errors, new)]):
        os.dup2(os.open(file, flags), number)
    os.chdir(job["folder"])
    os.environ.update(job["environment"])


if __name__ == "__main__":
    sys.path[0] = ""
    for name in sys.argv[1:]:
        importlib.import_module(name)
    sys.argv[:] = ["-c"]
    gc.collect()
    gc.freeze()
    job = next_program()
    become(job)
    sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(job["program"], "<string>", "exec"), vars(sys.modules["__main__"]))  # noqa: S102 - a program of our own pages
