"""Vectors made of texts: always the same one for the same text, another one for another."""

from __future__ import annotations

import hashlib
import struct
from array import array

from allm.adapters import unit_vector

__all__ = ["made_vector"]

_SCALE = 2**31


def made_vector(text: str, dimensions: int) -> array[float]:
    """A vector of length 1 whose direction comes from a hash of the text; its numbers are exact as 32-bit floats."""
    digest = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    numbers = struct.unpack(f"<{dimensions}i", digest)
    return array("f", unit_vector(array("d", (number / _SCALE for number in numbers))))
