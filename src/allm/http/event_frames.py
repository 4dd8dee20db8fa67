"""Decoder for the binary event streams of AWS (`application/vnd.amazon.eventstream`), sans I/O.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html has the frame, all numbers big endian:

    length | length of the headers | CRC-32 of these two | headers | payload | CRC-32 of everything before

Both sums are checked, the first one as soon as it is there: a broken length would make the decoder wait for bytes that
never come. The pieces of an unfinished frame are joined once, so that a large one in small reads costs time in
proportion to its size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError
from allm.data.json.text import JsonTextError, as_object, dumps, loads
from allm.http.sse import MAX_EVENT_BYTES, Run, ServerSentEvent

__all__ = ["FrameDecoder"]

_PRELUDE = struct.Struct(">III")
_SUM = struct.Struct(">I")
_LEAST = _PRELUDE.size + _SUM.size  # bytes of a frame without headers and payload
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type; bytes (6) and strings (7) begin with their length."""
_SIZED = frozenset({6, 7})


@define(eq=False)
class FrameDecoder:
    """Splits bytes into the events of frames, as `SSEDecoder` does with server-sent events.

    An event has the name and the payload of its frame. A frame that reports an error is an event `error`, whose data is
    `{"error": {"code": ..., "message": ..., ...}}`.

    Args:
        max_event_bytes: Larger frames are refused.
        unwrap: What becomes of the event of a frame, where the service puts one format into another.
    """

    max_event_bytes: int = MAX_EVENT_BYTES
    unwrap: Callable[[ServerSentEvent], ServerSentEvent] | None = None
    stray: tuple[bytes, ...] = attrs.field(default=(), init=False)  # there is nothing between frames
    _pieces: list[bytes] = attrs.field(factory=list[bytes], init=False)  # of the frame being read
    _have: int = attrs.field(default=0, init=False)  # their bytes
    _need: int = attrs.field(default=_PRELUDE.size, init=False)  # bytes after which there is something to look at

    def parts(self, chunk: bytes) -> tuple[bytes, bytes, bytes]:
        """All of it has to be fed."""
        return chunk, b"", b""

    def run(self, _chunk: bytes) -> Run | None:
        """Frames are decoded one by one."""
        return None

    def runs(self, chunk: bytes) -> Iterator[Run | bytes]:
        """Frames are decoded one by one."""
        yield chunk

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that `chunk` completes, one by one, so that those before a broken one are not lost.

        Raises:
            AdapterError: `malformed_response`: a checksum or a length that is not right, or a frame larger than
                `max_event_bytes`.
        """
        self._pieces.append(chunk)
        self._have += len(chunk)
        if self._have < self._need:
            return
        data, at = b"".join(self._pieces), 0
        self._pieces, self._have = [], 0
        while len(data) - at >= self._need:
            length = self._checked_length(data, at)
            if len(data) - at < length:
                self._need = length
                break
            event = _event(data[at : at + length])
            at += length
            self._need = _PRELUDE.size
            yield event if self.unwrap is None or event.name == "error" else self.unwrap(event)
        if at < len(data):
            self._pieces, self._have = [data[at:]], len(data) - at

    def close(self) -> Iterator[ServerSentEvent]:
        """Yield nothing: a frame is whole or cut off.

        Raises:
            AdapterError: `stream_truncated`.
        """
        if self._have:
            what = f"the stream ended in the middle of a frame, after {self._have} bytes of it"
            raise AdapterError(what, reason="stream_truncated")
        return iter(())

    def _checked_length(self, data: bytes, at: int) -> int:
        length, headers, expected = _PRELUDE.unpack_from(data, at)
        if crc32(data[at : at + 8]) != expected:
            raise _broken("the checksum of its lengths is wrong")
        if length < _LEAST + headers:
            raise _broken(f"it has {headers} bytes of headers in a frame of {length}")
        if length > self.max_event_bytes:
            what = f"one frame of the event stream has {length} bytes, more than {self.max_event_bytes}"
            error = AdapterError(what, reason="malformed_response")
            raise error.advised("; raise max_event_bytes= of the adapter if the provider really sends such events")
        return int(length)


def _broken(what: str) -> AdapterError:
    return AdapterError(f"a frame of the event stream is broken: {what}", reason="malformed_response")


def _event(frame: bytes) -> ServerSentEvent:
    if crc32(frame[: -_SUM.size]) != _SUM.unpack_from(frame, len(frame) - _SUM.size)[0]:
        raise _broken("its checksum is wrong")
    end = _PRELUDE.size + int.from_bytes(frame[4:8], "big")
    headers, payload = _headers(frame[_PRELUDE.size : end]), frame[end : -_SUM.size]
    kind = headers.get(":message-type", "event")
    if kind == "event":
        return ServerSentEvent(headers.get(":event-type", ""), payload)
    return ServerSentEvent("error", dumps({"error": _report(kind, headers, payload)}))


def _report(kind: str, headers: dict[str, str], payload: bytes) -> dict[str, Any]:
    """An exception has a payload, an error only headers: https://smithy.io/2.0/aws/amazon-eventstream.html."""
    try:
        fields = as_object(loads(payload)) if payload else {}
    except JsonTextError:
        fields = {"message": payload.decode("utf-8", "replace")}
    code = headers.get(":exception-type") or headers.get(":error-code") or kind
    message = fields.get("message") or fields.get("Message") or headers.get(":error-message") or code
    return {**fields, "code": code, "message": message}


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are text."""
    headers: dict[str, str] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        kind = data[name_end] if name_end < len(data) else -1
        start = name_end + 1
        if kind in _SIZED:
            length = int.from_bytes(data[start : start + 2], "big")
            start += 2
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise _broken("its headers cannot be read")
        if start + length > len(data):
            raise _broken("a header is longer than all headers")
        if kind == 7:  # noqa: PLR2004  a string, see _FIXED
            name = data[at + 1 : name_end].decode("utf-8", "replace")
            headers[name] = data[start : start + length].decode("utf-8", "replace")
        at = start + length
    return headers
