"""What the first bytes of audio say."""

from __future__ import annotations

import pytest

from allm.data.audio import sniff_audio


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\x00", b"RIFF\0\0\0\0AVI ", b"text"])
def test_bytes_of_no_known_type(data):
    """Nothing is guessed, also where a frame of MPEG might begin."""
    assert sniff_audio(data) is None
