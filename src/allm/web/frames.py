"""From events to bytes: what all formats share, and none of them needs a socket for.

A `Format` maps each event to the chunks of its protocol and knows nothing of bytes. `Frames` writes them as server-sent
events, each with its JSON on one line, and numbers them, so that a client that comes back gets what it has not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, final

import attrs

from allm.data.attrs_classes import define
from allm.data.json.text import dumps

__all__ = ["KEEP_ALIVE", "Format", "Frames", "frame", "header", "last_event_id"]

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: every reader of server-sent events skips it."""

_ID = re.compile(r"(?:([^:]{1,100}):)?([0-9]{1,15})(?:\.([0-9]{1,6}))?")
_WHOLE = 10**6
"""Counts as all chunks of an event; no event has as many."""
_NOTHING = (-1, _WHOLE)


class Format:
    """One protocol: turns each event into chunks, which are JSON objects.

    Attributes:
        media_type: Of the response.
        headers: Further headers that its clients ask for.
        is_sse: The chunks are server-sent events.
        last: The data of a frame after everything, if the protocol has one.
    """

    media_type: ClassVar[str] = "text/event-stream"
    headers: ClassVar[Mapping[str, str]] = {}
    is_sse: ClassVar[bool] = True
    last: ClassVar[bytes | None] = None

    def feed(self, event: Any) -> Iterable[Any]:
        """The chunks of an event; often one, for some events none."""
        raise NotImplementedError

    def end(self, error: BaseException | None = None) -> Iterable[Any]:
        """The chunks after the last event.

        Args:
            error: What the stream raised, in place of an end.
        """
        raise NotImplementedError

    def write(self, chunk: Any, number: str | None = None) -> bytes:
        """The bytes of one chunk."""
        return frame(dumps(chunk), number)


def frame(data: bytes, number: str | None = None) -> bytes:
    """One server-sent event."""
    # JSON in one line: its texts have line ends as escapes, and only CR and LF end a line here.
    return b"data: %b\n\n" % data if number is None else b"id: %b\ndata: %b\n\n" % (number.encode(), data)


@final
@define(eq=False)
class Frames:
    """Writes the events of one stream in a format.

    An event may come with its number, as `(number, event)`. Its last frame then has the line `id: number`, and those
    before it `id: number.1`, `number.2` and so on, since a connection may break in between. What the client has seen
    is mapped like all else, so that what follows fits it, and left out.

    Attributes:
        format: Maps the events.
        seen: The id of the last frame that the client has; "" for none.
        turn: The turn that the numbers count in; it is part of the ids, as in `turn:number`, and what was seen of
            another turn does not count.
    """

    format: Format
    seen: str = ""
    turn: str | None = None
    _from: tuple[int, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        turn, *place = _position(self.seen)
        self._from = _NOTHING if turn != self.turn else (place[0], place[1])

    def feed(self, item: Any) -> bytes:
        """The bytes of an event; b"" if it is not shown, or was seen before."""
        if not isinstance(item, tuple):
            write = self.format.write
            return b"".join([write(chunk) for chunk in self.format.feed(item)])
        number, event = item
        return b"".join(self._numbered(number, list(self.format.feed(event))))

    def _numbered(self, number: int, chunks: list[Any]) -> Iterator[bytes]:
        place = str(number) if self.turn is None else f"{self.turn}:{number}"
        for count, chunk in enumerate(chunks, 1):
            is_last = count == len(chunks)
            if (number, _WHOLE if is_last else count) > self._from:
                yield self.format.write(chunk, place if is_last else f"{place}.{count}")

    def end(self, error: BaseException | None = None) -> bytes:
        """The bytes after the last event. They have no id: a client that lost them gets them again."""
        pieces = [self.format.write(chunk) for chunk in self.format.end(error)]
        if self.format.last is not None:
            pieces.append(frame(self.format.last))
        return b"".join(pieces)


def _position(seen: str) -> tuple[str | None, int, int]:
    """How far a client has read: the turn, a number, and how many of the frames of that event."""
    found = _ID.fullmatch(seen.strip())
    if found is None:  # none, or not one of ours: it gets everything
        return (None, *_NOTHING)
    turn, number, count = found.groups()
    return (turn, int(number), _WHOLE if count is None else int(count))


def last_event_id(headers: Any) -> int:
    """The number of the last event that a client has seen whole, from the header `Last-Event-ID`; 0 without one.

    A browser's `EventSource` sends it when it connects again.

    Args:
        headers: The headers of the request: a mapping with names in any case, or pairs of texts or bytes.
    """
    _turn, number, count = _position(header(headers, "last-event-id"))
    return max(0, number if count == _WHOLE else number - 1)


def header(headers: Any, name: str) -> str:
    """The value of a header, or ""."""
    pairs = headers.items() if hasattr(headers, "items") else headers
    for key, value in pairs:
        if _text(key).lower() == name:
            return _text(value)
    return ""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
