"""What the first bytes of an image file say: its type, and its size in pixels; and what a label says of its type.

Formats: PNG (W3C PNG 3, 11.2.1), GIF89a (section 18), JPEG (ITU T.81, B.2.2), WebP (RFC 9649); HEIF and AVIF (ISO
14496-12, 4.3), TIFF 6, BMP and PDF by their type alone. Nothing is decoded, and a file that ends too early or lies is
unknown, never an exception.
"""

from __future__ import annotations

import struct

__all__ = ["HEAD_BYTES", "named_mime", "read_size", "sniff_mime"]

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
)
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
}
_SAME = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-bmp": "image/bmp",
    "image/x-ms-bmp": "image/bmp",
    "image/x-webp": "image/webp",
}
_SAY_NOTHING = frozenset({"", "*/*", "image/*", "application/octet-stream", "binary/octet-stream"})
HEAD_BYTES = 32
"""Bytes that are enough for `sniff_mime`."""
# Markers of a JPEG frame header: all SOFn but DHT (C4), JPG (C8) and DAC (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = 0xFF  # begins every marker of a JPEG; more of them are filling
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def sniff_mime(data: bytes) -> str | None:
    """The MIME type that the first bytes of `data` tell, or None."""
    for signature, mime_type in _SIGNATURES:
        if data.startswith(signature):
            return mime_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return "image/bmp" if data[:2] == b"BM" and data[6:10] == bytes(4) else None


def named_mime(label: str | None) -> str | None:
    """The MIME type that a label means: in lower case, without parameters, by its usual name; None if it says none."""
    name = (label or "").partition(";")[0].strip().lower()
    return None if name in _SAY_NOTHING else _SAME.get(name, name)


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
