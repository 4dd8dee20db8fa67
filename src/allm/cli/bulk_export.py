"""The answers of a journal as lines of JSON, in the order of the inputs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import allm
from allm.cli.terminal import Terminal
from allm.data.json.codec import to_json
from allm.data.json.text import dumps
from allm.runs.journal import Journal
from allm.runs.saving import item_of

__all__ = ["export"]


def export(journal: Journal, output: str, terminal: Terminal, *, failed: bool = False, full: bool = False) -> int:
    """Write a line for each input that has ended; return how many.

    A file is replaced when all of it is written. "-" is standard output.

    Args:
        failed: Only the failures.
        full: The whole response, as `allm.from_json` reads it.

    Raises:
        OSError: It cannot be written.
    """
    if output == "-":
        count = 0
        for line in _lines(journal, failed=failed, full=full):
            terminal.stdout.show(line.decode())
            count += 1
        return count
    path = Path(os.path.realpath(output))
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open("wb") as file:
            return _written(file, journal, failed=failed, full=full)
    unfinished = path.with_name(f".{secrets.token_hex(8)}.unfinished")
    try:
        with unfinished.open("xb") as file:
            count = _written(file, journal, failed=failed, full=full)
        unfinished.replace(path)
    except OSError as error:
        error.filename, error.filename2 = output, None
        raise
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return count


def _written(file: Any, journal: Journal, **which: bool) -> int:
    count = 0
    for line in _lines(journal, **which):
        file.write(line)
        count += 1
    return count


def _lines(journal: Journal, *, failed: bool, full: bool) -> Iterator[bytes]:
    for row in journal.rows():
        if failed and row.status == "done":
            continue
        item = item_of(row, None, row.index)
        line: dict[str, Any] = {"key": row.key, "index": row.index}
        value = item.error or item.response
        if full:
            line["error" if item.error else "response"] = _document(value)
        elif item.error is not None:
            line["error"] = {"reason": item.error.reason, "message": item.error.message}
        else:
            line["text"] = value.output_text if isinstance(value, allm.Response) else value
            line |= _facts(value)
        yield dumps(line) + b"\n"


def _facts(value: Any) -> dict[str, Any]:
    if not isinstance(value, allm.Response):
        return {}
    usage = value.usage
    counts = {name: getattr(usage, name) for name in ("input_tokens", "output_tokens", "total_cost")}
    found = {name: count for name, count in counts.items() if count is not None}
    return {"finish_reason": value.finish_reason, **({"usage": found} if found else {})}


def _document(value: Any) -> Any:
    from allm.data.json.text import loads

    return loads(to_json(value)) if isinstance(value, allm.AllmError | allm.Response | allm.ChatResult) else value
