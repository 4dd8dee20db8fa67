"""Type and size of an image from its first bytes; no bytes cause an exception."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.image_header import read_size, sniff_mime
from allm.providers.fake.images import plain_png

HEAD = b"\xff\xd8" + b"\xff\xe0\x00\x10JFIF\0" + bytes(9)  # start, and a JFIF segment
FRAME = b"\x00\x11\x08" + struct.pack(">HH", 20, 30) + bytes(10)
RIFF = b"RIFF\x10\0\0\0WEBP"
SAMPLES = {
    "png": (plain_png("x"), "image/png", (8, 8)),
    "gif": (b"GIF89a" + struct.pack("<HH", 300, 2), "image/gif", (300, 2)),
    "jpeg": (HEAD + b"\xff\xc0" + FRAME, "image/jpeg", (30, 20)),
    "progressive jpeg, with tables and filling": (
        HEAD + b"\xff\xc4\x00\x04\0\0" + b"\xff\xff\xff\xc2" + FRAME,
        "image/jpeg",
        (30, 20),
    ),
    "jpeg that begins anew": (HEAD + b"\xff\xd8\xff\x01\xff\xc0" + FRAME, "image/jpeg", (30, 20)),
    "webp": (RIFF + b"VP8 " + bytes(7) + b"\x9d\x01\x2a" + struct.pack("<HH", 176, 144), "image/webp", (176, 144)),
    "lossless webp": (
        RIFF + b"VP8L" + bytes(4) + b"\x2f" + struct.pack("<I", 99 | 49 << 14),
        "image/webp",
        (100, 50),
    ),
    "extended webp": (RIFF + b"VP8X" + bytes(8) + b"\xff\xff\0" + b"\x01\0\0", "image/webp", (65536, 2)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_type_and_size(name):
    """For every format; `Image` agrees."""
    data, mime_type, size = SAMPLES[name]
    assert (sniff_mime(data), read_size(data)) == (mime_type, size)
    image = allm.Image.from_bytes(data)
    assert (image.mime_type, image.size()) == (mime_type, size)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_that_ends_early(name):
    """It has no size, wherever it is truncated before it."""
    data, _, size = SAMPLES[name]
    for length in range(len(data)):
        assert read_size(data[:length]) in {None, size}


@given(st.sampled_from([data[:16] for data, _, _ in SAMPLES.values()]), st.binary(max_size=60))
def test_any_bytes(head, rest):
    """They give a size of at least one pixel, or none."""
    size = read_size(head + rest)
    assert size is None or (size[0] > 0 and size[1] > 0)


def test_an_image_without_pixels_has_no_size():
    """A size of zero counts as unknown."""
    assert read_size(b"GIF89a" + struct.pack("<HH", 0, 2)) is None
