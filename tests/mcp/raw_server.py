"""A server of protocol 2025-11-25 without any library, with the fault that its first argument names."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

FAULT = sys.argv[1] if len(sys.argv) > 1 else "none"
EMPTY = {"type": "object", "properties": {}}
TOOLS = [{"name": "echo", "description": "Echo.", "inputSchema": {"type": "object", "properties": {"text": {}}}}]
LISTS = {
    "duplicates": [*TOOLS, {**TOOLS[0], "description": "Another."}, {"name": "other", "inputSchema": EMPTY}],
    "many": [{"name": f"tool_{index}", "inputSchema": EMPTY} for index in range(10_000)],
    "bad_schemas": [
        *TOOLS,
        {"name": "no_schema"},
        {"name": "text_schema", "inputSchema": "object"},
        {"name": "array", "inputSchema": {"type": "array"}},
        {"name": "typo", "inputSchema": {"type": "object", "properties": {"a": {"type": "words"}}}},
        {"name": 5, "inputSchema": EMPTY},
        "not a tool",
        {"name": "with.dots/and more", "inputSchema": EMPTY},
        {"name": "a" * 100, "inputSchema": EMPTY},
        {"name": "auto", "inputSchema": EMPTY},
        {"name": "with_dots_and_more", "inputSchema": EMPTY},
    ],
}
lock = threading.Lock()
answers: dict[object, object] = {}


def write(text: str) -> None:
    with lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def send(**message: object) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}))


def flood_stderr() -> None:
    while True:
        sys.stderr.write("noise " * 10_000)


def listed(cursor: str | None) -> dict[str, object]:
    tools = LISTS.get(FAULT, TOOLS)
    if FAULT == "changes":
        tools = [{**TOOLS[0], "name": f"echo_{len(answers)}"}]
    if FAULT == "pages":
        index = int(cursor or 0)
        more = {"nextCursor": str(index + 1)} if index < 3 else {}
        return {"tools": [{"name": f"tool_{index}", "inputSchema": EMPTY}], **more}
    if FAULT == "endless_pages":
        return {"tools": [], "nextCursor": "again"}
    return {"tools": tools}


def result(text: str) -> dict[str, object]:
    return {"content": [{"type": "text", "text": text}]}


def called(number: object, arguments: dict[str, object]) -> None:
    if FAULT in {"dies", "starts_once"}:
        print("out of cheese", file=sys.stderr, flush=True)
        sys.exit(3)
    if FAULT == "killed":
        signal.raise_signal(signal.SIGKILL)
    if FAULT == "hangs":
        return
    if FAULT == "closes_stdout":
        os.close(1)
        time.sleep(60)
    if FAULT == "long_line":
        write("x" * (40 * 1024 * 1024))
        return
    if FAULT == "long_answer":
        send(id=number, result=result("x" * (40 * 1024 * 1024)))
        return
    if FAULT == "garbage":
        write("Starting up...\n{not json\n[1, 2]\n\n" + '{"jsonrpc": "2.0"}' + "\x00\x01")
        sys.stdout.buffer.write(b"\xff\xfe\n")
    if FAULT == "wrong_ids":
        for wrong in (999, "7", None, -1):
            send(id=wrong, result=result("not yours"))
    if FAULT == "changes":
        answers[len(answers)] = True
        send(method="notifications/tools/list_changed")
    if FAULT == "asks":
        form = {"type": "object", "properties": {"size": {"type": "string", "enum": ["S", "L"]}}, "required": ["size"]}
        send(
            id=f"ask-{number}", method="elicitation/create", params={"message": "Which size?", "requestedSchema": form}
        )
        return
    if FAULT == "bad_result":
        send(id=number, result={"content": "text"})
        return
    send(id=number, result=result(str(arguments.get("text"))))


def main() -> None:
    if FAULT == "starts_once":
        Path(sys.argv[2]).touch(exist_ok=False)
    if FAULT == "exits":
        print("no licence found", file=sys.stderr)
        sys.exit(7)
    if FAULT == "pings":
        while True:
            send(id="ping", method="ping")
    if FAULT == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if FAULT == "stderr":
        threading.Thread(target=flood_stderr, daemon=True).start()
    for line in sys.stdin:
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if FAULT == "hangs_at_start":
            continue
        if method == "initialize":
            info = {"name": "raw", "version": "1"}
            capabilities = {"tools": {"listChanged": True}}
            version = message["params"]["protocolVersion"]
            send(id=number, result={"protocolVersion": version, "capabilities": capabilities, "serverInfo": info})
        elif method == "tools/list":
            send(id=number, result=listed((message.get("params") or {}).get("cursor")))
        elif method == "tools/call":
            called(number, message["params"].get("arguments") or {})
        elif method == "notifications/cancelled":
            print("cancelled", message["params"], file=sys.stderr, flush=True)
        elif method is None and str(number).startswith("ask-"):
            answer = message["result"]
            if answer["action"] == "cancel":
                with Path(sys.argv[2]).open("a") if sys.argv[2:] else nullcontext() as marker:
                    print("cancelled", file=marker or sys.stderr, flush=True)
            else:
                send(id=int(str(number)[4:]), result=result(json.dumps(answer, sort_keys=True)))
        elif number is not None:
            send(id=number, error={"code": -32601, "message": "Method not found"})
    while FAULT == "stubborn":
        time.sleep(1)


if __name__ == "__main__":
    main()
