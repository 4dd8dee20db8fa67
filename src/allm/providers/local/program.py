"""The program of the process that runs llama.cpp. It is run as a file, and needs nothing of allm.

It reads one line of JSON from its standard input, starts the server, and answers with one line: the server's address,
or why there is none. Then it waits for the end of its input, which comes when the parent closes it or is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

_PARENT_SECONDS = 1.0
"""How often to look whether the parent is gone, as its end of the pipe may live on in a process forked from it."""
_ERRORS_ONLY = 1  # llama.cpp's verbosity; without its messages all that is said of a failure is that there was one


def main() -> None:
    """Run until the input ends."""
    # What llama.cpp may print goes to standard error, so that the answer is all there is on standard output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    parent = os.getppid()
    settings: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    with contextlib.suppress(OSError):  # only Linux has it: where memory runs out, this process ends and no other
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    sys.path[:0] = settings["path"]
    try:
        server = _server(settings)
        answer = {"url": server.listening_address}
    except Exception as error:  # whatever it is, the parent says it
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
    ended = threading.Event()
    threading.Thread(target=_read_to_end, args=[ended], daemon=True).start()
    while not ended.wait(_PARENT_SECONDS) and os.getppid() == parent:
        pass
    os._exit(0)  # at once, whatever the server's threads are doing


def _read_to_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


def _server(settings: dict[str, Any]) -> Any:
    xllamacpp: Any = importlib.import_module("xllamacpp")  # only where its extra is installed
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {Path(settings["model"]).stem}  # what a response says of its model
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # one that is free
    params.api_keys = [settings["key"]]
    params.n_ctx = settings["context_size"] * settings["parallel_calls"]
    params.n_parallel = settings["parallel_calls"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams.poll = 0  # threads that spin while they wait take the processor from those that they wait for
    if settings["sampling"] is not None:
        params.sampling.temp, params.sampling.top_p = settings["sampling"]
    params.use_jinja = True
    params.warmup = False
    params.fit_params = False  # the context is as large as it was asked for, or there is an error
    params.cache_ram_mib = 0  # else it keeps up to 8 GiB of old conversations
    params.cache_idle_slots = False  # which needs that memory
    params.ui = False
    params.endpoint_slots = True  # what it is working on, for those who have the key
    params.verbosity = _ERRORS_ONLY
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
