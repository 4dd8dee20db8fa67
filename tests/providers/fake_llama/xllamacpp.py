"""Stands for llama.cpp: a server with a scripted model, which says in a file what becomes of it.

What follows the magic bytes of the file with the weights is JSON: `log`, a file to write to; `gate`, a file that has to
exist before the model is loaded; `fails`, what Python raises instead; `dies`, that the process is killed.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path


class CommonParams:
    """Takes any setting."""

    def __init__(self):
        self.model = types.SimpleNamespace(path="")
        self.sampling = types.SimpleNamespace(temp=0.8, top_p=0.95)
        self.cpuparams = types.SimpleNamespace(n_threads=0, poll=50)


class Server:
    """A server that listens when it has been made."""

    def __init__(self, params):
        script = json.loads(Path(params.model.path).read_bytes()[4:])
        log = Path(script["log"])
        note(log, "start", os.getpid())
        while "gate" in script and not Path(script["gate"]).exists():
            time.sleep(0.005)
        if "fails" in script:
            sys.stderr.write(script.get("says", "") + "\n")
            sys.stderr.flush()
            raise RuntimeError(script["fails"])
        if "dies" in script:
            os.kill(os.getpid(), signal.SIGKILL)
        handler = type("Bound", (Handler,), {"log": log, "params": params})
        self.server = Listener(("127.0.0.1", params.port), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{self.server.server_port}"


class Listener(http.server.ThreadingHTTPServer):
    """Has room for many calls at once."""

    request_queue_size = 128


def note(log, *words):
    """Write a line."""
    with log.open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


VALUES = {"string": "Zug", "integer": 2, "boolean": True}
"""What the model fills into a form, by the type of the field."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the settings and the prompt."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def do_POST(self):
        """One response."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {self.params.api_keys[0]}" or self.path != "/v1/chat/completions":
            self.send_error(401)
            return
        prompt = body["messages"][-1]["content"]
        note(self.log, "call", prompt)
        if prompt == "too long":
            error = {"code": 400, "message": "request (9 tokens) exceeds", "type": "exceed_context_size_error"}
            self.answer(400, "application/json", json.dumps({"error": error}).encode())
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        params = self.params
        facts = f"{prompt} {params.n_ctx} {params.n_parallel} {params.cpuparams.n_threads}"
        if "response_format" in body:
            fields = body["response_format"]["json_schema"]["schema"]["properties"]
            facts = json.dumps({name: VALUES[field["type"]] for name, field in fields.items()})
        self.event({"model": next(iter(params.model_alias)), "choices": [delta(content=facts)]})
        if prompt == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while prompt == "endless" or "long story" in prompt:
            try:
                self.event({"choices": [delta(content="x")]})
                time.sleep(0.005)
            except OSError:
                note(self.log, "left")
                return
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        self.event({"choices": [{**delta(), "finish_reason": "stop"}], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def answer(self, status, kind, data):
        """A response of one piece."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def event(self, value):
        """One server-sent event."""
        self.chunk(f"data: {json.dumps(value)}\n\n".encode())

    def chunk(self, data):
        """One chunk; an empty one ends the body."""
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def delta(**content):
    """What a chunk adds."""
    return {"index": 0, "delta": content}
