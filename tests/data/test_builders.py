"""Functions that build messages, and what they reject."""

from __future__ import annotations

import pytest

import allm

IMAGE = allm.Image.from_url("https://example.com/x.png")


def test_pieces_become_parts_in_their_order():
    """Texts, images and parts become parts in order; a single text stays a text."""
    part = allm.TextPart("b")
    assert allm.user("a").content == "a"
    assert allm.user("a", IMAGE, part).content == (allm.TextPart("a"), allm.ImagePart(IMAGE), part)
    assert allm.user("a", IMAGE).images == (allm.ImagePart(IMAGE),)


def test_a_piece_that_is_none():
    """Anything else is rejected with its position."""
    with pytest.raises(
        allm.ValidationError, match=r"content\[1\] is bytes; expected str, Image, Document or a part"
    ) as caught:
        allm.user("a", b"b")
    assert caught.value.errors == ((("content", 1), "invalid_part_type"),)


def test_what_stands_for_a_conversation():
    """A text, a message, messages or a thread become messages."""
    hi = allm.user("hi")
    for given in ("hi", hi, [hi], iter([hi]), allm.Thread((hi,))):
        assert allm.request(given).messages == (hi,)
    with pytest.raises(allm.ValidationError, match="cannot convert int to messages"):
        allm.request(3)
