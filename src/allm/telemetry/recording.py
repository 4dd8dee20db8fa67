"""`record`: a file of telemetry events, which `allm trace` makes a page of.

A call must not wait for a disk. So the handler, which runs where the call runs, only makes a line of each event and
leaves it here; a thread writes what has gathered, a few times a second. What a killed process loses is the last moment.
Lines are whole: a write has whole lines, and a file that ends in the middle of one is continued on a new line.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
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
_LAST_LINE = 200  # bytes that are kept free for it, when the file is full
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

    A span may end wherever Python collects an abandoned generator, also in the middle of `take`: hence a queue and a
    lock that one thread may enter twice.

    Attributes:
        _run: In every line, as several recordings may be in one file, also at the same time.
        _waiting: Bytes in the queue.
        _lost: Events that had no place since the last write.
        _failed: Nothing more is written.
    """

    _path: Path
    _run: str
    _max_bytes: int
    _process: int = attrs.field(factory=os.getpid, init=False)
    _descriptor: int = attrs.field(default=-1, init=False)
    _size: int = attrs.field(default=0, init=False)
    _lines: SimpleQueue[bytes] = attrs.field(factory=SimpleQueue[bytes], init=False)
    _waiting: int = attrs.field(default=0, init=False)
    _lost: int = attrs.field(default=0, init=False)
    _failed: bool = attrs.field(default=False, init=False)
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)

    def open(self, *, content: bool) -> None:
        """Open the file, and begin with a line that says what follows."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self._path, flags, OWNER_ONLY)
        with suppress(OSError):  # a pipe or a device has no end to look at
            self._size = os.lseek(self._descriptor, 0, os.SEEK_END)
            if self._size:
                os.lseek(self._descriptor, -1, os.SEEK_END)
                if os.read(self._descriptor, 1) != b"\n":  # a process was killed while it wrote
                    self._lines.put(b"\n")
        header = {
            "allm": "telemetry",
            "v": VERSION,
            "version": __version__,
            "process": self._process,
            "content": content,
        }
        self._lines.put(self._line(**header))

    def take(self, event: TelemetryEvent) -> None:
        """Keep an event to be written; called where the calls run."""
        if self._failed or os.getpid() != self._process:  # a fork has no thread that writes
            return
        line = line_of(event, self._run)
        with self._lock:
            fits = self._waiting + len(line) <= MOST_WAITING
            self._waiting += len(line) if fits else 0
            self._lost += not fits
        if fits:
            self._lines.put(line)

    def end(self) -> None:
        """Write what waits, and close the file."""
        self._ended.set()
        self._lines.put(b"")  # wakes the thread

    def write_all(self) -> None:
        """Write until the end; the body of the thread."""
        try:
            ended = False
            while not self._failed and not ended:
                lines = [self._lines.get()]
                self._ended.wait(_PAUSE)
                ended = self._ended.is_set()  # before the queue is emptied: what comes later is not of the block
                while not self._lines.empty():
                    lines.append(self._lines.get())
                self._write(lines, ended=ended)
        except OSError as error:
            self._give_up(error.strerror or str(error))
        finally:
            os.close(self._descriptor)

    def _write(self, lines: list[bytes], *, ended: bool) -> None:
        data = b"".join(lines)
        with self._lock:
            self._waiting -= min(self._waiting, len(data))  # the first and last line were not counted
            lost, self._lost = self._lost, 0
        data += self._line(lost=lost) if lost else b""
        data += self._line(ended=True) if ended else b""
        if self._size + len(data) > self._max_bytes - _LAST_LINE:
            self._give_up(f"the file has {self._size} bytes, and its limit is {self._max_bytes}")
            data = self._line(ended=True, full=True)
        self._size += len(data)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _line(self, **fields: Any) -> bytes:
        return dumps({"run": self._run, "at": time.time(), **fields}) + b"\n"

    def _give_up(self, problem: str) -> None:
        self._failed = True
        logger.warning("recording %s has ended early: %s", self._path, problem)
