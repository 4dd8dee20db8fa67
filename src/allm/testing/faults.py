"""Faults on the wire, as values. A `Reply` has at most one.

Offsets count bytes of the reply's body, without HTTP framing. The offset `BEFORE_HEAD` means that not even the status
line is sent.
"""

from __future__ import annotations

import attrs

__all__ = [
    "BEFORE_HEAD",
    "Cut",
    "Fault",
    "Garbage",
    "GarbageHead",
    "HalfClose",
    "KeepAlive",
    "Reset",
    "Stall",
    "TruncatedChunk",
    "WrongLength",
]

BEFORE_HEAD = -1


@attrs.frozen
class Stall:
    """Send `after` body bytes, then nothing, until the client leaves."""

    after: int = 0


@attrs.frozen
class KeepAlive:
    """Send `after` body bytes, then only comments without end: the first at once, then one every `interval` seconds.

    A comment must be between two SSE events: take `after` from `Reply.event_ends`.
    """

    after: int = 0
    interval: float = attrs.field(default=15.0, validator=attrs.validators.gt(0))
    comment: bytes = b": keepalive\n\n"


@attrs.frozen
class Cut:
    """Close the connection after `after` body bytes.

    Attributes:
        clean: End the HTTP message properly and keep the connection, so that only the body is truncated. Otherwise the
            TCP connection ends (FIN) in the middle of the message.
    """

    after: int = 0
    clean: bool = False


@attrs.frozen
class Reset:
    """Reset the TCP connection (RST instead of FIN) after `after` body bytes."""

    after: int = 0


@attrs.frozen
class HalfClose:
    """End only the sending direction (FIN) after `after` body bytes, and go on reading until the client leaves."""

    after: int = 0


@attrs.frozen
class TruncatedChunk:
    """Close the connection inside an HTTP chunk, after `after` body bytes; the framing has to be `"chunked"`."""

    after: int = 0


@attrs.frozen
class WrongLength:
    """Send the whole body under a content length that is wrong, and close the connection.

    Attributes:
        by: How many bytes more than there are; less, if negative. The framing has to be `"content-length"`.
    """

    by: int


@attrs.frozen
class Garbage:
    """Insert `data` into the body after `after` bytes; the rest of the body follows."""

    after: int
    data: bytes


@attrs.frozen
class GarbageHead:
    """Respond with `data`, which is not HTTP, and close the connection."""

    data: bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n"


Fault = Stall | KeepAlive | Cut | Reset | HalfClose | TruncatedChunk | WrongLength | Garbage | GarbageHead
