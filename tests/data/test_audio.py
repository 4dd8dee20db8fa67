"""Detecting the type of audio from its first bytes."""

from __future__ import annotations

import pytest

from allm.data.audio import sniff_audio


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\x00", b"RIFF\0\0\0\0AVI ", b"text"])
def test_bytes_of_no_known_type(data):
    """Unknown bytes have no type, even if they look like the start of an MPEG frame."""
    assert sniff_audio(data) is None
