"""Server-sent events with their ids, from which a broken stream is taken up again.

The decoder for models (`allm.http.sse`) has no ids, as no vendor takes a stream up again, and is made for thousands of
small events; those of MCP are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import attrs

from allm.data.attrs_classes import define
from allm.mcp.lines import Lines, LongLine

__all__ = ["EventReader", "McpEvent"]

_LONGEST_RETRY = 60.0
"""Seconds: no server may have us wait longer before a stream is taken up again."""

_BESIDE = 100
"""Bytes that a line may have beside the data in it."""


class McpEvent(NamedTuple):
    """An event of the default kind; its data are empty where it only gives an id."""

    data: bytes
    size: int


@define(eq=False)
class EventReader:
    """Reads events from the chunks of a body.

    Attributes:
        limit: The longest event, in bytes; of a longer one the data are `b""`, and its size tells.
        last_id: The id of the last event that had one.
        retry: Seconds to wait before the stream is taken up again, as the server wishes.
    """

    limit: int
    last_id: str | None = attrs.field(default=None, init=False)
    retry: float = attrs.field(default=1.0, init=False)
    _lines: Lines = attrs.field(init=False)
    _data: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)
    _kind: bytes = attrs.field(default=b"", init=False)
    _id: str | None = attrs.field(default=None, init=False)
    _after_cr: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what has not ended: another stream follows."""
        self._lines = Lines(self.limit + _BESIDE)
        self._after_cr = False
        self._taken()

    def feed(self, chunk: bytes) -> Iterator[McpEvent]:
        """The events that a chunk ends."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._after_cr = chunk[-1:] == b"\r"
        for line in self._lines.feed(chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
            if isinstance(line, LongLine):
                self._size += line.size
            elif line:
                self._field(line)
            elif (event := self._ended()) is not None:
                yield event

    def _field(self, line: bytes) -> None:
        name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value)
            if self._size <= self.limit:
                self._data.append(value)
        elif name == b"event":
            self._kind = value
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self.retry = min(int(value[:9]) / 1000, _LONGEST_RETRY)

    def _taken(self) -> tuple[bytes, int, bytes]:
        taken = b"\n".join(self._data), self._size, self._kind
        self._data.clear()
        self._size, self._kind, self._id = 0, b"", None
        return taken

    def _ended(self) -> McpEvent | None:
        if self._id is not None:
            self.last_id = self._id
        data, size, kind = self._taken()
        if kind not in {b"", b"message"} or not size:
            return None
        return McpEvent(data if size <= self.limit else b"", size)
