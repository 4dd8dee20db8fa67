"""`record`: a file of telemetry events, which `allm trace` makes a page of.

A call must not wait for a disk. So the handler, which runs where the call runs, only makes a line of each event and
leaves it here; a thread writes what has gathered, a few times a second. What a killed process loses is the last moment.
Lines are whole: a write has whole lines, and a file that ends in the middle of one is continued on a new line.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import attrs

from allm._version import __version__
from allm.data.attrs_classes import define
from allm.data.json.text import dumps
from allm.runtime.telemetry import TelemetryEvent, attach
from allm.telemetry.event_lines import line_of

__all__ = ["VERSION", "record"]

logger: logging.Logger = logging.getLogger("allm")

VERSION = 1
OWNER_ONLY = 0o600
"""A recording may have conversations in it."""
MOST_WAITING = 16_000_000
"""Bytes that wait to be written, a second of a busy server; more are dropped and counted."""
_PAUSE = 0.1  # seconds for which lines gather
_CLOSING = 5.0  # seconds that the end of the block waits for a slow disk


@contextmanager
def record(path: str | os.PathLike[str], *, content: bool = False, max_bytes: int = 1_000_000_000) -> Generator[None]:
    """Append a line of JSON for every telemetry event of the process to a file, until the block is left.

    `allm trace` makes a page of it. Nothing that goes wrong with the file later breaks a call: a full disk, or a file
    that has reached its limit, is one warning, and the rest is not recorded. Only the owner can read a new file.

    Args:
        path: The file; one that exists is continued.
        content: Record prompts, responses, arguments and results of tools too.
        max_bytes: The size of the file at which recording ends.

    Raises:
        OSError: The file cannot be opened.
    """
    file = _File(Path(path), secrets.token_hex(4), max_bytes)
    file.open(content=content)
    thread = threading.Thread(target=file.write_all, name="allm recording", daemon=True)  # a hung disk holds no exit
    thread.start()
    detach = attach(file.take, content=content)
    try:
        yield
    finally:
        detach()
        file.end()
        thread.join(_CLOSING)
        if thread.is_alive():
            logger.warning("recording %s: the disk is too slow; the last events may be missing", path)


@final
@define(eq=False)
class _File:
    """The file, and the lines that wait to be written to it.

    Attributes:
        _run: In every line, as several recordings may be in one file, also at the same time.
        _lost: Events that had no place since the last write.
        _failed: Nothing more is written.
    """

    _path: Path
    _run: str
    _max_bytes: int
    _descriptor: int = attrs.field(default=-1, init=False)
    _size: int = attrs.field(default=0, init=False)
    _lines: list[bytes] = attrs.field(factory=list[bytes], init=False)
    _waiting: int = attrs.field(default=0, init=False)
    _lost: int = attrs.field(default=0, init=False)
    _failed: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _some: threading.Event = attrs.field(factory=threading.Event, init=False)
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)

    def open(self, *, content: bool) -> None:
        """Open the file, and begin with a line that says what follows."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        with suppress(OSError):  # a pipe or a device has no end to look at
            self._size = os.lseek(self._descriptor, 0, os.SEEK_END)
            if self._size:
                os.lseek(self._descriptor, -1, os.SEEK_END)
                if os.read(self._descriptor, 1) != b"\n":  # a process was killed while it wrote
                    self._lines.append(b"\n")
        self._add(
            {
                "allm": "telemetry",
                "v": VERSION,
                "run": self._run,
                "version": __version__,
                "process": os.getpid(),
                "at": time.time(),
                "content": content,
            }
        )

    def take(self, event: TelemetryEvent) -> None:
        """Keep an event to be written; called where the calls run."""
        if not self._failed:
            self._keep(line_of(event, self._run), MOST_WAITING)

    def end(self) -> None:
        """Write what waits, and close the file."""
        self._add({"run": self._run, "ended": True, "at": time.time()})
        self._ended.set()
        self._some.set()

    def _add(self, line: dict[str, Any]) -> None:
        self._keep(dumps(line) + b"\n", math.inf)

    def _keep(self, line: bytes, most: float) -> None:
        with self._lock:
            if self._waiting + len(line) > most:
                self._lost += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
        self._some.set()

    def write_all(self) -> None:
        """Write until the end; the body of the thread."""
        try:
            while not self._failed and not (self._ended.is_set() and not self._lines):
                self._some.wait()
                self._some.clear()
                self._ended.wait(_PAUSE)
                self._write()
        except OSError as error:
            self._give_up(error.strerror or str(error))
        finally:
            os.close(self._descriptor)

    def _write(self) -> None:
        with self._lock:
            lines, self._lines, self._waiting = self._lines, [], 0
            lost, self._lost = self._lost, 0
        if lost:
            lines.append(dumps({"run": self._run, "lost": lost, "at": time.time()}) + b"\n")
        data = b"".join(lines)
        if self._size + len(data) > self._max_bytes:
            self._give_up(f"the file has {self._size} bytes, and its limit is {self._max_bytes}")
            return
        self._size += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _give_up(self, problem: str) -> None:
        self._failed = True
        with self._lock:
            self._lines.clear()
        logger.warning("recording %s has ended early: %s", self._path, problem)
