"""Decoder for server-sent events, sans I/O.

It implements the WHATWG "event stream" grammar on bytes. Lines end at CR, LF or CRLF and nowhere else (text splitters
also split at U+2028 and corrupt JSON), and a read may end anywhere. A CR ends its line at once; an LF at the start of
the next read is then dropped. The pieces of an unfinished line are collected in a list and joined when its end arrives,
so that a large event in small reads costs time in proportion to its size.

Data stays bytes: the JSON parser checks the UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import methodcaller
from typing import NamedTuple, Protocol

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError

__all__ = ["FEW_EVENTS", "MAX_EVENT_BYTES", "Run", "SSEDecoder", "ServerSentEvent", "Splitter"]

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""Largest event, in bytes. Text deltas have some hundred bytes; a final event that repeats a long response, a few
hundred thousand; a partial image, some megabytes. httpx2's own reader stops at 1 MiB."""

FEW_EVENTS = 4
"""Fewer events beside others are read one by one: looking for a run among them costs as much as that."""

_AROUND = len(b"data: \n")
_MAX_STRAY_BYTES = 64 * 1024  # an error report is far smaller; a body that is not SSE at all could be endless
_BOM = b"\xef\xbb\xbf"
_ENDS = (b"\n\n", b"\r\n\r\n")
"""Of an event, as servers write them; a stream has either."""


class ServerSentEvent(NamedTuple):
    """One event: its name ("" when unnamed) and its data lines joined with LF."""

    name: str
    data: bytes


class Run(NamedTuple):
    """Events that came together: their name, the data of each in a line of its own, and how many they are.

    Each line begins with `{` and ends with `}`, so that it holds one JSON object if there are as many objects as lines.
    """

    name: str
    lines: bytes
    size: int

    def events(self) -> list[ServerSentEvent]:
        """The same, one by one."""
        return [ServerSentEvent(self.name, data) for data in self.lines.split(b"\n")]

    def after(self, count: int) -> tuple[ServerSentEvent, Run]:
        """The event behind the first `count` ones, of which there is one, and what comes after it."""
        lines = self.lines.split(b"\n", count + 1)[count:]
        return ServerSentEvent(self.name, lines[0]), Run(self.name, b"".join(lines[1:]), self.size - count - 1)


class Splitter(Protocol):
    """Splits the bytes of a body into events, as `SSEDecoder` does."""

    @property
    def stray(self) -> Sequence[bytes]:
        """Bytes between events."""
        ...

    def parts(self, chunk: bytes, /) -> tuple[bytes, bytes, bytes]:
        """The end of an event, whole events that `run` and `runs` may take, and the beginning of another."""
        ...

    def run(self, chunk: bytes, /) -> Run | None:
        """Whole events of one kind; None: they have to be fed."""
        ...

    def runs(self, chunk: bytes, /) -> Iterator[Run | bytes]:
        """Whole events in their order, as runs and as bytes to be fed."""
        ...

    def feed(self, chunk: bytes, /) -> Iterator[ServerSentEvent]:
        """The events that `chunk` completes. Raises `AdapterError`."""
        ...

    def close(self) -> Iterator[ServerSentEvent]:
        """The events that the end of the body completes. Raises `AdapterError`."""
        ...


class _Head(NamedTuple):
    """What every event of a run begins with, and the name that stands in it."""

    opening: bytes
    name: str


_UNNAMED = _Head(b"data: {", "")


def _head_of(event: bytes) -> _Head | None:
    """What an event begins with, unless that is neither its data nor its name and then its data."""
    if event[:7] == _UNNAMED.opening:
        return _UNNAMED
    name, _, rest = event.partition(b"\n")
    if name[:7] != b"event: " or rest[:7] != _UNNAMED.opening:
        return None
    head = name + b"\n" + _UNNAMED.opening
    name = name[7:].removesuffix(b"\r")
    return None if b"\r" in name else _Head(head, name.decode("utf-8", "replace"))


@define(eq=False)
class SSEDecoder:
    """Splits bytes into server-sent events.

    Attributes:
        max_event_bytes: Larger events are refused.
        stray: Lines outside any SSE field, such as a bare JSON object: Vertex AI sends errors in the middle of a stream
            in that form.
    """

    max_event_bytes: int = MAX_EVENT_BYTES
    stray: list[bytes] = attrs.field(factory=list, init=False)
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    _data: list[bytes] = attrs.field(factory=list, init=False)
    _name: str = attrs.field(default="", init=False)
    _size: int = attrs.field(default=0, init=False)  # bytes of the data lines of the event being read, ends included
    _pending: int = attrs.field(default=0, init=False)  # bytes of the line being read
    _stray_size: int = attrs.field(default=0, init=False)
    _first_line: bool = attrs.field(default=True, init=False)
    _skip_lf: bool = attrs.field(default=False, init=False)
    _between: bool = attrs.field(default=False, init=False)  # the next byte begins an event
    _head: _Head = attrs.field(default=_UNNAMED, init=False)  # of the last run

    def parts(self, chunk: bytes) -> tuple[bytes, bytes, bytes]:
        """Cut `chunk` in three: the end of an event that is being read, whole events, and the beginning of another."""
        if self._between and chunk.endswith(_ENDS):
            return b"", chunk, b""
        end = _ENDS[1] if _ENDS[1] in chunk else _ENDS[0]
        start = 0 if self._between else chunk.find(end) + len(end)
        if start < len(end) and not self._between:
            return chunk, b"", b""
        stop = chunk.rfind(end, start) + len(end)
        stop = start if stop < len(end) else stop
        return chunk[:start], chunk[start:stop], chunk[stop:]

    def run(self, chunk: bytes) -> Run | None:
        """Return what `chunk` holds if that is whole events of one name, each with one JSON object; None: `feed` it.

        A fast path, since most reads are of this kind. It needs a decoder that is between two events.
        """
        end = _ENDS[0] if chunk.endswith(_ENDS[0]) else _ENDS[1]
        if not self._between or not chunk.endswith(end):
            return None
        if not chunk.startswith(self._head.opening):
            found = _head_of(chunk)
            if found is None:
                return None
            self._head = found
        opening, name = self._head
        data, size = chunk[len(opening) - 1 : -len(end)], 1
        if end in data:
            lines = data.split(b"}" + end + opening)
            data, size = b"}\n{".join(lines), len(lines)
        if data.count(b"\n") != size - 1 or b"\r" in data or data[-1:] != b"}":  # a line of another kind
            return None
        if len(chunk) > self.max_event_bytes and max(map(len, data.split(b"\n"))) + _AROUND > self.max_event_bytes:
            return None
        return tuple.__new__(Run, (name, data, size))  # in half the time of a call of the class

    def runs(self, chunk: bytes) -> Iterator[Run | bytes]:
        """Yield whole events in their order: as runs, and as they came where they are of no run, to be fed.

        It needs a decoder that is between two events. Most events of a read are alike, so it looks for a run of what
        the event in the middle is, and then at what is before and behind that, which is half as much at most.
        """
        end = _ENDS[0] if chunk.endswith(_ENDS[0]) else _ENDS[1]
        if chunk.count(end) < FEW_EVENTS:
            yield chunk
            return
        before = chunk.rfind(end, 0, len(chunk) // 2)
        start = 0 if before < 0 else before + len(end)
        stop = chunk.find(end, start) + len(end)
        head = _head_of(chunk[start:stop])
        if head is not None:  # from the first event that begins so to the last one
            start = 0 if chunk.startswith(head.opening) else chunk.find(end + head.opening) + len(end)
            stop = chunk.find(end, max(stop - len(end), chunk.rfind(end + head.opening) + len(end))) + len(end)
        if start:
            yield from self.runs(chunk[:start])
        run = self.run(chunk[start:stop])
        if run is not None or head is None:
            yield run or chunk[start:stop]
        else:
            events = chunk[start:stop].removesuffix(end).split(end)
            for alike, group in groupby(events, methodcaller("startswith", head.opening)):
                some = b"".join([event + end for event in group])
                if alike:
                    yield self.run(some) or some
                else:
                    yield from self.runs(some)
        if stop < len(chunk):
            yield from self.runs(chunk[stop:])

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that `chunk` completes, one by one, so that those before a broken one are not lost.

        Raises:
            AdapterError: `malformed_response`: an event larger than `max_event_bytes`.
        """
        if self._skip_lf and chunk:
            self._skip_lf = False
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF cut in two
        if b"\r" in chunk:
            self._skip_lf = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        data = self._data
        self._between = False
        for line in lines:
            if self._pieces or self._first_line:
                line = self._whole_line(line)
            if line[:6] == b"data: ":  # by far the most lines; a slice is faster than startswith
                data.append(line[6:])
                self._size += len(line) + 1
            elif line:
                self._other_line(line)
            elif data:
                self._check_size(0)
                yield ServerSentEvent(self._name, data[0] if len(data) == 1 else b"\n".join(data))
                data.clear()
                self._name = ""
                self._size = 0
            else:
                self._name = ""  # the grammar drops an event without data, and its name with it
        if rest:
            self._pieces.append(rest)
            self._pending += len(rest)
        self._check_size(self._pending)
        self._between = not (self._first_line or self._skip_lf or self._pieces or data or self._name)

    def close(self) -> Iterator[ServerSentEvent]:
        """Yield the event that the body ended without a blank line after, if any: its JSON shows if it is whole."""
        return self.feed(b"\n\n")

    def _whole_line(self, end: bytes) -> bytes:
        """Join the pieces of a line whose last one is `end`; strip a byte order mark from the stream's first line."""
        self._pieces.append(end)
        line = b"".join(self._pieces)
        self._check_size(len(line))
        self._pieces.clear()
        self._pending = 0
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        return line

    def _other_line(self, line: bytes) -> None:
        """Handle a line that is neither empty nor the usual `data: ...`."""
        self._check_size(len(line))
        if line.startswith(b"data:"):
            self._data.append(line[5:])
            self._size += len(line) + 1
        elif line.startswith(b"event:"):
            self._name = line[6:].decode("utf-8", "replace").removeprefix(" ")
        elif line.startswith(b"error:"):  # llama.cpp's own field, in place of event and data
            self._name = "error"
            self._data.append(line[6:])
            self._size += len(line) + 1
        elif line == b"data":
            self._data.append(b"")
            self._size += len(line) + 1
        elif not line.startswith((b":", b"id:", b"retry:")) and line not in {b"event", b"id", b"retry"}:
            self._stray_line(line)

    def _stray_line(self, line: bytes) -> None:
        if self._stray_size + len(line) <= _MAX_STRAY_BYTES:
            self._stray_size += len(line)
            self.stray.append(line)

    def _check_size(self, line: int) -> None:
        """Refuse an event or a line of `line` bytes that is too large, however it was split into reads."""
        if self._size > self.max_event_bytes or line > self.max_event_bytes:
            self._pieces.clear()
            self._data.clear()
            raise AdapterError(
                f"one server-sent event is larger than {self.max_event_bytes} bytes", reason="malformed_response"
            ).advised("; raise max_event_bytes= of the adapter if the provider really sends such events")
