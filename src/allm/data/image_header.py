"""What the first bytes of an image file say: its type, and its size in pixels.

Formats: PNG (W3C PNG 3, 11.2.1), GIF89a (section 18), JPEG (ITU T.81, B.2.2), WebP (RFC 9649). Nothing is decoded, and
a file that ends too early or lies is unknown, never an exception.
"""

from __future__ import annotations

import struct

__all__ = ["read_size", "sniff_mime"]

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
# Markers of a JPEG frame header: all SOFn but DHT (C4), JPG (C8) and DAC (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = 0xFF  # begins every marker of a JPEG; more of them are filling
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def sniff_mime(data: bytes) -> str | None:
    """The MIME type that the first bytes of `data` tell, or None."""
    for signature, mime_type in _SIGNATURES:
        if data.startswith(signature):
            return mime_type
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def read_size(data: bytes) -> tuple[int, int] | None:
    """`(width, height)` in pixels, or None where it cannot be read."""
    try:
        match sniff_mime(data):
            case "image/png":
                return _known(struct.unpack_from(">II", data, 16))
            case "image/gif":
                return _known(struct.unpack_from("<HH", data, 6))
            case "image/jpeg":
                return _jpeg(data)
            case "image/webp":
                return _webp(data)
            case _:
                return None
    except (struct.error, IndexError):
        return None


def _known(size: tuple[int, ...]) -> tuple[int, int] | None:
    width, height = size
    return (width, height) if width and height else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == _MARKER:
        marker = data[at + 1]
        if marker == _MARKER:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return _known((width, height))
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return _known((width & 0x3FFF, height & 0x3FFF))
        case b"VP8L" if data[20:21] == b"\x2f":
            bits = struct.unpack_from("<I", data, 21)[0]
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            low, high, tall, taller = struct.unpack_from("<HBHB", data, 24)
            return (low | high << 16) + 1, (tall | taller << 16) + 1
        case _:
            return None
