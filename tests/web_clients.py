"""The real clients, in one Node process: `Clients().read(...)` gives what they make of the bytes of a response.

The packages are in the folder `WEB_CLIENTS`, which `nox -s web` fills with `npm ci` from `clients/package-lock.json`.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "web" / "clients"
FOLDER = Path(os.environ.get("WEB_CLIENTS", HERE))


def missing() -> str | None:
    """Why the clients cannot run here; None if they can."""
    if shutil.which("node") is None:
        return "there is no node"
    if not (FOLDER / "node_modules" / "ai").is_dir():
        return "their npm packages are not installed: nox -s web"
    return None


class Clients:
    """The Node process."""

    def __init__(self) -> None:
        script = FOLDER / "read.mjs"
        if FOLDER != HERE:
            shutil.copy(HERE / "read.mjs", script)
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen([node, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, client: str, data: bytes, headers: dict[str, str] | None = None, **job: Any) -> dict[str, Any]:
        """What a client makes of the bytes, which it gets in pieces that end anywhere."""
        cuts = random.Random(len(data))  # noqa: S311  (no secret)
        ends = sorted({0, *(cuts.randrange(len(data) + 1) for _ in range(len(data) // 40)), len(data)})
        pieces = [base64.b64encode(data[a:b]).decode() for a, b in itertools.pairwise(ends)]
        job = {"client": client, "pieces": pieces, "headers": headers or {"content-type": "text/event-stream"}, **job}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        result = json.loads(self._process.stdout.readline())
        assert "failure" not in result, result["failure"]
        assert result["warnings"] == []
        return result

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()
